/* Nothing to do with any driver. */
int plain(int x) { return 2 * x; }
