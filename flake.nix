{
  description = "Puts the GPU driver's directory first in DT_RUNPATH of the ELF files that load the driver";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems =
        f:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = f (nixpkgs.legacyPackages.${system}.extend self.overlays.default);
          }) systems
        );
    in
    {
      overlays.default = import ./nix/overlay.nix;

      packages = forAllSystems (pkgs: {
        default = pkgs.driver-runpath;
        inherit (pkgs)
          driver-runpath
          autoAddDriverRunpath
          addDriverRunpath
          driverRunpathCheckHook
          ;
      });

      checks = forAllSystems (pkgs: { inherit (pkgs) driver-runpath; } // pkgs.driver-runpath.tests);

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ pkgs.driver-runpath ];
          packages = [
            pkgs.clippy
            pkgs.lld
            pkgs.mold
            pkgs.nixfmt
            pkgs.patchelf
            pkgs.rustfmt
            pkgs.shellcheck
            pkgs.shfmt
          ];
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt);
    };
}
