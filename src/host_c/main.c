/* The program saola without Python: serves applications in C. */
#include <saola/run.h>

int
main(int argc, char **argv)
{
    struct sl_run_options options = {.argc = argc, .argv = argv};
    return sl_run(&options);
}
