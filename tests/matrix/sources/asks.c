/* Opens libprobe.so, so that the search path in force is seen, and looks after its own data. */
#include <dlfcn.h>

enum { NOT_FOUND = -1, DAMAGED = -2 };

#ifdef LARGE_BSS
static volatile char zero[8 << 20];
#else
static volatile char zero[64];
#endif
static volatile int one = 1;
static const char *volatile words[] = {"relocated", "pointers"};

/* PEERS 2: an editor that stretches a segment over .bss leaves other bytes there. */
static int is_damaged(void) {
    for (unsigned long i = 0; i < sizeof zero; i += i < 65536 ? 1 : 1024)
        if (zero[i])
            return 1;
    return one != 1 || words[0][0] != 'r' || words[1][0] != 'p';
}

#ifdef LINKED
int probe_number(void);

int ask(void) { return is_damaged() ? DAMAGED : probe_number(); }
#else
int ask(void) {
    void *probe = dlopen("libprobe.so", RTLD_NOW);
    int (*number)(void) = probe ? (int (*)(void))dlsym(probe, "probe_number") : 0;
    return is_damaged() ? DAMAGED : number ? number() : NOT_FOUND;
}
#endif

#ifdef VERSIONS
int version_two(void) { return 2; }
#endif
