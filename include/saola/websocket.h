/* One WebSocket connection (RFC 6455) with permessage-deflate (RFC 7692), server side, without any
 * input or output of its own: bytes in, events out, and bytes to send in a buffer.
 *
 *   sl_ws_is_upgrade() --> sl_ws_handshake() --> sl_ws_new(), sl_ws_upgrade()
 *        |                      |
 *        no: serve it           status: sl_ws_refuse()
 *
 *            sl_ws_send(), sl_ws_ping()                   peer's close: answered
 *                  +-----+                              +------------------------+
 *                  v     |                              |                        v
 *               SL_WS_OPEN --- sl_ws_close() --> SL_WS_CLOSING --- peer's close --> SL_WS_CLOSED
 *                        |                              |                            ^
 *                        +------------------------------+---- the peer breaks a rule -+
 *
 * Whoever has the connection feeds what arrives, sends sl_ws_output(), and closes the connection
 * when the state is SL_WS_CLOSED and the output is sent, or a time of its choice after
 * SL_WS_CLOSING began. On a connection of the engine sl_ws_receive() and sl_ws_flush() do so.
 *
 * Ownership: a struct sl_ws belongs to whoever made it. What an event points to is valid until the
 * next call of sl_ws_feed() with the same struct, and as long as the bytes given to it are.
 * Thread: one at a time. Nothing blocks. Memory: 300 bytes when idle, and with
 * permessage-deflate the contexts that the agreement makes lasting (see sl_ws_rest()).
 */
#ifndef SAOLA_WEBSOCKET_H
#define SAOLA_WEBSOCKET_H

#include <saola/http.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

/* Value of Sec-WebSocket-Version: the only version that is spoken. */
#define SL_WS_VERSION "13"

/* permessage-deflate: in options what we would like, in a handshake what was agreed. */
struct sl_ws_deflate {
    bool on;
    bool server_no_context_takeover; /* each message that we send stands alone */
    bool client_no_context_takeover; /* each message of the client stands alone */
    uint8_t server_window_bits;      /* 9 to 15: we look back 1 << bits bytes at most */
    uint8_t client_window_bits;      /* 8 to 15: the client does; 15 unless it lets us choose */
};

/* Shared by the connections of a worker; must outlive them. */
struct sl_ws_options {
    uint64_t max_message;         /* bytes of one message, inflated; 0 = no limit */
    uint32_t max_controls_per_s;  /* pings, pongs and closes of the client; 0 = no limit */
    bool streaming;               /* messages are given in parts, as they come */
    struct sl_ws_deflate deflate; /* on is ignored in a build without zlib */
    uint8_t deflate_level;        /* 1 (fast) to 9 (small) */
    uint8_t deflate_memory_level; /* 1 to 9: a sending context takes 512 << level bytes and
                                     4 << server_window_bits */
    uint32_t deflate_from;        /* shorter messages are sent as they are */
};

/* 1 MiB (gunicorn and uvicorn have 16 MiB), 100 control frames, whole messages, deflate with both
 * contexts kept and windows of 4 KiB, level 6, memory level 5, from 64 bytes. */
void sl_ws_options_init(struct sl_ws_options *options);

/* True in a build with zlib. */
bool sl_ws_deflate_available(void);

/* ---- handshake ----------------------------------------------------------------------------- */

enum { SL_WS_MAX_PROTOCOLS = 32, SL_WS_ACCEPT_LEN = 28 };

struct sl_ws_handshake {
    char accept[SL_WS_ACCEPT_LEN + 1]; /* value of Sec-WebSocket-Accept */
    char extensions[144];              /* value of Sec-WebSocket-Extensions; "" = no such field */
    struct sl_ws_deflate deflate;      /* as agreed by it */
    /* What the client offers, in its order; slices of the request. */
    struct sl_str protocols[SL_WS_MAX_PROTOCOLS];
    size_t protocol_count;
};

/* The request asks for WebSocket: HTTP/1.1 or later, Connection has the token "upgrade", Upgrade
 * has "websocket". Others are ordinary requests, whatever else they carry. */
bool sl_ws_is_upgrade(const struct sl_request *req);

/* Checks an upgrade request (RFC 6455 section 4.2.1) and negotiates. 0, or the status with which it
 * must be refused, *ret_sentence being a static sentence: 405 (not GET; send "Allow: GET"), 426
 * (another version; send "Sec-WebSocket-Version: 13" and "Upgrade: websocket"), 400. *ret is
 * untouched then. */
int sl_ws_handshake(const struct sl_request *req, const struct sl_ws_options *options,
                    struct sl_ws_handshake *ret, const char **ret_sentence);

/* The first of ours (NULL-terminated, by preference) that the client offers too, or NULL. */
const char *sl_ws_choose_protocol(const struct sl_ws_handshake *handshake, const char *const *ours);

/* ---- connection ---------------------------------------------------------------------------- */

struct sl_ws;

enum sl_ws_state {
    SL_WS_OPEN,
    SL_WS_CLOSING, /* our close is in the output, the peer's has not come: data are discarded */
    SL_WS_CLOSED,  /* nothing is read or sent any more, but what is in the output */
};

