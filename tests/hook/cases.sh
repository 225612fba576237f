#!/usr/bin/env bash
# The hook in bare bash: cases.sh NAME runs one case, without a name it lists all of them with
# the tools that they need. BINARY is the driver-runpath to test.
#
# A case runs in an empty directory; $out does not exist yet.
#
# The variables are read, and the functions called, by the hook that a case sources.
# shellcheck disable=SC1091,SC2034,SC2154,SC2317
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/tests/hook}
driverLink=/run/opengl-driver
# shellcheck source=../../nix/tests/common.sh
source "$root/nix/tests/common.sh"

# --- what the cases stand on -----------------------------------------------------------------

# Writes the hooks with their substitutions: ./auto, ./functions, ./checks, ./compat, and ./rival, ./notes, ./stubs.
write_hooks() {
  local name file
  for name in auto=hook/auto-add-driver-runpath functions=hook/driver-runpath \
    checks=hook/driver-runpath-check compat=hook/auto-add-cuda-compat-runpath rival=nix/tests/rival \
    notes=nix/tests/notes stubs=nix/tests/remove-stubs; do
    file=${name%%=*}/nix-support
    mkdir -p "$file"
    sed -e "s|@driverRunpath@|$BINARY|" -e "s|@words@|$root/hook/words.sh|" -e "s|@libcudaPath@|/jetson-cuda_compat-1/compat|" \
      "$root/${name#*=}.sh" >"$file/setup-hook"
    : >"$file/propagated-build-inputs"
  done
  echo "$PWD/functions" >auto/nix-support/propagated-build-inputs
  echo "$PWD/auto" >compat/nix-support/propagated-build-inputs
}

# build NAME=VALUE...: a build with these attributes, in an environment of its own. The hook is
# in nativeBuildInputs if they are not given.
build() {
  mkdir -p top
  env -i path="$PATH" NIX_BUILD_TOP="$PWD/top" out="$PWD/out" driverLink="$driverLink" \
    notesPatchelf="${DRIVER_RUNPATH_PATCHELF-}" nativeBuildInputs="$PWD/auto" "$@" "${BASH:-bash}" -e -c \
    "source '$root/nix/tests/common.sh'; source '$root/nix/tests/standin.sh'"
}

# What the setup.sh of an interactive shell would have sourced before the hook.
source_hooks() {
  local name
  getAllOutputNames() { echo "${outputs:-out}"; }
  isELF() { [[ $(head -c 4 "$1" | tr -d '\0') == $'\x7fELF' ]]; }
  out=$PWD/out NIX_BUILD_TOP=$PWD/top
  mkdir -p top
  for name; do
    # shellcheck disable=SC1090
    source "$name/nix-support/setup-hook"
  done
}

# What nixpkgs' hook does, in a few words of our own: the directory and a colon before the old
# search path of each file that patchelf can read.
upstream() {
  local file old
  find "$@" -type f -print0 | while IFS= read -rd "" file; do
    if old=$(patchelf --print-rpath "$file" 2>/dev/null); then
      patchelf --set-rpath "$driverLink/lib:$old" "$file"
    fi
  done
}

entries() {
  printf '%s|' "${postFixupHooks[@]}"
}

fails() {
  ! ("$@") || {
    echo "was meant to fail: $*" >&2
    return 1
  }
}

# expect_note FILE ELEMENT: the resolution note has the element, and is what a fresh one would be.
expect_note() {
  local note
  note=$(readelf -p .note.nixos.ldcache "$1")
  [[ $note == *"$2"* ]] || expect "$2" "$note" "the note of $1"
  "$BINARY" patchelf --build-resolution-cache "$1"
  # shellcheck disable=SC2086 # a program and its arguments
  ${DRIVER_RUNPATH_PATCHELF:-$BINARY patchelf} --build-resolution-cache "$1"
}

# --- beside upstream's hook -------------------------------------------------------------------

