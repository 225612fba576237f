#!/bin/sh
# usage: testdata/fetch-packages.sh DIR
# Gets wheels of torch, triton and CUDA through pip and Debian packages through apt, for tests/hook/packages.sh.
set -eu
dir=${1:?usage: $0 DIR}
python=${PYTHON:-python3}
mkdir -p "$dir"
wheels() {
  "$python" -m pip download --quiet --no-deps --only-binary=:all: -d "$dir" "$@"
}
wheels nvidia-cuda-runtime-cu12 nvidia-nvjpeg-cu12
wheels --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 torch triton
cd "$dir"
apt-get download hashcat "$(apt-cache search --names-only '^libavcodec[0-9]*$' | cut -d' ' -f1)" \
  "$(apt-cache search --names-only '^libavutil[0-9]*$' | cut -d' ' -f1)" \
  "$(apt-cache search --names-only '^libavformat[0-9]*$' | cut -d' ' -f1)"
