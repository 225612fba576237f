/* Functions of a driver that must answer; the others are made by audit-trace.sh and do nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

static int nothing(void) { return 0; }

int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
  Dl_info self;
  void *handle = dladdr((void *)nothing, &self) ? dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : 0;
  *function = handle ? dlsym(handle, name) : 0;
  if (!*function)
    *function = (void *)nothing;
  if (status)
    *status = 0;
  (void)version, (void)flags;
  return 0;
}

int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, 0);
}
