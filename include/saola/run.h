/* The whole server in somebody's main(). */
#ifndef SAOLA_RUN_H
#define SAOLA_RUN_H

#include <saola/app.h>
#include <saola/hooks.h>
#include <saola/pool.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_run_options {
    int argc; /* of main(); 0: no command line, and USR2 starts the program as it was started */
    char **argv;
    /* Served unless NULL; then the command line names one. */
    const struct sl_app *app;
    /* Used unless NULL; then the setting worker_class says which. */
    const struct sl_worker_class *worker_class;
    const struct sl_hooks *hooks; /* NULL: those of the setting, if any */
    /* Pools beside those that the command line names, ended by NULL. With a pool there need be no
     * application. May be NULL. */
    const struct sl_pool *const *pools;
    /* Pairs of name and value, ended by NULL: defaults of this program. Environment and command
     * line go before them. May be NULL. */
    const char *const *defaults;
};

/* Runs the server as the program `saola` does: arbiter, workers, signals, logs, reload, upgrade.
 * Returns the exit status (enum sl_exit_code); errors are one line on standard error or in the log.
 * Worker processes do not return from it. Everything that options point to must live until then.
 *
 * Process: no threads yet: it forks. Meanwhile all signals, the working directory and the title are
 * the server's; when it returns they are as they were (standard streams that daemon or
 * capture_output have turned elsewhere are not), and it may be called again. */
int sl_run(const struct sl_run_options *options);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
