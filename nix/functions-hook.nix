# addDriverRunpath and autoFixElfFiles: the functions alone, nothing is patched by itself.
{
  lib,
  stdenv,
  makeSetupHook,
  driver-runpath,
  # The program. Another one, such as a static build from elsewhere, and rustc is out of the game.
  driverRunpath ? "${driver-runpath}/bin/driver-runpath",
}:

makeSetupHook {
  name = "add-driver-runpath-hook";

  substitutions = {
    driverRunpath = "${driverRunpath}";
    words = "${../hook/words.sh}";
  };

  passthru = {
    inherit (driver-runpath) tests;
    # Where NixOS links the running driver, named "opengl-driver" for legacy reasons. For the
    # files that it patches, the program knows by itself.
    driverLink = "/run/opengl-driver" + lib.optionalString stdenv.hostPlatform.isi686 "-32";
  };

  meta = {
    description = "Shell functions that put the GPU driver's directory first in DT_RUNPATH";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
} ../hook/driver-runpath.sh
