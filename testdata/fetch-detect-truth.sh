#!/bin/sh
# usage: testdata/fetch-detect-truth.sh DIR [TABLE]
# Gets the packages of detect-truth.tsv through pip and apt and unpacks each in DIR/KIND/NAME, for
# `DRIVER_RUNPATH_TRUTH=DIR cargo test --test detect_truth`. 13 GB; a package that is there already is left.
set -eu
dir=${1:?usage: $0 DIR [TABLE]}
table=${2:-$(dirname "$0")/detect-truth.tsv}
python=${PYTHON:-python3}

# Every manylinux tag that this decade's wheels have.
set -- --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64
glibc=5
while [ "$glibc" -le 39 ]; do
  set -- "$@" --platform "manylinux_2_${glibc}_x86_64"
  glibc=$((glibc + 1))
done

# usage: get KIND NAME VERSION INTO PLATFORMS…
get() {
  kind=$1 name=$2 version=$3 into=$4
  shift 4
  if [ "$kind" = deb ]; then
    (cd "$into.tmp" && apt-get download -q "$name") && dpkg-deb -x "$into.tmp"/*.deb "$into.new"
    return
  fi
  # A label such as torch-2.5.1 is a name and the start of the version.
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp "$@" \
    -d "$into.tmp" "${name%%-[0-9]*}==$version" &&
    "$python" -m zipfile -e "$into.tmp"/*.whl "$into.new"
}

failed=0
sources=$(grep -v -e '^#' -e '^source' "$table" | cut -f1 | sort -u)
while read -r kind name version; do
  into=$dir/$kind/$name
  [ ! -e "$into" ] || continue
  rm -rf "$into.tmp" "$into.new"
  mkdir -p "$into.tmp" "$into.new"
  if get "$kind" "$name" "$version" "$into" "$@"; then
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