# The loader reads an empty element as the current directory, and runs what lies there.
# needs: cc patchelf readelf
no_library_of_the_current_directory_is_loaded() {
  mkdir evil
  echo '#include <stdio.h>
    __attribute__((constructor)) static void f(void) { puts("hijacked"); }' |
    ${CC:-cc} -shared -fPIC -x c - -o evil/libcuda.so.1
  library ours/liba.so
  patchelf --remove-rpath ours/liba.so
  cp -r ours theirs
  upstream theirs
  expect "RUNPATH $driverLink/lib:" "$(search_path theirs/liba.so)"
  build installPhase="cp -r $PWD/ours \$out"
  expect "RUNPATH $driverLink/lib" "$(search_path out/liba.so)"

  local dir
  for dir in theirs out; do
    echo 'void *open_driver(void); int main(void) { open_driver(); return 0; }' |
      ${CC:-cc} -x c - -x none -o "main-$dir" -L"$dir" -la -Wl,-rpath,"$PWD/$dir"
  done
  cd evil
  expect hijacked "$(../main-theirs)"
  expect "" "$(../main-out)"
}

# needs: cc patchelf readelf
listed_before_a_hook_that_writes_search_paths_it_comes_last() {
  library lib/liba.so
  cp -r lib theirs
  upstream theirs
  patchelf --set-rpath /rival theirs/liba.so
  expect "RUNPATH /rival" "$(search_path theirs/liba.so)"
  build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/auto $PWD/rival"
  expect "RUNPATH $driverLink/lib:/rival" "$(search_path out/liba.so)"
}

# needs: cc patchelf readelf static-libc
a_static_pie_runs_after_the_hook() {
  mkdir bin
  echo 'const char *name = "libcuda.so.1"; int main(void) { return 0; }' |
    ${CC:-cc} -static-pie -fPIE -x c - -o bin/a
  bin/a
  cp -r bin theirs
  upstream theirs
  fails theirs/a
  build installPhase="cp -r $PWD/bin \$out" driverRunpathAll=1
  out/a
  cmp bin/a out/a
}

# needs: cc patchelf readelf
hard_links_are_patched_once() {
  library lib/liba.so
  ln lib/liba.so lib/libb.so
  cp -a lib theirs
  upstream theirs
  expect "RUNPATH $driverLink/lib:$driverLink/lib:" "$(search_path theirs/liba.so)"
  build installPhase="cp -a $PWD/lib \$out"
  expect "RUNPATH $driverLink/lib" "$(search_path out/liba.so)"
  [[ out/liba.so -ef out/libb.so ]]
}

# needs: cc patchelf readelf
a_second_run_changes_nothing() {
  library lib/liba.so
  cp -r lib theirs
  upstream theirs
  cp -r theirs theirs-once
  upstream theirs
  fails cmp theirs/liba.so theirs-once/liba.so
  build installPhase="cp -r $PWD/lib \$out"
  cp -r --preserve=timestamps out once
  build installPhase=:
  cmp out/liba.so once/liba.so
  expect "$(stat -c %y once/liba.so)" "$(stat -c %y out/liba.so)"
}

# Of the directories of a build, the one with link stubs is the one to lose.
# needs: cc patchelf readelf
nothing_of_a_stub_directory_is_left_in_the_file() {
  library lib/liba.so -Wl,-rpath,/store/abc-cuda-cudart/lib/stubs:/one
  cp -r lib theirs
  upstream theirs
  grep -q abc-cuda-cudart theirs/liba.so
  build installPhase="cp -r $PWD/lib \$out"
  expect "RUNPATH $driverLink/lib:/one" "$(search_path out/liba.so)"
  fails grep -q abc-cuda-cudart out/liba.so
}

# --- registration -----------------------------------------------------------------------------

