/* Opens libraries with the loader, each in a process of its own. A line of the input is a library, a symbol of it or "-",
   and the libraries that it needs; a line of the output is "ok" or what went wrong. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
  printf("%s\n", what);
  fflush(stdout);
  _exit(0);
}

static void open_all(char *line) {
  char *words[64];
  int count = 0;
  for (char *word = strtok(line, " \n"); word && count < 64; word = strtok(NULL, " \n"))
    words[count++] = word;
  for (int i = 2; i < count; i++)
    if (!dlopen(words[i], RTLD_LAZY)) fail(dlerror());
  void *library = dlopen(words[0], RTLD_NOW);
  if (!library) fail(dlerror());
  if (strcmp(words[1], "-") && !dlsym(library, words[1])) fail(dlerror());
  dlclose(library);
  fail("ok");
}

int main(void) {
  static char line[65536];
  while (fgets(line, sizeof line, stdin)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) open_all(line);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("killed by signal %d\n", WTERMSIG(status));
    else if (WEXITSTATUS(status)) printf("exit status %d\n", WEXITSTATUS(status));
  }
  return 0;
}
