# addDriverRunpath and autoFixElfFiles: the functions alone, nothing is patched by itself.
{
  lib,
  makeSetupHook,
  driver-runpath,
}:

makeSetupHook {
  name = "add-driver-runpath-hook";

  substitutions.driverRunpath = "${driver-runpath}/bin/driver-runpath";

  passthru = {
    inherit (driver-runpath) driverLink tests;
  };

  meta = {
    description = "Shell functions that put the GPU driver's directory first in DT_RUNPATH";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
} ../hook/driver-runpath.sh
