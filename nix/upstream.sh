#!/usr/bin/env bash
# Writes what nixpkgs would take, in its layout, below DIR: the packages under pkgs/, the pages of the manual under doc/,
# and in README what is left to do by hand.
#
#   nix/upstream.sh DIR
set -eu -o pipefail
nix=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${nix%/nix}
dir=${1:?"the directory to write to"}
byName=$dir/pkgs/by-name
cuda=$dir/pkgs/development/cuda-modules/packages
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")

# package DESTINATION FILE [SCRIPT...]: a package, with the files that it names beside it.
package() {
  local destination=$1 file=$2 script
  mkdir -p "$destination"
  # A package is one file in a directory of its own: what is elsewhere here lies beside it there.
  sed -e 's|\.\./hook/|./|g' -e 's|, as in \./functions-hook\.nix\.|.|' "$nix/$file" >"$destination/package.nix"
  for script in "${@:3}"; do
    cp "$root/hook/$script" "$destination/"
  done
}

# alias DESTINATION NAME: another name for a package.
alias_of() {
  mkdir -p "$1"
  printf '{ %s }:\n\n%s\n' "$2" "$2" >"$1/package.nix"
}

package "$byName/ad/addDriverRunpath" functions-hook.nix driver-runpath.sh words.sh
package "$byName/au/autoAddDriverRunpath" hook.nix auto-add-driver-runpath.sh
package "$byName/dr/driverRunpathCheckHook" check-hook.nix driver-runpath-check.sh words.sh
alias_of "$byName/au/autoFixElfFiles" addDriverRunpath
package "$cuda/autoAddCudaCompatRunpath" cuda-compat-hook.nix auto-add-cuda-compat-runpath.sh
alias_of "$cuda/removeStubsFromRunpathHook" autoAddDriverRunpath

# The package itself: a release instead of the checkout, and the tests, which call the hooks by their names.
package "$byName/dr/driver-runpath" package.nix
cp "$nix/check.nix" "$byName/dr/driver-runpath/"
mkdir -p "$byName/dr/driver-runpath/tests"
cp "$nix"/tests/{cases.nix,common.sh,notes.sh,remove-stubs.sh,rival.sh} "$byName/dr/driver-runpath/tests/"
awk '
  /callPackage \.\.\/functions-hook\.nix/ { sub(/callPackage .*/, "addDriverRunpath.override { inherit driver-runpath; };") }
  /callPackage \.\.\/hook\.nix/ { sub(/callPackage .*/, "autoAddDriverRunpath.override { addDriverRunpath = functions; };") }
  /callPackage \.\.\/check-hook\.nix/ { sub(/callPackage .*/, "driverRunpathCheckHook.override { inherit driver-runpath; };") }
  /callPackage \.\.\/cuda-compat-hook\.nix/ { sub(/callPackage .*/, "cudaPackages.autoAddCudaCompatRunpath.override {") }
  /^  callPackage,$/ { print "  addDriverRunpath,\n  autoAddDriverRunpath,\n  cudaPackages,\n  driverRunpathCheckHook,"; next }
  { print }
' "$nix/tests/suite.nix" >"$byName/dr/driver-runpath/tests/suite.nix"
awk -v version="$version" '
  /version = \(lib\.importTOML/ { print "  version = \"" version "\";"; next }
  /src = lib\.fileset\.toSource/ {
    print "  src = fetchFromGitHub {\n    owner = \"\"; # TODO\n    repo = \"driver-runpath\";"
    print "    tag = \"v${finalAttrs.version}\";\n    hash = lib.fakeHash; # TODO\n  };"
    skip = 1
    next
  }
  skip { if (/^  };$/) skip = 0; next }
  /cargoLock\.lockFile/ { print "  cargoHash = lib.fakeHash; # TODO"; next }
  /^  rustPlatform,$/ { print "  fetchFromGitHub," }
  { print }
' "$nix/package.nix" >"$byName/dr/driver-runpath/package.nix"

mkdir -p "$dir/doc/hooks"
cp "$nix"/*.section.md "$dir/doc/hooks/"
{
  cat <<'TEXT'
Copy pkgs/ and doc/ over nixpkgs, then, by hand:

- delete the scripts of the old hooks: pkgs/by-name/ad/addDriverRunpath/setup-hook.sh,
  pkgs/by-name/au/autoAddDriverRunpath/auto-add-driver-runpath-hook.sh,
  pkgs/by-name/au/autoFixElfFiles/auto-fix-elf-files.sh,
  pkgs/development/cuda-modules/packages/removeStubsFromRunpathHook/removeStubsFromRunpathHook.bash;
- fill in owner and hashes in pkgs/by-name/dr/driver-runpath/package.nix;
- say who looks after them: meta.teams of cuda, meta.maintainers;
- doc/hooks/index.md: autoAddDriverRunpath.section.md and driverRunpathCheckHook.section.md, by the alphabet;
- doc/redirects.json: the entries below;
- the release notes: the line below.

TEXT
  for page in "$nix"/*.section.md; do
    grep -oE '\{#[a-z0-9-]+\}' "$page"
  done | tr -d '{#}' | sort | while read -r id; do
    printf '  "%s": [\n    "index.html#%s"\n  ],\n' "$id" "$id"
  done
  cat <<'TEXT'

- `autoAddDriverRunpath` patches only files that load the GPU driver, comes last whatever the order of the hooks, and
  takes directories of link stubs out of all search paths; `driverRunpathAll = true;` patches every dynamic file as
  before. `driverRunpathCheckHook` fails builds whose files would miss the driver. See [](#setup-hook-autoadddriverrunpath).
TEXT
} >"$dir/README"
