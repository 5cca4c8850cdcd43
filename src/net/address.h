/* Addresses to listen on, as gunicorn's `bind` writes them. */
#ifndef SL_NET_ADDRESS_H
#define SL_NET_ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <net/cidr.h>
#include <saola/status.h>

enum {
    SL_ADDRESS_HOST = 256,  /* bytes of a host name with NUL */
    SL_ADDRESS_TEXT = 320,  /* holds every printed address with NUL */
    SL_ADDRESS_PORT = 8000, /* when none is given */
    SL_ADDRESS_RESOLVED = 16,
};

enum sl_address_kind { SL_ADDRESS_TCP, SL_ADDRESS_UNIX, SL_ADDRESS_FD };

struct sl_address {
    enum sl_address_kind kind;
    uint16_t port;              /* TCP; 0: the kernel chooses */
    int fd;                     /* FD */
    char host[SL_ADDRESS_HOST]; /* TCP: lower case, without brackets; "" is every IPv4 address */
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path]; /* UNIX: a path, or "@name" of an
                                                                abstract socket */
};

/* What a name stands for, in the order in which to try. */
struct sl_resolved {
    size_t count;
    struct {
        struct sockaddr_storage storage;
        socklen_t len;
    } at[SL_ADDRESS_RESOLVED];
};

/* Parses HOST, HOST:PORT, :PORT, [V6], [V6]:PORT, tcp://..., unix:PATH, unix://PATH, unix:@NAME,
 * fd://N, and "" (0.0.0.0:8000). No look-up is made. SL_EINVAL with a sentence. */
int sl_address_parse(const char *text, struct sl_address *ret_address, struct sl_error *err);

/* Socket addresses of a TCP or UNIX address. Names are looked up (this may block) and their IPv4
 * addresses come first, since that is what gunicorn binds. SL_EINVAL, SL_ENOENT (unknown name). */
int sl_address_resolve(const struct sl_address *address, struct sl_resolved *ret_resolved,
                       struct sl_error *err);

/* "127.0.0.1:8000", "[::1]:8000", "unix:/path", "unix:@name", "unix:" (unnamed). Truncated to
 * size. */
void sl_address_print(const struct sockaddr *sa, socklen_t len, char *out, size_t size);

/* The configured form, for messages: "localhost:8000", "[::1]:8000", "unix:/path", "fd://3". */
void sl_address_text(const struct sl_address *address, char out[SL_ADDRESS_TEXT]);

#endif
