/* The library libsaola: the core and this room, linked whole. A library wants a file of its own. */
#include <saola/run.h>
