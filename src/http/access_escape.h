/* What strangers sent, made safe for a line of a log. */
#ifndef SL_HTTP_ACCESS_ESCAPE_H
#define SL_HTTP_ACCESS_ESCAPE_H

#include <stddef.h>
#include "base/buffer.h"

enum sl_escape_style {
    SL_ESCAPE_TEXT,   /* gunicorn's: \" \\ \x1b */
    SL_ESCAPE_JSON,   /* RFC 8259: a string with its quotes */
    SL_ESCAPE_LOGFMT, /* bare, or in quotes with TEXT's escapes where it must be */
};

/* Appends bytes that are taken as latin-1, as WSGI takes them; the output is UTF-8. Quotes,
 * backslashes, C0, DEL and C1 are escaped. SL_OK or SL_ENOMEM. */
int sl_escape_latin1(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

/* The same for text that should be UTF-8: what is not becomes U+FFFD, the line separators U+2028
 * and U+2029 are escaped too. */
int sl_escape_utf8(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style);

#endif
