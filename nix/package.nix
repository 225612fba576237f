{
  lib,
  rustPlatform,
  callPackage,
  installShellFiles,
  versionCheckHook,
  buildPackages ? { },
}:

rustPlatform.buildRustPackage (finalAttrs: {
  pname = "driver-runpath";
  version = (lib.importTOML ../Cargo.toml).package.version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../completions
      ../man
      ../src
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  strictDeps = true;

  nativeBuildInputs = [ installShellFiles ];

  # The tests in tests/ are for the tools of a whole machine; the hook has passthru.tests.
  cargoTestFlags = [ "--lib" ];

  postInstall = ''
    installManPage man/*.1
    installShellCompletion completions/driver-runpath.{bash,fish} --zsh completions/_driver-runpath
  '';

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "--version";

  passthru = {
    # For passthru.tests of other packages.
    check = callPackage ./check.nix {
      driver-runpath = buildPackages.driver-runpath or finalAttrs.finalPackage;
    };
    tests = callPackage ./tests/suite.nix { driver-runpath = finalAttrs.finalPackage; };
  };

  meta = {
    description = "Put the GPU driver's directory first in DT_RUNPATH of the ELF files that load the driver, in place";
    longDescription = ''
      Finds the ELF files that load the GPU driver, by DT_NEEDED or by dlopen, and puts the
      directory of the driver first in their search path. Nothing but the pages that matter is
      written, and the file is the old or the new one at every instant.
    '';
    license = lib.licenses.mit;
    mainProgram = "driver-runpath";
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
})
