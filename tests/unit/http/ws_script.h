/* Plays the rows of ws_cases.h: makes the bytes of a client from a row, feeds them to a connection
 * in pieces, does what the server does in between, and writes down what comes of it. */
#ifndef SL_TEST_WS_SCRIPT_H
#define SL_TEST_WS_SCRIPT_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <saola/websocket.h>

#include "base/buffer.h"
#include "http/chars.h"

/* Of a client: the bytes of its frames, and the server's actions by where they fall. */
struct ws_script {
    struct sl_buf bytes;
    size_t action_at[16];
    const char *actions[16];
    size_t action_count;
    struct sl_ws_options options;
    struct sl_ws_handshake handshake;
    z_stream deflater;
};

static inline uint64_t
ws_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Bytes that do not compress, always the same. */
static inline char
ws_noise(size_t i)
{
    uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (char)(x >> 56);
}

static inline void
ws_add(struct sl_buf *buf, const void *data, size_t len)
{
    assert_int_equal(sl_buf_append(buf, data, len), SL_OK);
}

static inline const char *
ws_add_hex(struct sl_buf *buf, const char *p)
{
    for (; sl_char_hex(p[0]) >= 0 && p[0] != '\0' && sl_char_hex(p[1]) >= 0; p += 2) {
        char c = (char)(sl_char_hex(p[0]) << 4 | sl_char_hex(p[1]));
        ws_add(buf, &c, 1);
    }
    return p;
}

static inline const char *
ws_add_payload(struct sl_buf *buf, const char *p)
{
    while (*p != ' ' && *p != '\0') {
        char kind = *p++, *end;
        if (kind == '#') {
            p = ws_add_hex(buf, p);
        } else if (kind == ':') {
            size_t len = strcspn(p, " #*");
            ws_add(buf, p, len);
            p += len;
        } else {
            assert_true(kind == '*' || kind == '?');
            size_t count = strtoul(p, &end, 10);
            p = end;
            for (size_t i = 0; i < count; i++) {
                char c = kind == '*' ? 'x' : ws_noise(i);
                ws_add(buf, &c, 1);
            }
        }
    }
    return p;
}

/* A frame of a client; form: 'w' and 'q' choose the length's, 'u' leaves out the mask. */
static inline void
ws_add_frame(struct sl_buf *out, unsigned first, const char *payload, size_t len, bool masked,
             char form)
{
    static uint64_t seed = 0x853c49e6748fea9bu;
    unsigned char head[14] = {(unsigned char)first};
    unsigned bytes = form == 'q' ? 8 : form == 'w' ? 2 : len < 126 ? 0 : len < 65536 ? 2 : 8;
    head[1] = (unsigned char)(bytes == 0 ? len : bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < bytes; i++)
        head[2 + i] = (unsigned char)((uint64_t)len >> 8 * (bytes - 1 - i));
    unsigned at = 2 + bytes;
    uint64_t mask = ws_random(&seed);
    if (masked) {
        head[1] |= 0x80;
        memcpy(head + at, &mask, 4);
        at += 4;
    }
    ws_add(out, head, at);
    for (size_t i = 0; i < len; i++) {
        char c = masked ? (char)(payload[i] ^ ((const char *)&mask)[i & 3]) : payload[i];
        ws_add(out, &c, 1);
    }
}

static inline void
ws_compress(struct ws_script *s, struct sl_buf *payload)
{
    struct sl_buf out = SL_BUF_INIT;
    if (payload->len == 0) {
        ws_add(payload, "", 1);
        return;
    }
    assert_int_equal(sl_buf_reserve(&out, deflateBound(&s->deflater, payload->len) + 64), SL_OK);
    s->deflater.next_in = (Bytef *)payload->ptr;
    s->deflater.avail_in = (uInt)payload->len;
    s->deflater.next_out = (Bytef *)out.ptr;
    s->deflater.avail_out = (uInt)out.cap;
    assert_int_equal(deflate(&s->deflater, Z_SYNC_FLUSH), Z_OK);
    out.len = out.cap - s->deflater.avail_out - 4;
    if (s->handshake.deflate.client_no_context_takeover)
        deflateReset(&s->deflater);
    sl_buf_release(payload);
    *payload = out;
}

