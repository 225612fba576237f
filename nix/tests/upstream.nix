# Evaluates what ../upstream.sh wrote to `dir`, with the stand-in for nixpkgs: the names of the facts that do not hold, so
# an empty list.
{ dir }:

let
  standin = import ./standin.nix { };

  callPackage =
    file: given:
    let
      f = import file;
      made = f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // given);
    in
    if builtins.isAttrs made then
      made // { override = new: callPackage file (given // new); }
    else
      made;

  # As nixpkgs finds them: pkgs/by-name/ab/abc/package.nix is abc.
  shards = builtins.attrNames (builtins.readDir (dir + "/pkgs/by-name"));
  ofShard = shard: builtins.attrNames (builtins.readDir (dir + "/pkgs/by-name/${shard}"));
  found = builtins.listToAttrs (
    builtins.concatMap (
      shard:
      map (name: {
        inherit name;
        value = callPackage (dir + "/pkgs/by-name/${shard}/${name}/package.nix") { };
      }) (ofShard shard)
    ) shards
  );

  cuda = name: callPackage (dir + "/pkgs/development/cuda-modules/packages/${name}/package.nix") { };
  pkgs =
    standin
    // found
    // {
      inherit callPackage;
      fetchFromGitHub = "a release";
      cudaPackages = {
        autoAddCudaCompatRunpath = cuda "autoAddCudaCompatRunpath";
        removeStubsFromRunpathHook = cuda "removeStubsFromRunpathHook";
      };
    };
  isDerivation = value: builtins.isString value.drvPath;

  facts = {
    all-packages-evaluate = builtins.all isDerivation (builtins.attrValues found);
    they-are-where-their-names-say = builtins.all (
      shard: builtins.all (name: shard == standin.lib.toLower (builtins.substring 0 2 name)) (ofShard shard)
    ) shards;
    the-tests-evaluate = builtins.all isDerivation (
      builtins.attrValues (removeAttrs found.driver-runpath.tests [ "override" ])
    );
    a-package-can-be-checked = isDerivation (found.driver-runpath.check found.addDriverRunpath);
    one-attribute-replaces-the-others =
      pkgs.cudaPackages.removeStubsFromRunpathHook.drvPath == found.autoAddDriverRunpath.drvPath
      && found.autoFixElfFiles.drvPath == found.addDriverRunpath.drvPath;
    cuda-compat-evaluates = isDerivation pkgs.cudaPackages.autoAddCudaCompatRunpath;
    the-hook-knows-the-driver = found.autoAddDriverRunpath.driverLink == "/run/opengl-driver";
  };
in
builtins.filter (name: !facts.${name}) (builtins.attrNames facts)
