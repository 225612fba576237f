/* Opens what others name. */
#include <dlfcn.h>

void *wrapper_open(const char *name) { return dlopen(name, RTLD_NOW); }
