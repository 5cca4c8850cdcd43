/* The lock file. Who has locked a file that is no longer at its path has locked nothing and looks
 * again, so the file may be removed by whoever holds its lock. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <proc/exclusive.h>

enum { TRIES = 16 };

/* ---- where --------------------------------------------------------------------------------- */

static const char *
runtime_dir(void)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    bool usable = dir != NULL && dir[0] == '/' && stat(dir, &st) == 0 && S_ISDIR(st.st_mode) &&
                  st.st_uid == geteuid();
    return usable ? dir : "/tmp";
}

/* FNV-1a, the NUL at the end included: "a", "b" differs from "ab". */
static uint64_t
mix(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    while (*text++ != '\0');
    return hash;
}

static char *
derived_path(const struct sl_config *config, const char *cwd)
{
    uint64_t hash = mix(0xcbf29ce484222325u, cwd);
    char *path = NULL;
    for (size_t i = 0; i < config->bind.count; i++)
        hash = mix(hash, config->bind.items[i]);
    int n = asprintf(&path, "%s/saola-%u-%016" PRIx64 ".lock", runtime_dir(), (unsigned)geteuid(),
                     hash);
    return n < 0 ? NULL : path;
}

static char *
given_path(const char *path, const char *suffix, const char *cwd)
{
    char *full = NULL;
    bool absolute = path[0] == '/';
    int n = asprintf(&full, "%s%s%s%s", absolute ? "" : cwd, absolute ? "" : "/", path, suffix);
    return n < 0 ? NULL : full;
}

static bool
is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

char *
sl_exclusive_path(const struct sl_config *config)
{
    char *cwd = getcwd(NULL, 0), *path;
    if (cwd == NULL)
        return NULL;
    if (is_given(config->exclusive_lock))
        path = given_path(config->exclusive_lock, "", cwd);
    else if (is_given(config->pidfile))
        path = given_path(config->pidfile, ".lock", cwd);
    else
        path = derived_path(config, cwd);
    free(cwd);
    return path;
}

/* ---- taking -------------------------------------------------------------------------------- */

static bool
is_at(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* In a directory that all may write to, somebody else's file is no lock of ours. */
static int
open_file(const char *path, int *ret_fd, struct sl_error *err)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return sl_error_set(err, errno == ENOENT ? SL_ENOENT : SL_ESYS, "lock file '%s': %s", path,
                            strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_uid == geteuid() || geteuid() == 0)) {
        *ret_fd = fd;
        return SL_OK;
    }
    close(fd);
    return sl_error_set(err, SL_EINVAL, "lock file '%s' is not a regular file of this user", path);
}

static int
refuse(int fd, const char *path, int code, struct sl_error *err)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    long pid = strtol(text, NULL, 10);
    close(fd);
    if (code != EWOULDBLOCK)
        return sl_error_set(err, SL_ESYS, "lock file '%s': %s", path, strerror(code));
    if (pid > 0)
        return sl_error_set(err, SL_EBUSY, "pid %ld holds the lock '%s'.", pid, path);
    return sl_error_set(err, SL_EBUSY, "another process holds the lock '%s'.", path);
}

int
sl_exclusive_take(const char *path, int *ret_fd, struct sl_error *err)
{
    for (int i = 0; i < TRIES; i++) {
        int fd = -1;
        int rc = open_file(path, &fd, err);
        if (rc != SL_OK)
            return rc;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0)
            return refuse(fd, path, errno, err);
        if (is_at(fd, path)) {
            *ret_fd = fd;
            return SL_OK;
        }
        close(fd);
    }
    return sl_error_set(err, SL_EBUSY, "lock '%s' is being fought for.", path);
}

/* Without the pid the lock holds all the same. */
void
sl_exclusive_sign(int fd)
{
    char line[32];
    int len = snprintf(line, sizeof line, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, line, (size_t)len, 0) != len)
        (void)!ftruncate(fd, 0);
}

void
sl_exclusive_remove(const char *path)
{
    if (path == NULL)
        return;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_at(fd, path))
        (void)unlink(path);
    close(fd);
}
