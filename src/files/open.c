/* Files inside a directory, and none outside of it. */
#include "files/open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not every libc has <linux/openat2.h>'s struct; it is part of the kernel's interface. */
struct how {
    unsigned long long flags, mode, resolve;
};

enum {
    OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
    NO_MAGICLINKS = 0x02, /* RESOLVE_NO_MAGICLINKS */
    BENEATH = 0x08,       /* RESOLVE_BENEATH */
    TRIES = 4,            /* a rename on the way makes the kernel unsure: EAGAIN */
};

int
sl_file_open_by_steps(int dir_fd, const char *path)
{
    int at = dir_fd;
    for (;;) {
        char name[NAME_MAX + 1];
        const char *slash = strchrnul(path, '/');
        size_t len = (size_t)(slash - path);
        if (len > NAME_MAX) {
            errno = ENAMETOOLONG;
            len = 0;
        } else {
            memcpy(name, path, len);
            name[len] = '\0';
        }
        int fd = -1;
        if (len > 0 || *path == '\0')
            fd = openat(at, len == 0 ? "." : name,
                        *slash == '\0' ? OPEN_FLAGS | O_NOFOLLOW
                                       : O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
        int error = errno;
        if (at != dir_fd)
            close(at);
        errno = error;
        if (fd < 0 || *slash == '\0' || slash[1] == '\0')
            return fd;
        at = fd;
        path = slash + 1;
    }
}

static int
open_beneath(int dir_fd, const char *path)
{
#ifdef SYS_openat2
    const struct how how = {.flags = OPEN_FLAGS, .resolve = BENEATH | NO_MAGICLINKS};
    for (int i = 0; i < TRIES; i++) {
        long fd = syscall(SYS_openat2, dir_fd, *path == '\0' ? "." : path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM) /* an old kernel, a sandbox that knows no openat2 */
            return sl_file_open_by_steps(dir_fd, path);
        if (errno != EAGAIN && errno != EINTR)
            return -1;
    }
    return -1;
#else
    return sl_file_open_by_steps(dir_fd, path);
#endif
}

int
sl_file_open_beneath(int dir_fd, const char *path, struct stat *ret_status)
{
    int fd = open_beneath(dir_fd, path);
    if (fd < 0 || fstat(fd, ret_status) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}
