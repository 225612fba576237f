/* Opens the driver as libcudart and NCCL do: the name is only a string. */
#include <dlfcn.h>

int open_driver(void) { return dlopen("libcuda.so.1", RTLD_NOW) != 0; }
