/* What goes out: messages whole or in parts, pings, closes. The server does not mask. */
#include "http/ws_state.h"

#include <string.h>

#include "http/utf8.h"

int
sl_ws_put_frame(struct sl_ws *ws, unsigned first, const void *data, size_t len)
{
    if (len > (size_t)PTRDIFF_MAX - SL_WS_MAX_OUR_HEAD)
        return SL_ENOMEM;
    int rc = sl_buf_reserve(&ws->out, len + SL_WS_MAX_OUR_HEAD);
    if (rc != SL_OK)
        return rc;
    ws->out.len += sl_ws_frame_write(ws->out.ptr + ws->out.len, first, len);
    return sl_buf_append(&ws->out, data, len);
}

int
sl_ws_put_close(struct sl_ws *ws, unsigned code, const char *reason, size_t len)
{
    char payload[SL_WS_MAX_CONTROL];
    if (code == 0)
        return sl_ws_put_frame(ws, SL_WS_FIN | SL_WS_OP_CLOSE, NULL, 0);
    len = len < sizeof payload - 2 ? len : sizeof payload - 2;
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    if (len > 0)
        memcpy(payload + 2, reason, len);
    return sl_ws_put_frame(ws, SL_WS_FIN | SL_WS_OP_CLOSE, payload, len + 2);
}

/* Compresses behind the room for a head that would fit, then writes the head, which may be a
 * shorter or longer one. */
static int
put_deflated(struct sl_ws *ws, unsigned first, const char *data, size_t len, bool last)
{
    struct sl_buf *out = &ws->out;
    int rc = sl_buf_reserve(out, SL_WS_MAX_OUR_HEAD);
    if (rc != SL_OK)
        return rc;
    size_t at = out->len, guess = sl_ws_head_len(len / 4);
    out->len += guess;
    rc = sl_ws_deflate(&ws->deflater, ws->options, &ws->deflate, data, len, last, out);
    if (rc == SL_OK)
        rc = sl_buf_reserve(out, SL_WS_MAX_OUR_HEAD);
    if (rc != SL_OK) {
        /* The peer will never see what the context has seen. */
        out->len = at;
        sl_ws_deflater_free(ws->deflater);
        ws->deflater = NULL;
        return rc;
    }
    size_t payload = out->len - at - guess, head = sl_ws_head_len(payload);
    if (head != guess)
        memmove(out->ptr + at + head, out->ptr + at + guess, payload);
    out->len = at + head + payload;
    (void)sl_ws_frame_write(out->ptr + at, first, payload);
    return SL_OK;
}

static int
begin_message(struct sl_ws *ws, enum sl_ws_event_kind kind, size_t len, bool last,
              struct sl_ws_message *ret)
{
    if (kind != SL_WS_TEXT && kind != SL_WS_BINARY)
        return SL_EINVAL;
    *ret = (struct sl_ws_message){
        .opcode = kind == SL_WS_TEXT ? SL_WS_OP_TEXT : SL_WS_OP_BINARY,
        .deflated = ws->deflate.on && (!last || len >= ws->options->deflate_from),
    };
    return SL_OK;
}

int
sl_ws_send(struct sl_ws *ws, enum sl_ws_event_kind kind, const void *data, size_t len, bool last)
{
    if (ws->state != SL_WS_OPEN)
        return SL_ECLOSED;
    struct sl_ws_message message = ws->sending;
    unsigned first = last ? SL_WS_FIN : 0;
    if (message.opcode == 0) {
        int rc = begin_message(ws, kind, len, last, &message);
        if (rc != SL_OK)
            return rc;
        first |= message.opcode | (message.deflated ? SL_WS_RSV1 : 0u);
    }
    if (message.opcode == SL_WS_OP_TEXT &&
        (!sl_utf8_feed(&message.utf8, data, len) || (last && !sl_utf8_is_whole(&message.utf8))))
        return SL_EINVAL;
    int rc = message.deflated ? put_deflated(ws, first, data, len, last)
                              : sl_ws_put_frame(ws, first, data, len);
    if (rc != SL_OK)
        return rc;
    if (last && message.deflated && ws->deflate.server_no_context_takeover)
        sl_ws_deflater_reset(ws->deflater);
    ws->sending = last ? (struct sl_ws_message){.opcode = 0} : message;
    return SL_OK;
}

int
sl_ws_ping(struct sl_ws *ws, const void *data, size_t len)
{
    if (ws->state != SL_WS_OPEN)
        return SL_ECLOSED;
    if (len > SL_WS_MAX_CONTROL)
        return SL_EINVAL;
    return sl_ws_put_frame(ws, SL_WS_FIN | SL_WS_OP_PING, data, len);
}

/* RFC 6455 section 7.4 and the IANA registry: 1004 is reserved, 1005, 1006 and 1015 mean what no
 * frame says, and 1016 to 2999 are not given out. */
bool
sl_ws_code_is_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

int
sl_ws_close(struct sl_ws *ws, unsigned code, const char *reason, size_t len)
{
    if (ws->state != SL_WS_OPEN)
        return SL_ECLOSED;
    if (code == 0 ? len > 0 : !sl_ws_code_is_valid(code))
        return SL_EINVAL;
    if (len > SL_WS_MAX_CONTROL - 2 || !sl_utf8_is_valid(reason, len))
        return SL_EINVAL;
    int rc = sl_ws_put_close(ws, code, reason, len);
    if (rc == SL_OK)
        ws->state = SL_WS_CLOSING;
    return rc;
}
