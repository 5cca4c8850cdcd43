/* The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt, revision of 2020/03/05): a
 * header in front of a connection in which a proxy tells whose connection it is. Pure: no system
 * call, no state. */
#ifndef SL_NET_PROXY_H
#define SL_NET_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    SL_PROXY_V1 = 1, /* bits of versions */
    SL_PROXY_V2 = 2,
    SL_PROXY_V1_MAX = 107, /* bytes of a version 1 line with CRLF */
    SL_PROXY_MAX = 4096,   /* bytes of any header we accept; nginx has the same bound */
};

struct sl_proxy {
    uint8_t version; /* 1 or 2 */
    int family; /* AF_INET or AF_INET6; AF_UNSPEC: the proxy speaks for itself (LOCAL) or does not
                   know (UNKNOWN, UNSPEC), the connection's own addresses are the ones to use */
    uint16_t source_port, dest_port;
    char source[INET6_ADDRSTRLEN], dest[INET6_ADDRSTRLEN]; /* canonical text; "" with AF_UNSPEC */
};

/* Looks for a header at the start of buf[0..len), in the first bytes of a connection.
 * Returns its length in bytes (> 0) with *ret_proxy filled; 0: more bytes are needed to tell (never
 * once len >= SL_PROXY_MAX); SL_ENOENT: there is none, the bytes are the client's; SL_EPROTO:
 * malformed, *ret_sentence is a static sentence and the connection is to be refused with 400. The
 * answer does not depend on how the bytes arrived. */
ssize_t sl_proxy_parse(const char *buf, size_t len, unsigned versions, struct sl_proxy *ret_proxy,
                       const char **ret_sentence);

#endif
