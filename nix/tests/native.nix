# A package set of just what the cases need, out of a tree with the layout of nixpkgs: its
# library, its stdenv around the tools of the host, its makeSetupHook. Nothing is downloaded,
# and nothing is compiled but the cases.
{
  nixpkgs,
  system ? builtins.currentSystem,
}:

let
  lib = import (nixpkgs + "/lib");
  localSystem = lib.systems.elaborate system;

  # What stdenv and the trivial builders ask of nixpkgs' configuration.
  config = {
    allowAliases = true;
    allowBroken = true;
    allowUnfree = true;
    allowUnsupportedSystem = true;
    checkMeta = false;
    configurePlatformsByDefault = false;
    contentAddressedByDefault = false;
    doCheckByDefault = false;
    enableParallelBuildingByDefault = false;
    inHydra = false;
    showDerivationWarnings = [ ];
    strictDepsByDefault = false;
    structuredAttrsByDefault = false;
    warnUndeclaredOptions = false;
  };

  bootStage = builtins.head (
    import (nixpkgs + "/pkgs/stdenv/native") {
      inherit lib localSystem config;
      crossSystem = localSystem;
      overlays = [ ];
    }
  );
  inherit (bootStage { }) stdenv;

  builders = import (nixpkgs + "/pkgs/build-support/trivial-builders") {
    inherit lib config stdenv;
    stdenvNoCC = stdenv;
    runtimeShell = "/bin/bash";
    jq = null;
    lndir = null;
    shellcheck-minimal = null;
  };

  # What autoPatchelfHook asks of the wrapped linker.
  hostBintools = builders.runCommand "host-bintools" { } ''
    mkdir -p $out/nix-support
    patchelf --print-interpreter /bin/sh > $out/nix-support/dynamic-linker
    echo /usr > $out/nix-support/orig-libc
    echo "export NIX_BINTOOLS=$out" > $out/nix-support/setup-hook
  '';

  autoPatchelfHook =
    let
      scripts = nixpkgs + "/pkgs/build-support/setup-hooks";
    in
    if builtins.pathExists (scripts + "/auto-patchelf.py") then
      builders.makeSetupHook {
        name = "auto-patchelf-hook";
        propagatedBuildInputs = [ hostBintools ];
        substitutions = {
          pythonInterpreter = "/usr/bin/python3";
          autoPatchelfScript = scripts + "/auto-patchelf.py";
        };
      } (scripts + "/auto-patchelf.sh")
    else
      null;

  pkgs = {
    inherit lib stdenv autoPatchelfHook;
    inherit (builders) makeSetupHook;
    callPackage = lib.callPackageWith pkgs;
  };
in
pkgs
