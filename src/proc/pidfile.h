/* The pid file: one line with the arbiter's pid, locked as long as it lives.
 *
 * The lock, not the number, tells whether the writer still lives, so a pid that another process was
 * given since is no false alarm. The lock is shared by forks: a worker calls sl_pidfile_forget()
 * first thing, or it would keep the file "running" after the arbiter's death.
 */
#ifndef SL_PROC_PIDFILE_H
#define SL_PROC_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>
#include <saola/status.h>

struct sl_pidfile {
    char *path; /* absolute; NULL when closed */
    int fd;     /* the locked file; close-on-exec */
};

/* Writes the pid of this process to path: complete or not at all, mode 0644, in place of an old
 * file whose writer is gone. SL_EBUSY ("Already running on PID P (or pid file 'X' is stale)"),
 * SL_ENOENT (no such directory), SL_EINVAL (path is not a regular file), SL_ENOMEM, SL_ESYS. */
int sl_pidfile_open(const char *path, struct sl_pidfile *ret_file, struct sl_error *err);

/* Moves the file to path (promotion after USR2: X.2 becomes X). Errors as open; then nothing
 * changed. */
int sl_pidfile_rename(struct sl_pidfile *file, const char *path, struct sl_error *err);

/* Removes the file if it still is ours, and unlocks. NULL and a closed one are accepted. True if it
 * was removed. */
bool sl_pidfile_close(struct sl_pidfile *file);

/* Removes the file that the process pid, now dead, has left at path. Another's is not touched. */
void sl_pidfile_remove_left(const char *path, pid_t pid);

/* (worker) Lets go of the inherited lock without touching the file. */
void sl_pidfile_forget(struct sl_pidfile *file);

#endif
