# The cases of ./cases.nix as derivations, each with and without structured attributes and
# strictDeps.
{
  lib,
  stdenv,
  callPackage,
  makeSetupHook,
  driver-runpath,
  autoPatchelfHook ? null,
}:

let
  functions = callPackage ../functions-hook.nix { inherit driver-runpath; };
  auto = callPackage ../hook.nix { addDriverRunpath = functions; };
  checks = callPackage ../check-hook.nix { inherit driver-runpath; };
  compat = callPackage ../cuda-compat-hook.nix {
    autoAddDriverRunpath = auto;
    cuda_compat = {
      outPath = builtins.toFile "cuda_compat" "";
      meta.available = true;
    };
  };
  rival = makeSetupHook { name = "rival-hook"; } ./rival.sh;
  removeStubs = makeSetupHook { name = "remove-stubs-hook"; } ./remove-stubs.sh;
  notes = makeSetupHook {
    name = "notes-hook";
    substitutions.driverRunpath = "${driver-runpath}/bin/driver-runpath";
  } ./notes.sh;

  # Named as the stub packages of nixpkgs are, and what is in them.
  stubs = fill "cuda13.0-cuda_cudart-stubs" "plain_library $out/lib/stubs/libcuda.so";
  dependency = fill "dependency" "plain_library $out/lib/libdependency.so";

  fill =
    name: install:
    stdenv.mkDerivation {
      inherit name;
      dontUnpack = true;
      installPhase = "source ${./common.sh}\n${install}";
    };

  cases = import ./cases.nix {
    inherit
      lib
      auto
      functions
      checks
      compat
      rival
      removeStubs
      notes
      stubs
      dependency
      autoPatchelfHook
      ;
  };

  variants = {
    "" = { };
    "-strict" = {
      strictDeps = true;
    };
    "-structured" = {
      __structuredAttrs = true;
    };
    "-structured-strict" = {
      __structuredAttrs = true;
      strictDeps = true;
    };
  };

  # With succeedOnFailure, a build that fails is one that leaves $out/nix-support/failed.
  failing = message: {
    succeedOnFailure = true;
    preFixup = "exec 2> $NIX_BUILD_TOP/stderr";
    failureHook = ''
      cat $NIX_BUILD_TOP/stderr
      rm -rf $out
      grep -qF -- ${lib.escapeShellArg message} $NIX_BUILD_TOP/stderr || exit 1
    '';
    installCheckPhase = ''
      echo "this build was meant to fail"
      succeedOnFailure=
      exit 1
    '';
  };

  build =
    name: case: variant:
    let
      attrs = case.attrs or { };
    in
    stdenv.mkDerivation (
      {
        name = "driver-runpath-test-${name}";
        nativeBuildInputs = case.hooks or [ auto ];
        dontUnpack = true;
        # patchELF drops the directories that the cases make up.
        dontPatchELF = true;
        dontStrip = true;
        inherit (auto) driverLink;
        installPhase = "source ${./common.sh}\n${case.install}";
        doInstallCheck = true;
        installCheckPhase = case.check or "";
      }
      // attrs
      // lib.optionalAttrs (case ? fails) (
        failing case.fails
        // {
          failureHook = (failing case.fails).failureHook + attrs.failureHook or "";
        }
      )
      // lib.optionalAttrs (case ? forbids) (
        if variant ? __structuredAttrs then
          { outputChecks.out.disallowedReferences = case.forbids; }
        else
          { disallowedReferences = case.forbids; }
      )
      // variant
    );
in
builtins.listToAttrs (
  builtins.concatMap (
    name:
    map (suffix: {
      name = name + suffix;
      value = build (name + suffix) cases.${name} variants.${suffix};
    }) (builtins.attrNames variants)
  ) (builtins.attrNames cases)
)
