/* Listening sockets. Everything that can be wrong with an address ends here in one sentence. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <net/listener.h>
#include <net/unix_path.h>

/* ---- describing ---------------------------------------------------------------------------- */

static uint16_t
port_of(const struct sockaddr_storage *storage)
{
    if (storage->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)storage)->sin_port);
    if (storage->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)storage)->sin6_port);
    return 0;
}

/* Fills all but the file's identity from what the kernel says about fd. SL_OK or SL_ESYS. */
static int
describe(int fd, struct sl_listener *listener)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) != 0)
        return SL_ESYS;
    *listener =
        (struct sl_listener){.fd = fd, .family = storage.ss_family, .port = port_of(&storage)};
    char text[SL_ADDRESS_TEXT];
    sl_address_print((struct sockaddr *)&storage, len, text, sizeof text);
    if (listener->family == AF_UNIX) {
        snprintf(listener->name, sizeof listener->name, "%.*s", (int)sizeof listener->name - 1,
                 text);
        snprintf(listener->address, sizeof listener->address, "%.*s",
                 (int)sizeof listener->address - 1, text + strlen("unix:"));
        return SL_OK;
    }
    snprintf(listener->name, sizeof listener->name, "http://%.*s",
             (int)(sizeof listener->name - sizeof "http://"), text);
    size_t brackets = listener->family == AF_INET6 ? 1 : 0;
    snprintf(listener->address, sizeof listener->address, "%.*s",
             (int)((size_t)(strrchr(text, ':') - text) - 2 * brackets), text + brackets);
    return SL_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static int
set_option(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}

static int
socket_error(const struct sockaddr *sa, socklen_t len, int code, struct sl_error *err)
{
    char text[SL_ADDRESS_TEXT];
    struct sl_holder holder;
    sl_address_print(sa, len, text, sizeof text);
    switch (code) {
    case EADDRINUSE:
        if (sl_listener_holder(sa, &holder) == SL_OK)
            return sl_error_set(err, SL_EBUSY, "%s is in use by %s (pid %d)", text, holder.command,
                                (int)holder.pid);
        return sl_error_set(err, SL_EBUSY, "%s is in use by another server", text);
    case EADDRNOTAVAIL:
        return sl_error_set(err, SL_EINVAL, "%s is not an address of this machine", text);
    case EACCES:
        if (sa->sa_family == AF_UNIX)
            return sl_error_set(err, SL_ESYS, "%s: no permission to create the socket", text);
        return sl_error_set(
            err, SL_ESYS,
            "%s: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE", text);
    case ENOENT:
        return sl_error_set(err, SL_ENOENT, "%s: the directory does not exist", text);
    default:
        return sl_error_set(err, SL_ESYS, "%s cannot be opened: %s", text, strerror(code));
    }
}

/* A dual-stack wildcard collides with an IPv4 socket on the same port. If that socket is our own,
 * the user listed both: IPv6 alone is what is left to take. */
static bool
own_ipv4_is_in_the_way(const struct sockaddr *sa)
{
    struct sl_holder holder;
    return sa->sa_family == AF_INET6 && sl_listener_holder(sa, &holder) == SL_OK &&
           holder.pid == getpid();
}

static int
bind_inet(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (bind(fd, sa, len) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    int only = own_ipv4_is_in_the_way(sa) ? set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) : -1;
    if (only == 0)
        return bind(fd, sa, len);
    errno = EADDRINUSE;
    return -1;
}

/* Binds under the wanted umask and gives the file its owner. Owners are set only where they differ,
 * so that an ordinary user who names himself needs no right to chown. */
