/* syslog, in the form of gunicorn's entries: "<PRIORITY>gunicorn.PREFIX.error: [pid] message", over
 * UDP, TCP or a local socket (RFC 3164; over streams a line end closes an entry).
 *
 * It never waits: an entry that the socket does not take is lost, and a connection that is gone is
 * made anew with one of the next entries, once a second at most.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "host_c.h"

enum { DEFAULT_PORT = 514, REACH_MS = 2000 };

struct target {
    int type;                /* SOCK_DGRAM, SOCK_STREAM; 0: whichever a local socket is */
    char host[256], port[8]; /* host "": local */
    char path[108];
};

struct sl_syslog {
    struct target target;
    int facility;
    char *prefix;
    pthread_mutex_t lock; /* of what follows */
    int fd;
    bool stream;
    pid_t pid; /* who has connected */
    time_t tried_at;
};

static const struct facility {
    const char *name;
    int number;
} facilities[] = {
    {"kern", 0},     {"user", 1},      {"mail", 2},    {"daemon", 3},  {"auth", 4},
    {"security", 4}, {"syslog", 5},    {"lpr", 6},     {"news", 7},    {"uucp", 8},
    {"cron", 9},     {"authpriv", 10}, {"ftp", 11},    {"local0", 16}, {"local1", 17},
    {"local2", 18},  {"local3", 19},   {"local4", 20}, {"local5", 21}, {"local6", 22},
    {"local7", 23},
};

static const int priorities[] = {
    [SL_LOG_DEBUG] = 7, [SL_LOG_INFO] = 6,     [SL_LOG_WARNING] = 4,
    [SL_LOG_ERROR] = 3, [SL_LOG_CRITICAL] = 2,
};

/* ---- settings ---------------------------------------------------------------------------------
 */

static int
parse_facility(const char *name, struct sl_error *err)
{
    for (size_t i = 0; name != NULL && i < sizeof facilities / sizeof facilities[0]; i++) {
        if (strcasecmp(name, facilities[i].name) == 0)
            return facilities[i].number;
    }
    return sl_error_set(
        err, SL_EINVAL,
        "syslog_facility: %.80s: is none of kern, user, mail, daemon, auth, syslog, "
        "lpr, news, uucp, cron, authpriv, ftp, local0 to local7",
        name != NULL ? name : "none");
}

static int
parse_local(const char *text, struct target *target, struct sl_error *err)
{
    size_t len = strcspn(text, "#");
    const char *kind = text[len] == '#' ? text + len + 1 : "";
    if (len == 0 || len >= sizeof target->path)
        return sl_error_set(err, SL_EINVAL, "syslog_addr: unix://%.200s: is not a path of a socket",
                            text);
    if (strcmp(kind, "dgram") == 0)
        target->type = SOCK_DGRAM;
    else if (strcmp(kind, "stream") == 0)
        target->type = SOCK_STREAM;
    else if (*kind != '\0')
        return sl_error_set(err, SL_EINVAL,
                            "syslog_addr: unix://%.200s: #%.40s is neither #dgram nor #stream",
                            text, kind);
    memcpy(target->path, text, len);
    return SL_OK;
}

/* HOST[:PORT], [ADDRESS][:PORT] */
static int
parse_remote(const char *text, struct target *target, struct sl_error *err)
{
    bool bracket = text[0] == '[' && strchr(text, ']') != NULL;
    const char *host = bracket ? text + 1 : text;
    size_t len = strcspn(host, bracket ? "]" : ":");
    const char *rest = host + len + (bracket ? 1 : 0);
    const char *port = rest[0] == ':' ? rest + 1 : rest;
    if (*port != '\0' &&
        (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) > 65535))
        return sl_error_set(err, SL_EINVAL, "syslog_addr: %.80s is not a port number", port);
    if (len >= sizeof target->host)
        return sl_error_set(err, SL_EINVAL, "syslog_addr: %.80s...: is too long for a name", host);
    snprintf(target->host, sizeof target->host, "%.*s", len > 0 ? (int)len : 9,
             len > 0 ? host : "localhost");
    if (*port != '\0')
        snprintf(target->port, sizeof target->port, "%s", port);
    else
        snprintf(target->port, sizeof target->port, "%d", DEFAULT_PORT);
    return SL_OK;
}

static int
parse_target(const char *text, struct target *target, struct sl_error *err)
{
    *target = (struct target){0};
    if (text != NULL && strncmp(text, "unix://", 7) == 0)
        return parse_local(text + 7, target, err);
    target->type = text != NULL && strncmp(text, "tcp://", 6) == 0 ? SOCK_STREAM : SOCK_DGRAM;
    if (text == NULL || (target->type == SOCK_DGRAM && strncmp(text, "udp://", 6) != 0))
        return sl_error_set(err, SL_EINVAL,
                            "syslog_addr: %.200s: begins with none of udp://, tcp://, unix://",
                            text != NULL ? text : "no address");
    return parse_remote(text + 6, target, err);
}

int
sl_syslog_check(const struct sl_config *config, struct sl_error *err)
{
    struct target target;
    if (sl_config_number(config, "syslog") == 0)
        return SL_OK;
    int rc = parse_facility(sl_config_text(config, "syslog_facility"), err);
    return rc < 0 ? rc : parse_target(sl_config_text(config, "syslog_addr"), &target, err);
}

/* ---- connection -------------------------------------------------------------------------------
 */

