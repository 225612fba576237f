/* Says whether the driver is found. Links libopens.so, or is built together with opens.c. */
#include <stdio.h>

int open_driver(void);

int main(void) {
    puts(open_driver() ? "driver found" : "driver not found");
    return 0;
}
