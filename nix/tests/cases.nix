# What a user's derivation can look like. Each case has
#   install   fills the outputs, with the functions of common.sh
#   check     looks at the outputs after fixupPhase
#   hooks     nativeBuildInputs; the hook alone, if not given
#   attrs     further attributes of the derivation
#   forbids   what the output may not refer to
#   fails     a text of the log, if the build is meant to fail
{
  lib,
  auto,
  functions,
  checks,
  compat,
  rival,
  removeStubs,
  notes,
  stubs,
  dependency,
  autoPatchelfHook ? null,
}:

let
  librarySimple = {
    install = "library $out/lib/liba.so";
    check = "expect_driver $out/lib/liba.so";
  };

  # autoPatchelfHook writes a search path where it finds a needed library.
  withDependency = {
    install = "library $out/lib/liba.so -Wl,--no-as-needed -L${dependency}/lib -ldependency";
    attrs = {
      buildInputs = [ dependency ];
      autoPatchelfIgnoreMissingDeps = [ "*" ];
    };
    check = ''
      expect_driver $out/lib/liba.so
      [[ $(search_path $out/lib/liba.so) == *${dependency}/lib* ]]
    '';
  };

  withStubs = {
    forbids = [ stubs ];
    install = ''
      library $out/lib/liba.so -Wl,-rpath,${stubs}/lib/stubs:/one
      plain_library $out/lib/libplain.so -Wl,-rpath,/one
    '';
    check = ''
      expect "RUNPATH $driverLink/lib:/one" "$(search_path $out/lib/liba.so)"
      expect "RUNPATH /one" "$(search_path $out/lib/libplain.so)"
    '';
  };

  # Whatever the order of the hooks, the note says what the search path means.
  withNote = {
    install = "library $out/lib/liba.so -Wl,-rpath,/one";
    check = ''
      expect_driver $out/lib/liba.so
      readelf -p .note.nixos.ldcache $out/lib/liba.so | grep -F "?$driverLink/lib:"
      writeNotes $out
    '';
  };