sourced_twice_it_registers_once() {
  source_hooks auto functions auto functions compat compat
  expect "autoFixElfFiles addDriverRunpath|driverRunpathByHand|" "$(entries)"
  expect "1 1 1" "${#postHooks[@]} ${#preFixupHooks[@]} ${#fixupOutputHooks[@]}"
  expect 1 "${#driverRunpathPrependArray[@]}"
}

# Whoever registers later: in a phase before the others, or in preFixup.
it_moves_behind_hooks_that_register_later() {
  source_hooks auto functions
  local later
  for later in "${postHooks[0]}" "${preFixupHooks[0]}" "${fixupOutputHooks[0]}"; do
    postFixupHooks+=("later $later")
    "$later"
    [[ $(entries) == *"|driverRunpathByHand|autoFixElfFiles addDriverRunpath|" ]]
  done
  expect 5 "${#postFixupHooks[@]}"
}

what_a_build_takes_out_of_the_list_stays_out() {
  source_hooks auto functions
  postFixupHooks=("mine")
  driverRunpathLast
  expect "mine|" "$(entries)"
}

opted_out_it_registers_nothing() {
  dontUseAutoAddDriverRunpath=1
  source_hooks functions auto
  expect "driverRunpathByHand|" "$(entries)"
}

the_old_name_of_the_opt_out_works_and_says_so() {
  dontUseAutoAddOpenGLRunpath=1
  source_hooks functions
  source_hooks auto 2>said
  expect "driverRunpathByHand|" "$(entries)"
  grep -q "dontUseAutoAddOpenGLRunpath is deprecated" said
}

# --- beside the hook that writes resolution notes ----------------------------------------------

the_hook_stays_in_front_of_the_one_that_writes_notes() {
  source_hooks auto functions notes
  _registerGenerateLDCache
  driverRunpathLast
  expect "driverRunpathByHand|autoFixElfFiles addDriverRunpath|_generateLDCacheAllOutputs|" "$(entries)"
  postFixupHooks+=(rival)
  driverRunpathLast
  expect "rival|driverRunpathByHand|autoFixElfFiles addDriverRunpath|_generateLDCacheAllOutputs|" "$(entries)"
}

# needs: cc patchelf readelf
the_note_says_what_the_search_path_means_in_every_order_of_hooks() {
  library lib/liba.so
  local order registers
  for order in "auto notes rival" "auto rival notes" "notes auto rival" "notes rival auto" "rival auto notes" \
    "rival notes auto"; do
    for registers in source phase preFixup; do
      rm -rf out
      # shellcheck disable=SC2086 # a list of words
      build installPhase="cp -r $PWD/lib \$out" rivalRegisters="$registers" \
        nativeBuildInputs="$(printf "$PWD/%s " $order)"
      expect "RUNPATH $driverLink/lib:/rival" "$(search_path out/liba.so)" "$order, $registers"
      expect_note out/liba.so "?$driverLink/lib:?/rival"
    done
  done
}

# Linked against a stub, a note leads to it whatever the search path is.
# needs: cc patchelf readelf
a_note_that_was_written_before_is_renewed() {
  plain_library cuda/lib/stubs/libcuda.so.1 -Wl,-soname,libcuda.so.1
  library lib/liba.so -Wl,--no-as-needed cuda/lib/stubs/libcuda.so.1 -Wl,-rpath,"$PWD/cuda/lib/stubs:/one"
  cp -r lib theirs
  "$BINARY" patchelf --build-resolution-cache theirs/liba.so
  grep -q "=$PWD/cuda/lib/stubs/libcuda.so.1" theirs/liba.so
  local order
  for order in "$PWD/auto $PWD/notes" "$PWD/notes $PWD/auto"; do
    rm -rf out
    build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$order" notesRegister=fixupOutput
    expect "RUNPATH $driverLink/lib:/one" "$(search_path out/liba.so)"
    expect_note out/liba.so "?$driverLink/lib:?/one"
    fails grep -q cuda/lib/stubs out/liba.so
  done
}

