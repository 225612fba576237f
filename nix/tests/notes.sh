# shellcheck shell=bash
# A stand-in for nixpkgs' generate-ld-cache: writes the resolution note of each ELF file at the
# end of postFixup, where it registers itself in preFixup; with notesRegister = "fixupOutput"
# for each output, as its first version did. A note that is out of date fails the build.

_generateLDCacheAllOutputs() {
  local output
  for output in $(getAllOutputNames); do
    writeNotes "${!output}"
  done
}

writeNotes() {
  local file
  while IFS= read -rd "" file; do
    isELF "$file" || continue
    ${notesPatchelf:-@driverRunpath@ patchelf} --build-resolution-cache "$file" || {
      echo "the resolution note of $file is out of date" >&2
      return 1
    }
  done < <(find "${1:-$prefix}" -type f -print0)
}

_registerGenerateLDCache() {
  postFixupHooks+=(_generateLDCacheAllOutputs)
}

case ${notesRegister-} in
  fixupOutput) fixupOutputHooks+=(writeNotes) ;;
  *) preFixupHooks+=(_registerGenerateLDCache) ;;
esac
