/* Loads a library and says what its search path leads to. */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **values) {
    void *library = count > 1 ? dlopen(values[1], RTLD_NOW) : 0;
    int (*ask)(void) = library ? (int (*)(void))dlsym(library, "ask") : 0;
    if (!ask)
        fprintf(stderr, "%s\n", dlerror());
    return printf("%d\n", ask ? ask() : -1) < 0;
}
