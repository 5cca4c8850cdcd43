/* Files inside a directory, and none outside of it. */
#ifndef SL_FILES_OPEN_H
#define SL_FILES_OPEN_H

#include <sys/stat.h>

/* Opens a file or directory below dir_fd for reading. path: relative, segments separated by single
 * slashes, without "." and ".."; "" is the directory itself. Links that stay inside are followed
 * where the kernel can see to that (openat2(2), Linux 5.6); else none is. Never blocks on a FIFO.
 * Returns a close-on-exec descriptor with *ret_status filled, or -1 with errno: EXDEV or ELOOP for
 * what leads outside. The caller closes it. */
int sl_file_open_beneath(int dir_fd, const char *path, struct stat *ret_status);

/* The same by steps, as it is done where openat2() is missing; for its test. */
int sl_file_open_by_steps(int dir_fd, const char *path);

#endif
