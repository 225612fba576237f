# shellcheck shell=bash
# On Jetson, cuda_compat holds a newer libcuda.so.1, which must win over the driver's.
# Elsewhere there is none, and the path is empty.

cudaCompatPath="@libcudaPath@"
if [[ -n $cudaCompatPath && " ${driverRunpathPrependArray[*]-} " != *" $cudaCompatPath "* ]]; then
  driverRunpathPrependArray+=("$cudaCompatPath")
fi

addCudaCompatRunpath() {
  addDriverRunpath -- "$@"
}
