/* UTF-8 by runs: ASCII 64 bytes at a time, longer characters by comparing a word with their
 * patterns, and byte by byte only where the input is cut.
 *
 * The byte-wise machine is RFC 3629's table: after its first byte a character needs one to three
 * continuation bytes, of which only the first has bounds of its own (no overlong forms, no
 * surrogates, nothing beyond U+10FFFF). */
#include "http/utf8.h"

#include <endian.h>
#include <string.h>

/* Of what the compiler makes the widest instructions that the target has. */
typedef uint64_t wide __attribute__((vector_size(16)));

static const uint64_t highs = 0x8080808080808080u;

static inline wide
load_wide(const uint8_t *p)
{
    wide word;
    memcpy(&word, p, sizeof word);
    return word;
}

static const uint8_t *
skip_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 64) {
        wide both = (load_wide(p) | load_wide(p + 16)) | (load_wide(p + 32) | load_wide(p + 48));
        if (((both[0] | both[1]) & highs) != 0)
            break;
        p += 64;
    }
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        uint64_t marks = le64toh(word) & highs;
        if (marks != 0)
            return p + (__builtin_ctzll(marks) >> 3);
        p += 8;
    }
    while (p < end && *p < 0x80)
        p++;
    return p;
}

static inline uint32_t
load_4(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return le32toh(word);
}

static inline uint64_t
load_8(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

/* In the words below the first byte is the lowest. */

/* A valid character of two bytes, and two bytes more. C0 and C1 would be overlong. */
static inline bool
is_two(uint32_t word)
{
    return (word & 0xc0e0) == 0x80c0 && (word & 0x1e) != 0;
}

/* Four of them. */
static inline bool
is_four_of_two(uint64_t word)
{
    const uint64_t each = 0x0001000100010001u;
    uint64_t sums = (word & each * 0x1e) + each * 0x7fff; /* the highest bit: not overlong */
    return (word & each * 0xc0e0) == each * 0x80c0 && (sums & each * 0x8000) == each * 0x8000;
}

/* The four bits of the first byte and the highest of the second: neither overlong nor a surrogate.
 */
static inline bool
may_begin_three(uint64_t word)
{
    return (word & 0x200f) != 0 && (word & 0x200f) != 0x200d;
}

/* A valid character of three bytes, and a byte more. */
static inline bool
is_three(uint32_t word)
{
    return (word & 0xc0c0f0) == 0x8080e0 && may_begin_three(word);
}

/* Two of them, and two bytes more. */
static inline bool
is_two_of_three(uint64_t word)
{
    const uint64_t each = 0x0000000001000001u;
    return (word & each * 0xc0c0f0) == each * 0x8080e0 && may_begin_three(word) &&
           may_begin_three(word >> 24);
}

/* A valid character of four bytes: neither overlong nor beyond U+10FFFF. */
static inline bool
is_four(uint32_t word)
{
    uint32_t plane = (word & 7) << 2 | (word >> 12 & 3);
    return (word & 0xc0c0c0f8) == 0x808080f0 && plane >= 1 && plane <= 16;
}

/* Skips whole characters as far as 4 bytes can be read; stops at what is not valid. What follows a
 * character tells whether a run of such is worth a look. */
static const uint8_t *
skip_characters(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 4) {
        unsigned n;
        if (*p < 0x80) {
            /* A lone space between words is not worth the long way. */
            p = p[1] < 0x80 ? skip_ascii(p, end) : p + 1;
            continue;
        }
        if (*p < 0xe0)
            n = p[2] >= 0x80 && end - p >= 8 && is_four_of_two(load_8(p)) ? 8
                : is_two(load_4(p))                                       ? 2
                                                                          : 0;
        else if (*p < 0xf0)
            n = p[3] >= 0xe0 && end - p >= 8 && is_two_of_three(load_8(p)) ? 6
                : is_three(load_4(p))                                      ? 3
                                                                           : 0;
        else
            n = is_four(load_4(p)) ? 4 : 0;
        if (n == 0)
            break;
        p += n;
    }
    return p;
}

static bool
begin_character(struct sl_utf8 *utf8, uint8_t c)
{
    if (c < 0x80)
        return true;
    if (c < 0xc2 || c > 0xf4)
        return false;
    utf8->need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    utf8->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    utf8->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return true;
}

static bool
step(struct sl_utf8 *utf8, uint8_t c)
{
    if (utf8->need == 0)
        return begin_character(utf8, c);
    if (c < utf8->low || c > utf8->high)
        return false;
    utf8->need--;
    utf8->low = 0x80;
    utf8->high = 0xbf;
    return true;
}

bool
sl_utf8_feed(struct sl_utf8 *utf8, const char *s, size_t len)
{
    if (len == 0)
        return true;
    const uint8_t *p = (const uint8_t *)s, *end = p + len;
    while (utf8->need > 0 && p < end) {
        if (!step(utf8, *p++))
            return false;
    }
    for (p = skip_characters(skip_ascii(p, end), end); p < end; p++) {
        if (!step(utf8, *p))
            return false;
    }
    return true;
}

bool
sl_utf8_is_valid(const char *s, size_t len)
{
    struct sl_utf8 utf8 = {0};
    return sl_utf8_feed(&utf8, s, len) && sl_utf8_is_whole(&utf8);
}
