/* Opens the driver by a name that the file has in wide characters (TYPE, and WIDE, a literal of it). */
#include <dlfcn.h>
#include <stddef.h>
#include <uchar.h>

void *open_driver(void) {
  static const TYPE wide[] = WIDE;
  char name[sizeof wide / sizeof *wide];
  for (size_t i = 0; i < sizeof name; i++)
    name[i] = (char)wide[i];
  return dlopen(name, RTLD_NOW);
}
