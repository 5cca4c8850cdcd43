/* How much memory a process uses: PSS, in which pages shared by n processes count for 1/n. */
#ifndef SAOLA_PROC_MEMORY_H
#define SAOLA_PROC_MEMORY_H

#include <sys/types.h>
#include <saola/status.h>

/* Bytes that a process uses. Adding up its pages takes the kernel a while (1 GB: some
 * milliseconds), so it is only done when they are more than limit counted in full: otherwise
 * *ret_bytes is any number up to limit. proc: "/proc".
 *
 * Where the kernel does not show PSS (rights, age) its own pages without files are counted, and
 * *ret_why, which is NULL else, says why; it is valid until the next call of strerror(). SL_ESYS,
 * with errno, if nothing can be read: the process is gone, or /proc is not to be seen. */
int sl_memory_read(const char *proc, pid_t pid, long long limit, long long *ret_bytes,
                   const char **ret_why);

#endif
