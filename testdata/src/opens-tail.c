/* Names that end other strings, or have their version added by code. */
#include <dlfcn.h>
#include <stdio.h>

int open_tail(const char *prefix, int version) {
  char path[64];
  if (!dlopen("libtail.so.2", RTLD_NOW))
    puts("Failed to open libtail.so.2");
  if (version < 0)
    puts("This is not libword.so.2");
  snprintf(path, sizeof path, "%s%d", prefix ? prefix : "libprefix.so.", version);
  return dlopen(path, RTLD_NOW) != 0;
}
