# Checks of packages by `driver-runpath.check`: those of `passes` build, those of `fails` do not.
{
  stdenv,
  callPackage,
  driver-runpath,
}:

let
  check = callPackage ../check.nix { inherit driver-runpath; };
  stubs = fill "cuda13.0-cuda_cudart-stubs" { } "plain_library $out/lib/stubs/libcuda.so";

  fill =
    name: attrs: install:
    stdenv.mkDerivation (
      {
        inherit name;
        dontUnpack = true;
        # patchELF drops the directories that the cases make up.
        dontPatchELF = true;
        installPhase = "source ${./common.sh}\n${install}";
      }
      // attrs
    );

  right = fill "right" {
    outputs = [
      "out"
      "dev"
    ];
  } ''
    library $out/lib/liba.so -Wl,-rpath,/run/opengl-driver/lib
    mkdir -p $dev
    echo ${stubs} > $dev/text
  '';
  wrong = fill "wrong" { } "library $out/lib/libwrong.so";
  # Right by itself, and what it refers to is not.
  above = fill "above" { } "mkdir $out; echo ${wrong} > $out/text";
  dragging = fill "dragging" { } "mkdir $out; echo ${stubs} > $out/text";
in
{
  passes = {
    package = check right;
    above = check above;
    closure-but-for-what-it-is-told = check {
      package = above;
      closure = true;
      flags = [
        "--exclude"
        "libwrong.so"
      ];
    };
    stubs-allowed = check {
      package = dragging;
      stubs = true;
    };
  };

  fails = {
    package = check wrong;
    closure = check {
      package = above;
      closure = true;
    };
    stubs = check dragging;
    closure-with-the-output-dev = check {
      package = right;
      closure = true;
    };
    capabilities = check {
      package = right;
      capabilities = [ "9.0" ];
    };
  };
}
