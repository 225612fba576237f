# nix-build nix/tests --arg nixpkgs PATH       every case in the stdenv of that nixpkgs
#   --arg binary PATH                          with a binary that is already built
#   --argstr kind native                       with the tools of the host: see ./native.nix
#   --arg suite nix/tests/check.nix            the checks of packages
#   --argstr kind standin                      without any nixpkgs: see ./standin.nix
{
  nixpkgs ? <nixpkgs>,
  binary ? null,
  kind ? "full",
  suite ? ./suite.nix,
}:

let
  overlay = import ../overlay.nix;

  pkgs =
    {
      full = import nixpkgs { overlays = [ overlay ]; };
      native = import ./native.nix { inherit nixpkgs; };
      standin = (import ./standin.nix { }).extend overlay;
    }
    .${kind};

  driver-runpath =
    if binary == null then
      pkgs.driver-runpath
    else
      pkgs.stdenv.mkDerivation {
        name = "driver-runpath";
        dontUnpack = true;
        dontFixup = true;
        installPhase = ''
          mkdir -p $out/bin
          cp ${binary} $out/bin/driver-runpath
        '';
        passthru = {
          tests = { };
        };
      };
in
pkgs.callPackage suite { inherit driver-runpath; }
