/* A worker whose arbiter has died leaves as if it had been told to, under the same clocks.
 *
 * Process: worker. Everything happens in a signal handler and a timer of the kernel, so a worker
 * that hangs inside an extension module, with the interpreter's lock held, is ended as surely as
 * another.
 */
#ifndef SAOLA_PROC_ORPHAN_H
#define SAOLA_PROC_ORPHAN_H

#include <stdbool.h>
#include <sys/types.h>
#include <saola/host.h>

struct sl_orphan_setup {
    pid_t parent;
    long long grace_ms, exit_ms; /* exit_ms 0: for ever */
    const struct sl_slot *slot;
    bool exclusive; /* its exit hooks save state: it gets its time, also when it seems to hang */
};

/* Right after the fork. From now on the death of the parent (its thread that forked this process)
 * brings SIGTERM at once, SIGABRT after grace_ms and SIGKILL a second after that; a worker that
 * hangs with its host's lock held is killed at once (sl_worker_watch() in host.h). If the parent is
 * dead already the process ends here. exit_ms is the time from sl_orphan_drained() on. */
void sl_orphan_prepare(const struct sl_orphan_setup *setup);

/* Signals do not reach a process that is stopped (SIGSTOP, ^Z), but SIGCONT continues it: from now
 * on the kernel sends one when the last writing end of this pipe is closed. That needs an open file
 * of this process's own. Returns the descriptor to use in place of death_fd, which is closed then;
 * death_fd itself when it cannot be done. */
int sl_orphan_continue(int death_fd);

/* The requests are finished: what remains may take exit_ms from now, or from the arbiter's death if
 * that comes later. Any thread. Nothing happens in a process that was not prepared. */
void sl_orphan_drained(void);

/* Ends the process if parent is gone; asked again after a change of user, which may hide the news.
 */
void sl_orphan_check(pid_t parent);

#endif
