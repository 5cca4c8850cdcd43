/* A WebSocket connection: its birth with the answer to the handshake, its memory, its end. What
 * comes in is in ws_receive.c, what goes out in ws_send.c. */
#include "http/ws_state.h"

#include <stdlib.h>
#include <string.h>

#include "http/chars.h"
#include "http/text.h"

/* Buffers up to this size are kept between messages. */
enum { KEPT = 4096 };

void
sl_ws_options_init(struct sl_ws_options *options)
{
    *options = (struct sl_ws_options){
        .max_message = 1 << 20,
        .max_controls_per_s = 100,
        .deflate = {.on = true, .server_window_bits = 12, .client_window_bits = 12},
        .deflate_level = 6,
        .deflate_memory_level = 5,
        .deflate_from = 64,
    };
}

struct sl_ws *
sl_ws_new(const struct sl_ws_options *options, const struct sl_ws_handshake *handshake)
{
    struct sl_ws *ws = calloc(1, sizeof *ws);
    if (ws == NULL)
        return NULL;
    ws->options = options;
    if (handshake != NULL)
        ws->deflate = handshake->deflate;
    return ws;
}

void
sl_ws_free(struct sl_ws *ws)
{
    if (ws == NULL)
        return;
    sl_ws_inflater_free(ws->inflater);
    sl_ws_deflater_free(ws->deflater);
    sl_buf_release(&ws->in);
    sl_buf_release(&ws->out);
    free(ws);
}

/* ---- the answer to the handshake ----------------------------------------------------------------
 */

/* Fields that the handshake or the framing of HTTP owns. */
static bool
is_ours(const struct sl_str *name)
{
    static const char *const names[] = {
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "content-length",
        "transfer-encoding",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (name->len == strlen(names[i]) && sl_chars_equal_lower(name->ptr, names[i], name->len))
            return true;
    }
    return false;
}

static int
put_field(struct sl_buf *out, const char *name, size_t name_len, const char *value, size_t len)
{
    int rc = sl_buf_reserve(out, name_len + len + 4);
    if (rc != SL_OK)
        return rc;
    (void)sl_buf_append(out, name, name_len);
    (void)sl_buf_append(out, ": ", 2);
    (void)sl_buf_append(out, value, len);
    return sl_buf_append(out, "\r\n", 2);
}

static int
put_own_field(struct sl_buf *out, const char *name, const char *value)
{
    return put_field(out, name, strlen(name), value, strlen(value));
}

static int
put_headers(struct sl_buf *out, const struct sl_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sl_header *h = &headers[i];
        if (!sl_http_is_token(h->name.ptr, h->name.len) ||
            !sl_http_is_value(h->value.ptr, h->value.len))
            return SL_EINVAL;
        if (is_ours(&h->name))
            continue;
        int rc = put_field(out, h->name.ptr, h->name.len, h->value.ptr, h->value.len);
        if (rc != SL_OK)
            return rc;
    }
    return SL_OK;
}

static int
put_answer(struct sl_buf *out, const struct sl_ws_handshake *handshake, const char *protocol,
           const struct sl_header *headers, size_t count)
{
    static const char start[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    int rc = sl_buf_append(out, start, sizeof start - 1);
    if (rc == SL_OK)
        rc = put_own_field(out, "Sec-WebSocket-Accept", handshake->accept);
    if (rc == SL_OK && handshake->extensions[0] != '\0')
        rc = put_own_field(out, "Sec-WebSocket-Extensions", handshake->extensions);
    if (rc == SL_OK && protocol != NULL)
        rc = put_own_field(out, "Sec-WebSocket-Protocol", protocol);
    if (rc == SL_OK)
        rc = put_headers(out, headers, count);
    return rc == SL_OK ? sl_buf_append(out, "\r\n", 2) : rc;
}

int
sl_ws_accept(struct sl_ws *ws, const struct sl_ws_handshake *handshake, const char *protocol,
             const struct sl_header *headers, size_t header_count)
{
    if (protocol != NULL) {
        const char *const ours[] = {protocol, NULL};
        if (sl_ws_choose_protocol(handshake, ours) == NULL)
            return SL_EINVAL;
    }
    size_t before = ws->out.len;
    int rc = put_answer(&ws->out, handshake, protocol, headers, header_count);
    if (rc != SL_OK)
        ws->out.len = before;
    return rc;
}

/* ---- output and memory --------------------------------------------------------------------------
 */

enum sl_ws_state
sl_ws_state(const struct sl_ws *ws)
{
    return (enum sl_ws_state)ws->state;
}

const char *
sl_ws_output(const struct sl_ws *ws, size_t *ret_len)
{
    *ret_len = ws->out.len;
    return ws->out.len > 0 ? ws->out.ptr : NULL;
}

void
sl_ws_consume(struct sl_ws *ws, size_t n)
{
    sl_buf_consume(&ws->out, n);
    if (ws->out.len == 0 && ws->out.cap > KEPT)
        sl_buf_release(&ws->out);
}

void
sl_ws_rest(struct sl_ws *ws)
{
    if (ws->out.len == 0)
        sl_buf_release(&ws->out);
    if (ws->given || ws->in.len == 0) {
        ws->given = false;
        sl_buf_release(&ws->in);
    }
    /* A new context refers to nothing that the client would have to remember. */
    if (!ws->sending.deflated) {
        sl_ws_deflater_free(ws->deflater);
        ws->deflater = NULL;
    }
    if (ws->deflate.client_no_context_takeover && !ws->receiving.deflated) {
        sl_ws_inflater_free(ws->inflater);
        ws->inflater = NULL;
    }
}

size_t
sl_ws_memory(const struct sl_ws *ws)
{
    return sizeof *ws + ws->in.cap + ws->out.cap;
}
