/* Opens the driver by a name that the compiler keeps in the code alone, as it does with std::string("libcuda.so.1"). */
#include <dlfcn.h>
#include <string.h>

void *open_driver(void) {
  char name[24];
  strcpy(name, "libcuda.so.1");
  return dlopen(name, RTLD_NOW);
}
