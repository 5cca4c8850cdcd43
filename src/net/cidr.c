/* CIDR lists. Rules and peers are unmapped (::ffff:a.b.c.d is a.b.c.d) before they are compared, so
 * a dual-stack listener and an IPv4 one obey the same list. */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <net/cidr.h>

enum { TEXT_MAX = 96 };

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* ::ffff:a.b.c.d/n with n >= 96 becomes a.b.c.d/(n-96). */
static void
unmap(struct sl_cidr *cidr)
{
    if (cidr->family != AF_INET6 || cidr->bits < 96 ||
        memcmp(cidr->address, mapped_prefix, sizeof mapped_prefix) != 0)
        return;
    memmove(cidr->address, cidr->address + 12, 4);
    memset(cidr->address + 4, 0, 12);
    cidr->family = AF_INET;
    cidr->bits = (uint8_t)(cidr->bits - 96);
}

/* A single address as a network of all its bits. */
static bool
parse_address(const char *text, struct sl_cidr *ret_cidr)
{
    struct sl_cidr cidr = {0};
    if (inet_pton(AF_INET, text, cidr.address) == 1) {
        cidr.family = AF_INET;
        cidr.bits = 32;
    } else if (inet_pton(AF_INET6, text, cidr.address) == 1) {
        cidr.family = AF_INET6;
        cidr.bits = 128;
    } else {
        return false;
    }
    *ret_cidr = cidr;
    return true;
}

/* Bits of a prefix given as a number or, for IPv4, as a netmask; -1 if it is neither. */
static int
parse_bits(const char *text, const struct sl_cidr *cidr)
{
    uint32_t mask;
    if (cidr->family == AF_INET && strchr(text, '.') != NULL) {
        if (inet_pton(AF_INET, text, &mask) != 1)
            return -1;
        uint32_t host_part = ~ntohl(mask);
        if (host_part & (host_part + 1)) /* not ones followed by zeros */
            return -1;
        return host_part == UINT32_MAX ? 0 : 32 - __builtin_popcount(host_part);
    }
    size_t len = strlen(text);
    if (len == 0 || len > 3 || strspn(text, "0123456789") != len)
        return -1;
    int bits = atoi(text);
    return bits <= cidr->bits ? bits : -1;
}

static bool
host_bits_set(const struct sl_cidr *cidr)
{
    unsigned total = cidr->family == AF_INET ? 32 : 128;
    for (unsigned bit = cidr->bits; bit < total; bit++)
        if (cidr->address[bit / 8] & (0x80u >> (bit % 8)))
            return true;
    return false;
}

int
sl_cidr_parse(const char *text, struct sl_cidr *ret_cidr, struct sl_error *err)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    char copy[TEXT_MAX];
    if (len == 0 || len >= sizeof copy)
        return sl_error_set(err, SL_EINVAL, "'%.100s' is not an IP address or network", text);
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strcmp(copy, "*") == 0) {
        *ret_cidr = (struct sl_cidr){.family = AF_UNSPEC};
        return SL_OK;
    }
    char *slash = strchr(copy, '/');
    if (slash != NULL)
        *slash = '\0';
    struct sl_cidr cidr;
    if (!parse_address(copy, &cidr))
        return sl_error_set(err, SL_EINVAL, "'%.*s' is not an IP address or network", (int)len,
                            text);
    if (slash != NULL) {
        int bits = parse_bits(slash + 1, &cidr);
        if (bits < 0)
            return sl_error_set(err, SL_EINVAL, "'%.*s': the prefix length must be 0 to %d",
                                (int)len, text, cidr.bits);
        cidr.bits = (uint8_t)bits;
    }
    if (host_bits_set(&cidr))
        return sl_error_set(err, SL_EINVAL, "'%.*s' has host bits set; write the network's address",
                            (int)len, text);
    unmap(&cidr);
    *ret_cidr = cidr;
    return SL_OK;
}

static bool
in_network(const struct sl_cidr *network, const struct sl_cidr *peer)
{
    if (network->family == AF_UNSPEC)
        return true;
    if (network->family != peer->family)
        return false;
    unsigned whole = network->bits / 8u, rest = network->bits % 8u;
    if (memcmp(network->address, peer->address, whole) != 0)
        return false;
    return rest == 0 || ((network->address[whole] ^ peer->address[whole]) >> (8 - rest)) == 0;
}

static bool
match(const struct sl_cidr *list, size_t count, const struct sl_cidr *peer)
{
    for (size_t i = 0; i < count; i++)
        if (in_network(&list[i], peer))
            return true;
    return false;
}

bool
sl_cidr_match(const struct sl_cidr *list, size_t count, const struct sockaddr *peer)
{
    struct sl_cidr one = {.family = -1};
    if (peer->sa_family == AF_INET) {
        one.family = AF_INET;
        memcpy(one.address, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        one.family = AF_INET6;
        one.bits = 128;
        memcpy(one.address, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
        unmap(&one);
    }
    return match(list, count, &one);
}

bool
sl_cidr_match_text(const struct sl_cidr *list, size_t count, const char *address)
{
    struct sl_cidr one = {.family = -1};
    if (parse_address(address, &one))
        unmap(&one);
    return match(list, count, &one);
}
