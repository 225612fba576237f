# shellcheck shell=bash
# A stand-in for stdenv's setup.sh and genericBuild: what setup hooks rely on, and the order of
# things in fixupPhase. The attributes arrive as in a real build: in the environment, or with
# structured attributes in a file of shell variables.

if [[ -n ${NIX_ATTRS_SH_FILE-} ]]; then
  # shellcheck disable=SC1090
  source "$NIX_ATTRS_SH_FILE"
  __structuredAttrs=1
  # shellcheck disable=SC2154
  for name in "${!outputs[@]}"; do
    export "$name=${outputs[$name]}"
  done
else
  __structuredAttrs=
fi
# shellcheck disable=SC2154
export PATH=$path NIX_LOG_FD=2
shopt -s nullglob inherit_errexit
set -o pipefail

getAllOutputNames() {
  if [[ -n $__structuredAttrs ]]; then
    echo "${!outputs[*]}"
  else
    echo "${outputs:-out}"
  fi
}

isELF() {
  local magic
  magic=$(head -c 4 "$1" | tr -d '\0')
  [[ $magic == $'\x7fELF' ]]
}

# The variable or function of that name, then the entries of the array.
runHook() {
  local list="${1%Hook}Hooks[@]" hook
  if declare -F "$1" >/dev/null; then
    "$1"
  else
    eval "${!1-}"
  fi
  for hook in "${!list}"; do
    eval "$hook"
  done
}

activate() {
  local pkg
  [[ -e $1/nix-support/setup-hook ]] || return 0
  # shellcheck disable=SC1091
  source "$1/nix-support/setup-hook"
  for pkg in $(<"$1/nix-support/propagated-build-inputs"); do
    activate "$pkg"
  done
}

fixupPhase() {
  local output
  for output in $(getAllOutputNames); do
    [[ ! -e ${!output} ]] || chmod -R u+w "${!output}"
  done
  runHook preFixup
  for output in $(getAllOutputNames); do
    prefix=${!output} runHook fixupOutput
  done
  runHook postFixup
}

atExit() {
  local status=$?
  ((status)) || return 0
  set +e
  runHook failureHook
  [[ -n ${succeedOnFailure-} ]] || exit "$status"
  # shellcheck disable=SC2154
  mkdir -p "$out/nix-support"
  echo "$status" >"$out/nix-support/failed"
  exit 0
}
trap atExit EXIT

set -u
# An array or a string of words.
# shellcheck disable=SC2068
for pkg in ${nativeBuildInputs[@]-}; do
  activate "$pkg"
done
set +u
runHook postHook

phases=${phases[*]-}
for phase in ${phases:-${prePhases-} installPhase fixupPhase installCheckPhase}; do
  if declare -F "$phase" >/dev/null || [[ -n ${!phase-} ]]; then
    echo "Running phase: $phase"
    eval "${!phase:-$phase}"
  fi
done
