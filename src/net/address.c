/* Parsing, look-up and printing of socket addresses. Forms and defaults are gunicorn's; where
 * gunicorn guesses (a bare IPv6 address, a second colon) this says what to write instead. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/address.h>

static const char *
skip_prefix(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* Decimal digits only, at most max; -1 otherwise. */
static long
parse_number(const char *text, long max)
{
    size_t len = strlen(text);
    if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
        return -1;
    long number = atol(text);
    return number <= max ? number : -1;
}

static int
parse_unix(const char *path, struct sl_address *address, struct sl_error *err)
{
    while (path[0] == '/' && path[1] == '/') /* unix:////x; one slash says the same */
        path++;
    size_t len = strlen(path);
    if (len == 0 || strcmp(path, "@") == 0)
        return sl_error_set(err, SL_EINVAL, "unix: needs a path, for example unix:/run/app.sock");
    /* the NUL of a path and the leading NUL of an abstract name take the same room */
    if (len >= sizeof address->path)
        return sl_error_set(err, SL_EINVAL,
                            "unix:%.200s: a unix socket path has at most %zu bytes, this has %zu",
                            path, sizeof address->path - 1, len);
    address->kind = SL_ADDRESS_UNIX;
    memcpy(address->path, path, len + 1);
    return SL_OK;
}

static int
parse_fd(const char *digits, struct sl_address *address, struct sl_error *err)
{
    long fd = parse_number(digits, 999999999);
    if (fd < 0)
        return sl_error_set(err, SL_EINVAL, "'%.100s' is not a valid file descriptor", digits);
    address->kind = SL_ADDRESS_FD;
    address->fd = (int)fd;
    return SL_OK;
}

static int
set_host(const char *host, size_t len, struct sl_address *address, struct sl_error *err)
{
    if (len >= sizeof address->host)
        return sl_error_set(err, SL_EINVAL, "'%.60s...' is too long for a host name", host);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)host[i];
        if (c <= ' ' || c == 0x7f || c == '/' || c == '[' || c == ']')
            return sl_error_set(err, SL_EINVAL,
                                "'%.*s' is not a host name; write HOST:PORT, unix:PATH or fd://N",
                                (int)len, host);
        address->host[i] = (char)tolower(c);
    }
    address->host[len] = '\0';
    return SL_OK;
}

static int
set_port(const char *digits, struct sl_address *address, struct sl_error *err)
{
    long port = parse_number(digits, 65535);
    if (port < 0)
        return sl_error_set(err, SL_EINVAL, "'%.100s' is not a valid port number", digits);
    address->port = (uint16_t)port;
    return SL_OK;
}

/* [V6] or [V6]:PORT */
static int
parse_bracketed(const char *text, struct sl_address *address, struct sl_error *err)
{
    const char *end = strchr(text, ']');
    if (end == NULL || (end[1] != '\0' && end[1] != ':'))
        return sl_error_set(err, SL_EINVAL, "'%.200s' is not a valid address; write [ADDRESS]:PORT",
                            text);
    int rc = set_host(text + 1, (size_t)(end - text - 1), address, err);
    if (rc != SL_OK)
        return rc;
    char literal[SL_ADDRESS_HOST]; /* a zone (%eth0) is getaddrinfo's to judge */
    snprintf(literal, sizeof literal, "%.*s", (int)strcspn(address->host, "%"), address->host);
    struct in6_addr ignored;
    if (inet_pton(AF_INET6, literal, &ignored) != 1)
        return sl_error_set(err, SL_EINVAL, "'%.200s' is not an IPv6 address", address->host);
    return end[1] == ':' ? set_port(end + 2, address, err) : SL_OK;
}

static int
parse_tcp(const char *text, struct sl_address *address, struct sl_error *err)
{
    address->kind = SL_ADDRESS_TCP;
    address->port = SL_ADDRESS_PORT;
    if (*text == '\0')
        return set_host("0.0.0.0", 7, address, err);
    if (*text == '[')
        return parse_bracketed(text, address, err);
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return set_host(text, strlen(text), address, err);
    if (colon[1] == '/' && colon[2] == '/')
        return sl_error_set(err, SL_EINVAL,
                            "'%.200s': unknown scheme; write HOST:PORT, unix:PATH or fd://N", text);
    struct in6_addr ignored;
    if (inet_pton(AF_INET6, text, &ignored) == 1)
        return sl_error_set(err, SL_EINVAL, "'%.100s' is an IPv6 address; write [%.100s]:%d", text,
                            text, SL_ADDRESS_PORT);
    int rc = set_host(text, (size_t)(colon - text), address, err);
    return rc == SL_OK ? set_port(colon + 1, address, err) : rc;
}

