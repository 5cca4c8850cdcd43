/* What strangers sent, made safe for a line of a log. */
#ifndef SL_HTTP_ACCESS_ESCAPE_H
#define SL_HTTP_ACCESS_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "http/chars.h"

enum sl_escape_style {
    SL_ESCAPE_TEXT,   /* gunicorn's: \" \\ \x1b */
    SL_ESCAPE_JSON,   /* RFC 8259: a string with its quotes */
    SL_ESCAPE_LOGFMT, /* bare, or in quotes with TEXT's escapes where it must be */
};

/* None of the eight bytes is one that any style escapes. */
static inline bool
sl_escape_is_plain_8(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t marks = sl_chars_mark_controls(word) | word | ((quote - ones) & ~quote) |
                     ((backslash - ones) & ~backslash);
    return (marks & ones * 0x80) == 0;
}

/* The same of sixteen at p. */
static inline bool
sl_escape_is_plain_16(const char *p)
{
    typedef uint8_t bytes __attribute__((vector_size(16)));
    bytes v;
    uint64_t other[2];
    memcpy(&v, p, sizeof v);
    v = (bytes)(v - 0x20 >= 0x7f - 0x20) | (bytes)(v == '"') | (bytes)(v == '\\');
    memcpy(other, &v, sizeof other);
    return (other[0] | other[1]) == 0;
}

/* Copies a text that needs no escapes in SL_ESCAPE_TEXT, as most do. False: it needs some, and what
 * is at `to` now does not matter. */
static inline bool
sl_escape_copy_plain(char *to, const char *text, size_t len)
{
    if (len >= 16) {
        for (size_t at = 0;; at = len - at >= 32 ? at + 16 : len - 16) { /* the last again */
            if (!sl_escape_is_plain_16(text + at))
                return false;
            memcpy(to + at, text + at, 16);
            if (len - at == 16)
                return true;
        }
    }
    if (len >= 8) {
        uint64_t first = sl_chars_load(text), last = sl_chars_load(text + len - 8);
        memcpy(to, text, 8);
        memcpy(to + len - 8, text + len - 8, 8);
        return sl_escape_is_plain_8(first) && sl_escape_is_plain_8(last);
    }
    uint64_t word = 0x2020202020202020u;
    if (len >= 4) {
        uint32_t first = sl_chars_load_4(text), last = sl_chars_load_4(text + len - 4);
        memcpy(to, text, 4);
        memcpy(to + len - 4, text + len - 4, 4);
        word = (uint64_t)first << 32 | last;
    } else if (len > 0) {
        char first = text[0], middle = text[len / 2], last = text[len - 1];
        to[0] = first;
        to[len / 2] = middle;
        to[len - 1] = last;
        word = word << 24 | (uint64_t)(uint8_t)first << 16 | (uint64_t)(uint8_t)middle << 8 |
               (uint8_t)last;
    }
    return sl_escape_is_plain_8(word);
}

/* Appends bytes that are taken as latin-1, as WSGI takes them; the output is UTF-8. Quotes,
 * backslashes, C0, DEL and C1 are escaped. SL_OK or SL_ENOMEM. */
int sl_escape_latin1(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

/* The same for text that should be UTF-8: what is not becomes U+FFFD, the line separators U+2028
 * and U+2029 are escaped too. */
int sl_escape_utf8(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

#endif
