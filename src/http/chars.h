/* Character classes of HTTP (RFC 9110 section 5.6, RFC 3986) as one table, and the scans built on
 * it. */
#ifndef SL_HTTP_CHARS_H
#define SL_HTTP_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum sl_char_class {
    SL_CHAR_TOKEN = 1,      /* tchar */
    SL_CHAR_UNDERSCORE = 2, /* '_', so that a scan of a token tells whether it has one */
    SL_CHAR_LOWER = 4,      /* a-z */
    SL_CHAR_HASH = 8,       /* '#' */
    SL_CHAR_TARGET = 16,    /* of a request target, but '?' and '#'; 0x80 to 0xff included */
    SL_CHAR_HOST = 32,      /* of a reg-name but '%' and ',': unreserved, sub-delims */
    SL_CHAR_HEX = 64,
    SL_CHAR_VALUE = 128, /* of a field value: no control but HTAB */
};

extern const uint8_t sl_char_classes[256];

static inline uint8_t
sl_char_class(char c)
{
    return sl_char_classes[(unsigned char)c];
}

static inline bool
sl_char_is_space(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool
sl_char_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline int
sl_char_hex(char c)
{
    if (sl_char_is_digit(c))
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* First byte of [p, end) that may not stand in a field value (a control but HTAB), or end. Eight
 * bytes at a time; this is the loop for wider registers to replace. */
static inline const char *
sl_chars_skip_value(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u;
    for (;;) {
        bool stopped = false;
        while (end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, sizeof word);
            word = le64toh(word);
            /* The lowest mark is exact: a borrow only disturbs bytes above it. */
            uint64_t del = word ^ ones * 0x7f;
            uint64_t marks = ((word - ones * 0x20) & ~word) | ((del - ones) & ~del);
            marks &= ones * 0x80;
            if (marks != 0) {
                p += __builtin_ctzll(marks) >> 3;
                stopped = true;
                break;
            }
            p += 8;
        }
        if (!stopped) {
            while (p < end && (sl_char_class(*p) & SL_CHAR_VALUE))
                p++;
            return p;
        }
        if (*p != '\t')
            return p;
        p++;
    }
}

/* ASCII case-insensitive; lower is lower-case and holds no '@', '[', '\\', ']', '^' or '_'. */
static inline bool
sl_chars_equal_lower(const char *s, const char *lower, size_t len)
{
    unsigned different = 0;
    for (size_t i = 0; i < len; i++)
        different |= (unsigned)((unsigned char)s[i] | 0x20) ^ (unsigned char)lower[i];
    return different == 0;
}

#endif
