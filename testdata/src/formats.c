/* Opens the vendor's library as libGLX does. */
#include <dlfcn.h>
#include <stdio.h>

void *open_vendor(const char *vendor) {
  char name[64];
  snprintf(name, sizeof name, "libGLX_%s.so.0", vendor);
  return dlopen(name, RTLD_NOW);
}
