/* Sec-WebSocket-Extensions (RFC 6455 section 9.1) and the offers of permessage-deflate in it (RFC
 * 7692 section 7.1). */
#ifndef SL_HTTP_WS_EXTENSION_H
#define SL_HTTP_WS_EXTENSION_H

#include <saola/websocket.h>

/* Reads the value of one such field. The first offer of permessage-deflate that we can meet sets
 * *agreed, unless it is on already or wanted is not; other offers and other extensions are
 * declined. False: the value is malformed, whatever it offers. */
bool sl_ws_extensions_read(const struct sl_str *value, const struct sl_ws_deflate *wanted,
                           struct sl_ws_deflate *agreed);

/* The value of the answer, or "" when nothing was agreed. */
void sl_ws_extensions_write(const struct sl_ws_deflate *agreed, char *out, size_t capacity);

#endif