# needs: cc patchelf readelf
what_is_done_by_hand_is_done_before_the_note_is_written() {
  library lib/liba.so -Wl,-rpath,/one
  local register
  for register in "" fixupOutput; do
    rm -rf out top
    build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/functions $PWD/notes" \
      notesRegister=$register postFixup="addDriverRunpath \$out/liba.so"
    expect "RUNPATH $driverLink/lib:/one" "$(search_path out/liba.so)"
    expect_note out/liba.so "?$driverLink/lib:?/one"
  done
}

# needs: cc patchelf readelf
cuda_compat_comes_first_in_the_note_as_well() {
  library lib/liba.so
  build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/notes $PWD/compat"
  expect_note out/liba.so "?/jetson-cuda_compat-1/compat:?$driverLink/lib"
}

# --- beside the hook that removes stubs --------------------------------------------------------

# A library that loads the driver and one that does not, with a package of stubs in their search paths.
libraries_with_stubs() {
  library lib/liba.so -Wl,-rpath,/store/abc-cuda_cudart-stubs/lib/stubs:/one
  plain_library lib/libplain.so -Wl,-rpath,/one:/store/abc-cuda_cudart-stubs/lib/stubs:/two
}

# needs: cc patchelf readelf
stubs_go_from_files_that_do_not_load_the_driver_as_well() {
  libraries_with_stubs
  build installPhase="cp -r $PWD/lib \$out"
  expect "RUNPATH $driverLink/lib:/one" "$(search_path out/liba.so)"
  expect "RUNPATH /one:/two" "$(search_path out/libplain.so)"
  fails grep -q abc-cuda_cudart out/libplain.so
}

# Its functions have the names of ours, and whoever is sourced last defines them.
# needs: cc patchelf readelf
both_hooks_give_the_same_in_either_order() {
  libraries_with_stubs
  local order
  for order in "$PWD/auto $PWD/stubs" "$PWD/stubs $PWD/auto"; do
    rm -rf out top
    build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$order"
    expect "RUNPATH $driverLink/lib:/one" "$(search_path out/liba.so)" "$order"
    # Theirs replaces what ours drops, and comes first whatever the order.
    expect "RUNPATH /one:$driverLink/lib:/two" "$(search_path out/libplain.so)" "$order"
    [[ ! -d first ]] || diff -r first out
    cp -r out first
  done
}

# needs: cc patchelf readelf
functions_of_another_hook_do_not_replace_those_of_this_one() {
  library lib/liba.so
  plain_library lib/libplain.so
  plain_library lib/libbyhand.so
  cp -r lib before
  build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/auto $PWD/stubs" \
    postFixup="addDriverRunpath \$out/libbyhand.so"
  expect "RUNPATH $driverLink/lib" "$(search_path out/liba.so)"
  expect "RUNPATH $driverLink/lib" "$(search_path out/libbyhand.so)"
  expect_no_driver out/libplain.so
}

# --- the check ---------------------------------------------------------------------------------

# needs: cc patchelf readelf
a_build_fails_whose_file_would_miss_the_driver() {
  library lib/liba.so
  plain_library lib/libplain.so
  fails build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/checks" >said 2>&1
  grep -q "LACKS the driver's directory: $PWD/out/liba.so: names libcuda.so.1" said
  grep -q "nativeBuildInputs = \[ autoAddDriverRunpath \]" said
  grep -q "driverRunpathCheckFlags" said
  fails grep -q libplain said
  local order
  for order in "$PWD/auto $PWD/checks" "$PWD/checks $PWD/auto" "$PWD/checks $PWD/rival $PWD/auto"; do
    build installPhase="rm -rf \$out; cp -r $PWD/lib \$out" nativeBuildInputs="$order"
  done
}

