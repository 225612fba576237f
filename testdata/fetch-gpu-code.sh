#!/bin/sh
# usage: testdata/fetch-gpu-code.sh DIR [PACKAGE…]
# Gets cuobjdump into DIR/tools and libraries with code for GPUs into DIR, through pip, for
# `DRIVER_RUNPATH_GPU_CODE=DIR cargo test --test gpu_code`. 6 GB with all of its packages; one that is there already is
# left.
set -eu
dir=${1:?usage: $0 DIR [PACKAGE…]}
shift
python=${PYTHON:-python3}
[ $# -gt 0 ] || set -- nvidia-cublas-cu12 nvidia-cudnn-cu12 nvidia-nccl-cu12 nvidia-npp-cu12 nvidia-nvjpeg-cu12 \
  nvidia-cusparse-cu12 torch xformers bitsandbytes cupy-cuda12x faiss-gpu-cu12 ctranslate2

# usage: get PACKAGE INTO
get() {
  [ ! -e "$2" ] || return 0
  rm -rf "$2.tmp" "$2.new"
  mkdir -p "$2.tmp" "$2.new"
  "$python" -m pip download --quiet --no-deps --only-binary=:all: -d "$2.tmp" "$1"
  "$python" -m zipfile -e "$2.tmp"/*.whl "$2.new"
  rm -rf "$2.tmp"
  mv "$2.new" "$2"
}

get nvidia-cuda-cuobjdump "$dir/tools"
find "$dir/tools" -name cuobjdump -exec chmod +x {} +
for package; do
  get "$package" "$dir/$package"
done