static inline const char *
ws_read_frame(struct ws_script *s, const char *p)
{
    struct sl_buf first = SL_BUF_INIT, payload = SL_BUF_INIT;
    bool masked = true, compressed = false;
    char form = 0, *end;
    size_t parts = 1;
    p = ws_add_hex(&first, p);
    assert_int_equal(first.len, 1);
    unsigned byte = (unsigned char)first.ptr[0];
    for (; strchr(" :#*?", *p) == NULL && *p != '\0'; p++) {
        masked = masked && *p != 'u';
        compressed = compressed || *p == 'z';
        if (*p == 'w' || *p == 'q')
            form = *p;
        if (*p == '/') {
            parts = strtoul(p + 1, &end, 10);
            p = end - 1;
        }
    }
    p = ws_add_payload(&payload, p);
    if (compressed)
        ws_compress(s, &payload);
    size_t at = 0;
    for (size_t i = 0; i < parts; i++) {
        size_t len = i + 1 < parts ? payload.len / parts : payload.len - at;
        unsigned b = (i > 0 ? byte & 0x80 : byte) & (i + 1 < parts ? 0x7f : 0xff);
        ws_add_frame(&s->bytes, b, payload.len > 0 ? payload.ptr + at : NULL, len, masked, form);
        at += len;
    }
    sl_buf_release(&first);
    sl_buf_release(&payload);
    return p;
}

static inline void
ws_read_options(struct ws_script *s, const char *p)
{
    char *end;
    sl_ws_options_init(&s->options);
    s->options.max_message = 0;
    s->options.max_controls_per_s = 0;
    s->options.deflate_from = 0;
    s->handshake.deflate =
        (struct sl_ws_deflate){.server_window_bits = 15, .client_window_bits = 15};
    for (; *p != '\0'; p++) {
        unsigned long n = strtoul(p + 1, &end, 10);
        if (*p == 'd')
            s->handshake.deflate.on = true;
        else if (*p == 'c')
            s->handshake.deflate.client_no_context_takeover = true;
        else if (*p == 's')
            s->handshake.deflate.server_no_context_takeover = true;
        else if (*p == 'b')
            s->handshake.deflate.client_window_bits = (uint8_t)n;
        else if (*p == 'm')
            s->options.max_message = n;
        else if (*p == 'k')
            s->options.max_controls_per_s = (uint32_t)n;
        else if (*p == 'f')
            s->options.deflate_from = (uint32_t)n;
        else
            fail_msg("unknown option %c", *p);
        p = end > p + 1 ? end - 1 : p;
    }
}

static inline void
ws_script_init(struct ws_script *s, const char *options, const char *input)
{
    memset(s, 0, sizeof *s);
    ws_read_options(s, options);
    int bits = s->handshake.deflate.client_window_bits;
    assert_int_equal(
        deflateInit2(&s->deflater, 6, Z_DEFLATED, bits > 8 ? -bits : -9, 8, Z_DEFAULT_STRATEGY),
        Z_OK);
    for (const char *p = input; *p != '\0';) {
        if (*p == ' ') {
            p++;
        } else if (*p == '=') {
            p = ws_add_hex(&s->bytes, p + 1);
        } else if (*p == '!') {
            assert_true(s->action_count < 16);
            s->action_at[s->action_count] = s->bytes.len;
            s->actions[s->action_count++] = p + 1;
            p += strcspn(p, " ");
        } else {
            p = ws_read_frame(s, p);
        }
    }
}

static inline void
ws_script_release(struct ws_script *s)
{
    deflateEnd(&s->deflater);
    sl_buf_release(&s->bytes);
}

/* ---- what comes of it -------------------------------------------------------------------------
 */

struct ws_player {
    const struct ws_script *script;
    struct sl_ws *ws;
    struct sl_buf told, message;
    z_stream inflater;
    bool deflated, ended;
    uint64_t now_ms;
    size_t most_memory;
};

static inline void
ws_tell(struct ws_player *pl, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ws_add(&pl->told, text, (size_t)n);
}

