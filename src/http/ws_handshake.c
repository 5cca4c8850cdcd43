/* The opening handshake (RFC 6455 section 4.2): is it one, may it be granted, and what is the
 * answer to its key. Extensions are negotiated in ws_extension.c. */
#include <saola/websocket.h>

#include <string.h>

#include "http/chars.h"
#include "http/sha1.h"
#include "http/text.h"
#include "http/ws_extension.h"

enum { KEY_LEN = 24 }; /* base64 of 16 bytes */

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static bool
equals(const struct sl_str *s, const char *lower)
{
    size_t len = strlen(lower);
    return s->len == len && sl_chars_equal_lower(s->ptr, lower, len);
}

/* The next header of that name from *index on, or NULL. */
static const struct sl_str *
next_value(const struct sl_request *req, const char *lower, size_t *index)
{
    while (*index < req->header_count) {
        const struct sl_header *header = &req->headers[(*index)++];
        if (equals(&header->name, lower))
            return &header->value;
    }
    return NULL;
}

/* Cuts the first element off a comma list; false: none is left. Empty elements do not count. */
static bool
next_element(struct sl_str *list, struct sl_str *ret)
{
    const char *p = list->ptr, *end = p + list->len;
    while (p < end && (*p == ',' || sl_char_is_space(*p)))
        p++;
    if (p == end)
        return false;
    const char *comma = memchr(p, ',', (size_t)(end - p));
    const char *last = comma != NULL ? comma : end;
    *list = (struct sl_str){last, (size_t)(end - last)};
    while (last > p && sl_char_is_space(last[-1]))
        last--;
    *ret = (struct sl_str){p, (size_t)(last - p)};
    return true;
}

static bool
has_token(const struct sl_request *req, const char *name, const char *token)
{
    size_t index = 0;
    for (const struct sl_str *value; (value = next_value(req, name, &index)) != NULL;) {
        struct sl_str list = *value, element;
        while (list.len > 0 && next_element(&list, &element)) {
            if (equals(&element, token))
                return true;
        }
    }
    return false;
}

bool
sl_ws_is_upgrade(const struct sl_request *req)
{
    /* A server ignores Upgrade in HTTP/1.0 (RFC 9110 section 7.8). */
    return req->version_major == 1 && req->version_minor >= 1 &&
           has_token(req, "connection", "upgrade") && has_token(req, "upgrade", "websocket");
}

/* The value of a field that stands exactly once, or NULL. */
static const struct sl_str *
only_value(const struct sl_request *req, const char *name)
{
    size_t index = 0;
    const struct sl_str *first = next_value(req, name, &index);
    return first != NULL && next_value(req, name, &index) == NULL ? first : NULL;
}

static bool
is_base64(char c)
{
    return sl_char_is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '+' || c == '/';
}

