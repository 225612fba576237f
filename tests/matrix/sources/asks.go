// What asks.c does, as Go's internal linker links it.
package main

/*
#include <dlfcn.h>
#include <stdio.h>

static void ask(int damaged) {
	void *probe = dlopen("libprobe.so", RTLD_NOW);
	int (*number)(void) = probe ? (int (*)(void))dlsym(probe, "probe_number") : 0;
	printf("%d\n", damaged ? -2 : number ? number() : -1);
	fflush(stdout);
}
*/
import "C"

var zero [64]byte
var words = []string{"relocated", "pointers"}

func main() {
	damaged := C.int(0)
	for i := 0; i < len(zero); i++ {
		if zero[i] != 0 {
			damaged = 1
		}
	}
	if words[0] != "relocated" || words[1] != "pointers" {
		damaged = 1
	}
	C.ask(damaged)
}