int
sl_address_parse(const char *text, struct sl_address *ret_address, struct sl_error *err)
{
    struct sl_address address = {.fd = -1};
    const char *rest;
    int rc;
    if ((rest = skip_prefix(text, "unix://")) != NULL ||
        (rest = skip_prefix(text, "unix:")) != NULL)
        rc = parse_unix(rest, &address, err);
    else if ((rest = skip_prefix(text, "fd://")) != NULL)
        rc = parse_fd(rest, &address, err);
    else if ((rest = skip_prefix(text, "tcp://")) != NULL)
        rc = parse_tcp(rest, &address, err);
    else
        rc = parse_tcp(text, &address, err);
    if (rc == SL_OK)
        *ret_address = address;
    return rc;
}

static void
resolve_unix(const char *path, struct sl_resolved *ret_resolved)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path); /* parse checked that it fits */
    memcpy(un.sun_path, path, len);
    if (path[0] == '@')
        un.sun_path[0] = '\0';
    ret_resolved->count = 1;
    memcpy(&ret_resolved->at[0].storage, &un, sizeof un);
    /* an abstract name ends where its length says, a path at its NUL */
    ret_resolved->at[0].len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] != '@'));
}

static void
add_family(const struct addrinfo *list, int family, struct sl_resolved *resolved)
{
    for (; list != NULL; list = list->ai_next) {
        if (list->ai_family != family || resolved->count == SL_ADDRESS_RESOLVED ||
            list->ai_addrlen > sizeof resolved->at[0].storage)
            continue;
        memcpy(&resolved->at[resolved->count].storage, list->ai_addr, list->ai_addrlen);
        resolved->at[resolved->count].len = list->ai_addrlen;
        resolved->count++;
    }
}

int
sl_address_resolve(const struct sl_address *address, struct sl_resolved *ret_resolved,
                   struct sl_error *err)
{
    if (address->kind == SL_ADDRESS_FD)
        return sl_error_set(err, SL_EINVAL, "fd://%d has no address of its own", address->fd);
    if (address->kind == SL_ADDRESS_UNIX) {
        resolve_unix(address->path, ret_resolved);
        return SL_OK;
    }
    const char *host = address->host[0] == '\0' ? "0.0.0.0" : address->host;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return sl_error_set(err, SL_ENOENT, "the host name '%.200s' cannot be resolved: %s", host,
                            rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    struct sl_resolved resolved = {0};
    add_family(list, AF_INET, &resolved);
    add_family(list, AF_INET6, &resolved);
    freeaddrinfo(list);
    if (resolved.count == 0)
        return sl_error_set(err, SL_ENOENT, "the host name '%.200s' has no IP address", host);
    *ret_resolved = resolved;
    return SL_OK;
}

static void
print_unix(const struct sockaddr_un *un, socklen_t len, char *out, size_t size)
{
    size_t room = len > offsetof(struct sockaddr_un, sun_path)
                      ? len - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    if (room > sizeof un->sun_path)
        room = sizeof un->sun_path;
    if (room > 1 && un->sun_path[0] == '\0')
        snprintf(out, size, "unix:@%.*s", (int)strnlen(un->sun_path + 1, room - 1),
                 un->sun_path + 1);
    else
        snprintf(out, size, "unix:%.*s", (int)strnlen(un->sun_path, room), un->sun_path);
}

void
sl_address_print(const struct sockaddr *sa, socklen_t len, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, size, "%s:%u", host, (unsigned)ntohs(in->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(out, size, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    } else if (sa->sa_family == AF_UNIX) {
        print_unix((const void *)sa, len, out, size);
    } else {
        snprintf(out, size, "address family %d", (int)sa->sa_family);
    }
}

void
sl_address_text(const struct sl_address *address, char out[SL_ADDRESS_TEXT])
{
    bool v6 = strchr(address->host, ':') != NULL;
    switch (address->kind) {
    case SL_ADDRESS_TCP:
        snprintf(out, SL_ADDRESS_TEXT, "%s%s%s:%u", v6 ? "[" : "",
                 address->host[0] == '\0' ? "0.0.0.0" : address->host, v6 ? "]" : "",
                 (unsigned)address->port);
        break;
    case SL_ADDRESS_UNIX:
        snprintf(out, SL_ADDRESS_TEXT, "unix:%s", address->path);
        break;
    case SL_ADDRESS_FD:
        snprintf(out, SL_ADDRESS_TEXT, "fd://%d", address->fd);
        break;
    }
}
