#!/bin/sh
# Rebuilds testdata/prebuilt/ARCH from testdata/src, one folder an architecture, with Debian's cross compilers
# (packages gcc-TRIPLET). An architecture whose compiler is missing is left as it is, and said so.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
src=$here/src

build() {
  arch=$1 cc=$2
  if ! command -v "$cc" >/dev/null; then
    echo "$arch: $cc is missing, left as it is" >&2
    return
  fi
  out=$here/prebuilt/$arch
  mkdir -p "$out"
  tmp=$(mktemp -d)
  "$cc" -Os -s -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$tmp/libcuda.so" "$src/driver.c"
  "$cc" -Os -s -shared -fPIC -o "$out/libopens.so" "$src/opens.c"
  "$cc" -Os -s -shared -fPIC -o "$out/libneeds.so" "$src/needs.c" -L"$tmp" -lcuda
  "$cc" -Os -s -shared -fPIC -o "$out/libplain.so" "$src/plain.c"
  "$cc" -Os -s -pie -fPIE -Wl,--enable-new-dtags,-rpath,/opt/lib -o "$out/program" "$src/program.c" "$src/opens.c"
  "$cc" -Os -s -no-pie -fno-pie -Wl,--disable-new-dtags,-rpath,/opt/lib -o "$out/program-no-pie" \
    "$src/program.c" "$src/opens.c"
  rm -r "$tmp"
}

build x86_64 "${CC:-gcc}"
build i386 i686-linux-gnu-gcc
build aarch64 aarch64-linux-gnu-gcc
build armhf arm-linux-gnueabihf-gcc
build ppc64le powerpc64le-linux-gnu-gcc
build ppc64 powerpc64-linux-gnu-gcc
build powerpc powerpc-linux-gnu-gcc
build s390x s390x-linux-gnu-gcc
build riscv64 riscv64-linux-gnu-gcc
build mips mips-linux-gnu-gcc
build mipsel mipsel-linux-gnu-gcc