# What writes search paths behind the check would not be seen.
# needs: cc patchelf readelf
the_check_comes_last_whoever_registers_later() {
  library lib/liba.so -Wl,-rpath,/run/opengl-driver/lib
  local registers order
  for registers in source phase preFixup; do
    for order in "$PWD/checks $PWD/rival" "$PWD/rival $PWD/checks" "$PWD/checks $PWD/rival $PWD/functions"; do
      fails build installPhase="rm -rf \$out; cp -r $PWD/lib \$out" nativeBuildInputs="$order" \
        rivalRegisters="$registers" >said 2>&1
      grep -q "LACKS the driver's directory: $PWD/out/liba.so" said
    done
  done
  source_hooks checks auto functions notes checks
  _registerGenerateLDCache
  driverRunpathLast
  driverRunpathCheckLast
  expect "driverRunpathByHand|autoFixElfFiles addDriverRunpath|_generateLDCacheAllOutputs|driverRunpathCheck|" \
    "$(entries)"
}

# needs: cc patchelf readelf
a_build_fails_in_which_stubs_are_left() {
  library lib/liba.so -Wl,-rpath,/run/opengl-driver/lib:/store/abc-cuda_cudart-stubs/lib/stubs
  plain_library lib/libplain.so -Wl,-rpath,/cuda/lib64/stubs
  fails build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/checks" >said 2>&1
  grep -q "has STUBS in its search path, which nothing needs: $PWD/out/liba.so" said
  grep -q "has STUBS in its search path, which nothing needs: $PWD/out/libplain.so" said
  build installPhase="rm -rf \$out; cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/checks $PWD/auto"
}

# needs: cc patchelf readelf
a_build_fails_that_refers_to_a_package_of_stubs_but_not_for_the_output_dev() {
  local stubs=/nix/store/0123456789abcdfghijklmnpqrsvwxyz-cuda13.0-cuda_cudart-13.0.48-stubs
  local text="mkdir -p \$dev \$out; echo $stubs/lib > \$dev/cuda.pc"
  build installPhase="$text" nativeBuildInputs="$PWD/checks" outputs="out dev" dev="$PWD/dev"
  fails build installPhase="$text; mv \$dev/cuda.pc \$out" nativeBuildInputs="$PWD/checks" \
    outputs="out dev" dev="$PWD/dev" >said 2>&1
  grep -q "REFERS to a package of stubs: $PWD/out/cuda.pc: ${stubs#/nix/store/}" said
  rm -r out
  fails build installPhase="mkdir \$out; ln -s $stubs/lib/stubs/libcuda.so \$out" \
    nativeBuildInputs="$PWD/checks" >said 2>&1
  grep -q "REFERS to a package of stubs: $PWD/out/libcuda.so" said
}

# needs: cc patchelf readelf
the_check_can_wait_for_the_install_check_and_be_told_exceptions() {
  library lib/liba.so
  local install="rm -rf \$out; cp -r $PWD/lib \$out"
  fails build installPhase="$install" nativeBuildInputs="$PWD/checks" driverRunpathCheckPhase=installCheckPhase \
    installCheckPhase="echo postponed; runHook preInstallCheck" >said 2>&1
  [[ $(<said) == *postponed*LACKS* ]]
  fails build installPhase="$install" nativeBuildInputs="$PWD/checks" driverRunpathCheckPhase=never >said 2>&1
  grep -q "driverRunpathCheckPhase is never, neither" said
  build installPhase="$install" nativeBuildInputs="$PWD/checks" dontDriverRunpathCheck=1
  build installPhase="$install" nativeBuildInputs="$PWD/checks" driverRunpathCheckFlags="--exclude liba.so"
  plain_library other/libb.so
  fails build installPhase="$install; cp other/libb.so \$out" nativeBuildInputs="$PWD/checks" \
    driverRunpathCheckFlags="--exclude liba.so" driverRunpathLibraries="" postFixup="rm \$out/libb.so; false"
}

