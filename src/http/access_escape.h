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

typedef uint8_t sl_escape_block __attribute__((vector_size(16)));

/* Not zero where one of the sixteen bytes is one that any style escapes. */
static inline sl_escape_block
sl_escape_marks(sl_escape_block v)
{
    return (sl_escape_block)(v - 0x20 >= 0x7f - 0x20) | (sl_escape_block)(v == '"') |
           (sl_escape_block)(v == '\\');
}

static inline bool
sl_escape_is_zero(sl_escape_block v)
{
    uint64_t words[2];
    memcpy(words, &v, sizeof words);
    return (words[0] | words[1]) == 0;
}

static inline bool
sl_escape_is_plain(sl_escape_block v)
{
    return sl_escape_is_zero(sl_escape_marks(v));
}

/* Copies a text that needs no escapes in SL_ESCAPE_TEXT, as most do. False: it needs some, and what
 * is at `to` now does not matter. */
static inline bool
sl_escape_copy_plain(char *to, const char *text, size_t len)
{
    typedef uint64_t words __attribute__((vector_size(16)));
    uint64_t first, last = 0x2020202020202020u;
    if (len >= 16) {
        sl_escape_block marks = {0};
        for (size_t at = 0;; at = len - at >= 32 ? at + 16 : len - 16) { /* the last again */
            sl_escape_block block;
            memcpy(&block, text + at, sizeof block);
            memcpy(to + at, &block, sizeof block);
            marks |= sl_escape_marks(block);
            if (len - at == 16)
                return sl_escape_is_zero(marks);
        }
    }
    /* Less is in two words that may have bytes in common. */
    if (len >= 8) {
        memcpy(&first, text, 8);
        memcpy(&last, text + len - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + len - 8, &last, 8);
    } else if (len >= 4) {
        uint32_t head = sl_chars_load_4(text), tail = sl_chars_load_4(text + len - 4);
        memcpy(to, &head, 4);
        memcpy(to + len - 4, &tail, 4);
        first = (uint64_t)head << 32 | tail;
    } else if (len > 0) {
        char head = text[0], middle = text[len / 2], tail = text[len - 1];
        to[0] = head;
        to[len / 2] = middle;
        to[len - 1] = tail;
        first = last << 24 | (uint64_t)(uint8_t)head << 16 | (uint64_t)(uint8_t)middle << 8 |
                (uint8_t)tail;
    } else {
        return true;
    }
    return sl_escape_is_plain((sl_escape_block)(words){first, last});
}

/* Appends bytes that are taken as latin-1, as WSGI takes them; the output is UTF-8. Quotes,
 * backslashes, C0, DEL and C1 are escaped. SL_OK or SL_ENOMEM. */
int sl_escape_latin1(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

/* The same for text that should be UTF-8: what is not becomes U+FFFD, the line separators U+2028
 * and U+2029 are escaped too. */
int sl_escape_utf8(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

#endif
