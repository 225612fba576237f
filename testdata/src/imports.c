/* Imports the driver's functions from another library, and opens something else. */
#include <dlfcn.h>

int cuInit(unsigned flags);

int start(const char *plugin) { return cuInit(0) + (dlopen(plugin, RTLD_NOW) != 0); }