# fat_binary FILE ARCHITECTURE: a fat binary with one cubin, of 8 bytes.
fat_binary() {
  local magic='\x7fELF\x02\x01\x01\x33' arch
  printf -v arch '\\x%02x\\x00\\x00\\x00' "$2"
  {
    printf '\x50\xed\x55\xba\x01\x00\x10\x00\x48\x00\x00\x00\x00\x00\x00\x00'
    printf '\x02\x00\x01\x01\x40\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'
    printf %b '\x07\x00\x01\x00' "$arch"
    head -c 32 /dev/zero
    printf %b "$magic"
  } >"$1"
}

# needs: cc patchelf readelf
a_build_fails_whose_files_lack_code_for_a_required_gpu() {
  mkdir lib
  fat_binary lib/kernel.fatbin 86
  local attributes=(installPhase="rm -rf \$out; cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/checks")
  build "${attributes[@]}" driverRunpathRequireCapabilities="8.6"
  build "${attributes[@]}"
  fails build "${attributes[@]}" driverRunpathRequireCapabilities="8.6 9.0" >said 2>&1
  grep -q "MISSES 9.0.*$PWD/out/kernel.fatbin" said
  grep -q "driverRunpathRequireCapabilities asks for what was not compiled" said
}

# --- odd shells --------------------------------------------------------------------------------

