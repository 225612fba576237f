# driverRunpathCheckHook: the build fails where a file that loads the driver would miss it.
{
  lib,
  makeSetupHook,
  driver-runpath,
  # The program, as in ./functions-hook.nix.
  driverRunpath ? "${driver-runpath}/bin/driver-runpath",
}:

makeSetupHook {
  name = "driver-runpath-check-hook";

  substitutions = {
    driverRunpath = "${driverRunpath}";
    words = "${../hook/words.sh}";
  };

  passthru = {
    inherit (driver-runpath) tests;
  };

  meta = {
    description = "Fail a build whose files would miss the GPU driver or keep link-time stubs";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
} ../hook/driver-runpath-check.sh
