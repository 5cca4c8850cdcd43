/* Socket activation and notification: a handful of environment variables and one datagram. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <proc/systemd.h>

enum { MAX_SOCKETS = 65536 };

/* Decimal text without sign; -1 if it is none or above max. */
static long
parse_number(const char *text, long max)
{
    size_t len = strlen(text);
    if (len == 0 || len > 10 || strspn(text, "0123456789") != len)
        return -1;
    long number = strtol(text, NULL, 10);
    return number <= max ? number : -1;
}

static int
read_variables(struct sl_systemd_sockets *sockets, struct sl_error *err)
{
    const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    if (pid_text == NULL || count_text == NULL)
        return SL_OK;
    long pid = parse_number(pid_text, 0x7fffffff);
    if (pid <= 0)
        return sl_error_set(err, SL_EINVAL, "LISTEN_PID='%.50s' is not a process id", pid_text);
    if (pid != (long)getpid())
        return SL_OK;
    long count = parse_number(count_text, MAX_SOCKETS);
    if (count < 0)
        return sl_error_set(err, SL_EINVAL, "LISTEN_FDS='%.50s' is not a number of sockets",
                            count_text);
    const char *names = getenv("LISTEN_FDNAMES");
    if (names != NULL && (sockets->names = strdup(names)) == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    sockets->count = (unsigned)count;
    return SL_OK;
}

static int
protect_descriptors(const struct sl_systemd_sockets *sockets, struct sl_error *err)
{
    for (unsigned i = 0; i < sockets->count; i++) {
        int fd = SL_SYSTEMD_FIRST_FD + (int)i;
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0)
            return sl_error_set(err, SL_ESYS, "descriptor %d promised by LISTEN_FDS: %s", fd,
                                strerror(errno));
    }
    return SL_OK;
}

int
sl_systemd_sockets_take(bool unset, struct sl_systemd_sockets *ret_sockets, struct sl_error *err)
{
    struct sl_systemd_sockets sockets = {0, NULL};
    int rc = read_variables(&sockets, err);
    if (rc == SL_OK)
        rc = protect_descriptors(&sockets, err);
    if (unset) {
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
    }
    if (rc == SL_OK)
        *ret_sockets = sockets;
    else
        sl_systemd_sockets_release(&sockets);
    return rc;
}

void
sl_systemd_sockets_name(const struct sl_systemd_sockets *sockets, unsigned index, char *out,
                        size_t size)
{
    const char *at = sockets->names;
    for (unsigned i = 0; at != NULL && i < index; i++) {
        at = strchr(at, ':');
        if (at != NULL)
            at++;
    }
    if (at == NULL || *at == '\0')
        snprintf(out, size, "unknown");
    else
        snprintf(out, size, "%.*s", (int)strcspn(at, ":"), at);
}

void
sl_systemd_sockets_release(struct sl_systemd_sockets *sockets)
{
    if (sockets == NULL)
        return;
    free(sockets->names);
    *sockets = (struct sl_systemd_sockets){0, NULL};
}

/* "/path" or "@abstract". */
static int
notify_address(const char *text, struct sockaddr_un *ret_un, socklen_t *ret_len)
{
    size_t len = strlen(text);
    if (text[0] != '/' && text[0] != '@')
        return SL_EUNAVAILABLE; /* vsock: of virtual machines */
    if (len < 2 || len >= sizeof ret_un->sun_path)
        return SL_EINVAL;
    *ret_un = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_un->sun_path, text, len);
    if (text[0] == '@')
        ret_un->sun_path[0] = '\0';
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
    return SL_OK;
}

int
sl_systemd_notify(const char *state)
{
    const char *target = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un;
    socklen_t len;
    if (target == NULL || *target == '\0')
        return SL_ENOENT;
    int rc = notify_address(target, &un, &len);
    if (rc != SL_OK)
        return rc;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return SL_ESYS;
    struct timeval patience = {.tv_sec = 1}; /* a stuck supervisor must not stop the arbiter */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t n;
    do
        n = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&un, len);
    while (n < 0 && errno == EINTR);
    int saved = errno;
    close(fd);
    errno = saved;
    if (n >= 0)
        return SL_OK;
    return saved == EMSGSIZE ? SL_EINVAL : SL_ESYS;
}
