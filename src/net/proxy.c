/* Parser of PROXY headers. Strict where guessing would let a client name an address of its choice:
 * exact number of fields, single spaces, canonical ports, exact lengths. Gunicorn's acceptance is
 * kept for what is valid; UNKNOWN, which the specification demands, is accepted too. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <net/proxy.h>
#include <saola/status.h>

enum { V2_FIXED = 16, V2_IPV4 = 12, V2_IPV6 = 36, TLV_HEAD = 3, TLV_CRC32C = 3 };

static const char v1_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const char v2_signature[] = {'\r', '\n', '\r', '\n', '\0', '\r',
                                    '\n', 'Q',  'U',  'I',  'T',  '\n'};

/* The start of a connection can still become the signature. */
static bool
may_be(const char *buf, size_t len, const char *signature, size_t size)
{
    return memcmp(buf, signature, len < size ? len : size) == 0;
}

static ssize_t
malformed(const char **ret_sentence, const char *sentence)
{
    *ret_sentence = sentence;
    return SL_EPROTO;
}

/* ---- version 1: one line of text ----------------------------------------------------------- */

/* What is between *at and the next space (or end); *at moves behind that space. */
static bool
next_word(const char **at, const char *end, char *out, size_t size)
{
    if (*at > end)
        return false;
    const char *stop = memchr(*at, ' ', (size_t)(end - *at));
    size_t len = (size_t)((stop != NULL ? stop : end) - *at);
    if (len == 0 || len >= size || memchr(*at, '\0', len) != NULL)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at = (stop != NULL ? stop : end) + 1;
    return true;
}

/* Digits without heading zeros, at most 65535. */
static bool
parse_port(const char *text, uint16_t *ret_port)
{
    size_t len = strlen(text);
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len || (text[0] == '0' && len > 1))
        return false;
    unsigned port = 0;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool
canonical(int family, const char *text, char *out)
{
    uint8_t address[16];
    return inet_pton(family, text, address) == 1 &&
           inet_ntop(family, address, out, INET6_ADDRSTRLEN) != NULL;
}

/* at..end is the line behind "PROXY ", without CRLF. NULL, or what is wrong. */
static const char *
parse_v1_line(const char *at, const char *end, struct sl_proxy *proxy)
{
    char word[SL_PROXY_V1_MAX];
    if (!next_word(&at, end, word, sizeof word))
        return "PROXY header names no protocol";
    if (strcmp(word, "UNKNOWN") == 0)
        return NULL; /* the rest of the line is to be ignored */
    int family = AF_UNSPEC;
    if (strcmp(word, "TCP4") == 0)
        family = AF_INET;
    else if (strcmp(word, "TCP6") == 0)
        family = AF_INET6;
    else
        return "PROXY header names an unknown protocol";
    if (!next_word(&at, end, word, sizeof word) || !canonical(family, word, proxy->source) ||
        !next_word(&at, end, word, sizeof word) || !canonical(family, word, proxy->dest))
        return "PROXY header has an invalid address";
    if (!next_word(&at, end, word, sizeof word) || !parse_port(word, &proxy->source_port) ||
        !next_word(&at, end, word, sizeof word) || !parse_port(word, &proxy->dest_port))
        return "PROXY header has an invalid port";
    if (at <= end)
        return "PROXY header has too many fields";
    proxy->family = family;
    return NULL;
}

static ssize_t
parse_v1(const char *buf, size_t len, struct sl_proxy *ret_proxy, const char **ret_sentence)
{
    size_t visible = len < SL_PROXY_V1_MAX ? len : SL_PROXY_V1_MAX;
    const char *cr = memchr(buf, '\r', visible);
    const char *lf = memchr(buf, '\n', visible);
    if (lf != NULL && (cr == NULL || lf < cr))
        return malformed(ret_sentence, "PROXY header does not end with CRLF");
    if (cr == NULL || cr + 1 == buf + visible) {
        if (visible == SL_PROXY_V1_MAX)
            return malformed(ret_sentence, "PROXY header is longer than 107 bytes");
        return 0;
    }
    if (cr[1] != '\n')
        return malformed(ret_sentence, "PROXY header does not end with CRLF");
    struct sl_proxy proxy = {.version = 1, .family = AF_UNSPEC};
    const char *sentence = parse_v1_line(buf + sizeof v1_signature, cr, &proxy);
    if (sentence != NULL)
        return malformed(ret_sentence, sentence);
    *ret_proxy = proxy;
    return cr + 2 - buf;
}

/* ---- version 2: binary --------------------------------------------------------------------- */

