# autoAddDriverRunpath: patches all outputs at the end of fixupPhase.
{
  lib,
  makeSetupHook,
  addDriverRunpath,
}:

makeSetupHook {
  name = "auto-add-driver-runpath-hook";

  propagatedBuildInputs = [ addDriverRunpath ];

  passthru = {
    inherit (addDriverRunpath) driverLink tests;
  };

  meta = {
    description = "Put the GPU driver's directory first in DT_RUNPATH of all files that load the driver";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
} ../hook/auto-add-driver-runpath.sh
