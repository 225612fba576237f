# shellcheck shell=bash

# driverRunpathWords OPTION VARIABLE...
# Adds the words of each VARIABLE to the caller's array `flags`, OPTION before each of them. A list is an array
# with structured attributes, and else a string of words.
driverRunpathWords() {
  local name word words
  for name in "${@:2}"; do
    local -n list=$name
    words=()
    # By its attributes: `declare -p` would take a subshell, for each variable of each call.
    if [[ -v $name && ${list@a} == *a* ]]; then
      words=("${list[@]}")
    else
      read -rd "" -a words <<<"${list-}" || :
    fi
    for word in "${words[@]}"; do
      flags+=(${1:+"$1"} "$word")
    done
  done
}