static inline void
ws_tell_bytes(struct ws_player *pl, const char *data, size_t len)
{
    size_t same = 0, noise = 0;
    bool printable = true;
    for (size_t i = 0; i < len; i++) {
        same += data[i] == data[0];
        noise += data[i] == ws_noise(i);
        printable = printable && data[i] > ' ' && data[i] < 0x7f;
    }
    if (len > 16 && same == len)
        ws_tell(pl, "(%c*%zu)", data[0], len);
    else if (len > 16 && noise == len)
        ws_tell(pl, "(?%zu)", len);
    else if (printable) {
        ws_tell(pl, "(");
        ws_add(&pl->told, data, len);
        ws_tell(pl, ")");
    } else {
        ws_tell(pl, "(#");
        for (size_t i = 0; i < len; i++)
            ws_tell(pl, "%02x", (unsigned char)data[i]);
        ws_tell(pl, ")");
    }
}

static inline void
ws_between(struct ws_player *pl)
{
    if (pl->told.len > 0)
        ws_tell(pl, " ");
}

static inline void
ws_tell_inflated(struct ws_player *pl, const char *payload, size_t len, bool fin)
{
    struct sl_buf in = SL_BUF_INIT, out = SL_BUF_INIT;
    ws_add(&in, payload, len);
    if (fin)
        ws_add(&in, "\x00\x00\xff\xff", 4);
    assert_int_equal(sl_buf_reserve(&out, 1 << 20), SL_OK);
    pl->inflater.next_in = (Bytef *)in.ptr;
    pl->inflater.avail_in = (uInt)in.len;
    pl->inflater.next_out = (Bytef *)out.ptr;
    pl->inflater.avail_out = (uInt)out.cap;
    int rc = inflate(&pl->inflater, Z_SYNC_FLUSH);
    assert_true(rc == Z_OK || rc == Z_BUF_ERROR);
    assert_int_equal(pl->inflater.avail_in, 0);
    ws_tell_bytes(pl, out.ptr, out.cap - pl->inflater.avail_out);
    if (fin && pl->script->handshake.deflate.server_no_context_takeover)
        inflateReset(&pl->inflater);
    sl_buf_release(&in);
    sl_buf_release(&out);
}

/* Reads what the server sent as a client would. */
static inline void
ws_tell_output(struct ws_player *pl)
{
    size_t len;
    const char *p = sl_ws_output(pl->ws, &len);
    size_t all = len;
    while (len > 0) {
        const unsigned char *b = (const unsigned char *)p;
        assert_true(len >= 2 && !(b[1] & 0x80));
        size_t head = b[1] < 126 ? 2 : b[1] == 126 ? 4 : 10;
        uint64_t payload = b[1] < 126 ? b[1] : 0;
        assert_true(len >= head);
        for (size_t i = 2; i < head; i++)
            payload = payload << 8 | b[i];
        assert_true(len - head >= payload && (head == 2 || payload > 125));
        ws_between(pl);
        ws_tell(pl, "<%02x", b[0]);
        if ((b[0] & 15) == 1 || (b[0] & 15) == 2)
            pl->deflated = b[0] & 0x40;
        if ((b[0] & 15) == 8 && payload >= 2)
            ws_tell(pl, "(%u)", (unsigned)(b[2] << 8 | b[3]));
        else if (pl->deflated && (b[0] & 15) < 8)
            ws_tell_inflated(pl, p + head, payload, b[0] & 0x80);
        else
            ws_tell_bytes(pl, p + head, payload);
        p += head + payload;
        len -= head + payload;
    }
    sl_ws_consume(pl->ws, all);
}

static inline void
ws_tell_event(struct ws_player *pl, const struct sl_ws_event *event)
{
    static const char letters[] = {[SL_WS_TEXT] = 'T', [SL_WS_BINARY] = 'B', [SL_WS_PING] = 'I',
                                   [SL_WS_PONG] = 'O', [SL_WS_CLOSE] = 'C',  [SL_WS_ERROR] = 'E'};
    bool message = event->kind == SL_WS_TEXT || event->kind == SL_WS_BINARY;
    assert_false(pl->ended);
    if (message) {
        assert_int_equal(event->first, pl->message.len == 0 || !pl->script->options.streaming);
        if (pl->message.len == 0)
            ws_add(&pl->message, "=", 1); /* so that a begun message is not empty */
        assert_true(event->len > 0 || event->last);
        ws_add(&pl->message, event->data, event->len);
        if (!event->last)
            return;
    }
    ws_between(pl);
    ws_tell(pl, "%c", letters[event->kind]);
    if (message) {
        ws_tell_bytes(pl, pl->message.ptr + 1, pl->message.len - 1);
        pl->message.len = 0;
    } else if (event->kind == SL_WS_ERROR) {
        assert_true(strlen(event->sentence) <= 123);
        ws_tell(pl, "%u", event->code);
    } else {
        if (event->kind == SL_WS_CLOSE)
            ws_tell(pl, "%u", event->code);
        ws_tell_bytes(pl, event->data, event->len);
    }
    if (event->kind == SL_WS_CLOSE || event->kind == SL_WS_ERROR) {
        assert_int_equal(sl_ws_state(pl->ws), SL_WS_CLOSED);
        pl->ended = true;
    }
}