# needs: cc patchelf readelf
names_with_spaces_and_newlines_are_patched_in_every_mode_of_the_shell() {
  library "lib/a b.so" -Wl,-rpath,/one
  library $'lib/c\nd.so' -Wl,-rpath,/one
  plain_library $'lib/by\nhand.so'
  local modes cores debug
  for modes in "set -u" "set -e" "shopt -s nullglob" "shopt -s failglob" "set -euo pipefail; shopt -s nullglob"; do
    for cores in "" 0 1 3; do
      rm -rf out top
      mkdir top
      cp -r lib out
      debug=$((${#cores} * 3 + 1))
      env -i PATH="$PATH" NIX_BUILD_TOP="$PWD/top" out="$PWD/out" NIX_DEBUG="$debug" \
        ${cores:+NIX_BUILD_CORES="$cores"} "${BASH:-bash}" -c "$modes
          getAllOutputNames() { echo out; }
          source functions/nix-support/setup-hook; source auto/nix-support/setup-hook
          source checks/nix-support/setup-hook
          addDriverRunpath \"\$out/by\"*hand.so
          driverRunpathLast; driverRunpathCheckLast
          for hook in \"\${postFixupHooks[@]}\"; do \$hook || exit; done" >said 2>&1 || {
        cat said
        return 1
      }
      expect_driver "out/a b.so"
      expect_driver $'out/c\nd.so'
      expect_driver $'out/by\nhand.so'
    done
  done
}

# needs: cc patchelf readelf
every_level_of_debugging_patches_the_same() {
  library lib/liba.so
  plain_library lib/libplain.so -Wl,-rpath,/cuda/lib/stubs
  local level
  for level in "" 0 1 2 3 4 5 6 7; do
    rm -rf out
    build installPhase="cp -r $PWD/lib \$out" NIX_DEBUG="$level" nativeBuildInputs="$PWD/auto $PWD/checks" >said 2>&1
    expect "RUNPATH $driverLink/lib" "$(search_path out/liba.so)"
    expect "" "$(search_path out/libplain.so)"
    expect "$((${level:-0} >= 1 ? 1 : 0))" "$(grep -c "^changed: $PWD/out/liba.so" said)" "lines at $level"
  done
}

# --- outputs ----------------------------------------------------------------------------------

# needs: cc patchelf readelf
outputs_that_do_not_exist_are_passed_over() {
  source_hooks functions
  outputs="out lib debug"
  lib=$PWD/missing
  library out/liba.so
  autoFixElfFiles addDriverRunpath
  expect_driver out/liba.so
  rm -r out
  autoFixElfFiles addDriverRunpath
}

# needs: cc patchelf readelf
files_behind_an_output_that_is_a_link_are_left() {
  source_hooks functions
  library elsewhere/liba.so
  ln -s elsewhere out
  autoFixElfFiles addDriverRunpath
  expect_no_driver elsewhere/liba.so
}

# needs: cc patchelf readelf
a_damaged_file_does_not_fail_the_build() {
  source_hooks functions
  library out/liba.so
  head -c 100 out/liba.so >out/libb.so
  autoFixElfFiles addDriverRunpath
  expect_driver out/liba.so
}

# needs: cc patchelf readelf
a_refused_file_fails_the_build_and_the_message_says_what_to_do() {
  library lib/liba.so
  fails build installPhase="mkdir \$out; ln $PWD/lib/liba.so \$out" 2>said
  grep -q "liba.so" said
  grep -q -- "--exclude" said
  grep -q dontUseAutoAddDriverRunpath said
  expect_no_driver lib/liba.so
}

# --- by hand ----------------------------------------------------------------------------------

# needs: cc patchelf readelf
a_file_passed_by_hand_that_does_not_exist_is_an_error() {
  source_hooks functions
  plain_library out/libplain.so
  fails addDriverRunpath out/missing.so 2>said
  grep -q missing.so said
}

an_unknown_option_is_an_error() {
  source_hooks functions
  mkdir out
  fails addDriverRunpath --force out
  addDriverRunpath
}

# needs: cc patchelf readelf
names_of_any_form_are_files() {
  source_hooks functions
  cd top
  plain_library "./--force-rpath"
  plain_library "./a b"
  addDriverRunpath -- --force-rpath "a b"
  expect_driver ./--force-rpath
  expect_driver "./a b"
}

# needs: cc patchelf readelf
directories_and_scripts_among_the_names_are_passed_over() {
  source_hooks functions
  plain_library out/libplain.so
  plain_library out/plugins/libplugin.so
  echo "#!/bin/sh" >out/script
  addDriverRunpath out/*
  expect_driver out/libplain.so
  expect_no_driver out/plugins/libplugin.so
}

# needs: cc patchelf readelf
what_was_done_by_hand_is_done_again_at_the_end() {
  plain_library lib/libplain.so
  plain_library lib/libforced.so
  local by_hand="cd \$out; find . -name libplain.so | while read -r f; do addDriverRunpath \$f; done
    addDriverRunpath --force-rpath -- libforced.so"
  build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/functions $PWD/rival" \
    postFixup="$by_hand"
  expect "RUNPATH $driverLink/lib:/rival" "$(search_path out/libplain.so)"
  expect "RPATH $driverLink/lib:/rival" "$(search_path out/libforced.so)"
}

# --- variables --------------------------------------------------------------------------------

# A stand-in for the binary that prints its arguments, each in brackets.
print_arguments() {
  BINARY=$PWD/print
  printf '#!%s\nprintf "[%%s]" "$@"\necho\n' "${BASH:-/bin/bash}" >print
  chmod +x print
  write_hooks
}

lists_are_strings_of_words_or_arrays() {
  print_arguments
  source_hooks functions
  touch a.c
  driverRunpathFlags=$'--exclude *.c\n  --break-links'
  expect "[fix][--drop-stubs][-q][--exclude][*.c][--break-links][x]" \
    "$(driverRunpathFix x)"
  driverRunpathFlags=(--exclude "a b" "*.c")
  driverRunpathFlagsArray=(--exclude "c d")
  expect "[fix][--drop-stubs][-q][--exclude][a b][*.c][--exclude][c d]" \
    "$(driverRunpathFix)"
  unset driverRunpathFlags driverRunpathFlagsArray
  driverRunpathLibraries="libx.so.1 liby.so"
  driverRunpathPrepend=(/a "/b c")
  expect "[fix][--drop-stubs][-q][--driver-lib][libx.so.1][--driver-lib][liby.so][--prepend][/a][--prepend][/b c]" \
    "$(driverRunpathFix)"
}

the_log_has_details_when_asked_for() {
  print_arguments
  source_hooks functions
  mkdir out
  outputs="out lib"
  [[ $(autoFixElfFiles addDriverRunpath 2>&1) == *"[-q]"* ]]
  NIX_DEBUG=1
  expect "driver-runpath: no files in output lib" "$(autoFixElfFiles addDriverRunpath 2>&1 >said)"
  [[ $(<said) != *"[-q]"* ]]
  nixLog() { echo "nixLog: $*"; }
  [[ $(autoFixElfFiles addDriverRunpath) == "nixLog: no files in output lib"* ]]
  NIX_DEBUG=4
  [[ $(autoFixElfFiles addDriverRunpath) == *"[-v]"* ]]
}

the_all_switch_is_for_the_hook_and_given_by_hand() {
  print_arguments
  source_hooks functions
  mkdir out
  [[ $(autoFixElfFiles addDriverRunpath) != *"[--all]"* ]]
  driverRunpathAll=1
  [[ $(autoFixElfFiles addDriverRunpath) == *"[--all]"*"$PWD/out"* ]]
  unset driverRunpathAll
  [[ $(addDriverRunpath missing) == *"[--all][--][$PWD/missing]" ]]
}

# needs: cc patchelf readelf
cuda_compat_goes_before_the_driver_in_any_order() {
  library lib/liba.so -Wl,-rpath,/one
  local order
  for order in "$PWD/auto $PWD/compat" "$PWD/compat $PWD/auto" "$PWD/compat"; do
    rm -rf out
    build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$order"
    expect "RUNPATH /jetson-cuda_compat-1/compat:$driverLink/lib:/one" "$(search_path out/liba.so)" "$order"
  done
}

# Where there is no cuda_compat, its path is empty.
# needs: cc patchelf readelf
without_cuda_compat_its_hook_changes_nothing() {
  sed -i "s|/jetson-cuda_compat-1/compat||" compat/nix-support/setup-hook
  library lib/liba.so
  build installPhase="cp -r $PWD/lib \$out" nativeBuildInputs="$PWD/compat"
  expect "RUNPATH $driverLink/lib" "$(search_path out/liba.so)"
}

# --- other functions of the old hook ----------------------------------------------------------

# needs: cc patchelf readelf
any_other_function_is_called_file_by_file() {
  source_hooks functions
  library out/liba.so
  plain_library "out/b c.so"
  echo text >out/text
  ln -s liba.so out/link.so
  bare out/static -static
  note() { echo "$1 ${2##*/}" >>noted; }
  autoFixElfFiles "note --option" 2>said
  expect "--option b c.so,--option liba.so," "$(sort noted | tr '\n' ,)"
  grep -q "autoFixElfFiles: note --option $PWD/out/liba.so" said
  fails build installPhase=: postFixup="stop() { return 3; }; autoFixElfFiles stop"
}

the_old_functions_want_one_argument() {
  source_hooks functions
  fails autoFixElfFiles
  fails autoFixElfFiles a b
  fails elfHasDynamicSection ""
}

# needs: cc patchelf readelf
a_dynamic_file_has_a_dynamic_section() {
  source_hooks functions
  plain_library out/liba.so
  bare out/static -static
  patchelf() { fail_if_patchelf_is_asked; }
  elfHasDynamicSection out/liba.so
  fails elfHasDynamicSection out/static
  fails elfHasDynamicSection "${BASH_SOURCE[0]}"
}

# ----------------------------------------------------------------------------------------------

if (($#)); then
  write_hooks
  "$1"
else
  # A name, and what is needed, of each function of one of the sections above.
  sed -n '/^# --- beside/,$p' "${BASH_SOURCE[0]}" |
    awk '/^# needs: / { needs = substr($0, 10); next }
      /^[a-z_]+\(\) \{$/ { sub(/\(\).*/, ""); print $0, needs }
      { needs = "" }' | grep -vE '^(print_arguments|expect_note|fat_binary|wait_for) '
fi