static uint16_t
read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* CRC-32C of the header with the four bytes of the checksum itself taken as 0. */
static uint32_t
checksum(const uint8_t *header, size_t len, size_t hole)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0u : header[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0u);
    }
    return ~crc;
}

/* header[at..len) is a chain of type, length, value that ends exactly at len. */
static const char *
check_tlvs(const uint8_t *header, size_t len, size_t at)
{
    bool summed = false;
    while (at < len) {
        if (len - at < TLV_HEAD)
            return "PROXY header has an incomplete extension";
        uint8_t type = header[at];
        size_t size = read_u16(header + at + 1);
        at += TLV_HEAD;
        if (len - at < size)
            return "PROXY header has an incomplete extension";
        if (type == TLV_CRC32C) { /* once: each one costs a pass over the header */
            if (size != 4 || summed)
                return "PROXY header has a malformed checksum";
            uint32_t given = (uint32_t)read_u16(header + at) << 16 | read_u16(header + at + 2);
            if (given != checksum(header, len, at))
                return "PROXY header has a wrong checksum";
            summed = true;
        }
        at += size;
    }
    return NULL;
}

/* Reads the addresses of a PROXY command. NULL, or what is wrong. */
static const char *
parse_v2_addresses(const uint8_t *header, size_t len, struct sl_proxy *proxy)
{
    const uint8_t *at = header + V2_FIXED;
    int family = header[13] >> 4 == 1 ? AF_INET : AF_INET6;
    size_t bytes = family == AF_INET ? 4 : 16;
    inet_ntop(family, at, proxy->source, sizeof proxy->source);
    inet_ntop(family, at + bytes, proxy->dest, sizeof proxy->dest);
    proxy->source_port = read_u16(at + 2 * bytes);
    proxy->dest_port = read_u16(at + 2 * bytes + 2);
    proxy->family = family;
    return check_tlvs(header, len, V2_FIXED + 2 * bytes + 4);
}

/* Judges the 16 fixed bytes. */
static const char *
check_v2_fixed(const uint8_t *header)
{
    unsigned command = header[12] & 15u, family = header[13] >> 4, transport = header[13] & 15u;
    size_t size = read_u16(header + 14);
    if (header[12] >> 4 != 2)
        return "PROXY header has an unknown version";
    if (command > 1)
        return "PROXY header has an unknown command";
    if (size > SL_PROXY_MAX - V2_FIXED)
        return "PROXY header is longer than 4096 bytes";
    if (command == 0 || header[13] == 0)
        return NULL; /* LOCAL, UNSPEC: what follows is to be ignored */
    if (transport != 1)
        return "PROXY header is not about a stream";
    if (family != 1 && family != 2)
        return "PROXY header has an unsupported address family";
    if (size < (family == 1 ? V2_IPV4 : V2_IPV6))
        return "PROXY header is too short for its addresses";
    return NULL;
}

static ssize_t
parse_v2(const char *buf, size_t len, struct sl_proxy *ret_proxy, const char **ret_sentence)
{
    if (len < V2_FIXED)
        return 0;
    const uint8_t *header = (const uint8_t *)buf;
    const char *sentence = check_v2_fixed(header);
    if (sentence != NULL)
        return malformed(ret_sentence, sentence);
    size_t total = V2_FIXED + (size_t)read_u16(header + 14);
    if (len < total)
        return 0;
    struct sl_proxy proxy = {.version = 2, .family = AF_UNSPEC};
    if ((header[12] & 15) == 1 && header[13] != 0)
        sentence = parse_v2_addresses(header, total, &proxy);
    if (sentence != NULL)
        return malformed(ret_sentence, sentence);
    *ret_proxy = proxy;
    return (ssize_t)total;
}

ssize_t
sl_proxy_parse(const char *buf, size_t len, unsigned versions, struct sl_proxy *ret_proxy,
               const char **ret_sentence)
{
    if (len == 0)
        return versions & (SL_PROXY_V1 | SL_PROXY_V2) ? 0 : SL_ENOENT;
    if ((versions & SL_PROXY_V1) && may_be(buf, len, v1_signature, sizeof v1_signature))
        return len < sizeof v1_signature ? 0 : parse_v1(buf, len, ret_proxy, ret_sentence);
    if ((versions & SL_PROXY_V2) && may_be(buf, len, v2_signature, sizeof v2_signature))
        return len < sizeof v2_signature ? 0 : parse_v2(buf, len, ret_proxy, ret_sentence);
    return SL_ENOENT;
}
