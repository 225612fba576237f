# Evaluates all files of ../ with the stand-in for nixpkgs: the names of the facts that do not
# hold, so an empty list.
let
  pkgs = import ./standin.nix { };
  overlay = import ../overlay.nix;

  # The CUDA package sets as nixpkgs has them, and as it had them.
  scope = rec {
    callPackage =
      file: given:
      import file (
        {
          inherit (pkgs) lib makeSetupHook;
          inherit (before) autoAddDriverRunpath;
        }
        // given
      );
    autoAddOpenGLRunpathHook = "upstream's";
    removeStubsFromRunpathHook = "upstream's";
    overrideScope = extension: scope // extension scope scope;
  };
  now = pkgs.extendWith {
    _cuda = rec {
      extensions = [ ];
      extend = f: { extensions = [ ]; } // f { } { inherit extensions; };
    };
  } overlay;
  before = pkgs.extendWith { cudaPackages_11 = scope; } overlay;

  package = (pkgs.extendWith { } overlay).driver-runpath;
  flake = (import ../../flake.nix).outputs {
    self = flake;
    nixpkgs.legacyPackages = {
      x86_64-linux = pkgs;
      aarch64-linux = import ./standin.nix { system = "aarch64-linux"; };
    };
  };
  flakeDerivations =
    builtins.concatMap
      (
        kind:
        builtins.concatMap (system: builtins.attrValues flake.${kind}.${system}) [
          "x86_64-linux"
          "aarch64-linux"
        ]
      )
      [
        "packages"
        "checks"
        "devShells"
      ];
  isDerivation = value: builtins.isString value.drvPath;

  i686 = import ./standin.nix { system = "i686-linux"; };

  facts = {
    the-package-evaluates = isDerivation package;
    its-tests-evaluate = builtins.all isDerivation (builtins.attrValues package.tests);
    the-hook-knows-the-driver = now.autoAddDriverRunpath.driverLink == "/run/opengl-driver";
    the-driver-of-i686-is-another =
      (i686.extendWith { } overlay).addDriverRunpath.driverLink == "/run/opengl-driver-32";
    the-main-program-is-named = package.meta.mainProgram == "driver-runpath";
    the-flake-evaluates = builtins.all isDerivation flakeDerivations;
    the-flake-has-the-overlay = builtins.isFunction flake.overlays.default;
    upstreams-functions-are-replaced = now.addDriverRunpath.drvPath == now.autoFixElfFiles.drvPath;
    cuda-scopes-get-one-extension = builtins.length now._cuda.extensions == 1;
    it-adds-nothing-that-was-not-there =
      builtins.attrNames (builtins.head now._cuda.extensions scope { }) == [ "autoAddCudaCompatRunpath" ];
    the-hook-that-removes-stubs-is-replaced =
      before.cudaPackages_11.removeStubsFromRunpathHook.drvPath == before.autoAddDriverRunpath.drvPath;
    the-check-hook-evaluates = isDerivation now.driverRunpathCheckHook;
    a-package-can-be-checked = isDerivation (package.check now.autoAddDriverRunpath);
    with-a-program-from-elsewhere-the-package-is-not-even-evaluated = isDerivation (
      pkgs.callPackage ../functions-hook.nix {
        driver-runpath = throw "not to be evaluated";
        driverRunpath = "/static/driver-runpath";
      }
    );
    old-cuda-scopes-are-extended = isDerivation before.cudaPackages_11.autoAddCudaCompatRunpath;
    the-oldest-name-is-replaced =
      before.cudaPackages_11.autoAddOpenGLRunpathHook.drvPath == before.autoAddDriverRunpath.drvPath;
  };
in
builtins.filter (name: !facts.${name}) (builtins.attrNames facts)
