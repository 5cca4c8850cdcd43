/* The pid file. A complete, locked temporary file is put into place by link(2) when the place is
 * free and by rename(2) when an unlocked file lies there; the old file's lock is held meanwhile, so
 * of several arbiters that start at once one wins. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <proc/pidfile.h>

enum { TRIES = 16 };

static char *
absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    char *cwd = getcwd(NULL, 0), *full = NULL;
    if (cwd == NULL || asprintf(&full, "%s/%s", cwd, path) < 0)
        full = NULL;
    free(cwd);
    return full;
}

/* A temporary file beside path, with our pid, locked. Returns its descriptor or -1 with errno. */
static int
write_temporary(char *temporary)
{
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -1;
    char line[32];
    int len = snprintf(line, sizeof line, "%d\n", (int)getpid());
    if (fchmod(fd, 0644) == 0 && write(fd, line, (size_t)len) == len &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int saved = errno;
    close(fd);
    unlink(temporary);
    errno = saved;
    return -1;
}

static bool
is_same_file(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

static int
already_running(int fd, const char *path, struct sl_error *err)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return sl_error_set(err, SL_EBUSY, "Already running on PID %ld (or pid file '%s' is stale)",
                        strtol(text, NULL, 10), path);
}

/* Opens and locks the file that lies at path. SL_OK with a descriptor, or -1 in it when the file is
 * gone or was replaced meanwhile: look again. */
static int
lock_old(const char *path, int *ret_fd, struct sl_error *err)
{
    *ret_fd = -1;
    struct stat st;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SL_OK;
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return sl_error_set(err, SL_EINVAL, "pid file '%s' is not a regular file", path);
    if (fd < 0)
        return sl_error_set(err, SL_ESYS, "pid file '%s': %s", path, strerror(errno));
    int rc = SL_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = sl_error_set(err, SL_EINVAL, "pid file '%s' is not a regular file", path);
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK ? already_running(fd, path, err)
                                  : sl_error_set(err, SL_ESYS, "pid file '%s' cannot be locked: %s",
                                                 path, strerror(errno));
    if (rc == SL_OK && is_same_file(fd, path)) {
        *ret_fd = fd;
        return SL_OK;
    }
    close(fd);
    return rc;
}

/* Moves the file at from to path unless a living writer's file is there. */
static int
put_into_place(const char *from, const char *path, struct sl_error *err)
{
    for (int i = 0; i < TRIES; i++) {
        if (link(from, path) == 0) {
            unlink(from);
            return SL_OK;
        }
        bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS;
        if (errno != EEXIST && !no_links)
            return sl_error_set(err, SL_ESYS, "pid file '%s': %s", path, strerror(errno));
        int old;
        int rc = lock_old(path, &old, err);
        if (rc != SL_OK)
            return rc;
        if (old < 0 && !no_links)
            continue;
        int renamed = rename(from, path), saved = errno;
        if (old >= 0)
            close(old);
        if (renamed == 0)
            return SL_OK;
        return sl_error_set(err, SL_ESYS, "pid file '%s': %s", path, strerror(saved));
    }
    return sl_error_set(err, SL_EBUSY, "pid file '%s' is being fought for by other processes",
                        path);
}

static int
create_error(const char *path, int code, struct sl_error *err)
{
    if (code == ENOENT || code == ENOTDIR)
        return sl_error_set(err, SL_ENOENT, "the directory of pid file '%s' does not exist", path);
    return sl_error_set(err, SL_ESYS, "pid file '%s' cannot be written: %s", path, strerror(code));
}

int
sl_pidfile_open(const char *path, struct sl_pidfile *ret_file, struct sl_error *err)
{
    char *full = absolute(path), *temporary = NULL;
    if (full == NULL || asprintf(&temporary, "%s.XXXXXX", full) < 0) {
        free(full);
        return sl_error_set(err, SL_ENOMEM, "pid file '%s': out of memory", path);
    }
    int fd = write_temporary(temporary);
    int rc = fd < 0 ? create_error(path, errno, err) : put_into_place(temporary, full, err);
    if (rc == SL_OK) {
        *ret_file = (struct sl_pidfile){.path = full, .fd = fd};
    } else {
        if (fd >= 0) {
            close(fd);
            unlink(temporary);
        }
        free(full);
    }
    free(temporary);
    return rc;
}

int
sl_pidfile_rename(struct sl_pidfile *file, const char *path, struct sl_error *err)
{
    char *full = absolute(path);
    if (full == NULL)
        return sl_error_set(err, SL_ENOMEM, "pid file '%s': out of memory", path);
    int rc = SL_OK;
    if (strcmp(full, file->path) == 0)
        rc = SL_OK;
    else if (!is_same_file(file->fd, file->path))
        rc = sl_error_set(err, SL_ENOENT, "pid file '%s' was removed or replaced", file->path);
    else
        rc = put_into_place(file->path, full, err);
    if (rc != SL_OK) {
        free(full);
        return rc;
    }
    free(file->path);
    file->path = full;
    return SL_OK;
}

bool
sl_pidfile_close(struct sl_pidfile *file)
{
    if (file == NULL || file->path == NULL)
        return false;
    bool removed = is_same_file(file->fd, file->path) && unlink(file->path) == 0;
    sl_pidfile_forget(file);
    return removed;
}

void
sl_pidfile_remove_left(const char *path, pid_t pid)
{
    char text[32] = "";
    struct sl_error err;
    int fd;
    if (lock_old(path, &fd, &err) != SL_OK || fd < 0)
        return;
    if (pread(fd, text, sizeof text - 1, 0) > 0 && strtol(text, NULL, 10) == (long)pid)
        (void)unlink(path);
    close(fd);
}

void
sl_pidfile_forget(struct sl_pidfile *file)
{
    if (file == NULL || file->path == NULL)
        return;
    close(file->fd);
    free(file->path);
    *file = (struct sl_pidfile){.path = NULL, .fd = -1};
}
