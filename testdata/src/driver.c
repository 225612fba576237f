/* A stand-in for the driver's libcuda.so.1: what a program finds, or does not. */
int cuInit(unsigned int flags) { return (int)flags; }
