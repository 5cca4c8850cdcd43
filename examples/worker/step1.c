/* A worker class that does not do anything yet. See docs/writing-a-worker.md.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) step1.c -o step1.so
 *     saola -k ./step1.so:my_worker
 */
#include <saola/app.h>

SL_WORKER_CLASS(my_worker) = {.abi = SL_WORKER_CLASS_ABI, .name = "my_worker"};
