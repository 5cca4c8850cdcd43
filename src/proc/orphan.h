/* A worker whose arbiter has died leaves as if it had been told to, under the same clocks.
 *
 * Process: worker. Everything happens in a signal handler and a timer of the kernel, so a worker
 * that hangs inside an extension module, with the interpreter's lock held, is ended as surely as
 * another.
 */
#ifndef SAOLA_PROC_ORPHAN_H
#define SAOLA_PROC_ORPHAN_H

#include <sys/types.h>

/* Right after the fork. From now on the death of parent (its thread that forked this process)
 * brings SIGTERM at once, SIGABRT after grace_ms and SIGKILL a second after that. If it is dead
 * already the process ends here. exit_ms (0: for ever) is the time from sl_orphan_drained() on. */
void sl_orphan_prepare(pid_t parent, long long grace_ms, long long exit_ms);

/* The requests are finished: what remains may take exit_ms from now, or from the arbiter's death if
 * that comes later. Any thread. Nothing happens in a process that was not prepared. */
void sl_orphan_drained(void);

/* Ends the process if parent is gone; asked again after a change of user, which may hide the news.
 */
void sl_orphan_check(pid_t parent);

#endif
