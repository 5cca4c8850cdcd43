/* The opening handshake: the lines of the input are the values of Sec-WebSocket-Extensions, of
 * Sec-WebSocket-Protocol, Sec-WebSocket-Key and Connection. Demanded: a status and a sentence, or
 * an answer; what was agreed is an offer with the same answer; each protocol chosen was offered. */
#include <string.h>
#include <saola/websocket.h>

#include "fuzz.h"
#include "http/ws_extension.h"

enum { LINES = 4, MAX_INPUT = 4096 };

static void
demand_stable(const struct sl_ws_handshake *handshake)
{
    const struct sl_ws_deflate wanted = {
        .on = true, .server_window_bits = 15, .client_window_bits = 15};
    struct sl_ws_deflate again = {.on = false};
    char answer[sizeof handshake->extensions];
    const struct sl_str value = {handshake->extensions, strlen(handshake->extensions)};
    DEMAND(sl_ws_extensions_read(&value, &wanted, &again));
    DEMAND(again.on == handshake->deflate.on);
    sl_ws_extensions_write(&again, answer, sizeof answer);
    DEMAND(strcmp(answer, handshake->extensions) == 0);
}

/* The values of fields come without line ends and controls from the parser of heads. */
static void
clean(char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f)
            s[i] = ' ';
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[LINES] = {"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol",
                                             "Sec-WebSocket-Key", "Connection"};
    if (size > MAX_INPUT)
        return 0;
    struct sl_header headers[LINES + 2] = {
        {{"Upgrade", 7}, {"websocket", 9}},
        {{"Sec-WebSocket-Version", 21}, {"13", 2}},
    };
    char *values[LINES];
    for (size_t i = 0, at = 0; i < LINES; i++) {
        const uint8_t *end = size > at ? memchr(data + at, '\n', size - at) : NULL;
        size_t len = end != NULL ? (size_t)(end - data) - at : size - at;
        values[i] = malloc(len > 0 ? len : 1);
        DEMAND(values[i] != NULL);
        if (len > 0)
            memcpy(values[i], data + at, len);
        clean(values[i], len);
        headers[2 + i] = (struct sl_header){{names[i], strlen(names[i])}, {values[i], len}};
        at = end != NULL ? at + len + 1 : size;
    }
    const struct sl_request req = {.method = {"GET", 3},
                                   .version_major = 1,
                                   .version_minor = 1,
                                   .headers = headers,
                                   .header_count = LINES + 2};
    struct sl_ws_options options;
    struct sl_ws_handshake handshake;
    const char *sentence = NULL;
    sl_ws_options_init(&options);
    int status = sl_ws_handshake(&req, &options, &handshake, &sentence);
    DEMAND((status == 0) == (sentence == NULL));
    DEMAND(status == 0 || status == 400 || status == 426);
    if (status == 0) {
        DEMAND(strlen(handshake.accept) == SL_WS_ACCEPT_LEN);
        DEMAND(handshake.protocol_count <= SL_WS_MAX_PROTOCOLS);
        demand_stable(&handshake);
    }
    for (size_t i = 0; i < LINES; i++)
        free(values[i]);
    return 0;
}
