/* A WebSocket connection: its birth, its memory, its end. What comes in is in ws_receive.c, what
 * goes out in ws_send.c. */
#include "http/ws_state.h"

#include <stdlib.h>

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
    /* Between two frames ours is at the end of a byte, and a new one refers to nothing before. */
    sl_ws_deflater_free(ws->deflater);
    ws->deflater = NULL;
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