/* 16 bytes in base64. Bits behind the last byte may be anything: nothing depends on them. */
static bool
is_key(const struct sl_str *key)
{
    if (key->len != KEY_LEN || memcmp(key->ptr + KEY_LEN - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < KEY_LEN - 2; i++) {
        if (!is_base64(key->ptr[i]))
            return false;
    }
    return true;
}

static void
answer_key(const struct sl_str *key, char out[SL_WS_ACCEPT_LEN + 1])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[KEY_LEN + sizeof guid];
    uint8_t hash[SL_SHA1_LEN + 1];
    memcpy(text, key->ptr, KEY_LEN);
    memcpy(text + KEY_LEN, guid, sizeof guid);
    sl_sha1(text, KEY_LEN + sizeof guid - 1, hash);
    hash[SL_SHA1_LEN] = 0;
    for (unsigned i = 0; i < 7; i++) {
        unsigned three =
            (unsigned)hash[3 * i] << 16 | (unsigned)hash[3 * i + 1] << 8 | hash[3 * i + 2];
        for (unsigned j = 0; j < 4; j++)
            out[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
    }
    out[SL_WS_ACCEPT_LEN - 1] = '=';
    out[SL_WS_ACCEPT_LEN] = '\0';
}

static bool
is_offered(const struct sl_ws_handshake *handshake, const char *s, size_t len)
{
    for (size_t i = 0; i < handshake->protocol_count; i++) {
        if (handshake->protocols[i].len == len && memcmp(handshake->protocols[i].ptr, s, len) == 0)
            return true;
    }
    return false;
}

static const char *
read_protocols(const struct sl_request *req, struct sl_ws_handshake *handshake)
{
    size_t index = 0;
    for (const struct sl_str *value;
         (value = next_value(req, "sec-websocket-protocol", &index)) != NULL;) {
        struct sl_str list = *value, one;
        while (list.len > 0 && next_element(&list, &one)) {
            if (!sl_http_is_token(one.ptr, one.len))
                return "A name in Sec-WebSocket-Protocol is not a token.";
            if (is_offered(handshake, one.ptr, one.len))
                return "A name stands twice in Sec-WebSocket-Protocol.";
            if (handshake->protocol_count == SL_WS_MAX_PROTOCOLS)
                return "There are too many names in Sec-WebSocket-Protocol.";
            handshake->protocols[handshake->protocol_count++] = one;
        }
    }
    return NULL;
}

const char *
sl_ws_choose_protocol(const struct sl_ws_handshake *handshake, const char *const *ours)
{
    for (; *ours != NULL; ours++) {
        if (is_offered(handshake, *ours, strlen(*ours)))
            return *ours;
    }
    return NULL;
}

static const char *
negotiate(const struct sl_request *req, const struct sl_ws_options *options,
          struct sl_ws_handshake *handshake)
{
    struct sl_ws_deflate wanted = options->deflate;
    wanted.on = wanted.on && sl_ws_deflate_available();
    size_t index = 0;
    for (const struct sl_str *value;
         (value = next_value(req, "sec-websocket-extensions", &index)) != NULL;) {
        if (!sl_ws_extensions_read(value, &wanted, &handshake->deflate))
            return "Sec-WebSocket-Extensions is malformed.";
    }
    sl_ws_extensions_write(&handshake->deflate, handshake->extensions,
                           sizeof handshake->extensions);
    return NULL;
}

static int
refuse(int status, const char *sentence, const char **ret_sentence)
{
    *ret_sentence = sentence;
    return status;
}

int
sl_ws_handshake(const struct sl_request *req, const struct sl_ws_options *options,
                struct sl_ws_handshake *ret, const char **ret_sentence)
{
    struct sl_ws_handshake handshake = {.protocol_count = 0};
    if (!sl_ws_is_upgrade(req))
        return refuse(400, "This is no request for WebSocket.", ret_sentence);
    if (req->method.len != 3 || memcmp(req->method.ptr, "GET", 3) != 0)
        return refuse(405, "WebSocket begins with GET.", ret_sentence);
    const struct sl_str *version = only_value(req, "sec-websocket-version");
    if (version == NULL || version->len != 2 || memcmp(version->ptr, SL_WS_VERSION, 2) != 0)
        return refuse(426, "Only version 13 of WebSocket is spoken here.", ret_sentence);
    const struct sl_str *key = only_value(req, "sec-websocket-key");
    if (key == NULL || !is_key(key))
        return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64.", ret_sentence);
    if (req->body != SL_BODY_NONE && (req->body != SL_BODY_LENGTH || req->content_length > 0))
        return refuse(400, "A request for WebSocket has no body.", ret_sentence);
    const char *wrong = read_protocols(req, &handshake);
    if (wrong == NULL)
        wrong = negotiate(req, options, &handshake);
    if (wrong != NULL)
        return refuse(400, wrong, ret_sentence);
    answer_key(key, handshake.accept);
    *ret = handshake;
    return 0;
}
