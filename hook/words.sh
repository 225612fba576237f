# shellcheck shell=bash

# driverRunpathWords OPTION VARIABLE...
# Adds the words of each VARIABLE to the caller's array `flags`, OPTION before each of them. A list is an array
# with structured attributes, and else a string of words.
driverRunpathWords() {
  local name word words
  for name in "${@:2}"; do
    local -n list=$name
    words=()
    if [[ $(declare -p "$name" 2>/dev/null) == "declare -a"* ]]; then
      words=("${list[@]}")
    else
      read -rd "" -a words <<<"${list-}" || :
    fi
    for word in "${words[@]}"; do
      flags+=(${1:+"$1"} "$word")
    done
  done
}
