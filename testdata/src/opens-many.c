/* Opens libraries in each way that an audit tells. */
#include <dlfcn.h>
#include <stdio.h>

__asm__(".pushsection .note.dlopen, \"a\", @note\n"
        ".balign 4\n"
        ".long 4, 2f - 1f, 0x407c0c0a\n"
        ".asciz \"FDO\"\n"
        "1: .asciz \"[{\\\"description\\\":\\\"For X\\\",\\\"priority\\\":\\\"suggested\\\",\\\"soname\\\":[\\\"libdeclared.so.2\\\"]}]\"\n"
        "2: .balign 4\n"
        ".popsection\n");

int open_all(const char *which) {
  const char *const names[] = {"libbeside.so", "libelsewhere.so.1", "libnowhere.so.3", "libcuda.so.1", "libc.so.6", "libtwo.so"};
  char path[64];
  int found = 0;
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    found += dlopen(names[i], RTLD_NOW) != 0;
  snprintf(path, sizeof path, "libplugin-%s.so", which);
  if (!dlopen(path, RTLD_NOW))
    puts("cannot open the plugin, is libmessage.so.1 installed?");
  return found;
}
