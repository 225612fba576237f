#!/bin/sh
# usage: testdata/audit-trace.sh DIR
# Traces what the packages of audit-truth.tsv open: gets them as fetch-detect-truth.sh does, what they need through pip and
# apt, has audit-trace.py call into each under an LD_AUDIT library, and leaves in DIR/trace.tsv who asked for what, the
# names of DT_NEEDED left out. 12 GB. There need be no GPU: a driver whose functions do nothing stands in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: $0 DIR}
python=${PYTHON:-python3}
sh "$here/fetch-detect-truth.sh" "$dir" "$here/audit-truth.tsv"
dir=$(cd "$dir" && pwd)

# What the packages of Python need, but for themselves.
needs=$dir/needs
if [ ! -e "$needs" ]; then
  rm -rf "$needs.new"
  cat "$dir"/wheel/torch/*.dist-info/METADATA "$dir"/wheel/onnxruntime-gpu/*.dist-info/METADATA |
    sed -n 's/^Requires-Dist: //p' | grep -v 'extra *==' >"$dir/requirements"
  printf '%s\n' nvidia-cuda-runtime-cu12 nvidia-nvjitlink-cu12 nvidia-curand-cu12 nvidia-cufft-cu12 >>"$dir/requirements"
  "$python" -m pip install --quiet --target "$needs.new" -r "$dir/requirements"
  mv "$needs.new" "$needs"
fi

# Programs of Debian, and libraries that CUDA's open where they are.
system=$dir/system
if [ ! -e "$system" ]; then
  rm -rf "$system.new" "$system.debs"
  mkdir -p "$system.new" "$system.debs"
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    ffmpeg libavdevice59 librdmacm1 ibverbs-providers liburcu8 | grep '^[a-z]' | grep -v -e '^libc6' -e ':i386$' |
    sort -u >"$system.list"
  (cd "$system.debs" && xargs apt-get download -q <"$system.list")
  for deb in "$system.debs"/*.deb; do
    dpkg-deb -x "$deb" "$system.new"
  done
  rm -rf "$system.debs"
  mv "$system.new" "$system"
fi

cc -shared -fPIC -O2 -o "$dir/audit-trace.so" "$here/audit-trace.c"

# The driver: every function that some file has the name of.
driver=$dir/driver
if [ ! -e "$driver/libcuda.so.1" ]; then
  mkdir -p "$driver"
  find "$dir/wheel/"*cu12 -name 'lib*.so*' -size -60M -exec strings -n 6 {} + | grep -E '^cu[A-Z][A-Za-z0-9_]+$' |
    grep -v -e '^cuFile' -e '^cuGetProcAddress' -e '^cuDriverGetVersion' -e '^cuDeviceGet$' -e '^cuDeviceGetCount' |
    sort -u | sed 's/.*/int &() { return 0; }/' >"$driver/functions.c"
  cc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$driver/libcuda.so.1" "$here/audit-trace-driver.c" "$driver/functions.c"
fi

rm -f "$dir/trace"
"$python" "$here/audit-trace.py" "$dir"