static int
bind_unix(int fd, const struct sockaddr *sa, socklen_t len,
          const struct sl_listener_options *options)
{
    mode_t old = umask(options->umask);
    int rc = bind(fd, sa, len);
    int saved = errno;
    umask(old);
    errno = saved;
    const char *path = ((const struct sockaddr_un *)(const void *)sa)->sun_path;
    if (rc != 0 || path[0] == '\0')
        return rc;
    struct stat st;
    if (lstat(path, &st) != 0)
        return -1;
    uid_t uid = options->uid == st.st_uid ? (uid_t)-1 : options->uid;
    gid_t gid = options->gid == st.st_gid ? (gid_t)-1 : options->gid;
    if (uid == (uid_t)-1 && gid == (gid_t)-1)
        return 0;
    if (lchown(path, uid, gid) == 0)
        return 0;
    saved = errno;
    unlink(path);
    errno = saved;
    return -1;
}

/* Options, bind and listen on fd. 0 or -1 with errno. */
static int
prepare(int fd, const struct sockaddr *sa, socklen_t len, const struct sl_listener_options *options)
{
    if (sa->sa_family == AF_UNIX) {
        if (bind_unix(fd, sa, len, options) != 0)
            return -1;
        return listen(fd, options->backlog);
    }
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ||
        set_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0)
        return -1;
    if (options->reuse_port && set_option(fd, SOL_SOCKET, SO_REUSEPORT) != 0)
        return -1;
    if (bind_inet(fd, sa, len) != 0)
        return -1;
    if (options->bind_only)
        return 0;
    /* with SO_REUSEADDR two sockets may be bound to one port, and the second finds out here */
    return listen(fd, options->backlog);
}

static int
open_at(const struct sockaddr *sa, socklen_t len, const struct sl_listener_options *options,
        struct sl_listener *ret_listener, struct sl_error *err)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return socket_error(sa, len, errno, err);
    if (prepare(fd, sa, len, options) == 0 && describe(fd, ret_listener) == SL_OK)
        return SL_OK;
    int rc = socket_error(sa, len, errno, err);
    close(fd);
    return rc;
}

static int
open_unix(const struct sl_resolved *resolved, const struct sl_listener_options *options,
          struct sl_listener *ret_listener, struct sl_error *err)
{
    const struct sockaddr *sa = (const struct sockaddr *)&resolved->at[0].storage;
    socklen_t len = resolved->at[0].len;
    const char *path = ((const struct sockaddr_un *)(const void *)sa)->sun_path;
    if (path[0] == '\0')
        return open_at(sa, len, options, ret_listener, err);
    int lock = sl_unix_path_lock(path);
    struct sl_listener listener;
    int rc = sl_unix_path_clear(sa, len, err);
    if (rc == SL_OK)
        rc = open_at(sa, len, options, &listener, err);
    if (rc == SL_OK && (rc = sl_unix_path_identify(path, &listener)) != SL_OK) {
        close(listener.fd);
        sl_error_set(err, rc, "unix:%s disappeared while it was opened", path);
    }
    if (lock >= 0)
        close(lock);
    if (rc == SL_OK)
        *ret_listener = listener;
    return rc;
}

int
sl_listener_open(const struct sl_address *address, const struct sl_listener_options *options,
                 struct sl_listener *ret_listener, struct sl_error *err)
{
    if (address->kind == SL_ADDRESS_FD)
        return sl_listener_adopt(address->fd, options->backlog, ret_listener, err);
    struct sl_resolved resolved;
    int rc = sl_address_resolve(address, &resolved, err);
    if (rc != SL_OK)
        return rc;
    if (address->kind == SL_ADDRESS_UNIX)
        return open_unix(&resolved, options, ret_listener, err);
    /* the sentence about the first address is the one to show: it is what the user meant */
    rc = open_at((struct sockaddr *)&resolved.at[0].storage, resolved.at[0].len, options,
                 ret_listener, err);
    for (size_t i = 1; i < resolved.count && rc != SL_OK; i++)
        if (open_at((struct sockaddr *)&resolved.at[i].storage, resolved.at[i].len, options,
                    ret_listener, NULL) == SL_OK)
            return SL_OK;
    return rc;
}

/* ---- adopting ------------------------------------------------------------------------------ */

