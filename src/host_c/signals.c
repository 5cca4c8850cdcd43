/* What a worker does upon signals: handlers only set flags and wake, the rest is done on the main
 * thread. TERM: leave when the requests are answered. INT, QUIT: leave at once. USR1: log files.
 * ABRT: the hook worker_abort, then the death that the core has prepared.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "host_c.h"

/* A signal handler has no argument; set once, in the worker. */
static struct sl_worker *here;

/* The worker hangs, and whatever lock may be held: so the hook is told (<saola/hooks.h>). Behind it
 * the core's handler shows stacks, where that was not done, and dies. */
static void
on_abort(int number)
{
    struct sl_hook_call call = {.hook = SL_HOOK_worker_abort, .worker = here};
    (void)here->generation->hooks->worker_abort(&call);
    sigaction(number, &here->abort_action, NULL);
    raise(number); /* pending until this handler returns */
}

void
sl_worker_stop(struct sl_worker *worker)
{
    int saved = errno;
    struct sl_engine *engine = worker->engine;
    worker->stopping = 1;
    if (engine != NULL)
        sl_engine_stop(engine);
    if (worker->stop_fd >= 0)
        (void)!write(worker->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    if (worker->loop != NULL)
        sl_loop_c_wake(worker->loop);
    if (worker->inited && worker->pool == NULL && worker->class->stop != NULL)
        worker->class->stop(worker, worker->class_state);
    errno = saved;
}

static void
on_signal(int number)
{
    struct sl_worker *worker = here;
    struct sl_engine *engine = worker->engine;
    if (number == SIGUSR1) {
        worker->reopen = 1;
    } else {
        worker->quitting |= number != SIGTERM;
        sl_worker_stop(worker);
    }
    if (engine != NULL)
        sl_engine_wake(engine);
    if (worker->loop != NULL)
        sl_loop_c_wake(worker->loop);
}

void
sl_worker_take_signals(struct sl_worker *worker)
{
    static const int taken[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    here = worker;
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        sigaction(taken[i], &action, NULL);
    action.sa_handler = SIG_IGN; /* the arbiter's */
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    const struct sl_hooks *hooks = worker->generation->hooks;
    if (hooks != NULL && hooks->worker_abort != NULL) {
        action = (struct sigaction){.sa_handler = on_abort};
        sigfillset(&action.sa_mask);
        sigaction(SIGABRT, &action, &worker->abort_action);
    }
}
