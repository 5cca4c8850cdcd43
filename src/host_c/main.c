/* The program saola without Python: serves applications in C. */
#include "host_c.h"

int
main(int argc, char **argv)
{
    struct sl_run_options options = {.argc = argc, .argv = argv};
    return sl_run_program(&options);
}
