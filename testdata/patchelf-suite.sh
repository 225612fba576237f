#!/bin/sh
# Runs patchelf's own tests of search paths: patchelf-suite.sh DIR, where DIR is a source tree of patchelf, configured
# and built by its autotools. DIR is changed: give it a copy.
#
# Each test runs twice, with the patchelf built there and with driver-runpath in its place. Tests that use other flags
# of patchelf, too, run with those flags taken out. PEER names another patchelf than the one built there.
#
# SEEDS and ITERS are for property-rewrite, which links and runs random programs.
set -u
unset PATCHELF
here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "${1:?usage: patchelf-suite.sh DIR}" && pwd)
ours=${DRIVER_RUNPATH:-$here/../target/release/driver-runpath}
ours=$(readlink -f "$ours") || exit 2
seeds=${SEEDS-"1 2 3 4 5 6 7 8"}
iters=${ITERS:-40}
arches="alpha amd64 armel armhf hurd-i386 i386 ia64 kfreebsd-amd64 kfreebsd-i386 mips mipsel powerpc s390 sh4 sparc"
unchanged="basic-flags set-rpath add-rpath set-empty-rpath set-rpath-library shrink-rpath
  shrink-rpath-with-allowed-prefixes force-rpath args-from-file output-flag big-dynstr grow-file build-id endianness
  no-dynamic-section overlapping-segments-after-rounding phdr-corruption preserve-init shared-rpath too-many-strtab
  set-rpath-rel-map remove-rld-map-rel short-first-segment build-resolution-cache build-resolution-cache-no-pie
  build-resolution-cache-search-hint build-resolution-cache-stale build-resolution-cache-symtab"

cd "$dir" || exit 2
[ -e src/patchelf.built ] || {
  # Once with the original: it builds the programs that the tests edit.
  make check >make-check.log 2>&1 || :
  cp src/patchelf src/patchelf.built
}
peer=$(readlink -f "${PEER:-src/patchelf.built}") || exit 2
cd tests || exit 2

# Takes out what is not about search paths: of property-rewrite, the operations 4 to 7.
sed -e '/--set-interpreter/d' no-rpath.sh >ours-no-rpath.sh
sed -e '/--set-interpreter/d' no-rpath-pie-powerpc.sh >ours-no-rpath-pie-powerpc.sh
sed -e '/--set-interpreter/d' no-rpath-prebuild.sh >ours-no-rpath-prebuild.sh
sed -e '/invalid-verneed-file$/d' -e '/:invalid-dynamic-noterm$/d' -e '/:invalid-gnuhash-/d' invalid-elf.sh \
  >ours-invalid-elf.sh
sed -e '/^# --- DT_NEEDED edits/,/^if /{/^if /!d}' build-resolution-cache-edits.sh >ours-build-resolution-cache-edits.sh
# The random numbers that they draw are drawn all the same: each seed builds the programs that it builds there.
awk '/^ *4\) \[ -n "\$interp"/ { skip = 1; print "4 | 6) continue ;; 5) pick a b; continue ;; 7) pick a b c; continue ;;" }
  !skip { print }
  /dep="\$new" ;;$/ { skip = 0 }' property-rewrite.sh >ours-property-rewrite.sh
# The same without the 64 KiB that half of the programs get behind their ELF image: driver-runpath keeps such a payload at
# the end of the file, and refuses what would have to grow.
sed -e '/yes PROPTRAILER/,/trailer=1/s/.*/:/' ours-property-rewrite.sh >ours-property-rewrite-without-payload.sh

# use ours|peer
use() {
  rm -f ../src/patchelf
  if [ "$1" = ours ]; then
    printf '#!/bin/sh\nexec "%s" patchelf "$@"\n' "$ours" >../src/patchelf
    chmod +x ../src/patchelf
  else
    cp "$peer" ../src/patchelf
  fi
}

# one NAME COMMAND...: a line with the result of both.
one() {
  name=$1 results=
  shift
  for who in ours peer; do
    use $who
    rm -rf scratch
    PATCHELF_DEBUG=1 READELF=readelf srcdir=. "$@" >"log-$who-$name" 2>&1
    case $? in
      0) result=pass ;;
      77) result=skip ;;
      *) result=FAIL ;;
    esac
    results="$results $result"
  done
  # shellcheck disable=SC2086 # two words
  printf '%-45s %-6s %-6s\n' "$name" $results
}

printf '%-45s %-6s %-6s\n' test ours peer
for name in $unchanged; do one "$name" sh -e "./$name.sh"; done
for name in build-resolution-cache-edits no-rpath no-rpath-pie-powerpc; do one "$name" sh -e "./ours-$name.sh"; done
for arch in $arches; do one "no-rpath-$arch" sh -e ./ours-no-rpath-prebuild.sh "$arch"; done
one invalid-elf sh -ue ./ours-invalid-elf.sh
for seed in $seeds; do
  for variant in property-rewrite property-rewrite-without-payload; do
    one "$variant-$seed" env SEED="$seed" ITERS="$iters" sh -e "./ours-$variant.sh"
    for who in ours peer; do echo "  $who: $(grep '^done: ' "log-$who-$variant-$seed")"; done
  done
done
use peer
