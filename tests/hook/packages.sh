#!/usr/bin/env bash
# Builds the packages of nix/tests/packages.nix with the hook and with a stand-in for nixpkgs' hooks, and writes a table
# of what is different, file by file. Nix has a store of its own, in STORE.
#
#   BINARY=driver-runpath SOURCES=DIR NIXPKGS=TREE STORE=DIR tests/hook/packages.sh [NAME...]
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/tests/hook}
driverLink=/run/opengl-driver
# shellcheck source=../../nix/tests/common.sh disable=SC1091
source "$root/nix/tests/common.sh"

mkdir -p "$STORE/conf"
printf 'sandbox = false\nbuild-users-group =\nsubstituters =\n' >"$STORE/conf/nix.conf"
export NIX_STORE_DIR=$STORE/store NIX_LOCALSTATE_DIR=$STORE/var NIX_STATE_DIR=$STORE/state NIX_LOG_DIR=$STORE/log
export NIX_DATA_DIR=$STORE/share NIX_CONF_DIR=$STORE/conf HOME=$STORE
unset NIX_REMOTE NIX_PATH
arguments=(--arg nixpkgs "$NIXPKGS" --arg sources "$SOURCES" --arg binary "$BINARY")

# outputs SIDE NAME: the paths of all outputs.
outputs() {
  nix-build "$root/nix/tests/packages.nix" "${arguments[@]}" --no-out-link -A "$1.$2.all" 2>"$STORE/$1-$2.log" ||
    { tail -5 "$STORE/$1-$2.log" >&2 && return 1; }
}

# seconds SIDE NAME: how long fixupPhase took, if this run has built it.
seconds() {
  sed -n 's/^fixupPhase: \(.*\) ms$/\1/p' "$STORE/$1-$2.log" | awk '{ t = $1 } END { if (t) printf "%.1f", t / 1000; else printf "?" }'
}

# What is wrong about the search path of the stand-in, in a few words.
reason() {
  local file=$1 ours=$2 theirs=$3 checked
  checked=$("$BINARY" check "$file" 2>&1 || :)
  case "$checked $ours | $theirs" in
    *"skipped: "*) echo "dies of a search path" ;;
    *"does not load the driver"* | *"names it only"*) echo "does not load the driver" ;;
    *"-32/lib"*" | "*) echo "has another driver" ;;
    *"/lib:") echo "ends in an empty element" ;;
    *" | "*"$driverLink"*)
      if [[ ${ours#* } == "${theirs#* }" ]]; then echo "is no DT_RPATH any more"; else echo "has other directories"; fi
      ;;
    *) echo "has lost the driver" ;;
  esac
}

report() {
  local name=$1 index ours theirs file mine yours elf=0 same=0
  local -a our_outputs their_outputs
  local -A why=()
  mapfile -t our_outputs < <(outputs ours "$name")
  mapfile -t their_outputs < <(outputs theirs "$name")
  if ((${#our_outputs[@]} == 0 || ${#their_outputs[@]} == 0)); then
    echo "| $name | failed | | | | |" && return
  fi
  for index in "${!our_outputs[@]}"; do
    ours=${our_outputs[index]} theirs=${their_outputs[index]}
    while IFS= read -rd "" file; do
      [[ $(head -c 4 "$file" | tr -d '\0') == $'\x7fELF' ]] || continue
      mine=$(search_path "$file" 2>/dev/null) || :
      yours=$(search_path "$theirs${file#"$ours"}" 2>/dev/null) || :
      mine=${mine//"$ours"/OUT} yours=${yours//"$theirs"/OUT}
      elf=$((elf + 1))
      if [[ $mine == "$yours" ]]; then
        same=$((same + 1))
      else
        mine=$(reason "$file" "$mine" "$yours")
        why[$mine]=$((${why[$mine]-0} + 1))
      fi
    done < <(find "$ours" -type f -print0)
  done
  printf '| %s | %s | %s |' "$name" "$elf" "$same"
  local separator=" "
  for mine in "${!why[@]}"; do
    printf '%s%s: %s' "$separator" "$mine" "${why[$mine]}"
    separator="; "
  done
  printf ' | %s | %s |\n' "$(seconds ours "$name")" "$(seconds theirs "$name")"
}

names=("$@")
if (($# == 0)); then
  read -ra names < <(nix-instantiate --eval --strict "$root/nix/tests/packages.nix" "${arguments[@]}" -A names | tr -d '[]"')
fi
echo "| package | ELF files | same search path | the stand-in's search path | fixupPhase, s | with the stand-in |"
echo "|---|---|---|---|---|---|"
for name in "${names[@]}"; do
  report "$name"
done
