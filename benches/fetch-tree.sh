#!/bin/sh
# usage: benches/fetch-tree.sh DIR
# Gets torch 2.15.0, triton and the CUDA libraries that they need, of the versions that it names, through pip, about 5 GB, for DRIVER_RUNPATH_BENCH_TREE=DIR.
set -eu
dir=${1:?usage: $0 DIR}
python=${PYTHON:-python3}
all=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$all"' EXIT
mkdir -p "$dir"
"$python" -m pip install --quiet --no-compile --only-binary=:all: --target "$all" torch==2.15.0
for package in torch triton nvidia; do
  mv "$all/$package" "$dir/"
done
