# shellcheck shell=bash
# Commands and options as the help lists them, so this never falls behind.

_driver_runpath() {
  local word=${COMP_WORDS[COMP_CWORD]} words=""
  if ((COMP_CWORD == 1)); then
    words=$("$1" -h | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\)  .*/\1/p')
  elif [[ $word == -* ]]; then
    words=$("$1" "${COMP_WORDS[1]}" -h | grep -oE -- '^ +(-., )?--[a-z-]+' | grep -oE -- '--.*')
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _driver_runpath driver-runpath
