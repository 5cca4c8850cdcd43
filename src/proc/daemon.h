/* Going into the background. */
#ifndef SL_PROC_DAEMON_H
#define SL_PROC_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>
#include <saola/status.h>

/* fork(2) as the host language needs it. */
typedef pid_t (*sl_fork_fn)(void *ctx);

/* Makes this a daemon: double fork, new session, umask 022, standard input from /dev/null; standard
 * output and error to /dev/null too, with inherit_stdio only those that are a terminal. Returns
 * SL_OK in the daemon; the process that called ends with status 0, or 1 when the second fork
 * failed. On SL_ESYS nothing happened. fork_fn NULL is fork(2). Call it before threads and before
 * descriptors 0 to 2 mean something else. */
int sl_daemonize(bool inherit_stdio, sl_fork_fn fork_fn, void *ctx, struct sl_error *err);

#endif
