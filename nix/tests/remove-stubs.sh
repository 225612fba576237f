# shellcheck shell=bash
# A stand-in for nixpkgs' removeStubsFromRunpathHook and what it brings along: functions of the names that ours have.
# It registers itself in a phase before all others. In the search path of each dynamic file, the first directory of
# stubs becomes the driver's, unless that is there already, and the others go.

removeStubsRegistration() {
  postFixupHooks+=("autoFixElfFiles removeStubs")
}
prePhases="${prePhases[*]-} removeStubsRegistration"

removeStubs() {
  local entry driver=${driverLink-/run/opengl-driver}/lib old new=()
  old=$(patchelf --print-rpath "$1")
  while IFS= read -rd : entry; do
    if [[ $entry == *-cuda*/stubs || $entry == *-cuda*-stubs/lib* ]]; then
      [[ " ${new[*]} " == *" $driver "* ]] || new+=("$driver")
    else
      new+=("$entry")
    fi
  done <<<"$old:"
  patchelf --set-rpath "$(IFS=: && echo "${new[*]}")" "$1"
}

autoFixElfFiles() {
  local output file
  for output in $(getAllOutputNames); do
    while IFS= read -rd "" file; do
      ! isELF "$file" || ! patchelf --print-rpath "$file" >/dev/null 2>&1 || "$1" "$file"
    done < <(find "${!output}" -type f -print0)
  done
}

addDriverRunpath() {
  local file
  for file; do
    ! isELF "$file" ||
      patchelf --set-rpath "${driverLink-/run/opengl-driver}/lib:$(patchelf --print-rpath "$file")" "$file"
  done
}

# With theirs = "auto", what nixpkgs' autoAddDriverRunpath does, too; with theirs = "functions", nothing by itself.
case ${theirs-} in
  auto) postFixupHooks+=("autoFixElfFiles addDriverRunpath") ;;
  functions) prePhases= ;;
esac
