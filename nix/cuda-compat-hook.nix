# autoAddCudaCompatRunpath: cuda_compat goes before the driver, in whatever order both hooks
# are listed. It works through autoAddDriverRunpath.
{
  lib,
  makeSetupHook,
  autoAddDriverRunpath,
  cuda_compat ? null,
}:

let
  # null, unsupported or broken, depending on the platform and the CUDA release.
  enableHook = cuda_compat.meta.available or false;
in
makeSetupHook {
  name = "auto-add-cuda-compat-runpath-hook";

  propagatedBuildInputs = lib.optionals enableHook [ autoAddDriverRunpath ];

  substitutions.libcudaPath = lib.optionalString enableHook "${cuda_compat}/compat";

  passthru = {
    inherit enableHook;
  };

  meta = {
    description = "Put the directory of cuda_compat before the GPU driver's in DT_RUNPATH";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
} ../hook/auto-add-cuda-compat-runpath.sh
