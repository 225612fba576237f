# Packages as nixpkgs has them, from the files in `sources` (../../testdata/fetch-packages.sh), each built with the hook and
# with a stand-in for nixpkgs' hooks: ../../tests/hook/packages.sh compares the two.
{
  nixpkgs,
  sources,
  binary,
}:

let
  pkgs = import ./native.nix { inherit nixpkgs; };
  inherit (pkgs) lib stdenv autoPatchelfHook;

  driver-runpath = stdenv.mkDerivation {
    name = "driver-runpath";
    dontUnpack = true;
    dontFixup = true;
    installPhase = "install -D ${binary} $out/bin/driver-runpath";
    passthru.tests = { };
  };
  functions = pkgs.callPackage ../functions-hook.nix { inherit driver-runpath; };
  auto = pkgs.callPackage ../hook.nix { addDriverRunpath = functions; };
  theirs = pkgs.makeSetupHook { name = "their-hooks"; } ./remove-stubs.sh;

  source =
    prefix:
    let
      names = builtins.filter (lib.hasPrefix prefix) (builtins.attrNames (builtins.readDir sources));
    in
    lib.escapeShellArg "${toString sources}/${builtins.head names}";
  wheel = prefix: "python3 -m zipfile -e ${source prefix} .";
  deb = prefix: "dpkg-deb -x ${source prefix} .";
  stubs = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-cuda13.0-cuda_cudart-13.0.48-stubs/lib/stubs";
  sitePackages = "$out/lib/python3.12/site-packages";

  # `byHand`: the functions alone, for packages that call them.
  build =
    name: package: mine:
    let
      byHand = package.byHand or false;
      hooks = if mine then [ (if byHand then functions else auto) ] else [ theirs ];
    in
    stdenv.mkDerivation (
      {
        name = "${name}-${if mine then "ours" else "theirs"}";
        nativeBuildInputs = hooks ++ package.hooks or [ ];
        theirs = if byHand then "functions" else "auto";
        driverLink = "/run/opengl-driver";
        dontUnpack = true;
        dontStrip = true;
        dontCheckForBrokenSymlinks = true;
        installPhase = "source ${./common.sh}\n${package.install}";
      }
      // package.attrs or { }
      // {
        # How long fixupPhase takes.
        preFixup = "fixupStarts=$EPOCHREALTIME\n" + package.attrs.preFixup or "";
        doInstallCheck = true;
        installCheckPhase = "echo fixupPhase: $(((\${EPOCHREALTIME/./} - \${fixupStarts/./}) / 1000)) ms";
      }
    );

  packages = {
    cuda_cudart = {
      attrs.outputs = [
        "out"
        "lib"
        "dev"
        "static"
        "stubs"
      ];
      attrs.__structuredAttrs = true;
      attrs.strictDeps = true;
      install = ''
        ${wheel "nvidia_cuda_runtime"}
        ${wheel "nvidia_nvjpeg"}
        mkdir -p $out $lib/lib $dev $static/lib
        mv nvidia/*/lib/*.so* $lib/lib
        mv nvidia/cuda_runtime/include $dev
        echo 'int cudart(void) { return 0; }' | cc -c -x c - -o cudart.o
        ar rcs $static/lib/libcudart_static.a cudart.o
        plain_library $stubs/lib/stubs/libcuda.so -Wl,-soname,libcuda.so.1
      '';
    };

    triton.install = ''
      mkdir -p ${sitePackages} && cd ${sitePackages}
      ${wheel "triton"}
    '';

    ffmpeg = {
      byHand = true;
      attrs.outputs = [
        "out"
        "lib"
      ];
      install = ''
        ${deb "libavcodec"}
        ${deb "libavutil"}
        ${deb "libavformat"}
        mkdir -p $out $lib/lib
        cp -d usr/lib/*/*.so* $lib/lib
      '';
      attrs.postFixup = "addDriverRunpath $lib/lib/libavcodec.so.* $lib/lib/libavutil.so.*";
    };

    hashcat = {
      byHand = true;
      install = ''
        ${deb "hashcat"}
        mkdir -p $out && cp -r usr/bin usr/lib $out || cp -r usr/bin $out
      '';
      attrs.postFixup = "addDriverRunpath $out/bin/hashcat";
    };

    wrapped = {
      install = "executable $out/bin/foo";
      attrs.preFixup = ''
        mv $out/bin/foo $out/bin/.foo-wrapped
        printf '#!/bin/sh\nexec %s "$@"\n' $out/bin/.foo-wrapped > $out/bin/foo
        chmod +x $out/bin/foo
      '';
    };

    separate-debug-info = {
      attrs.separateDebugInfo = true;
      attrs.OBJCOPY = "objcopy";
      attrs.READELF = "readelf";
      attrs.STRIP = "strip";
      install = "library $out/lib/liba.so -g -Wl,--build-id=sha1";
    };

    dont-patch-elf = {
      attrs.dontPatchELF = true;
      install = ''
        library $out/lib/liba.so -Wl,-rpath,${stubs}:/opt/lib
        plain_library $out/lib/libplain.so -Wl,-rpath,${stubs}:/opt/lib
        plain_library $out/lib/libnopath.so
      '';
    };

    set-rpath = {
      install = "library $out/lib/liba.so";
      attrs.postFixup = "patchelf --set-rpath $out/lib $out/lib/liba.so";
    };

    thirty-two-bit = {
      attrs.__structuredAttrs = true;
      install = "mkdir -p $out/lib && cp ${../../testdata/prebuilt/i386}/*.so $out/lib && chmod u+w $out/lib/*";
    };

    static-and-shared = {
      attrs.dontPatchELF = true;
      install = ''
        executable $out/bin/shared
        echo 'int main(void) { return 0; }' | cc -static-pie -fPIE -x c - -o $out/bin/static-pie
        bare $out/bin/static -static
      '';
    };

    python-package-of-10000-files.install = ''
      mkdir -p ${sitePackages}/big
      for i in $(seq 10000); do echo "x = $i" > ${sitePackages}/big/m$i.py; done
      for i in $(seq 5); do plain_library ${sitePackages}/big/_ext$i.so; done
      library ${sitePackages}/big/_cuda.so
    '';

    single-file.install = "library $PWD/it.so && cp it.so $out";

    link.install = ''
      library $NIX_BUILD_TOP/elsewhere/lib/liba.so
      ln -s $NIX_BUILD_TOP/elsewhere $out
    '';
  }
  // lib.optionalAttrs (autoPatchelfHook != null) {
    torch-bin = {
      hooks = [ autoPatchelfHook ];
      attrs.autoPatchelfIgnoreMissingDeps = [ "*" ];
      install = ''
        mkdir -p ${sitePackages} && cd ${sitePackages}
        ${wheel "torch"}
      '';
    };
  };
in
{
  ours = builtins.mapAttrs (name: package: build name package true) packages;
  theirs = builtins.mapAttrs (name: package: build name package false) packages;
  names = builtins.attrNames packages;
}
