/* Finds the holder of a port in two steps: /proc/net/tcp{,6} gives the inode of the listening
 * socket, /proc/PID/fd tells which process has a descriptor of that inode. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/holder.h>
#include <saola/status.h>

enum { TCP_LISTEN_STATE = 0x0a };

/* An address of either family as IPv6: IPv4 ones mapped, the IPv4 wildcard as ::ffff:0.0.0.0. */
struct endpoint {
    uint32_t words[4]; /* network byte order */
    uint16_t port;
};

static bool
is_wildcard(const struct endpoint *e)
{
    return e->words[0] == 0 && e->words[1] == 0 && e->words[3] == 0 &&
           (e->words[2] == 0 || e->words[2] == htonl(0xffff));
}

static bool
from_sockaddr(const struct sockaddr *sa, struct endpoint *ret)
{
    struct endpoint e = {0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        e.words[2] = htonl(0xffff);
        e.words[3] = in->sin_addr.s_addr;
        e.port = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        memcpy(e.words, &in6->sin6_addr, 16);
        e.port = ntohs(in6->sin6_port);
    } else {
        return false;
    }
    *ret = e;
    return true;
}

/* One line of the table: " 0: 0100007F:1F40 00000000:0000 0A ... uid timeout inode". The kernel
 * prints addresses as host-order words. */
static bool
parse_line(const char *line, bool v6, struct endpoint *ret, unsigned long *ret_inode)
{
    struct endpoint e = {0};
    unsigned port, connection_state;
    int used = 0;
    if (v6)
        sscanf(line, " %*d: %8x%8x%8x%8x:%x %*x:%*x %x %*s %*s %*s %*d %*d %lu%n", &e.words[0],
               &e.words[1], &e.words[2], &e.words[3], &port, &connection_state, ret_inode, &used);
    else
        sscanf(line, " %*d: %8x:%x %*x:%*x %x %*s %*s %*s %*d %*d %lu%n", &e.words[3], &port,
               &connection_state, ret_inode, &used);
    if (used == 0 || connection_state != TCP_LISTEN_STATE)
        return false;
    if (!v6)
        e.words[2] = htonl(0xffff);
    e.port = (uint16_t)port;
    *ret = e;
    return true;
}

/* Inode of a listening socket in one table that conflicts with wanted; 0 if none. An exact match
 * wins over a wildcard. */
static unsigned long
find_inode(const char *table, bool v6, const struct endpoint *wanted)
{
    FILE *file = fopen(table, "re");
    if (file == NULL)
        return 0;
    char line[512];
    unsigned long found = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        struct endpoint e;
        unsigned long inode;
        if (!parse_line(line, v6, &e, &inode) || e.port != wanted->port)
            continue;
        bool same = memcmp(e.words, wanted->words, sizeof e.words) == 0;
        if (same || is_wildcard(&e) || is_wildcard(wanted))
            found = inode;
        if (same)
            break;
    }
    fclose(file);
    return found;
}

static bool
has_descriptor(const char *pid, unsigned long inode)
{
    char path[64], wanted[64], target[64];
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return false;
    bool found = false;
    struct dirent *entry;
    while (!found && (entry = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    closedir(dir);
    return found;
}

/* Lowest, since a parent that forked its workers is the one to name. */
static pid_t
find_process(unsigned long inode)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    pid_t lowest = 0;
    struct dirent *entry;
    while ((entry = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid_t pid = (pid_t)atol(entry->d_name);
        if ((lowest == 0 || pid < lowest) && has_descriptor(entry->d_name, inode))
            lowest = pid;
    }
    closedir(proc);
    return lowest;
}

static void
read_command(pid_t pid, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    snprintf(out, size, "a process");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    if (n <= 0)
        return;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    for (char *c = out; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
}

int
sl_listener_holder(const struct sockaddr *sa, struct sl_holder *ret_holder)
{
    struct endpoint wanted;
    if (!from_sockaddr(sa, &wanted))
        return SL_ENOENT;
    unsigned long inode = find_inode("/proc/net/tcp", false, &wanted);
    if (inode == 0)
        inode = find_inode("/proc/net/tcp6", true, &wanted);
    pid_t pid = inode == 0 ? 0 : find_process(inode);
    if (pid == 0)
        return SL_ENOENT;
    ret_holder->pid = pid;
    read_command(pid, ret_holder->command, sizeof ret_holder->command);
    return SL_OK;
}
