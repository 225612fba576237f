#!/bin/sh
# usage: testdata/fetch-wheels.sh DIR
# Gets real CUDA libraries through pip and unpacks them in DIR, for `DRIVER_RUNPATH_WHEELS=DIR cargo test`.
set -eu
dir=${1:?usage: $0 DIR}
python=${PYTHON:-python3}
mkdir -p "$dir"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$python" -m pip download --quiet --no-deps --only-binary=:all: -d "$wheels" \
  nvidia-cuda-runtime-cu12 nvidia-nccl-cu12 nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12
for wheel in "$wheels"/*.whl; do
  "$python" -m zipfile -e "$wheel" "$dir"
done
find "$dir" -name '*.so*' -type f -exec ls -l {} +
