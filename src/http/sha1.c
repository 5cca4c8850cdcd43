/* SHA-1 of at most two blocks.
 *
 * Why our own: Sec-WebSocket-Accept only shows that a server understood the request; nothing is
 * kept secret or unforged by it (RFC 6455 section 10.8), so that no care of a cryptographic library
 * is needed here. The core links libc alone, and WebSocket must not depend on a build with TLS. It
 * hashes 60 bytes once a connection, and can do no more than that: not for anything else. */
#include "http/sha1.h"

#include <string.h>

enum { BLOCK = 64 };

static uint32_t
rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static void
add_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80];
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40 || i >= 60) {
            f = b ^ c ^ d;
            k = i < 40 ? 0x6ed9eba1 : 0xca62c1d6;
        } else {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        }
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void
sl_sha1(const char *data, size_t len, uint8_t ret[SL_SHA1_LEN])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t padded[2 * BLOCK] = {0};
    if (len > SL_SHA1_MAX_INPUT)
        __builtin_trap();
    size_t total = len < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    memcpy(padded, data, len);
    padded[len] = 0x80;
    padded[total - 2] = (uint8_t)(len * 8 >> 8);
    padded[total - 1] = (uint8_t)(len * 8);
    for (size_t at = 0; at < total; at += BLOCK)
        add_block(state, padded + at);
    for (unsigned i = 0; i < SL_SHA1_LEN; i++)
        ret[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
