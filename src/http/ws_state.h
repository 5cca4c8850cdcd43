/* A WebSocket connection from inside; for ws.c, ws_receive.c and ws_send.c only. */
#ifndef SL_HTTP_WS_STATE_H
#define SL_HTTP_WS_STATE_H

#include <saola/websocket.h>

#include "base/buffer.h"
#include "http/utf8.h"
#include "http/ws_deflate.h"
#include "http/ws_frame.h"

enum sl_ws_phase {
    SL_WS_IN_HEAD,
    SL_WS_IN_CONTROL, /* payload of a control frame */
    SL_WS_IN_PLAIN,   /* payload of a data frame */
    SL_WS_IN_DEFLATED,
    SL_WS_IN_TAIL, /* a compressed message is here, its dropped end is put back */
};

/* A message as it comes or goes. */
struct sl_ws_message {
    uint8_t opcode; /* SL_WS_OP_TEXT, SL_WS_OP_BINARY; 0: none in progress */
    bool deflated;
    bool begun; /* streaming: a part of it was given */
    struct sl_utf8 utf8;
    uint64_t size; /* bytes so far, inflated */
};

struct sl_ws {
    const struct sl_ws_options *options;
    struct sl_ws_deflate deflate; /* as agreed */
    uint8_t state, phase;
    bool given; /* what is in `in` was given by an event and may go */
    uint8_t tail_used, control_len;
    uint32_t controls; /* of the second that began at second_ms */
    uint64_t second_ms;
    struct sl_ws_head head;
    struct sl_ws_frame frame; /* the one in progress; len is what is left of it */
    uint64_t at;              /* offset in its payload */
    struct sl_ws_message receiving, sending;
    struct sl_buf in, out;
    struct sl_ws_inflater *inflater;
    struct sl_ws_deflater *deflater;
    char control[SL_WS_MAX_CONTROL];
};

/* Appends a whole frame to the output. */
int sl_ws_put_frame(struct sl_ws *ws, unsigned first, const void *data, size_t len);
/* A close frame; code 0: without. */
int sl_ws_put_close(struct sl_ws *ws, unsigned code, const char *reason, size_t len);

#endif
