/* A WebSocket connection on a connection of the engine: the answer to the handshake as an HTTP
 * response, then bytes from the request's body to the events and from the output to the response.
 */
#include <saola/websocket.h>

#include <string.h>

#include "http/chars.h"

/* Fields that the handshake or the framing of HTTP owns, and that the response does not drop. */
static bool
is_ours(const struct sl_str *name)
{
    static const char *const names[] = {"sec-websocket-accept", "sec-websocket-extensions",
                                        "sec-websocket-version", "sec-websocket-protocol",
                                        "content-length"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (name->len == strlen(names[i]) && sl_chars_equal_lower(name->ptr, names[i], name->len))
            return true;
    }
    return false;
}

static int
add_field(struct sl_response *res, const char *name, const char *value)
{
    return sl_response_header(res, name, strlen(name), value, strlen(value));
}

static int
add_headers(struct sl_response *res, const struct sl_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sl_header *h = &headers[i];
        if (is_ours(&h->name))
            continue;
        int rc = sl_response_header(res, h->name.ptr, h->name.len, h->value.ptr, h->value.len);
        if (rc != SL_OK)
            return rc;
    }
    return SL_OK;
}

int
sl_ws_upgrade(struct sl_response *res, const struct sl_ws_handshake *handshake,
              const char *protocol, const struct sl_header *headers, size_t header_count)
{
    static const char status[] = "101 Switching Protocols";
    if (protocol != NULL) {
        const char *const ours[] = {protocol, NULL};
        if (sl_ws_choose_protocol(handshake, ours) == NULL)
            return SL_EINVAL;
    }
    int rc = sl_response_start(res, status, sizeof status - 1);
    if (rc == SL_OK)
        rc = add_field(res, "Sec-WebSocket-Accept", handshake->accept);
    if (rc == SL_OK && handshake->extensions[0] != '\0')
        rc = add_field(res, "Sec-WebSocket-Extensions", handshake->extensions);
    if (rc == SL_OK && protocol != NULL)
        rc = add_field(res, "Sec-WebSocket-Protocol", protocol);
    if (rc == SL_OK)
        rc = add_headers(res, headers, header_count);
    return rc == SL_OK ? sl_response_upgrade(res, "websocket", 9) : rc;
}

int
sl_ws_refuse(struct sl_response *res, int status, const char *sentence)
{
    static const char bad[] = "400 Bad Request", method[] = "405 Method Not Allowed",
                      version[] = "426 Upgrade Required";
    const char *line = status == 405 ? method : status == 426 ? version : bad;
    int rc = sl_response_start(res, line, strlen(line));
    if (rc == SL_OK && status == 405)
        rc = add_field(res, "Allow", "GET");
    if (rc == SL_OK && status == 426)
        rc = add_field(res, "Sec-WebSocket-Version", SL_WS_VERSION);
    if (rc == SL_OK)
        rc = add_field(res, "Content-Type", "text/plain");
    return rc == SL_OK ? sl_response_write(res, sentence, strlen(sentence), SL_WRITE_LAST) : rc;
}

int
sl_ws_receive(struct sl_ws *ws, struct sl_request *req, uint64_t now_ms,
              struct sl_ws_event *ret_event)
{
    for (;;) {
        const char *data = NULL;
        size_t len = sl_request_body(req, &data), used = 0;
        if (len > 0 || sl_ws_state(ws) == SL_WS_CLOSED) {
            /* The body is const for hosts; it lies in a receive buffer, and nobody reads it again.
             */
            sl_ws_feed(ws, now_ms, (char *)(uintptr_t)data, len, &used, ret_event);
            sl_request_consume(req, used);
            if (ret_event->kind != SL_WS_MORE)
                return SL_OK;
        }
        int rc = sl_request_more(req);
        if (rc != SL_OK)
            return rc;
    }
}

int
sl_ws_flush(struct sl_ws *ws, struct sl_response *res)
{
    size_t len;
    const char *output = sl_ws_output(ws, &len);
    if (len == 0)
        return SL_OK;
    int rc = sl_response_write(res, output, len, SL_WRITE_FLUSH);
    if (rc == SL_OK || rc == SL_EFULL)
        sl_ws_consume(ws, len);
    return rc;
}
