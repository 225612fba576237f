/* Names that end other strings, have their version added by code, or are built there beside others that are strings. */
#include <dlfcn.h>
#include <stdio.h>

int open_tail(const char *prefix, int version) {
  char path[64], built[] = "libcuda.so.1";
  if (!dlopen("libtail.so.2", RTLD_NOW))
    puts("Failed to open libtail.so.2");
  if (version < 0)
    puts("This is not libword.so.2");
  snprintf(path, sizeof path, "%s%d", prefix ? prefix : "libprefix.so.", version);
  if (dlopen(built, RTLD_NOW) && dlopen("libnvidia-ml.so.1", RTLD_NOW))
    return 2;
  return dlopen(path, RTLD_NOW) != 0;
}
