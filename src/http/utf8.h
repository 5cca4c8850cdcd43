/* Validation of UTF-8 (RFC 3629) that may be cut anywhere. */
#ifndef SL_HTTP_UTF8_H
#define SL_HTTP_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What must come next; zeroed: a character. */
struct sl_utf8 {
    uint8_t need;      /* private: continuation bytes */
    uint8_t low, high; /* private: bounds of the first of them */
};

/* Takes s[0..len). False: no text starts like this, seen at the first byte that makes it so; the
 * state is of no use afterwards. */
bool sl_utf8_feed(struct sl_utf8 *utf8, const char *s, size_t len);

/* No character is left unfinished. */
static inline bool
sl_utf8_is_whole(const struct sl_utf8 *utf8)
{
    return utf8->need == 0;
}

/* The whole of s is text. */
bool sl_utf8_is_valid(const char *s, size_t len);

#endif
