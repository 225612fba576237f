# shellcheck shell=bash
# The shell functions that build scripts and other hooks call.
# All logic is in the binary; what is here finds the files and the flags for it.

# driverRunpathFix ARGUMENT...
# Calls `driver-runpath fix` with the flags that the derivation sets.
driverRunpathFix() {
  local flags=()
  ((${NIX_DEBUG:-0} >= 1)) || flags+=(-q)
  ((${NIX_DEBUG:-0} < 4)) || flags+=(-v)
  driverRunpathList --driver-lib driverRunpathLibraries
  driverRunpathList --prepend driverRunpathPrepend driverRunpathPrependArray
  driverRunpathList "" driverRunpathFlags driverRunpathFlagsArray
  RAYON_NUM_THREADS=${NIX_BUILD_CORES-} "@driverRunpath@" fix "${flags[@]}" "$@"
}

# driverRunpathList OPTION VARIABLE...
# Adds the words of each VARIABLE to the caller's flags, OPTION before each of them.
# A list is an array with structured attributes, and else a string of words.
driverRunpathList() {
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

# addDriverRunpath [--force-rpath] [--] FILE...
# Patches the files named, whatever they load.
addDriverRunpath() {
  local force="" file files=()
  while (($#)); do
    case $1 in
      --) shift && break ;;
      --force-rpath) force=$1 ;;
      --*) echo "addDriverRunpath: unknown option $1" >&2 && return 1 ;;
      *) break ;;
    esac
    shift
  done
  for file; do
    [[ $file == /* ]] || file=$PWD/$file
    # `lib/*` names directories, too, and `fix` would walk them.
    [[ -d $file ]] || files+=("$file")
  done
  ((${#files[@]})) || return 0
  driverRunpathFix --all ${force:+"$force"} -- "${files[@]}" || return
  # In a file: a call in `find … | while …` is one in a subshell.
  [[ ! -d ${NIX_BUILD_TOP-} ]] ||
    printf '%s\0' "${files[@]/#/$force:}" >>"$NIX_BUILD_TOP/.driver-runpath-by-hand"
}

addOpenGLRunpath() {
  echo "addOpenGLRunpath is deprecated, use addDriverRunpath" >&2
  addDriverRunpath "$@"
}

# Patches what addDriverRunpath was called for once more: what came after the call
# (patchELF, autoPatchelf) can have written another search path.
driverRunpathByHand() {
  local line plain=() forced=() list=${NIX_BUILD_TOP-}/.driver-runpath-by-hand
  [[ -f $list ]] || return 0
  while IFS= read -rd "" line; do
    [[ -f ${line#*:} ]] || continue
    if [[ $line == :* ]]; then plain+=("${line#*:}"); else forced+=("${line#*:}"); fi
  done <"$list"
  ((!${#plain[@]})) || driverRunpathFix --all -- "${plain[@]}" || return
  ((!${#forced[@]})) || driverRunpathFix --all --force-rpath -- "${forced[@]}"
}

# autoFixElfFiles FUNCTION
# Calls FUNCTION for each dynamic ELF file of all outputs. addDriverRunpath is known: one
# process for all outputs, and only the files that load the driver.
autoFixElfFiles() {
  driverRunpathOne autoFixElfFiles "$@"
  local output file paths=()
  for output in $(getAllOutputNames); do
    # An output that is a link leads to the files of another package.
    if [[ -e ${!output-} && ! -L ${!output} ]]; then
      paths+=("${!output}")
    else
      driverRunpathLog "no files in output $output"
    fi
  done
  if ((!${#paths[@]})); then
    return 0
  elif [[ $1 == addDriverRunpath ]]; then
    # A damaged file that nothing can load is no reason to fail the build.
    driverRunpathFix --skip-damaged ${driverRunpathAll:+--all} -- "${paths[@]}" && return
    echo "autoAddDriverRunpath: failed for the files named above." \
      "To leave a file as it is: driverRunpathFlags = [ \"--exclude\" \"GLOB\" ];" \
      "to leave all of them: dontUseAutoAddDriverRunpath = true;" >&2
    return 1
  fi
  find "${paths[@]}" -type f -print0 | while IFS= read -rd "" file; do
    if ! isELF "$file"; then
      continue
    elif elfHasDynamicSection "$file"; then
      echo "autoFixElfFiles: $1 $file" >&2
      # shellcheck disable=SC2086 # a function can be given with options
      $1 "$file"
    else
      driverRunpathLog "$file is static"
    fi
  done
}

# elfHasDynamicSection FILE
elfHasDynamicSection() {
  driverRunpathOne elfHasDynamicSection "$@"
  "@driverRunpath@" patchelf --print-rpath "$1" >/dev/null 2>&1
}

driverRunpathOne() {
  (($# == 2)) && [[ -n $2 ]] && return
  echo "$1: needs one argument, was given: ${*:2}" >&2
  exit 1
}

driverRunpathLog() {
  ((${NIX_DEBUG:-0} >= 1)) || return 0
  if declare -F nixLog >/dev/null; then nixLog "$@"; else echo "driver-runpath: $*" >&2; fi
}

# Keeps our entries the last ones of postFixupHooks, each once: who comes after them writes
# search paths without the driver. Only who writes down what the search paths mean comes later.
driverRunpathLast() {
  local hook others=() byHand=() auto=() notes=()
  for hook in "${postFixupHooks[@]}"; do
    case $hook in
      driverRunpathByHand) byHand=("$hook") ;;
      "autoFixElfFiles addDriverRunpath") auto=("$hook") ;;
      _generateLDCacheAllOutputs) notes=("$hook") ;;
      *) others+=("$hook") ;;
    esac
  done
  postFixupHooks=("${others[@]}" "${byHand[@]}" "${auto[@]}" "${notes[@]}")
}

if [[ -z ${driverRunpathSourced-} ]]; then
  driverRunpathSourced=1
  postFixupHooks+=(driverRunpathByHand)
  # postHooks run when all hooks are sourced, whatever `phases` says. The other two are for
  # hooks that register themselves later, in a phase or in preFixup. In postFixup it would be
  # too late: runHook has expanded its list.
  postHooks+=(driverRunpathLast)
  preFixupHooks+=(driverRunpathLast)
  fixupOutputHooks+=(driverRunpathLast)
fi
