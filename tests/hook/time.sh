#!/usr/bin/env bash
# Times the hook beside a re-enactment of nixpkgs' hook, on an output of 500 ELF files, of which
# every second one loads the driver, and 3,000 other files. BINARY is the driver-runpath to time.
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/tests/hook}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# shellcheck source=../../nix/tests/common.sh disable=SC1091
source "$root/nix/tests/common.sh"
library seed/loader.so -Wl,-rpath,/some/directory/lib
plain_library seed/plain.so -Wl,-rpath,/some/directory/lib
mkdir ours
for ((i = 0; i < 250; i++)); do
  cp seed/loader.so "ours/loader$i.so"
  cp seed/plain.so "ours/plain$i.so"
done
for ((i = 0; i < 3000; i++)); do
  echo "text $i" >"ours/$i.txt"
done
cp -r ours theirs

milliseconds() {
  local start=${EPOCHREALTIME/./}
  "$@" >/dev/null 2>&1
  echo $(((${EPOCHREALTIME/./} - start) / 1000))
}

getAllOutputNames() { echo out; }
isELF() {
  local magic fd
  exec {fd}<"$1"
  LANG=C read -r -n 4 -u "$fd" magic || :
  exec {fd}<&-
  [[ $magic == $'\x7fELF' ]]
}
sed -e "s|@driverRunpath@|$BINARY|" -e "s|@words@|$root/hook/words.sh|" "$root/hook/driver-runpath.sh" >hook.sh
# shellcheck disable=SC1091
source ./hook.sh

# What any function of another name still goes through, as all of them did.
upstream() {
  patchelf --set-rpath "/run/opengl-driver/lib:$(patchelf --print-rpath "$1")" "$1"
}

# shellcheck disable=SC2034
out=$dir/theirs
theirs=$(milliseconds autoFixElfFiles upstream)
# shellcheck disable=SC2034
out=$dir/ours
ours=$(milliseconds autoFixElfFiles addDriverRunpath)
again=$(milliseconds autoFixElfFiles addDriverRunpath)
expect 250 "$(grep -rl "/run/opengl-driver/lib:/some" ours | wc -l)" "files patched"
echo "nixpkgs' hook: $theirs ms; this one: $ours ms, a second run: $again ms"
