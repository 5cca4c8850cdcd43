/* What strangers sent, made safe for a line of a log. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <saola/status.h>
#include "http/access_escape.h"

enum { LONGEST = 6 }; /* bytes that one byte of input may become: \u001b */

static const char hex[] = "0123456789abcdef";

static bool
is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Letters that a bare logfmt value may have. */
static bool
is_bare(unsigned char c)
{
    return is_plain(c) && c != ' ' && c != '=';
}

/* Copies the plain bytes at the beginning of text, sixteen at a time, and returns how many; maybe
 * not all of them. out has room for len. */
static size_t
copy_plain(char *out, const char *text, size_t len)
{
    size_t at = 0;
    for (; len - at >= 16; at += 16) {
        sl_escape_block block;
        memcpy(&block, text + at, sizeof block);
        if (!sl_escape_is_plain(block))
            break;
        memcpy(out + at, &block, sizeof block);
    }
    return at;
}

static char *
put_code(char *p, unsigned code, enum sl_escape_style style)
{
    if (code == '"' || code == '\\') {
        *p++ = '\\';
        *p++ = (char)code;
        return p;
    }
    *p++ = '\\';
    if (style != SL_ESCAPE_JSON && code < 256) {
        *p++ = 'x';
    } else {
        *p++ = 'u';
        *p++ = hex[code >> 12 & 15];
        *p++ = hex[code >> 8 & 15];
    }
    *p++ = hex[code >> 4 & 15];
    *p++ = hex[code & 15];
    return p;
}

/* Room for the worst, with quotes around it; NULL without memory. */
static char *
begin(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style,
      bool *ret_quoted)
{
    *ret_quoted = style == SL_ESCAPE_JSON;
    if (style == SL_ESCAPE_LOGFMT) {
        size_t i = 0;
        while (i < len && is_bare((unsigned char)text[i]))
            i++;
        *ret_quoted = i < len || len == 0;
    }
    if (len > (SIZE_MAX - 2) / LONGEST || sl_buf_reserve(out, len * LONGEST + 2) < 0)
        return NULL;
    char *p = out->ptr + out->len;
    if (*ret_quoted)
        *p++ = '"';
    return p;
}

static void
end(struct sl_buf *out, char *p, bool quoted)
{
    if (quoted)
        *p++ = '"';
    out->len = (size_t)(p - out->ptr);
}

int
sl_escape_latin1(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style)
{
    bool quoted;
    char *p = begin(out, text, len, style, &quoted);
    if (p == NULL)
        return SL_ENOMEM;
    size_t i = copy_plain(p, text, len);
    p += i;
    for (; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (is_plain(c)) {
            *p++ = (char)c;
        } else if (c >= 0xa0) {
            *p++ = (char)(0xc0 | c >> 6);
            *p++ = (char)(0x80 | (c & 0x3f));
        } else {
            p = put_code(p, c, style);
        }
    }
    end(out, p, quoted);
    return SL_OK;
}

/* Length of the UTF-8 sequence at s (RFC 3629), 0 if it is none; *ret_skip then is the length of
 * what one U+FFFD stands for (Unicode, "maximal subpart"). */
static size_t
sequence(const unsigned char *s, size_t left, unsigned *ret_code, size_t *ret_skip)
{
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    *ret_skip = 1;
    if (len == 0 || s[0] > 0xf4)
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    unsigned code = len == 1 ? s[0] : s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (i >= left || s[i] < low || s[i] > high) {
            *ret_skip = i;
            return 0;
        }
        code = code << 6 | (s[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *ret_code = code;
    return len;
}

int
sl_escape_utf8(struct sl_buf *out, const char *text, size_t len, enum sl_escape_style style)
{
    const unsigned char *s = (const unsigned char *)text;
    bool quoted;
    char *p = begin(out, text, len, style, &quoted);
    if (p == NULL)
        return SL_ENOMEM;
    for (size_t i = 0, step = 0, skip = 0; i < len; i += step) {
        unsigned code = 0;
        step = sequence(s + i, len - i, &code, &skip);
        if (step == 0) {
            memcpy(p, "\xef\xbf\xbd", 3); /* U+FFFD */
            p += 3;
            step = skip;
        } else if (step == 1 ? !is_plain(s[i]) : code < 0xa0 || code == 0x2028 || code == 0x2029) {
            p = put_code(p, code, style);
        } else {
            memcpy(p, s + i, step);
            p += step;
        }
    }
    end(out, p, quoted);
    return SL_OK;
}
