/* Names the driver and lets a wrapper open it, as plugins of GStreamer and OBS do. */
void *wrapper_open(const char *name);

void *open_driver(void) { return wrapper_open("libcuda.so.1"); }