/* NULL without memory. handshake may be NULL: nothing was agreed. */
struct sl_ws *sl_ws_new(const struct sl_ws_options *options,
                        const struct sl_ws_handshake *handshake);
void sl_ws_free(struct sl_ws *ws);

enum sl_ws_event_kind {
    SL_WS_MORE,   /* the input is used up */
    SL_WS_TEXT,   /* UTF-8 */
    SL_WS_BINARY, /* */
    SL_WS_PING,   /* for information: the pong is in the output */
    SL_WS_PONG,   /* */
    SL_WS_CLOSE,  /* the peer closed, or answered our close: the answer is in the output */
    SL_WS_ERROR,  /* the peer broke a rule or memory is short: a close is in the output */
    SL_WS_END,    /* after CLOSE or ERROR: the input is dropped */
};

struct sl_ws_event {
    enum sl_ws_event_kind kind;
    /* A whole message; with streaming a part of one, cut anywhere (a text inside a character, too),
     * and not empty unless it is the last. Payload of PING and PONG; reason of CLOSE. */
    const char *data;
    size_t len;
    bool first, last;     /* part of its message; both when it is whole */
    uint16_t code;        /* CLOSE: the peer's, 1005 when it gave none. ERROR: ours */
    const char *sentence; /* ERROR: what is wrong; static */
};

/* Looks at buf[0..len), which is changed, and sets *ret_used to the bytes consumed by the event.
 * To be called again with what is left of the input until the event is MORE (or END): nothing
 * remains for the caller to keep. now_ms: any monotonic clock. While sl_ws_output() is more than a
 * connection should hold, do not feed: each ping is answered by a pong. */
void sl_ws_feed(struct sl_ws *ws, uint64_t now_ms, char *buf, size_t len, size_t *ret_used,
                struct sl_ws_event *ret_event);

/* Puts a text (kind SL_WS_TEXT) or binary (SL_WS_BINARY) message in the output, or a part of one:
 * last is false while more parts of it follow; kind is ignored but for the first. SL_OK, SL_EINVAL
 * (a text is no UTF-8; another kind), SL_ECLOSED (closing or closed), SL_ENOMEM; nothing is written
 * but with SL_OK. After SL_EINVAL in the middle of a message only sl_ws_close() is of use. */
int sl_ws_send(struct sl_ws *ws, enum sl_ws_event_kind kind, const void *data, size_t len,
               bool last);

/* At most 125 bytes. SL_OK, SL_EINVAL, SL_ECLOSED, SL_ENOMEM. */
int sl_ws_ping(struct sl_ws *ws, const void *data, size_t len);

/* Starts the closing handshake. code 0 sends none; reason is UTF-8, at most 123 bytes, and needs a
 * code. SL_OK, SL_EINVAL (a code that may not be sent, RFC 6455 section 7.4), SL_ECLOSED,
 * SL_ENOMEM. */
int sl_ws_close(struct sl_ws *ws, unsigned code, const char *reason, size_t len);

/* True for codes that may stand in a close frame. */
bool sl_ws_code_is_valid(unsigned code);

enum sl_ws_state sl_ws_state(const struct sl_ws *ws);

/* Bytes to send; NULL and 0 when there are none. Valid until something else is called. */
const char *sl_ws_output(const struct sl_ws *ws, size_t *ret_len);
/* The first n of them were sent. */
void sl_ws_consume(struct sl_ws *ws, size_t n);

/* For a connection that is idle: gives memory back which it can make anew. What remains: the
 * window of the client's messages, unless client_no_context_takeover was agreed, and what is in the
 * output or half received. */
void sl_ws_rest(struct sl_ws *ws);

/* Heap bytes of this connection, without those inside zlib. For tests and status. */
size_t sl_ws_memory(const struct sl_ws *ws);

/* ---- on a connection of the engine --------------------------------------------------------- */

/* Answers the handshake with 101: the request's connection is WebSocket from now on, and its
 * handler answers "later" (SL_PENDING) with the two functions below. protocol may be NULL; headers
 * are the application's, of which those that the handshake owns are dropped. SL_OK, SL_EINVAL (the
 * protocol was not offered, or a header is malformed; nothing was sent), SL_ECLOSED. */
int sl_ws_upgrade(struct sl_response *res, const struct sl_ws_handshake *handshake,
                  const char *protocol, const struct sl_header *headers, size_t header_count);

/* Answers a handshake that failed, with what sl_ws_handshake() returned. */
int sl_ws_refuse(struct sl_response *res, int status, const char *sentence);

/* The next event of what the client sends. SL_OK; SL_EAGAIN: nothing is here now, the engine tells
 * of more by SL_ON_BODY; SL_ECLOSED: the client went away without a close. What the event points to
 * is valid until the next call with the same connection. Not to be called while sl_ws_flush()
 * returns SL_EFULL. */
int sl_ws_receive(struct sl_ws *ws, struct sl_request *req, uint64_t now_ms,
                  struct sl_ws_event *ret_event);

/* Gives the output to the engine; as sl_response_write(). The state is SL_WS_CLOSED after it: end
 * the request. */
int sl_ws_flush(struct sl_ws *ws, struct sl_response *res);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
