/* Where a worker is: a signal upon which it writes the stacks of its threads into memory that the
 * arbiter can read, whatever it is doing.
 *
 * The memory is a file without a name (memfd), one for each place of the arbiter, made before the
 * fork and used again by the next worker. The handler is the core's and writes the native stack of
 * the thread that takes the signal, and has the others write theirs if the worker is condemned; a
 * host that knows more puts its own below it (sl_stacks_wrap()). Async-signal-safe but for the
 * first native stack of a process, which the arbiter makes for all (sl_stacks_warm_up()).
 */
#ifndef SAOLA_PROC_STACKS_H
#define SAOLA_PROC_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <saola/host.h>

/* (arbiter, before the first fork) Lets libc load what native stacks need. */
void sl_stacks_warm_up(void);

/* (arbiter) Empties *fd for the next worker; makes it if it is -1, which it stays if that fails:
 * the worker then shows nothing. */
void sl_stacks_clear(int *fd);

/* (worker, right after the fork) From now on it can be asked. Of SIGABRT, too, until the host has a
 * handler of its own: then it dies of it. */
void sl_stacks_prepare(struct sl_slot *slot, int fd);

/* (arbiter) What was written from byte *told on, which moves to its end; NULL: nothing. The
 * caller's to free. */
char *sl_stacks_read(int fd, size_t *told);

#endif
