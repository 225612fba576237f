/* Opens the driver by a name that it puts together, as XLA does: only the function's name stands in the file. */
#include <dlfcn.h>
#include <stdio.h>

void *open_driver(const char *library, int version) {
  char name[64];
  snprintf(name, sizeof name, "lib%s.so.%d", library, version);
  return dlsym(dlopen(name, RTLD_NOW), "cuInit");
}
