/* The two compression contexts of a WebSocket connection (RFC 7692 section 7.2). ws_deflate.c makes
 * them with zlib; in a build without it ws_no_deflate.c says that there is none. */
#ifndef SL_HTTP_WS_DEFLATE_H
#define SL_HTTP_WS_DEFLATE_H

#include <saola/websocket.h>

#include "base/buffer.h"

/* What a sender drops from the end of a message, and a receiver puts back. */
#define SL_WS_TAIL "\x00\x00\xff\xff"
enum { SL_WS_TAIL_LEN = 4 };

struct sl_ws_deflater;
struct sl_ws_inflater;

/* *context is NULL at first and made when needed. Appends what data compress to; with last the
 * message ends, without the tail. SL_OK, SL_ENOMEM: the context may be out of step with the output
 * and must be freed. */
int sl_ws_deflate(struct sl_ws_deflater **context, const struct sl_ws_options *options,
                  const struct sl_ws_deflate *agreed, const char *data, size_t len, bool last,
                  struct sl_buf *out);
/* The next message refers to nothing before. */
void sl_ws_deflater_reset(struct sl_ws_deflater *context);
void sl_ws_deflater_free(struct sl_ws_deflater *context);

/* Inflates in[0..*len) to out[0..*room), both set to what was used of them. SL_OK: all input is
 * used, no output waits; SL_EFULL: call again with more room; SL_EPROTO: no deflate stream;
 * SL_ENOMEM. */
int sl_ws_inflate(struct sl_ws_inflater **context, unsigned window_bits, const char *in,
                  size_t *len, char *out, size_t *room);
/* The input, the tail included, has ended where a message may end. */
bool sl_ws_inflater_is_between_blocks(const struct sl_ws_inflater *context);
void sl_ws_inflater_reset(struct sl_ws_inflater *context);
void sl_ws_inflater_free(struct sl_ws_inflater *context);

#endif
