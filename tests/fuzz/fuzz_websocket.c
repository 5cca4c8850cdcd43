/* A WebSocket connection. The first byte chooses options, the rest are the bytes of a client.
 * Demanded: the same events and the same output whole, byte by byte and in pieces, messages
 * gathered and streamed; texts are UTF-8, messages and memory within the limit, nothing after the
 * end. */
#include <string.h>
#include <saola/websocket.h>

#include "fuzz.h"
#include "http/utf8.h"

enum { MAX_INPUT = 4096, MAX_MESSAGE = 20000, MAX_LOG = 1 << 20 };

struct outcome {
    size_t log_len, message_len;
    char log[MAX_LOG];
    char message[MAX_MESSAGE];
};

static void
note(struct outcome *out, const void *data, size_t len)
{
    size_t n = len < MAX_LOG - out->log_len ? len : MAX_LOG - out->log_len;
    if (n > 0)
        memcpy(out->log + out->log_len, data, n);
    out->log_len += n;
}

static void
note_event(struct outcome *out, const struct sl_ws_event *event)
{
    char line[32];
    const char *data = event->data;
    size_t len = event->len;
    if (event->kind == SL_WS_TEXT || event->kind == SL_WS_BINARY) {
        if (event->first)
            out->message_len = 0;
        DEMAND(len <= MAX_MESSAGE - out->message_len);
        memcpy(out->message + out->message_len, data, len);
        out->message_len += len;
        if (!event->last)
            return;
        data = out->message;
        len = out->message_len;
        DEMAND(event->kind == SL_WS_BINARY || sl_utf8_is_valid(data, len));
    }
    int n = sprintf(line, "%d %u %zu:", (int)event->kind, event->code, len);
    note(out, line, (size_t)n);
    note(out, data, len);
}

static void
play(const struct sl_ws_options *options, const struct sl_ws_handshake *handshake,
     const uint8_t *data, size_t size, size_t most, struct outcome *out)
{
    struct sl_ws *ws = sl_ws_new(options, handshake);
    DEMAND(ws != NULL);
    out->log_len = 0;
    uint64_t seed = 88172645463325252u + size;
    bool ended = false;
    for (size_t done = 0; done < size;) {
        size_t n = most == 0 ? size - done : most == 1 ? 1 : fuzz_piece(&seed, size - done);
        char *piece = malloc(n);
        DEMAND(piece != NULL);
        memcpy(piece, data + done, n);
        struct sl_ws_event event;
        size_t at = 0;
        do {
            size_t used, len;
            sl_ws_feed(ws, 0, piece + at, n - at, &used, &event);
            DEMAND(used <= n - at);
            at += used;
            DEMAND(!ended || event.kind == SL_WS_END);
            if (event.kind != SL_WS_MORE && event.kind != SL_WS_END)
                note_event(out, &event);
            ended = ended || event.kind == SL_WS_CLOSE || event.kind == SL_WS_ERROR;
            DEMAND(ended == (sl_ws_state(ws) == SL_WS_CLOSED));
            DEMAND(sl_ws_memory(ws) <= 2 * MAX_MESSAGE + 4 * 16384);
            const char *output = sl_ws_output(ws, &len);
            note(out, output, len);
            sl_ws_consume(ws, len);
        } while (event.kind != SL_WS_MORE && event.kind != SL_WS_END);
        DEMAND(at == n);
        done += n;
        free(piece);
    }
    sl_ws_free(ws);
}

static void
demand_same(const struct outcome *a, const struct outcome *b)
{
    DEMAND(a->log_len == b->log_len && memcmp(a->log, b->log, a->log_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome first, other;
    if (size == 0 || size > MAX_INPUT)
        return 0;
    struct sl_ws_options options;
    struct sl_ws_handshake handshake = {.protocol_count = 0};
    sl_ws_options_init(&options);
    options.max_message = data[0] & 1 ? 100 : MAX_MESSAGE;
    options.max_controls_per_s = data[0] & 2 ? 5 : 0;
    handshake.deflate = (struct sl_ws_deflate){
        .on = sl_ws_deflate_available() && (data[0] & 4),
        .client_no_context_takeover = data[0] & 8,
        .client_window_bits = data[0] & 16 ? 9 : 15,
        .server_window_bits = 15,
    };
    play(&options, &handshake, data + 1, size - 1, 0, &first);
    for (unsigned i = 1; i < 6; i++) {
        options.streaming = i >= 3;
        play(&options, &handshake, data + 1, size - 1, i % 3, &other);
        demand_same(&first, &other);
    }
    return 0;
}