static int
get_option(int fd, int option, int *ret_value)
{
    socklen_t len = sizeof *ret_value;
    return getsockopt(fd, SOL_SOCKET, option, ret_value, &len);
}

/* SL_OK if fd is a stream socket that listens or can be made to. */
static int
check_adoptable(int fd, int *ret_listening, struct sl_error *err)
{
    int type;
    if (get_option(fd, SO_TYPE, &type) != 0)
        return sl_error_set(
            err, SL_EINVAL,
            errno == EBADF ? "descriptor %d is not open" : "descriptor %d is not a socket", fd);
    if (type != SOCK_STREAM)
        return sl_error_set(err, SL_EINVAL, "descriptor %d is not a stream socket", fd);
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        return sl_error_set(err, SL_EINVAL, "descriptor %d is a connection, not a listening socket",
                            fd);
    if (get_option(fd, SO_ACCEPTCONN, ret_listening) != 0)
        return sl_error_set(err, SL_ESYS, "descriptor %d: %s", fd, strerror(errno));
    return SL_OK;
}

int
sl_listener_adopt(int fd, int backlog, struct sl_listener *ret_listener, struct sl_error *err)
{
    struct sl_listener listener;
    int listening;
    int rc = check_adoptable(fd, &listening, err);
    if (rc != SL_OK)
        return rc;
    if (describe(fd, &listener) != SL_OK)
        return sl_error_set(err, SL_ESYS, "descriptor %d: %s", fd, strerror(errno));
    bool inet = listener.family == AF_INET || listener.family == AF_INET6;
    if (!inet && listener.family != AF_UNIX)
        return sl_error_set(err, SL_EINVAL, "descriptor %d is neither a TCP nor a unix socket", fd);
    bool bound = inet ? listener.port != 0 : listener.address[0] != '\0';
    if (!listening && !bound)
        return sl_error_set(err, SL_EINVAL, "descriptor %d is a socket without an address", fd);
    if (!listening && listen(fd, backlog) != 0)
        return sl_error_set(err, SL_ESYS, "descriptor %d cannot listen: %s", fd, strerror(errno));
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        (inet && set_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0))
        return sl_error_set(err, SL_ESYS, "descriptor %d: %s", fd, strerror(errno));
    listener.inherited = true;
    /* a file that is gone or was replaced needs no unlink: then there is no identity */
    if (listener.family == AF_UNIX && listener.address[0] != '@' && listener.address[0] != '\0' &&
        sl_unix_path_identify(listener.address, &listener) == SL_ENOMEM)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    *ret_listener = listener;
    return SL_OK;
}

/* ---- ending -------------------------------------------------------------------------------- */

bool
sl_listener_unlink(struct sl_listener *listener)
{
    struct stat st;
    if (listener->file == NULL || lstat(listener->file, &st) != 0 || !S_ISSOCK(st.st_mode) ||
        st.st_dev != listener->device || st.st_ino != listener->inode)
        return false;
    return unlink(listener->file) == 0;
}

int
sl_listener_filter(int fd)
{
    enum { TCP_FLAGS = 13, SYN = 0x02, ACK = 0x10 };
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
    int family;
    if (get_option(fd, SO_DOMAIN, &family) != 0)
        return SL_ESYS;
    if (family == AF_UNIX)
        return SL_OK;
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0 ? SL_OK
                                                                                     : SL_ESYS;
}

bool
sl_listener_migrates(int fd)
{
    char value = '0';
    int shared;
    if (get_option(fd, SO_REUSEPORT, &shared) != 0 || !shared)
        return false;
    int file = open("/proc/sys/net/ipv4/tcp_migrate_req", O_RDONLY | O_CLOEXEC); /* IPv6, too */
    if (file < 0)
        return false;
    bool known = read(file, &value, 1) == 1;
    close(file);
    return known && value != '0';
}

void
sl_listener_close(struct sl_listener *listener)
{
    if (listener == NULL || listener->fd < 0)
        return;
    close(listener->fd);
    listener->fd = -1;
    free(listener->file);
    listener->file = NULL;
}
