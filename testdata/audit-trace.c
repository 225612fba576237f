/* An LD_AUDIT library that writes who asks the loader for which library, a line each, to the file $AUDIT_TRACE:
   "opens" where dlopen is called through a PLT, "asks" for every search, those of DT_NEEDED among them. The loader does
   not search for what is loaded already, and calls from files linked with -z now do not pass a PLT, so that both count.
   rtld-audit(7). x86-64. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned la_version(unsigned version) { return version < LAV_CURRENT ? version : LAV_CURRENT; }

/* One write(2) a line, so that those of several threads and processes do not mix. */
static void tell(const char *kind, const char *who, const char *name) {
  const char *path = getenv("AUDIT_TRACE");
  char line[2 * 4096 + 16];
  int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", kind, who, name);
  if (!path || length <= 0 || length >= (int)sizeof line)
    return;
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0)
    return;
  if (write(file, line, length) != length)
    abort();
  close(file);
}

/* The link map has the object's name, empty for the program. */
static const char *name_of(const uintptr_t *cookie) {
  const struct link_map *map = (const struct link_map *)*cookie;
  return *map->l_name ? map->l_name : "program";
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
  (void)space;
  *cookie = (uintptr_t)map;
  /* Bindings to the C library alone are looked at: torch has a million others. */
  return LA_FLG_BINDFROM | (strstr(map->l_name, "/libc.so.6") ? LA_FLG_BINDTO : 0);
}

char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag) {
  if (flag == LA_SER_ORIG)
    tell("asks", name_of(cookie), name);
  return (char *)name;
}

uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags, const char *name) {
  (void)index, (void)from, (void)to;
  if (strcmp(name, "dlopen"))
    *flags |= LA_SYMB_NOPLTENTER;
  *flags |= LA_SYMB_NOPLTEXIT;
  return symbol->st_value;
}

Elf64_Addr la_x86_64_gnu_pltenter(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, La_x86_64_regs *registers,
                                  unsigned *flags, const char *name, long *frame) {
  (void)index, (void)to, (void)flags, (void)name, (void)frame;
  if (registers->lr_rdi)
    tell("opens", name_of(from), (const char *)registers->lr_rdi);
  return symbol->st_value;
}
