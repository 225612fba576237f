#!/bin/sh
# The main job, before and after: a library that opens the driver, a program that links it, and a stand-in for the
# driver in a directory that no loader knows. Needs cargo and a C compiler.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
driver_runpath=${DRIVER_RUNPATH-}
if [ -z "$driver_runpath" ]; then
  echo "building driver-runpath (cargo build --release), which takes a minute or two the first time ..." >&2
  cargo build --quiet --release --manifest-path "$here/../Cargo.toml"
  driver_runpath=${CARGO_TARGET_DIR:-$here/../target}/release/driver-runpath
fi

demo=$(mktemp -d)
trap 'rm -rf "$demo"' EXIT
cd "$demo"
mkdir -p driver/lib tree/bin tree/lib
cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o driver/lib/libcuda.so.1 "$here/src/driver.c"
cc -shared -fPIC -o tree/lib/libopens.so "$here/src/opens.c"
# shellcheck disable=SC2016 # $ORIGIN is for the loader
cc -o tree/bin/program "$here/src/program.c" -Ltree/lib -lopens -Wl,-rpath,'$ORIGIN/../lib'

run() {
  echo "\$ $*"
  # "check" ends with status 1 as long as a file misses the driver.
  PATH=$(dirname "$driver_runpath"):$PATH "$@" || true
}

run tree/bin/program
run driver-runpath check --driver-link "$demo/driver" tree
run driver-runpath fix --driver-link "$demo/driver" tree
run tree/bin/program
run driver-runpath check --driver-link "$demo/driver" tree
