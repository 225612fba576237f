#!/bin/sh
# usage: testdata/fetch-detect-truth.sh DIR [TABLE]
# Gets the packages of detect-truth.tsv through pip and apt and unpacks each in DIR/KIND/NAME, for
# `DRIVER_RUNPATH_TRUTH=DIR cargo test --test detect_truth`. Some 25 GB; a package that is there already is left.
set -eu
dir=${1:?usage: $0 DIR [TABLE]}
table=${2:-$(dirname "$0")/detect-truth.tsv}
python=${PYTHON:-python3}

unpack_wheel() {
  # A label such as torch-2.5.1 is a name and the start of the version.
  name=${2%%-[0-9]*} version=$3
  into=$1
  set -- --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64
  glibc=5
  while [ "$glibc" -le 39 ]; do
    set -- "$@" --platform "manylinux_2_${glibc}_x86_64"
    glibc=$((glibc + 1))
  done
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp "$@" \
    -d "$into.tmp" "$name==$version"
  for wheel in "$into.tmp"/*.whl; do
    "$python" -m zipfile -e "$wheel" "$into.new"
    rm "$wheel"
  done
}

unpack_deb() {
  (cd "$1.tmp" && apt-get download -q "$2")
  for package in "$1.tmp"/*.deb; do
    dpkg-deb -x "$package" "$1.new"
    rm "$package"
  done
}

failed=0
sources=$(grep -v -e '^#' -e '^source' "$table" | cut -f1 | sort -u)
while read -r kind name version; do
  into=$dir/$kind/$name
  [ ! -e "$into" ] || continue
  rm -rf "$into.tmp" "$into.new"
  mkdir -p "$into.tmp" "$into.new"
  if "unpack_$kind" "$into" "$name" "$version"; then
    mv "$into.new" "$into"
  else
    echo "$kind $name $version: cannot get it" >&2
    failed=1
  fi
  rm -rf "$into.tmp" "$into.new"
done <<END
$sources
END
exit $failed
