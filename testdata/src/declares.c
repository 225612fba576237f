/* Declares what it opens, by a name that it gets from elsewhere. NOTE is the JSON. */
#include <dlfcn.h>

#ifndef NOTE
#define NOTE "[{\\\"feature\\\":\\\"gpu\\\",\\\"priority\\\":\\\"suggested\\\",\\\"soname\\\":[\\\"libcuda.so.1\\\"]}]"
#endif

__asm__(".pushsection .note.dlopen, \"a\", %note\n"
        ".balign 4\n"
        ".long 2f - 1f, 4f - 3f, 0x407c0c0a\n"
        "1: .asciz \"FDO\"\n"
        "2: .balign 4\n"
        "3: .asciz \"" NOTE "\"\n"
        "4: .balign 4\n"
        ".popsection\n");

void *open_declared(const char *name) { return dlopen(name, RTLD_NOW); }
