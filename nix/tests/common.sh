# shellcheck shell=bash
# shellcheck disable=SC2154 # driverLink is an attribute of each case
# What the cases build with, and how they look at the result.

# The wrapped linker drops search paths outside of the store, which the cases make up.
export NIX_ENFORCE_PURITY=0

# library FILE [ARGUMENT...]: a library that opens the driver.
library() {
  mkdir -p "${1%/*}"
  ${CC:-cc} -shared -fPIC -x c - -x none -o "$@" <<'C'
extern void *dlopen(const char *, int);
void *open_driver(void) { return dlopen("libcuda.so.1", 2); }
C
}

# plain_library FILE [ARGUMENT...]: a library that has no use for the driver.
plain_library() {
  mkdir -p "${1%/*}"
  echo 'int plain(void) { return 1; }' | ${CC:-cc} -shared -fPIC -x c - -x none -o "$@"
}

# executable FILE [ARGUMENT...]: a program that opens the driver, if there is one.
executable() {
  mkdir -p "${1%/*}"
  ${CC:-cc} -x c - -x none -o "$@" -ldl <<'C'
#include <dlfcn.h>
int main(void) { dlopen("libcuda.so.1", RTLD_LAZY); return 0; }
C
}

# bare FILE [ARGUMENT...]: an executable without any C library, which names the driver.
bare() {
  mkdir -p "${1%/*}"
  ${CC:-cc} -nostdlib -x c - -x none -o "$@" <<'C'
const char *driver = "libcuda.so.1";
void _start(void) { for (;;); }
C
}

# search_path FILE: "RUNPATH DIR:DIR", "RPATH DIR:DIR" or nothing.
search_path() {
  readelf -dW "$1" | sed -nE 's/.*\((RUNPATH|RPATH)\).*\[(.*)\]/\1 \2/p'
}

# expect WANTED GOT [OF]
expect() {
  [[ $1 == "$2" ]] && return
  echo "${3:-check}: wanted: $1" >&2
  echo "${3:-check}: got:    $2" >&2
  return 1
}

# expect_driver FILE: the driver's directory comes first, and once; no element is empty.
expect_driver() {
  local all
  all=$(search_path "$1")
  case "$all:" in
    "RUNPATH $driverLink/lib:" | "RUNPATH $driverLink/lib:"[!:]*) ;;
    *) expect "RUNPATH $driverLink/lib:…" "$all" "$1" || return ;;
  esac
  all=${all#* }:
  expect 1 "$(grep -o "$driverLink/lib:" <<<"$all" | wc -l)" "$1: times that the driver occurs in $all" || return
  [[ $all != *::* ]] || expect "no empty element" "$all" "$1"
}

# expect_no_driver FILE
expect_no_driver() {
  [[ $(search_path "$1") != *"$driverLink"* ]] || expect "no driver" "$(search_path "$1")" "$1"
}
