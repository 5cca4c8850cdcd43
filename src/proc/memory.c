/* Reading what a process uses from /proc/PID. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <proc/memory.h>

enum { FILE_MAX = 4096 }; /* smaps_rollup has some 700 bytes */

/* Reads a small file of the process. False with errno. */
static bool
read_file(const char *proc, pid_t pid, const char *name, char *to, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%d/%s", proc, (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    ssize_t n = 0;
    while (len < size - 1 &&
           ((n = read(fd, to + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    int saved = errno;
    close(fd);
    errno = saved;
    to[len] = '\0';
    return n >= 0;
}

/* Resident pages, and those of them that belong to files or shared memory. */
static bool
read_resident(const char *proc, pid_t pid, long long *ret_all, long long *ret_files)
{
    char text[FILE_MAX];
    long long all, files;
    if (!read_file(proc, pid, "statm", text, sizeof text))
        return false;
    if (sscanf(text, "%*d %lld %lld", &all, &files) != 2) {
        errno = EPROTO;
        return false;
    }
    *ret_all = all * sysconf(_SC_PAGESIZE);
    *ret_files = files * sysconf(_SC_PAGESIZE);
    return true;
}

static bool
read_pss(const char *proc, pid_t pid, long long *ret_bytes)
{
    static const char key[] = "\nPss:";
    char text[FILE_MAX];
    if (!read_file(proc, pid, "smaps_rollup", text, sizeof text))
        return false;
    const char *line = strstr(text, key);
    if (line == NULL) {
        errno = EPROTO;
        return false;
    }
    *ret_bytes = strtoll(line + sizeof key - 1, NULL, 10) * 1024;
    return true;
}

int
sl_memory_read(const char *proc, pid_t pid, long long limit, long long *ret_bytes,
               const char **ret_why)
{
    long long all, files;
    *ret_why = NULL;
    if (!read_resident(proc, pid, &all, &files))
        return SL_ESYS;
    *ret_bytes = all;
    if (all <= limit || read_pss(proc, pid, ret_bytes))
        return SL_OK;
    *ret_why = strerror(errno);
    *ret_bytes = all > files ? all - files : 0;
    return SL_OK;
}