static int
connect_to(const struct sockaddr *address, socklen_t len, int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, address, len) < 0 && errno != EINPROGRESS) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int
connect_local(struct sl_syslog *syslog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const socklen_t len = sizeof address;
    int type = syslog->target.type;
    memcpy(address.sun_path, syslog->target.path, sizeof address.sun_path);
    int fd = connect_to((struct sockaddr *)&address, len, AF_UNIX, type != 0 ? type : SOCK_DGRAM);
    syslog->stream = type == SOCK_STREAM;
    if (fd < 0 && type == 0 && errno == EPROTOTYPE) {
        fd = connect_to((struct sockaddr *)&address, len, AF_UNIX, SOCK_STREAM);
        syslog->stream = true;
    }
    return fd;
}

static int
connect_remote(struct sl_syslog *syslog)
{
    const struct target *target = &syslog->target;
    struct addrinfo hints = {.ai_socktype = target->type}, *found;
    syslog->stream = target->type == SOCK_STREAM;
    if (getaddrinfo(target->host, target->port, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *one = found; fd < 0 && one != NULL; one = one->ai_next)
        fd = connect_to(one->ai_addr, one->ai_addrlen, one->ai_family, one->ai_socktype);
    freeaddrinfo(found);
    return fd;
}

static void
disconnect(struct sl_syslog *syslog)
{
    if (syslog->fd >= 0)
        close(syslog->fd);
    syslog->fd = -1;
}

/* A process has a connection of its own, so that entries of several do not mix in a stream. */
static bool
ready(struct sl_syslog *syslog)
{
    pid_t pid = getpid();
    if (syslog->pid != pid)
        disconnect(syslog);
    if (syslog->fd >= 0)
        return true;
    time_t now = time(NULL);
    if (syslog->pid == pid && syslog->tried_at == now)
        return false;
    syslog->pid = pid;
    syslog->tried_at = now;
    syslog->fd = syslog->target.host[0] == '\0' ? connect_local(syslog) : connect_remote(syslog);
    return syslog->fd >= 0;
}

/* Waits until it is known whether somebody is there. */
static int
reach(struct sl_syslog *syslog, const char *address, struct sl_error *err)
{
    int error = ready(syslog) ? 0 : errno;
    socklen_t len = sizeof error;
    struct pollfd done = {.fd = syslog->fd, .events = POLLOUT};
    if (error == 0 && syslog->stream) {
        if (poll(&done, 1, REACH_MS) == 0)
            error = ETIMEDOUT;
        else if (getsockopt(syslog->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
            error = errno;
    }
    return error == 0 ? SL_OK
                      : sl_error_set(err, SL_ESYS, "syslog at %.200s cannot be reached: %s",
                                     address, strerror(error));
}

int
sl_syslog_open(const struct sl_config *config, const char *name, bool must_answer,
               struct sl_syslog **ret_syslog, struct sl_error *err)
{
    const char *prefix = sl_config_text(config, "syslog_prefix");
    bool named = prefix != NULL && *prefix != '\0';
    const char *address = sl_config_text(config, "syslog_addr");
    struct sl_syslog *syslog = calloc(1, sizeof *syslog);
    if (syslog == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    syslog->fd = -1;
    pthread_mutex_init(&syslog->lock, NULL);
    int rc = parse_target(address, &syslog->target, err);
    if (rc == SL_OK)
        rc = syslog->facility = parse_facility(sl_config_text(config, "syslog_facility"), err);
    syslog->prefix = strdup(named ? prefix : name);
    if (rc >= 0 && syslog->prefix == NULL)
        rc = sl_error_set(err, SL_ENOMEM, "out of memory");
    for (char *p = syslog->prefix; !named && p != NULL && *p != '\0'; p++)
        *p = *p == ':' ? '.' : *p; /* a colon ends the name of an entry */
    if (rc >= 0 && must_answer)
        rc = reach(syslog, address, err);
    if (rc < 0) {
        sl_syslog_close(syslog);
        return rc;
    }
    *ret_syslog = syslog;
    return SL_OK;
}

void
sl_syslog_write(struct sl_syslog *syslog, const char *kind, enum sl_log_level level,
                const char *text, size_t len)
{
    char head[400];
    int saved = errno;
    int size =
        snprintf(head, sizeof head, "<%d>gunicorn.%.300s.%s: [%d] ",
                 syslog->facility * 8 + priorities[level], syslog->prefix, kind, (int)getpid());
    pthread_mutex_lock(&syslog->lock);
    if (ready(syslog)) {
        struct iovec parts[] = {{.iov_base = head, .iov_len = (size_t)size},
                                {.iov_base = (void *)(uintptr_t)text, .iov_len = len},
                                {.iov_base = "\n", .iov_len = syslog->stream ? 1 : 0}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        ssize_t whole = size + (ssize_t)len + (syslog->stream ? 1 : 0);
        ssize_t sent = sendmsg(syslog->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        bool waits = sent < 0 && (errno == EAGAIN || errno == EMSGSIZE || errno == ENOBUFS ||
                                  errno == EINTR || errno == ENOTCONN);
        if (sent != whole && !waits) /* gone, or half an entry in a stream */
            disconnect(syslog);
    }
    pthread_mutex_unlock(&syslog->lock);
    errno = saved;
}

void
sl_syslog_close(struct sl_syslog *syslog)
{
    if (syslog == NULL)
        return;
    disconnect(syslog);
    pthread_mutex_destroy(&syslog->lock);
    free(syslog->prefix);
    free(syslog);
}
