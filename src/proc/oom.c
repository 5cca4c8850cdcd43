/* Whether the kernel killed for memory: it counts its kills, for each control group. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <proc/oom.h>

enum { FILE_MAX = 8192 }; /* /proc/self/cgroup has a line of some 100 bytes a controller */

/* Reads a small file. Length, or -1. */
static ssize_t
read_small(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = 0, n;
    while ((size_t)len < size - 1 && (n = read(fd, to + len, size - 1 - (size_t)len)) > 0)
        len += n;
    close(fd);
    to[len] = '\0';
    return len;
}

/* The number in the line "oom_kill N". */
static bool
read_counter(const char *path, uint64_t *ret_count)
{
    static const char key[] = "oom_kill ";
    char text[1024];
    if (read_small(path, text, sizeof text) < 0)
        return false;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, sizeof key - 1) == 0) {
            *ret_count = strtoull(line + sizeof key - 1, NULL, 10);
            return true;
        }
    }
    return false;
}

static bool
try_path(struct sl_oom *oom, const char *root, const char *sub, const char *group, size_t len,
         const char *name)
{
    int n = snprintf(oom->path, sizeof oom->path, "%s%s%.*s/%s", root, sub, (int)len, group, name);
    if (n > 0 && (size_t)n < sizeof oom->path && read_counter(oom->path, &oom->seen))
        return true;
    oom->path[0] = '\0';
    return false;
}

/* A line of /proc/self/cgroup: "0::/system.slice/x" (v2) or "4:memory:/x" (v1). In a container the
 * group may be mounted as the root. */
static bool
try_line(struct sl_oom *oom, const char *root, const char *line, size_t len)
{
    const char *controllers = memchr(line, ':', len);
    if (controllers == NULL)
        return false;
    controllers++;
    const char *group = memchr(controllers, ':', len - (size_t)(controllers - line));
    if (group == NULL)
        return false;
    size_t names = (size_t)(group++ - controllers), group_len = len - (size_t)(group - line);
    if (names == 0)
        return try_path(oom, root, "", group, group_len, "memory.events") ||
               try_path(oom, root, "", "", 0, "memory.events");
    if (memmem(controllers, names, "memory", 6) == NULL)
        return false;
    return try_path(oom, root, "/memory", group, group_len, "memory.oom_control") ||
           try_path(oom, root, "/memory", "", 0, "memory.oom_control");
}

void
sl_oom_init(struct sl_oom *oom, const char *cgroup, const char *root)
{
    char text[FILE_MAX];
    *oom = (struct sl_oom){.seen = 0};
    if (read_small(cgroup, text, sizeof text) < 0)
        return;
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (try_line(oom, root, line, len))
            return;
        line += len + (line[len] == '\n');
    }
}

bool
sl_oom_struck(struct sl_oom *oom, bool *ret_known)
{
    uint64_t now = 0;
    *ret_known = oom->path[0] != '\0' && read_counter(oom->path, &now);
    if (!*ret_known || now <= oom->seen)
        return false;
    oom->seen = now;
    return true;
}
