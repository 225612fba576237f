/* A large table of constants with the driver's name at its end, and opens it. */
#include <dlfcn.h>

const struct {
  char zeros[32 << 20];
  char name[16];
} table = {{1}, "libcuda.so.1"};

int open_driver(void) { return dlopen(table.name, RTLD_NOW) != 0; }
