/* Lists of trusted addresses: "*", single addresses and networks in CIDR notation. */
#ifndef SL_NET_CIDR_H
#define SL_NET_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <saola/status.h>

struct sl_cidr {
    int family;          /* AF_INET, AF_INET6, or AF_UNSPEC for "*" */
    uint8_t bits;        /* length of the prefix */
    uint8_t address[16]; /* network byte order; host bits are 0 */
};

/* Parses "*", ADDRESS, ADDRESS/BITS or IPV4/NETMASK. White space around is dropped. SL_EINVAL with
 * a sentence, also when host bits are set. */
int sl_cidr_parse(const char *text, struct sl_cidr *ret_cidr, struct sl_error *err);

/* True if peer lies in one of list[0..count). An IPv4-mapped IPv6 address is its IPv4 address. A
 * peer without an IP address (AF_UNIX) matches "*" only; whether to trust it is the caller's
 * rule. */
bool sl_cidr_match(const struct sl_cidr *list, size_t count, const struct sockaddr *peer);

/* The same for a numeric address as text; one that is not numeric matches "*" only. */
bool sl_cidr_match_text(const struct sl_cidr *list, size_t count, const char *address);

#endif
