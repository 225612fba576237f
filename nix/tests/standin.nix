# A stand-in for nixpkgs, for machines that have none: of its library and its builders it has
# just what the files in ../ use, and of stdenv the few functions that setup hooks rely on
# (./standin.sh). What passes here has not met the real stdenv.
#
# It builds with the tools of the host: no sandbox, and not on NixOS.
{
  system ? builtins.currentSystem,
  shell ? "/bin/bash",
  path ? "/usr/bin:/bin",
}:

let
  lib = {
    escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
    fileset = {
      toSource = { root, fileset }: root;
      unions = files: files;
    };
    filterAttrs =
      keep: set:
      removeAttrs set (builtins.filter (name: !keep name set.${name}) (builtins.attrNames set));
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    fakeHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    toLower = builtins.replaceStrings [ "A" "D" ] [ "a" "d" ];
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    licenses.mit.spdxId = "MIT";
    mapAttrs = builtins.mapAttrs;
    optionalAttrs = wanted: set: if wanted then set else { };
    optionalString = wanted: text: if wanted then text else "";
    optionals = wanted: list: if wanted then list else [ ];
    platforms.linux = [
      "aarch64-linux"
      "x86_64-linux"
    ];
  };

  platform = {
    inherit system;
    isi686 = system == "i686-linux";
    canExecute = _: true;
  };

  fix =
    f:
    if builtins.isFunction f then
      let
        x = f x;
      in
      x
    else
      f;

  mkDerivation =
    given:
    let
      attrs = fix (
        if builtins.isFunction given then self: given (self // { finalPackage = package; }) else given
      );
      package =
        derivation (
          {
            inherit system shell path;
            builder = shell;
            args = [
              "-e"
              ./standin.sh
            ];
            name = "${attrs.pname}-${attrs.version}";
          }
          // removeAttrs attrs [
            "meta"
            "passthru"
          ]
        )
        // {
          meta = attrs.meta or { };
        }
        // attrs.passthru or { };
    in
    package;

  # A fixed point with an overlay: a package is called with what the overlay made of the set.
  packages =
    given: overlay:
    let
      self = base // overlay self base;
      base = basePackages self // given;
    in
    self;

  basePackages =
    pkgs:
    {
      inherit lib;

      stdenv = {
        inherit mkDerivation;
        buildPlatform = platform;
        hostPlatform = platform;
        targetPlatform = platform;
      };

      # Evaluates, and cannot build.
      rustPlatform.buildRustPackage =
        given:
        mkDerivation (
          self:
          removeAttrs (given self) [
            "src"
            "cargoLock"
          ]
        );
      mkShell = attrs: mkDerivation ({ name = "shell"; } // removeAttrs attrs [ "inputsFrom" ]);

      makeSetupHook =
        {
          name,
          propagatedBuildInputs ? [ ],
          substitutions ? { },
          passthru ? { },
          meta ? { },
        }:
        script:
        mkDerivation {
          inherit name passthru meta;
          inherit propagatedBuildInputs;
          dontUnpack = true;
          installPhase = ''
            mkdir -p $out/nix-support
            cp ${script} $out/nix-support/setup-hook
            chmod u+w $out/nix-support/setup-hook
            echo "$propagatedBuildInputs" > $out/nix-support/propagated-build-inputs
          ''
          + builtins.concatStringsSep "" (
            map (name: ''
              sed -i "s|@${name}@|${substitutions.${name}}|g" $out/nix-support/setup-hook
            '') (builtins.attrNames substitutions)
          );
        };

      callPackage =
        file: given:
        let
          f = if builtins.isFunction file then file else import file;
          needed = builtins.functionArgs f;
        in
        f (builtins.intersectAttrs needed pkgs // given);

      extend = packages { };
      extendWith = packages;
    }
    // builtins.listToAttrs (
      map
        (name: {
          inherit name;
          value = mkDerivation { inherit name; };
        })
        [
          "clippy"
          "installShellFiles"
          "lld"
          "mold"
          "nixfmt"
          "patchelf"
          "rustfmt"
          "shellcheck"
          "shfmt"
          "versionCheckHook"
        ]
    );
in
packages { } (_: _: { })
