# shellcheck shell=bash
# A stand-in for the hooks that write search paths anew, as autoPatchelfHook does. It registers
# itself when sourced, or with rivalRegisters = "phase" in a phase before all others, or with
# rivalRegisters = "preFixup" there.

rival() {
  local output file
  for output in $(getAllOutputNames); do
    while IFS= read -rd "" file; do
      patchelf --set-rpath "${rivalPath:-/rival}" "$file" 2>/dev/null || :
    done < <(find "${!output}" -type f -print0)
  done
}

rivalPhase() {
  postFixupHooks+=(rival)
}

case ${rivalRegisters-} in
  phase) prePhases="${prePhases-} rivalPhase" ;;
  preFixup) preFixupHooks+=(rivalPhase) ;;
  *) postFixupHooks+=(rival) ;;
esac
