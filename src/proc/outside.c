/* What the world outside is told: the pid file, the service manager, the process title. */
#include <proc/arbiter_state.h>

int
sl_arbiter_pidfile_open(struct sl_arbiter *arbiter, struct sl_error *err)
{
    (void)arbiter;
    (void)err;
    return SL_OK;
}

void
sl_arbiter_pidfile_close(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_pidfile_follow(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_pidfile_promote(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_notify_ready(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_notify_reloading(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_notify_stopping(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}

void
sl_arbiter_notify_promoted(struct sl_arbiter *arbiter)
{
    (void)arbiter;
}
