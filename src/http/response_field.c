/* Fields of a response as the handler gives them: checked, and formatted for the head.
 *
 * Mostly a response has the fields of the one before, whose text still stands in the workspace: one
 * that is there byte for byte was checked then and need not be written again.
 */
#include <string.h>
#include <strings.h>

#include "base/hints.h"
#include "http/chars.h"
#include "http/engine_state.h"
#include "http/text.h"

/* name is a token, so that no control is taken for a '-'; what is lower-case and as long. */
static bool
named(const char *name, size_t len, const char *what)
{
    return sl_chars_equal_lower(name, what, len);
}

/* Fields that belong to the connection, not to the message (RFC 9110 section 7.6.1), and those that
 * the server itself writes. The length tells most names apart. */
static bool
is_servers(const char *name, size_t len)
{
    switch (len) {
    case 2:
        return named(name, len, "te");
    case 4:
        return named(name, len, "date");
    case 6:
        return named(name, len, "server");
    case 7:
        return named(name, len, "upgrade");
    case 8:
        return named(name, len, "trailers");
    case 10:
        return named(name, len, "connection") || named(name, len, "keep-alive");
    case 16:
        return named(name, len, "proxy-connection");
    case 17:
        return named(name, len, "transfer-encoding");
    case 18:
        return named(name, len, "proxy-authenticate");
    case 19:
        return named(name, len, "proxy-authorization");
    default:
        return false;
    }
}

static int
take_length(struct sl_response *res, const char *value, size_t len)
{
    uint64_t n = 0;
    if (len == 0 || len > 19 || res->has_length)
        return SL_EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (!sl_char_is_digit(value[i]))
            return SL_EINVAL;
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    res->has_length = true;
    res->length = n;
    return SL_OK;
}

static bool
may_substitute(const struct sl_response *res)
{
    const struct sl_front *front = res->ws->engine->opt.front;
    return front != NULL && front->send_file != NULL;
}

static int
take_substitute(struct sl_response *res, const char *value, size_t len)
{
    struct sl_buf *path = &res->ws->substitute;
    if (len == 0 || res->substituted)
        return SL_EINVAL;
    path->len = 0;
    res->substituted = true;
    return sl_buf_append(path, value, len);
}

/* Where each field ends is known, so that two that follow one another are not taken for one whose
 * value has a line end. */
static bool
is_repeated(struct sl_workspace *ws, const char *name, size_t name_len, const char *value,
            size_t value_len)
{
    if (SL_UNLIKELY(ws->kept_next >= ws->kept_count))
        return false;
    const struct sl_kept_field *kept = &ws->kept[ws->kept_next];
    const char *text = ws->headers.ptr + ws->headers.len;
    if (SL_UNLIKELY(kept->name_len != name_len) ||
        kept->end - ws->headers.len != name_len + value_len + 4 ||
        !sl_chars_equal(text, name, name_len) ||
        (value_len > 0 && !sl_chars_equal(text + name_len + 2, value, value_len)))
        return false;
    ws->headers.len = kept->end;
    ws->kept_next++;
    return true;
}

/* Writes the field behind those that are there; what stood there is lost. */
static int
append(struct sl_workspace *ws, const char *name, size_t name_len, const char *value,
       size_t value_len)
{
    struct sl_buf *out = &ws->headers;
    ws->kept_count = ws->kept_next;
    ws->last_head.len = 0;
    if (name_len > SIZE_MAX - value_len - 4 || sl_buf_reserve(out, name_len + value_len + 4) < 0)
        return SL_ENOMEM;
    char *p = out->ptr + out->len;
    memcpy(p, name, name_len);
    p += name_len;
    *p++ = ':';
    *p++ = ' ';
    if (value_len > 0)
        memcpy(p, value, value_len);
    p += value_len;
    *p++ = '\r';
    *p++ = '\n';
    out->len += name_len + value_len + 4;
    if (ws->kept_next < SL_FIELDS_KEPT) {
        ws->kept[ws->kept_next++] = (struct sl_kept_field){out->len, name_len};
        ws->kept_count = ws->kept_next;
    }
    return SL_OK;
}

int
sl_response_header(struct sl_response *res, const char *name, size_t name_len, const char *value,
                   size_t value_len)
{
    while (value_len > 0 && SL_UNLIKELY(value[0] == ' ' || value[0] == '\t'))
        value++, value_len--;
    while (value_len > 0 &&
           SL_UNLIKELY(value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;
    if (SL_LIKELY(is_repeated(res->ws, name, name_len, value, value_len)))
        return SL_OK;
    if (!sl_http_is_token(name, name_len) || !sl_http_is_value(value, value_len))
        return SL_EINVAL;
    if (is_servers(name, name_len)) {
        if (name_len == 10 && value_len == 5 && strncasecmp(value, "close", 5) == 0)
            res->close = true;
        return SL_OK;
    }
    if (name_len == 14 && named(name, name_len, "content-length"))
        return take_length(res, value, value_len);
    if (name_len == 10 && named(name, name_len, "x-sendfile") && may_substitute(res))
        return take_substitute(res, value, value_len);
    return append(res->ws, name, name_len, value, value_len);
}
