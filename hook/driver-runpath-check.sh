# shellcheck shell=bash
# Fails the build where a file that loads the driver would miss it, where link-time stubs are left, and
# where code for a GPU is missing.

# shellcheck source=words.sh disable=SC1091
source "@words@"

driverRunpathCheck() {
  local output path flags wanted failed="" ours=() others=()
  for output in $(getAllOutputNames); do
    path=${!output-}
    [[ -e $path && ! -L $path ]] || continue
    case $output in
      # What is for building may refer to stubs, and to them alone it is of use.
      dev | stubs | static) others+=("$path") ;;
      *) ours+=("$path") ;;
    esac
  done
  flags=(--failing --skip-damaged)
  ((${NIX_DEBUG:-0} < 4)) || flags+=(-v)
  driverRunpathWords --driver-lib driverRunpathLibraries
  driverRunpathWords "" driverRunpathCheckFlags driverRunpathCheckFlagsArray
  ((!${#ours[@]})) || driverRunpathRun check --no-stubs "${flags[@]}" -- "${ours[@]}" || failed=1
  ((!${#others[@]})) || driverRunpathRun check "${flags[@]}" -- "${others[@]}" || failed=1

  flags=()
  driverRunpathWords "" driverRunpathRequireCapabilities
  wanted=$(IFS=, && echo "${flags[*]}")
  if [[ -n $wanted ]] && ((${#ours[@]})); then
    driverRunpathRun gpu-code -q --skip-damaged --require "$wanted" -- "${ours[@]}" || failed=1
  fi
  [[ -n $failed ]] || return 0
  cat >&2 <<'MESSAGE'
driverRunpathCheckHook: this build is not to be released as it is; the files are named above.
  lacks the driver's directory   nativeBuildInputs = [ autoAddDriverRunpath ]; if that is there, something has
                                 written another search path after fixupPhase
  has or refers to stubs         autoAddDriverRunpath takes them out of search paths; in text files, substitute
                                 them, or move the files to the output dev
  misses a capability            driverRunpathRequireCapabilities asks for what was not compiled
  is meant to be so              driverRunpathCheckFlags = [ "--exclude" "GLOB" ]; dontDriverRunpathCheck = true;
MESSAGE
  return 1
}

driverRunpathRun() {
  RAYON_NUM_THREADS=${NIX_BUILD_CORES-} "@driverRunpath@" "$@" >&2
}

# Its place is behind all that writes search paths.
driverRunpathCheckLast() {
  local hook others=() last=()
  for hook in "${postFixupHooks[@]}"; do
    if [[ $hook == driverRunpathCheck ]]; then last=("$hook"); else others+=("$hook"); fi
  done
  postFixupHooks=("${others[@]}" "${last[@]}")
}

if [[ -z ${driverRunpathCheckSourced-}${dontDriverRunpathCheck-} ]]; then
  driverRunpathCheckSourced=1
  case ${driverRunpathCheckPhase:-fixupPhase} in
    fixupPhase)
      postFixupHooks+=(driverRunpathCheck)
      postHooks+=(driverRunpathCheckLast)
      preFixupHooks+=(driverRunpathCheckLast)
      fixupOutputHooks+=(driverRunpathCheckLast)
      ;;
    installCheckPhase) preInstallCheckHooks+=(driverRunpathCheck) ;;
    *)
      echo "driverRunpathCheckPhase is $driverRunpathCheckPhase, neither fixupPhase nor installCheckPhase" >&2
      exit 1
      ;;
  esac
fi
