#!/usr/bin/env bash
# The end of one fixup phase of an output DIR, with the hook (y) or without it (n). BINARY is the driver-runpath that it calls.
# shellcheck disable=SC2034
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
with=$1
out=$2
postFixupHooks=()
postHooks=()
preFixupHooks=()
fixupOutputHooks=()
getAllOutputNames() { echo out; }
runHook() {
  local hook hooks="$1Hooks[@]"
  for hook in "${!hooks}"; do
    eval "$hook"
  done
}
if [[ $with == y ]]; then
  hook=$(<"$root/hook/driver-runpath.sh")
  hook=${hook//@driverRunpath@/$BINARY}
  eval "${hook//@words@/$root/hook/words.sh}"
  # shellcheck source=../hook/auto-add-driver-runpath.sh disable=SC1091
  source "$root/hook/auto-add-driver-runpath.sh"
fi
runHook post
runHook preFixup
runHook fixupOutput
runHook postFixup
