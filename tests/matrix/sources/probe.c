/* The library that only one directory of the search path holds; its number says which. */
int probe_number(void) { return NUMBER; }
