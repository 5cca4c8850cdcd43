/* The lock of an exclusive worker: a file whose flock(2) lives as long as the worker process.
 *
 * The arbiter takes it before the fork and hands it to the child by inheritance, so it is free
 * again when the last process that came from that fork without exec is gone, whatever became of the
 * arbiter. Thus neither an arbiter started by USR2 nor one that follows a killed arbiter makes a
 * second worker while the first still saves.
 */
#ifndef SL_PROC_EXCLUSIVE_H
#define SL_PROC_EXCLUSIVE_H

#include <stddef.h>
#include <config/config.h>
#include <saola/status.h>

/* Where the lock of this configuration is: exclusive_lock; else PIDFILE.lock; else a name made of
 * the working directory and the addresses, in XDG_RUNTIME_DIR or /tmp. Absolute, on the heap; NULL
 * without memory. (arbiter; looks at the working directory) */
char *sl_exclusive_path(const struct sl_config *config);

/* (arbiter) SL_OK with a descriptor that is closed on exec. SL_EBUSY: another holder lives, err
 * names it. SL_ESYS, SL_EINVAL, SL_ENOENT: the file cannot be used. */
int sl_exclusive_take(const char *path, int *ret_fd, struct sl_error *err);

/* (worker) Writes this process's pid into the file, for those who wait. */
void sl_exclusive_sign(int fd);

/* (arbiter) Removes the file unless somebody holds the lock. NULL is accepted. */
void sl_exclusive_remove(const char *path);

#endif
