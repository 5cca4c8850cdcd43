/* Where the caches of the engines look for what they know of some bytes.
 *
 * Thread: any. */
#ifndef SAOLA_HOST_PYTHON_MIX_H
#define SAOLA_HOST_PYTHON_MIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Mixes the length and up to 16 bytes of both ends; a cache index, not a hash to rely on: who wants
 * collisions finds them, and gets misses. */
static inline uint32_t
sl_py_mix(const char *ptr, size_t len)
{
    uint64_t a = 0, b = 0;
    if (len >= 8) {
        memcpy(&a, ptr, 8);
        memcpy(&b, ptr + len - 8, 8);
    } else if (len >= 4) {
        uint32_t x, y;
        memcpy(&x, ptr, 4);
        memcpy(&y, ptr + len - 4, 4);
        a = x;
        b = y;
    } else if (len > 0) {
        a = (unsigned char)ptr[0] | (uint64_t)(unsigned char)ptr[len / 2] << 8 |
            (uint64_t)(unsigned char)ptr[len - 1] << 16;
    }
    uint64_t h = (a ^ (uint64_t)len << 56) * 0x9e3779b97f4a7c15u;
    h ^= (b + (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(h >> 32);
}

#endif
