# Replaces nixpkgs' driver hooks by the ones of driver-runpath, under their names.
final: prev:

let
  inherit (prev) lib;

  cudaExtension =
    finalCuda: prevCuda:
    {
      autoAddCudaCompatRunpath = finalCuda.callPackage ./cuda-compat-hook.nix { };
    }
    # Where the hook itself once lived, and the one that comes with packages of stubs.
    // builtins.intersectAttrs prevCuda {
      inherit (final) autoAddDriverRunpath;
      autoAddOpenGLRunpathHook = final.autoAddDriverRunpath;
      # What it does is part of the job.
      removeStubsFromRunpathHook = final.autoAddDriverRunpath;
    };

  # Before `_cuda.extensions`, each CUDA package set had to be extended by name.
  cudaScopes = lib.filterAttrs (name: _: lib.hasPrefix "cudaPackages" name) prev;
  extendScope = scope: if scope ? overrideScope then scope.overrideScope cudaExtension else scope;
in
{
  driver-runpath = final.callPackage ./package.nix { };

  autoAddDriverRunpath = final.callPackage ./hook.nix { };
  driverRunpathCheckHook = final.callPackage ./check-hook.nix { };
  addDriverRunpath = final.callPackage ./functions-hook.nix { };
  # Upstream's functions of the same names must not be sourced after ours.
  autoFixElfFiles = final.addDriverRunpath;
}
// (
  if prev ? _cuda.extensions then
    {
      _cuda = prev._cuda.extend (
        _: prevCuda: {
          extensions = prevCuda.extensions ++ [ cudaExtension ];
        }
      );
    }
  else
    lib.mapAttrs (_: extendScope) cudaScopes
)
