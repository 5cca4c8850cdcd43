/* Frames of WebSocket (RFC 6455 section 5.2): heads in and out, and the mask of payloads. */
#ifndef SL_HTTP_WS_FRAME_H
#define SL_HTTP_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_ws_opcode {
    SL_WS_OP_CONTINUATION = 0,
    SL_WS_OP_TEXT = 1,
    SL_WS_OP_BINARY = 2,
    SL_WS_OP_CLOSE = 8,
    SL_WS_OP_PING = 9,
    SL_WS_OP_PONG = 10,
};

enum {
    SL_WS_FIN = 0x80,
    SL_WS_RSV1 = 0x40,
    SL_WS_MAX_CONTROL = 125,
    SL_WS_MAX_HEAD = 14,     /* of a client */
    SL_WS_MAX_OUR_HEAD = 10, /* of a server: no mask */
};

/* Bytes of a head that is not complete yet. Zeroed at first. */
struct sl_ws_head {
    uint8_t bytes[SL_WS_MAX_HEAD];
    uint8_t have;
};

struct sl_ws_frame {
    uint64_t len; /* of the payload, below 1 << 63 */
    uint8_t mask[4];
    uint8_t opcode; /* one of enum sl_ws_opcode */
    bool fin, rsv1;
};

/* Takes bytes of a client's frame head from buf, and none of the payload. 1: *ret_frame is
 * complete and head ready for the next; 0: all bytes were taken, more must come; SL_EPROTO: it
 * breaks the framing, *ret_sentence says how. *ret_used is set in each case. What depends on other
 * frames or on extensions (continuation, rsv1) is for the caller to judge. */
int sl_ws_frame_read(struct sl_ws_head *head, const char *buf, size_t len, size_t *ret_used,
                     struct sl_ws_frame *ret_frame, const char **ret_sentence);

static inline bool
sl_ws_is_control(unsigned opcode)
{
    return opcode >= SL_WS_OP_CLOSE;
}

/* Length of the head of a server's frame with a payload of len bytes. */
static inline size_t
sl_ws_head_len(uint64_t len)
{
    return len < 126 ? 2 : len < 65536 ? 4 : 10;
}

/* Writes such a head; first is opcode, SL_WS_FIN and SL_WS_RSV1. Returns its length. */
size_t sl_ws_frame_write(char *out, unsigned first, uint64_t len);

/* Masks or unmasks data in place; at is the offset in the payload of its first byte. */
void sl_ws_mask(char *data, size_t len, const uint8_t mask[4], uint64_t at);

#endif