in
{
  note-listed-last = withNote // {
    hooks = [
      auto
      rival
      notes
    ];
  };

  note-listed-first = withNote // {
    hooks = [
      notes
      rival
      auto
    ];
  };

  # As its first version: the note is there before the hook runs.
  note-written-before = withNote // {
    hooks = [
      notes
      auto
    ];
    attrs.notesRegister = "fixupOutput";
  };

  shared-library = {
    install = ''
      library $out/lib/liba.so -Wl,-rpath,/one:/two
      plain_library $out/lib/libplain.so -Wl,-rpath,/one
      cp $out/lib/libplain.so before
    '';
    check = ''
      expect_driver $out/lib/liba.so
      [[ $(search_path $out/lib/liba.so) == *:/one:/two* ]]
      cmp before $out/lib/libplain.so
    '';
  };

  executable = {
    install = "executable $out/bin/a";
    check = ''
      expect_driver $out/bin/a
      $out/bin/a
    '';
  };

  multiple-outputs = {
    attrs.outputs = [
      "out"
      "lib"
      "debug"
    ];
    install = ''
      executable $out/bin/a
      library $lib/lib/liba.so
      mkdir -p $debug/lib/debug
      objcopy --only-keep-debug $lib/lib/liba.so $debug/lib/debug/liba.so.debug
      cp $debug/lib/debug/liba.so.debug before
    '';
    check = ''
      expect_driver $out/bin/a
      expect_driver $lib/lib/liba.so
      cmp before $debug/lib/debug/liba.so.debug
    '';
  };

  # An empty element is the current directory to the loader.
  no-search-path = {
    install = ''
      library $out/lib/liba.so
      patchelf --remove-rpath $out/lib/liba.so
    '';
    check = ''expect "RUNPATH $driverLink/lib" "$(search_path $out/lib/liba.so)"'';
  };

  # Nix finds references by the bytes: the old string must be gone from the file.
  stub-entry = {
    forbids = [ stubs ];
    install = "library $out/lib/liba.so -Wl,-rpath,${stubs}/lib/stubs:/one";
    check = ''
      expect_driver $out/lib/liba.so
      ! grep -q "${stubs}" $out/lib/liba.so
    '';
  };

  stub-entry-of-a-file-that-does-not-load-the-driver = {
    forbids = [ stubs ];
    install = "plain_library $out/lib/libplain.so -Wl,-rpath,${stubs}/lib/stubs:/one";
    check = ''expect "RUNPATH /one" "$(search_path $out/lib/libplain.so)"'';
  };

  before-the-hook-that-removes-stubs = withStubs // {
    hooks = [
      auto
      removeStubs
    ];
  };

  after-the-hook-that-removes-stubs = withStubs // {
    hooks = [
      removeStubs
      auto
    ];
  };

  # The output dev may refer to stubs, and to all that is named exceptions are made.
  checked = librarySimple // {
    hooks = [
      checks
      rival
      auto
    ];
    attrs = {
      outputs = [
        "out"
        "dev"
      ];
      driverRunpathCheckFlags = [
        "--exclude"
        "lib/oth*"
      ];
    };
    install = ''
      library $out/lib/liba.so -Wl,-rpath,${stubs}/lib/stubs
      echo ${stubs}/lib > $out/lib/cuda.pc
      mkdir -p $dev/lib
      mv $out/lib/cuda.pc $dev/lib
      plain_library $out/lib/other/libexcepted.so -Wl,-rpath,${stubs}/lib/stubs
    '';
  };

  check-of-a-file-that-misses-the-driver = librarySimple // {
    hooks = [ checks ];
    fails = "LACKS the driver's directory";
  };

  check-of-a-reference-to-stubs = {
    hooks = [
      auto
      checks
    ];
    install = "mkdir $out; echo ${stubs} > $out/text";
    fails = "REFERS to a package of stubs";
  };

  static = {
    install = ''
      bare $out/bin/a -static
      cp $out/bin/a before
    '';
    check = "cmp before $out/bin/a";
  };

  # It relocates itself, and glibc's start code dies of a DT_RUNPATH.
  static-pie = {
    attrs.driverRunpathAll = true;
    install = ''
      bare $out/bin/a -static-pie -fPIE
      cp $out/bin/a before
    '';
    check = "cmp before $out/bin/a";
  };

  # fixupPhase makes all files writable, so only postFixup can leave one that is not.
  read-only-file = {
    inherit (librarySimple) install;
    attrs.postFixup = "chmod 444 $out/lib/liba.so";
    check = ''
      expect_driver $out/lib/liba.so
      expect 444 "$(stat -c %a $out/lib/liba.so)"
    '';
  };

  hard-link = {
    install = ''
      library $out/lib/liba.so
      ln $out/lib/liba.so $out/lib/liba.so.1
    '';
    check = ''
      expect_driver $out/lib/liba.so
      [[ $out/lib/liba.so -ef $out/lib/liba.so.1 ]]
    '';
  };

  opt-out = {
    inherit (librarySimple) install;
    attrs.dontUseAutoAddDriverRunpath = true;
    check = "expect_no_driver $out/lib/liba.so";
  };

  opt-out-by-the-old-name = {
    inherit (librarySimple) install;
    attrs.dontUseAutoAddOpenGLRunpath = true;
    check = "expect_no_driver $out/lib/liba.so";
  };

  before-another-hook = librarySimple // {
    hooks = [
      auto
      rival
    ];
  };

  after-another-hook = librarySimple // {
    hooks = [
      rival
      auto
    ];
  };

  before-a-hook-of-a-phase = librarySimple // {
    hooks = [
      auto
      rival
    ];
    attrs.rivalRegisters = "phase";
  };

  before-a-hook-of-pre-fixup = librarySimple // {
    hooks = [
      auto
      rival
    ];
    attrs.rivalRegisters = "preFixup";
  };

  # definePhases ignores prePhases where phases is set.
  phases-of-its-own = librarySimple // {
    hooks = [
      auto
      rival
    ];
    attrs.phases = [
      "installPhase"
      "fixupPhase"
      "installCheckPhase"
    ];
  };

  # No fixupOutput is run there.
  fixup-phase-of-its-own = librarySimple // {
    hooks = [
      auto
      rival
    ];
    attrs.fixupPhase = ''
      runHook preFixup
      runHook postFixup
    '';
  };

  with-post-fixup = librarySimple // {
    attrs.postFixup = "patchelf --set-rpath /mine $out/lib/liba.so";
  };

  twice = {
    inherit (librarySimple) install;
    hooks = [
      auto
      functions
      auto
    ];
    attrs.postFixup = ''
      autoFixElfFiles addDriverRunpath
      cp -p $out/lib/liba.so once
    '';
    check = ''
      expect_driver $out/lib/liba.so
      cmp once $out/lib/liba.so
    '';
  };

  by-hand = {
    hooks = [ functions ];
    install = ''
      plain_library $out/lib/libplain.so
      library $out/lib/liba.so
      echo "#!/bin/sh" > $out/lib/script
      mkdir $out/lib/plugins
      library $out/lib/plugins/libp.so
      addDriverRunpath $out/lib/libplain.so $out/lib/script $out/lib/plugins
    '';
    check = ''
      expect_driver $out/lib/libplain.so
      expect_no_driver $out/lib/liba.so
      expect_no_driver $out/lib/plugins/libp.so
    '';
  };

  by-hand-force-rpath = {
    hooks = [
      functions
      rival
    ];
    install = "plain_library $out/lib/libplain.so";
    attrs.postFixup = "addDriverRunpath --force-rpath -- $out/lib/libplain.so";
    check = ''expect "RPATH $driverLink/lib:/rival" "$(search_path $out/lib/libplain.so)"'';
  };

  # In a subshell, by a relative name, before hooks that write another search path.
  by-hand-in-a-loop = {
    hooks = [
      functions
      rival
    ];
    install = "plain_library $out/lib/libplain.so";
    attrs.postFixup = ''
      cd $out
      find lib -type f | while read -r file; do addDriverRunpath "$file"; done
      cd -
    '';
    check = "expect_driver $out/lib/libplain.so";
  };

  by-hand-under-the-old-name = {
    hooks = [ functions ];
    install = "plain_library $out/lib/libplain.so";
    attrs.postFixup = "addOpenGLRunpath $out/lib/libplain.so";
    check = "expect_driver $out/lib/libplain.so";
  };

  function-of-its-own = {
    hooks = [ functions ];
    install = ''
      library $out/lib/liba.so
      plain_library $out/lib/libplain.so
      bare $out/bin/a -static
      note() { echo "''${1##*/} ''${2##*/}" >> $NIX_BUILD_TOP/noted; }
    '';
    attrs.postFixup = ''
      autoFixElfFiles "note --option"
    '';
    check = ''
      expect "--option liba.so --option libplain.so" "$(sort $NIX_BUILD_TOP/noted | xargs)"
    '';
  };

  flags = {
    # A pattern is not for the shell, whatever lies in the current directory.
    install = ''
      library $out/lib/liba.so
      library $out/lib/libb.so
      mkdir -p x
      touch x/liba-of-the-build
    '';
    attrs.driverRunpathFlags = [
      "--exclude"
      "*/liba*"
    ];
    check = ''
      expect_no_driver $out/lib/liba.so
      expect_driver $out/lib/libb.so
    '';
  };

  more-driver-libraries = {
    install = ''
      mkdir -p $out/lib
      echo 'extern void *dlopen(const char *, int); void *f(void) { return dlopen("libfuture-gpu.so.3", 2); }' |
        ''${CC:-cc} -shared -fPIC -x c - -o $out/lib/liba.so
    '';
    attrs.driverRunpathLibraries = [ "libfuture-gpu.so.3" ];
    check = "expect_driver $out/lib/liba.so";
  };

  prepend = {
    install = "library $out/lib/liba.so -Wl,-rpath,/one";
    attrs.driverRunpathPrepend = [
      "/first"
      "/second"
    ];
    check = ''
      [[ $(search_path $out/lib/liba.so) == "RUNPATH /first:/second:$driverLink/lib:/one"* ]]
    '';
  };

  all-files = {
    install = "plain_library $out/lib/libplain.so";
    attrs.driverRunpathAll = true;
    check = "expect_driver $out/lib/libplain.so";
  };

  output-is-a-link = {
    # Within the build, so that a hook that follows the link does not damage the store.
    attrs.dontCheckForBrokenSymlinks = true;
    install = ''
      library elsewhere/lib/liba.so
      ln -s $PWD/elsewhere $out
    '';
    check = "expect_no_driver elsewhere/lib/liba.so";
  };

  by-hand-missing-file = {
    hooks = [ functions ];
    inherit (librarySimple) install;
    attrs.postFixup = "addDriverRunpath $out/lib/missing.so";
    fails = "lib/missing.so";
  };

  refused-file = {
    install = ''
      library $out/lib/liba.so
      ln $out/lib/liba.so $out.outside
    '';
    attrs.failureHook = "rm -f $out.outside";
    fails = "driverRunpathFlags";
  };
}
// lib.optionalAttrs (compat != null) {
  cuda-compat-listed-first = {
    inherit (librarySimple) install;
    hooks = [
      compat
      auto
    ];
    check = ''
      [[ $(search_path $out/lib/liba.so) == "RUNPATH "*cuda_compat*/compat:"$driverLink/lib"* ]]
    '';
  };

  cuda-compat-listed-last = {
    inherit (librarySimple) install;
    hooks = [
      auto
      compat
    ];
    check = ''
      [[ $(search_path $out/lib/liba.so) == "RUNPATH "*cuda_compat*/compat:"$driverLink/lib"* ]]
    '';
  };
}
// lib.optionalAttrs (autoPatchelfHook != null) {
  before-auto-patchelf = withDependency // {
    hooks = [
      auto
      autoPatchelfHook
    ];
  };

  after-auto-patchelf = withDependency // {
    hooks = [
      autoPatchelfHook
      auto
    ];
  };

  by-hand-before-auto-patchelf = withDependency // {
    hooks = [
      functions
      autoPatchelfHook
    ];
    attrs = withDependency.attrs // {
      postFixup = "addDriverRunpath $out/lib/liba.so";
    };
  };
}
