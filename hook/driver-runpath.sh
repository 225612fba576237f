# shellcheck shell=bash
# The shell functions that build scripts and other hooks call.
# All logic is in the binary; what is here finds the files and the flags for it.

# shellcheck source=words.sh disable=SC1091
source "@words@"

# addDriverRunpath [--force-rpath] [--] FILE...
# Patches the files named, whatever they load.
addDriverRunpath() {
  local force="" file files=()
  while [[ ${1-} == --* ]]; do
    case $1 in
      --) shift && break ;;
      --force-rpath) force=$1 && shift ;;
      *) echo "addDriverRunpath: unknown option $1" >&2 && return 1 ;;
    esac
  done
  for file; do
    [[ $file == /* ]] || file=$PWD/$file
    # `lib/*` names directories, too, and `fix` would walk them.
    [[ -d $file ]] || files+=("$file")
  done
  ((${#files[@]})) || return 0
  driverRunpathFix --all ${force:+"$force"} -- "${files[@]}" || return
  # In a file: a call in `find … | while …` is one in a subshell.
  [[ ! -d ${NIX_BUILD_TOP-} ]] || printf '%s\0' "${files[@]}" >>"$NIX_BUILD_TOP/.driver-runpath-by-hand$force"
}

addOpenGLRunpath() {
  echo "addOpenGLRunpath is deprecated, use addDriverRunpath" >&2
  addDriverRunpath "$@"
}

# Patches what addDriverRunpath was called for once more: what came after the call
# (patchELF, autoPatchelf) can have written another search path.
driverRunpathByHand() {
  local force file files list
  for force in "" --force-rpath; do
    files=() list=${NIX_BUILD_TOP-}/.driver-runpath-by-hand$force
    [[ -f $list ]] || continue
    while IFS= read -rd "" file; do
      [[ ! -f $file ]] || files+=("$file")
    done <"$list"
    ((!${#files[@]})) || driverRunpathFix --all ${force:+"$force"} -- "${files[@]}" || return
  done
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

# driverRunpathFix ARGUMENT...
# Calls `driver-runpath fix` with the flags that the derivation sets.
driverRunpathFix() {
  local flags=(--drop-stubs)
  ((${NIX_DEBUG:-0} >= 1)) || flags+=(-q)
  ((${NIX_DEBUG:-0} < 4)) || flags+=(-v)
  driverRunpathWords --driver-lib driverRunpathLibraries
  driverRunpathWords --prepend driverRunpathPrepend driverRunpathPrependArray
  driverRunpathWords "" driverRunpathFlags driverRunpathFlagsArray
  RAYON_NUM_THREADS=${NIX_BUILD_CORES-} "@driverRunpath@" fix "${flags[@]}" "$@"
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

# Keeps our entries the last ones of postFixupHooks, each once: who comes after them writes search
# paths without the driver. Only who writes down or checks what the search paths mean comes later.
# Functions of the same names, of another hook that was sourced after this one, give way.
driverRunpathLast() {
  local hook others=() last=()
  for hook in "${postFixupHooks[@]}"; do
    case $hook in
      driverRunpathByHand) last[0]=$hook ;;
      "autoFixElfFiles addDriverRunpath") last[1]=$hook ;;
      _generateLDCacheAllOutputs) last[2]=$hook ;;
      driverRunpathCheck) last[3]=$hook ;;
      *) others+=("$hook") ;;
    esac
  done
  postFixupHooks=("${others[@]}" "${last[@]}")
  eval "$driverRunpathFunctions"
}

if [[ -z ${driverRunpathFunctions-} ]]; then
  driverRunpathFunctions=$(declare -f addDriverRunpath addOpenGLRunpath autoFixElfFiles elfHasDynamicSection)
  postFixupHooks+=(driverRunpathByHand)
  # postHooks run when all hooks are sourced, whatever `phases` says. The other two are for
  # hooks that register themselves later, in a phase or in preFixup. In postFixup it would be
  # too late: runHook has expanded its list.
  postHooks+=(driverRunpathLast)
  preFixupHooks+=(driverRunpathLast)
  fixupOutputHooks+=(driverRunpathLast)
fi
