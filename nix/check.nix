# driver-runpath.check PACKAGE
# driver-runpath.check { package = PACKAGE; closure = true; }
# A derivation that fails where a file of the package that loads the driver would miss it, or where link-time
# stubs are left; for passthru.tests.
{
  lib,
  stdenv,
  driver-runpath,
}:

argument:

let
  isPackage = argument.type or null == "derivation";

  check =
    {
      package,
      # All outputs, or those alone that are given.
      outputs ? package.all or [ package ],
      # Everything that the outputs refer to, directly or not, as well.
      closure ? false,
      # Stubs are left, and references to them, for a good reason.
      stubs ? false,
      # Compute capabilities that all code for GPUs must run on.
      capabilities ? [ ],
      # Further arguments of `driver-runpath check`.
      flags ? [ ],
    }:
    let
      # What is for building may refer to stubs.
      isRuntime =
        output:
        !builtins.elem (output.outputName or "out") [
          "dev"
          "static"
          "stubs"
        ];
      looked = if closure then outputs else builtins.filter isRuntime outputs;
      # Nix writes the closure of each output into a file.
      graph = builtins.concatLists (
        builtins.genList (index: [
          "graph-${toString index}"
          (builtins.elemAt outputs index)
        ]) (builtins.length outputs)
      );
      program = "${driver-runpath}/bin/driver-runpath";
      words = list: builtins.concatStringsSep " " (map lib.escapeShellArg list);
    in
    stdenv.mkDerivation {
      name = "${package.name}-driver-runpath-check";

      exportReferencesGraph = if closure then graph else [ ];

      dontUnpack = true;
      dontFixup = true;

      installPhase = ''
        paths=(${words (map (output: "${output}") looked)})
        if [[ -e graph-0 ]]; then
          # Its lines are paths, their derivers, and numbers.
          mapfile -t paths < <(sort -u graph-* | grep "^$NIX_STORE/" | grep -v "\.drv$")
        fi
        ${program} check --failing --skip-damaged ${
          words (lib.optionals (!stubs) [ "--no-stubs" ] ++ flags)
        } -- "''${paths[@]}" 2>&1 | tee report
        ${lib.optionalString (capabilities != [ ]) ''
          ${program} gpu-code -q --skip-damaged --require ${builtins.concatStringsSep "," capabilities} \
            -- "''${paths[@]}" 2>&1 | tee -a report
        ''}
        mv report $out
      '';
    };
in
check (if isPackage then { package = argument; } else argument)
