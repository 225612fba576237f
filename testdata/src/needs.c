/* Linked to the driver: DT_NEEDED libcuda.so.1. */
int cuInit(unsigned int flags);

int start_driver(void) { return cuInit(0); }