static inline void
ws_act(struct ws_player *pl, const char *action)
{
    const char *args = action + strcspn(action, ": ");
    size_t verb = (size_t)(args - action);
    args += *args == ':';
    size_t len = strcspn(args, " ");
    int rc;
    if (strncmp(action, "later", verb) == 0) {
        pl->now_ms += 1000;
        return;
    }
    if (strncmp(action, "text", verb) == 0)
        rc = sl_ws_send(pl->ws, SL_WS_TEXT, args, len, true);
    else if (strncmp(action, "part", verb) == 0)
        rc = sl_ws_send(pl->ws, SL_WS_TEXT, args, len, false);
    else if (strncmp(action, "binary", verb) == 0)
        rc = sl_ws_send(pl->ws, SL_WS_BINARY, args, len, true);
    else if (strncmp(action, "ping", verb) == 0)
        rc = sl_ws_ping(pl->ws, args, len);
    else {
        char *reason;
        unsigned code = (unsigned)strtoul(args, &reason, 10);
        assert_int_equal(*reason, ':');
        rc = sl_ws_close(pl->ws, code, reason + 1, len - (size_t)(reason + 1 - args));
    }
    if (rc != SL_OK) {
        ws_between(pl);
        ws_tell(pl, rc == SL_ECLOSED ? "closed" : "refused");
    }
    ws_tell_output(pl);
}

/* Feeds one piece from memory of exactly its size. */
static inline void
ws_feed_piece(struct ws_player *pl, const char *bytes, size_t len)
{
    char *piece = malloc(len > 0 ? len : 1);
    struct sl_ws_event event;
    memcpy(piece, bytes, len);
    size_t at = 0;
    do {
        size_t used;
        sl_ws_feed(pl->ws, pl->now_ms, piece + at, len - at, &used, &event);
        at += used;
        assert_true(at <= len);
        size_t memory = sl_ws_memory(pl->ws);
        pl->most_memory = memory > pl->most_memory ? memory : pl->most_memory;
        if (event.kind == SL_WS_MORE || event.kind == SL_WS_END) {
            assert_int_equal(at, len);
            assert_int_equal(event.kind == SL_WS_END, pl->ended);
        } else {
            ws_tell_event(pl, &event);
            ws_tell_output(pl);
        }
    } while (event.kind != SL_WS_MORE && event.kind != SL_WS_END);
    free(piece);
}

/* Plays it in pieces of 1 to most bytes (SIZE_MAX: as large as can be). Returns what came of it, to
 * be freed. */
static inline char *
ws_play(const struct ws_script *s, size_t most, uint64_t *seed, size_t *ret_memory)
{
    struct ws_player pl = {
        .script = s, .now_ms = 5000, .ws = sl_ws_new(&s->options, &s->handshake)};
    assert_non_null(pl.ws);
    assert_int_equal(inflateInit2(&pl.inflater, -15), Z_OK);
    size_t done = 0;
    for (size_t next = 0; next <= s->action_count; next++) {
        size_t until = next < s->action_count ? s->action_at[next] : s->bytes.len;
        while (done < until) {
            size_t n = most == SIZE_MAX ? until - done : 1 + ws_random(seed) % most;
            n = n < until - done ? n : until - done;
            ws_feed_piece(&pl, s->bytes.ptr + done, n);
            done += n;
        }
        if (next < s->action_count)
            ws_act(&pl, s->actions[next]);
    }
    ws_add(&pl.told, "", 1);
    sl_ws_free(pl.ws);
    inflateEnd(&pl.inflater);
    sl_buf_release(&pl.message);
    if (ret_memory != NULL)
        *ret_memory = pl.most_memory;
    return pl.told.ptr;
}

#endif
