/* A worker whose arbiter has died leaves as if it had been told to, and is killed if it does not.
 *
 * Process: worker. Everything happens in a signal handler and a timer of the kernel, so a worker that
 * hangs inside an extension module, with the interpreter's lock held, is ended as surely as another.
 */
#ifndef SAOLA_PROC_ORPHAN_H
#define SAOLA_PROC_ORPHAN_H

#include <sys/types.h>

/* Right after the fork. From now on the death of parent (its thread that forked this process) brings
 * SIGTERM at once and SIGKILL after grace_ms. If it is dead already the process ends here. */
void sl_orphan_prepare(pid_t parent, long long grace_ms);

/* Ends the process if parent is gone; asked again after a change of user, which may hide the news. */
void sl_orphan_check(pid_t parent);

#endif
