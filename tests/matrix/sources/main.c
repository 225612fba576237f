/* Says what the search path in force leads to. */
#include <stdio.h>

int ask(void);

int main(void) { return printf("%d\n", ask()) < 0; }
