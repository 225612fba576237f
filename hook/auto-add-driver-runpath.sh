# shellcheck shell=bash
# Registers what driver-runpath.sh defines, for all outputs.

if [[ -n ${dontUseAutoAddOpenGLRunpath-} ]]; then
  echo "dontUseAutoAddOpenGLRunpath is deprecated, use dontUseAutoAddDriverRunpath" >&2
fi

# Other hooks look for this very string.
if [[ -z ${dontUseAutoAddDriverRunpath-}${dontUseAutoAddOpenGLRunpath-} &&
  " ${postFixupHooks[*]-} " != *" autoFixElfFiles addDriverRunpath "* ]]; then
  postFixupHooks+=("autoFixElfFiles addDriverRunpath")
fi
