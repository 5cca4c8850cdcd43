/* The file of a unix socket. It outlives its server, so a path that exists proves nothing: whether
 * it is served shows only when one connects. lstat, never stat: a link must not make us remove its
 * target. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <net/unix_path.h>

enum { LOCK_TRIES = 100, LOCK_PAUSE_MS = 10 };

int
sl_unix_path_lock(const char *path)
{
    char dir[sizeof((struct sockaddr_un *)NULL)->sun_path + 2];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(dir, sizeof dir, ".");
    else
        snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        poll(NULL, 0,
             LOCK_PAUSE_MS); /* anybody may hold it in a public directory: do not wait long */
    }
    close(fd);
    return -1;
}

/* 0 if nobody serves the path, EBUSY if somebody does, else the errno that hides it. */
static int
probe(const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int rc = connect(fd, sa, len);
    int code = errno;
    close(fd);
    if (rc == 0)
        return EBUSY;
    switch (code) {
    case ECONNREFUSED:
    case ENOENT:
        return 0;
    case EAGAIN: /* its backlog is full: very much alive */
    case EINPROGRESS:
    case EPROTOTYPE:
        return EBUSY; /* a live datagram socket */
    default:
        return code;
    }
}

int
sl_unix_path_clear(const struct sockaddr *sa, socklen_t len, struct sl_error *err)
{
    const char *path = ((const struct sockaddr_un *)(const void *)sa)->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return SL_OK; /* a missing directory is bind's to report */
        return sl_error_set(err, SL_ESYS, "unix:%s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode))
        return sl_error_set(err, SL_EINVAL, "unix:%s: the path exists and is not a socket", path);
    int code = probe(sa, len);
    if (code == EBUSY)
        return sl_error_set(err, SL_EBUSY, "unix:%s is in use by another server", path);
    if (code != 0)
        return sl_error_set(err, SL_ESYS, "unix:%s exists and cannot be examined: %s", path,
                            strerror(code));
    if (unlink(path) != 0 && errno != ENOENT)
        return sl_error_set(err, SL_ESYS, "unix:%s: the old socket cannot be removed: %s", path,
                            strerror(errno));
    return SL_OK;
}

int
sl_unix_path_identify(const char *path, struct sl_listener *listener)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return SL_ENOENT;
    char *file = NULL, *cwd = NULL;
    if (path[0] == '/')
        file = strdup(path);
    else if ((cwd = getcwd(NULL, 0)) == NULL || asprintf(&file, "%s/%s", cwd, path) < 0)
        file = NULL;
    free(cwd);
    if (file == NULL)
        return SL_ENOMEM;
    listener->file = file;
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
    return SL_OK;
}
