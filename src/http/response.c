/* The response as the handler writes it: head, framing (RFC 9112 section 6), body. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hints.h"
#include "http/chars.h"
#include "http/engine_state.h"
#include "http/names.h"
#include "http/text.h"

/* The exchange that a response is part of, and its connection. */
static struct sl_exchange *
exchange_of(struct sl_response *res)
{
    return &res->ws->x;
}

static int
socket_of(struct sl_response *res)
{
    return res->ws->x.conn->fd;
}

void
sl_response_init(struct sl_response *res, struct sl_workspace *ws)
{
    *res = (struct sl_response){.ws = ws};
    sl_response_rewind_fields(ws);
}

/* ---- head ----------------------------------------------------------------------------------- */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Checks the status line's text and keeps it in the workspace. */
static SL_APART int
take_status(struct sl_workspace *ws, const char *status, size_t len)
{
    if (len < 3 || len >= sizeof ws->status_text || status[0] == '0' || !is_digit(status[0]) ||
        !is_digit(status[1]) || !is_digit(status[2]) || (len > 3 && status[3] != ' ') ||
        !sl_http_is_value(status, len))
        return SL_EINVAL;
    memcpy(ws->status_text, status, len);
    if (len == 3)
        ws->status_text[len++] =
            ' '; /* the reason may be empty, not the space (RFC 9112 section 4) */
    ws->status_len = len;
    return SL_OK;
}

int
sl_response_set_status(struct sl_response *res, const char *status, size_t len)
{
    struct sl_workspace *ws = res->ws;
    if (res->committed)
        return SL_EBUSY;
    /* Mostly it is the status of the response before. */
    bool same = len == ws->status_len && len > 0 && memcmp(status, ws->status_text, len) == 0;
    if (!same && take_status(ws, status, len) < 0)
        return SL_EINVAL;
    const char *digits = ws->status_text;
    res->status = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
    res->started = true;
    return SL_OK;
}

int
sl_response_start(struct sl_response *res, const char *status, size_t len)
{
    int rc = sl_response_set_status(res, status, len);
    if (rc < 0)
        return rc;
    res->has_length = false;
    res->length = 0;
    res->substituted = false;
    sl_response_rewind_fields(res->ws);
    return SL_OK;
}

int
sl_response_start_code(struct sl_response *res, int status)
{
    char text[64];
    if (status == 200)
        return sl_response_start(res, "200 OK", 6);
    if (status < 100 || status > 999)
        return SL_EINVAL;
    int len = snprintf(text, sizeof text, "%d %s", status, sl_http_reason(status));
    return sl_response_start(res, text, (size_t)len);
}

/* Server and Date change once a second at most: kept ready for a copy. */
static void
refresh_date(struct sl_workspace *ws)
{
    char text[SL_DATE_LEN + 1];
    clock_gettime(CLOCK_REALTIME_COARSE, &ws->now);
    if (ws->now.tv_sec == ws->date_second)
        return;
    ws->date_second = ws->now.tv_sec;
    sl_http_date(ws->now.tv_sec, text);
    memcpy(ws->fixed + ws->fixed_date, text, SL_DATE_LEN);
}

bool
sl_response_is_last(const struct sl_response *res)
{
    const struct sl_exchange *x = &res->ws->x;
    if (!x->req.keep_alive || res->ws->engine->opt.keepalive_ms == 0 || x->broken ||
        sl_drain_last_answer(x))
        return true;
    /* The client may or may not send its body now, unless it is here. */
    bool here = x->body.done || (x->body.kind == SL_BODY_LENGTH && x->view_len >= x->body.left);
    return x->req.expect_continue && !here;
}

/* To the client a tunnel begins behind this head (RFC 9110 section 9.3.6): what follows is neither
 * framed nor another response. */
static bool
is_tunnel(const struct sl_request *req, int status)
{
    return status / 100 == 2 && req->method.len == 7 && memcmp(req->method.ptr, "CONNECT", 7) == 0;
}

/* Content-Length, and whether there may be a body at all (RFC 9110 section 6.4.1). */
static void
choose_length(struct sl_response *res, bool tunnel, bool whole, size_t len)
{
    int status = res->status;
    res->no_body = sl_request_is_head(&exchange_of(res)->req) || status < 200 || status == 204 ||
                   status == 205 || status == 304;
    if (status < 200 || status == 204 || tunnel) {
        res->has_length = false;
    } else if (status == 205) { /* has none, and must say so */
        res->has_length = true;
        res->length = 0;
    } else if (whole && !res->has_length && !res->no_body) {
        res->has_length = true;
        res->length = len;
    }
}

/* Decides how the end of the body is marked and whether the connection stays. */
static void
choose_framing(struct sl_response *res, bool whole, size_t len)
{
    struct sl_exchange *x = exchange_of(res);
    bool tunnel = is_tunnel(&x->req, res->status);
    choose_length(res, tunnel, whole, len);
    res->chunked = !res->no_body && !res->has_length && !tunnel && x->req.version_minor >= 1;
    if (!res->no_body && !res->has_length && !res->chunked) {
        res->close = x->conn->undelimited = true;
        sl_conn_set_reset(x->conn, true);
    }
    if (tunnel || sl_response_is_last(res))
        res->close = true;
    if (res->status < 200) /* no client takes it for the last word */
        res->close = true;
    /* Nobody will read the rest of the body, and it is too much to skip. */
    if (whole && x->body.kind == SL_BODY_LENGTH && x->body.left > SL_DRAIN_MAX + x->view_len)
        res->close = true;
}

/* In place of the body comes the file that X-Sendfile names. */
static SL_COLD int
substitute(struct sl_response *res)
{
    struct sl_workspace *ws = res->ws;
    const struct sl_front *front = ws->engine->opt.front;
    res->sealed = true;
    res->has_length = false;
    front->send_file(front->ctx, &ws->x.req, res, ws->substitute.ptr, ws->substitute.len);
    if (!res->committed)
        sl_response_fail(res, 500, NULL);
    return SL_OK;
}

int
sl_response_commit(struct sl_response *res, bool whole, size_t len)
{
    struct sl_workspace *ws = res->ws;
    if (res->substituted && !res->sealed)
        return substitute(res);
    res->whole = whole;
    choose_framing(res, whole, len);
    refresh_date(ws);
    size_t need = 9 + ws->status_len + ws->fixed_len + 64 + ws->headers.len;
    char *p = sl_out_reserve(&ws->out, need), *start = p;
    if (p == NULL)
        return SL_ENOMEM;
    memcpy(p, "HTTP/1.1 ", 9);
    p[7] = ws->x.req.version_minor == 0 ? '0' : '1';
    p += 9;
    memcpy(p, ws->status_text, ws->status_len);
    p += ws->status_len;
    memcpy(p, ws->fixed, ws->fixed_len);
    p += ws->fixed_len;
    if (res->upgraded) {
        memcpy(p, "Upgrade\r\n", 9);
        p += 9;
    } else if (res->close) {
        memcpy(p, "close\r\n", 7);
        p += 7;
    } else {
        memcpy(p, "keep-alive\r\n", 12);
        p += 12;
    }
    if (res->chunked) {
        memcpy(p, "Transfer-Encoding: chunked\r\n", 28);
        p += 28;
    } else if (res->has_length) {
        memcpy(p, "Content-Length: ", 16);
        p += 16;
        p += sl_http_put_number(p, res->length);
        *p++ = '\r';
        *p++ = '\n';
    }
    if (ws->headers.len > 0)
        memcpy(p, ws->headers.ptr, ws->headers.len);
    p += ws->headers.len;
    *p++ = '\r';
    *p++ = '\n';
    ws->out.end += (size_t)(p - start);
    res->committed = true;
    return SL_OK;
}

/* ---- body ----------------------------------------------------------------------------------- */

int
sl_response_gone(struct sl_response *res)
{
    struct sl_exchange *x = exchange_of(res);
    x->broken = true;
    if (x->error == SL_OK)
        x->error = SL_ECLOSED;
    res->failed = true;
    return SL_ECLOSED;
}

static int
put(struct sl_response *res, const void *data, size_t len)
{
    struct sl_out *out = &res->ws->out;
    if (len < SL_OUT_DIRECT || out->file_left > 0)
        return sl_out_append(out, data, len);
    return sl_out_direct(out, socket_of(res), data, len);
}

static SL_APART int
put_chunk(struct sl_response *res, const void *data, size_t len)
{
    char line[20];
    int n = snprintf(line, sizeof line, "%zx\r\n", len);
    int rc = sl_out_append(&res->ws->out, line, (size_t)n);
    if (rc == SL_OK)
        rc = put(res, data, len);
    if (rc == SL_OK)
        rc = sl_out_append(&res->ws->out, "\r\n", 2);
    return rc;
}

/* Somebody answers later: what is left is sent when an event says so. The flush may have ended
 * before the socket was full, so the event is asked for. */
static SL_APART void
await_room(struct sl_response *res)
{
    struct sl_conn *conn = exchange_of(res)->conn;
    struct sl_engine *engine = res->ws->engine;
    if (conn->pending == NULL)
        return;
    conn->active_ms = engine->now_ms;
    (void)sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_WRITE, conn);
}

int
sl_response_write(struct sl_response *res, const void *data, size_t len, unsigned flags)
{
    struct sl_out *out = &res->ws->out;
    if (res->started && res->sealed)
        return SL_OK;
    if (!res->started || res->ended)
        return SL_EINVAL;
    if (res->failed)
        return SL_ECLOSED;
    if (!res->committed) {
        if (len == 0 && !(flags & (SL_WRITE_LAST | SL_WRITE_HEAD)))
            return SL_OK;
        if (sl_response_commit(res, (flags & SL_WRITE_LAST) != 0, len) < 0)
            return sl_response_gone(res);
    }
    if (res->no_body || res->sealed)
        return SL_OK;
    if (res->has_length && len > res->length - res->sent)
        len = (size_t)(res->length - res->sent);
    if (len > 0) {
        int rc = res->chunked ? put_chunk(res, data, len) : put(res, data, len);
        if (rc < 0)
            return sl_response_gone(res);
        res->sent += len;
    }
    if ((flags & SL_WRITE_FLUSH) || out->end - out->start > SL_OUT_HIGH) {
        if (sl_out_flush(out, socket_of(res)) == SL_ECLOSED)
            return sl_response_gone(res);
    }
    bool full = out->end - out->start > SL_OUT_HIGH && !(flags & SL_WRITE_LAST);
    if (!sl_out_empty(out) && ((flags & SL_WRITE_FLUSH) || full))
        await_room(res);
    else if (res->upgraded && sl_out_empty(out))
        sl_out_release(out); /* many such connections are idle most of the time */
    if (!full)
        return SL_OK;
    res->ws->wants_room = true;
    return SL_EFULL;
}

/* A slow client shall not hold the handler's thread: its answer goes to a file, up to a limit. */
static bool
spool(struct sl_response *res)
{
    struct sl_out *out = &res->ws->out;
    struct sl_engine *engine = res->ws->engine;
    uint64_t size = sl_out_waiting(out) + (out->spooled ? (uint64_t)out->file_offset : 0);
    return engine->spool.directory != NULL && size <= engine->opt.response_buffer &&
           sl_out_spool(out, &engine->spool) == SL_OK;
}

/* Until at most `low` bytes are in memory and no file but a spool is left. */
static int
wait_for_room(struct sl_response *res, size_t low, bool may_spool)
{
    struct sl_out *out = &res->ws->out;
    struct sl_exchange *x = &res->ws->x;
    for (;;) {
        uint64_t before = sl_out_waiting(out);
        int rc = sl_out_flush(out, socket_of(res));
        x->moved += before - sl_out_waiting(out);
        if (rc == SL_OK)
            return SL_OK;
        if (rc == SL_ECLOSED)
            return sl_response_gone(res);
        if (may_spool && (out->file_left == 0 || out->spooled) &&
            (out->end - out->start <= low || spool(res)))
            return SL_OK;
        rc = sl_exchange_wait(x, POLLOUT, res->ws->engine->opt.min_response_rate);
        if (rc == SL_ETIMEOUT) {
            sl_out_release(out); /* or it would be waited for once more */
            sl_response_gone(res);
            return SL_ETIMEOUT;
        }
        if (rc < 0)
            return sl_response_gone(res);
    }
}

int
sl_response_wait(struct sl_response *res)
{
    return wait_for_room(res, SL_OUT_HIGH / 2, true);
}

int
sl_response_drain(struct sl_response *res)
{
    return wait_for_room(res, 0, false);
}

/* Once for each exchange. What the application does after its answer is not part of it. */
static void
mark_ended(struct sl_response *res)
{
    struct sl_workspace *ws = res->ws;
    struct sl_access_log *log = ws->engine->opt.access_log;
    res->ended = true;
    if (log == NULL)
        return;
    if (!res->whole)
        clock_gettime(CLOCK_REALTIME_COARSE, &ws->now);
    struct sl_access_entry entry = {
        .req = &ws->x.req,
        .fields = {ws->headers.ptr, ws->headers.len},
        .status = res->status,
        .body_bytes = res->sent,
        .duration_ns = ws->engine->timed_log ? sl_clock_ns() - ws->x.began_ns : 0,
        .now = ws->now,
    };
    sl_access_log_note(log, ws->desk, &entry);
}

static void
finish_body(struct sl_response *res)
{
    if (res->failed || res->no_body)
        return;
    if (res->chunked && !res->trailed && sl_out_append(&res->ws->out, "0\r\n\r\n", 5) < 0)
        sl_response_gone(res);
    if (res->upgraded)
        return;
    if (res->has_length && res->sent < res->length)
        res->failed = true; /* the client waits for more: only closing tells it the truth */
}

int
sl_response_end(struct sl_response *res)
{
    if (!res->started)
        return SL_EPROTO;
    if (res->ended)
        return SL_OK;
    if (!res->committed && !res->failed && sl_response_commit(res, true, 0) < 0)
        sl_response_gone(res);
    if (res->ended) /* with an error in place of a file */
        return SL_OK;
    finish_body(res);
    mark_ended(res);
    return SL_OK;
}

static int
append_fields(struct sl_out *out, const struct sl_header *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sl_header *h = &fields[i];
        if (sl_out_append(out, h->name.ptr, h->name.len) < 0 || sl_out_append(out, ": ", 2) < 0 ||
            sl_out_append(out, h->value.ptr, h->value.len) < 0 || sl_out_append(out, "\r\n", 2) < 0)
            return SL_ENOMEM;
    }
    return SL_OK;
}

static bool
are_fields(const struct sl_header *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!sl_http_is_token(fields[i].name.ptr, fields[i].name.len) ||
            !sl_http_is_value(fields[i].value.ptr, fields[i].value.len))
            return false;
    return true;
}

int
sl_response_end_trailers(struct sl_response *res, const struct sl_header *trailers,
                         size_t trailer_count)
{
    struct sl_out *out = &res->ws->out;
    if (!are_fields(trailers, trailer_count))
        return SL_EINVAL;
    for (size_t i = 0; i < trailer_count; i++)
        if (!sl_name_may_trail(&trailers[i].name))
            return SL_EINVAL;
    if (trailer_count > 0 && res->committed && res->chunked && !res->ended && !res->failed) {
        if (sl_out_append(out, "0\r\n", 3) < 0 || append_fields(out, trailers, trailer_count) < 0 ||
            sl_out_append(out, "\r\n", 2) < 0)
            sl_response_gone(res);
        res->trailed = true;
    }
    return sl_response_end(res);
}

int
sl_response_upgrade(struct sl_response *res, const char *protocol, size_t len)
{
    struct sl_exchange *x = exchange_of(res);
    struct sl_buf *fields = &res->ws->headers;
    if (!res->started || res->committed || res->status != 101 || !sl_http_is_value(protocol, len))
        return SL_EINVAL;
    res->ws->kept_count = 0;
    if (sl_buf_append(fields, "Upgrade: ", 9) < 0 || sl_buf_append(fields, protocol, len) < 0 ||
        sl_buf_append(fields, "\r\n", 2) < 0)
        return sl_response_gone(res);
    res->upgraded = true;
    if (sl_response_commit(res, false, 0) < 0)
        return sl_response_gone(res);
    res->no_body = res->chunked = res->has_length = false;
    x->body = (struct sl_body){.kind = SL_BODY_RAW, .left = UINT64_MAX};
    x->req.body = SL_BODY_RAW;
    if (sl_out_flush(&res->ws->out, socket_of(res)) == SL_ECLOSED)
        return sl_response_gone(res);
    return SL_OK;
}

int
sl_response_raw(struct sl_response *res, int status, const void *head, size_t len)
{
    struct sl_workspace *ws = res->ws;
    const char *fields = memchr(head, '\n', len);
    if (res->committed)
        return SL_EBUSY;
    if (status < 100 || status > 999 || fields == NULL)
        return SL_EINVAL;
    res->status = status;
    res->started = res->committed = res->raw = true;
    ws->headers.len = 0;
    ws->kept_count = 0;
    fields++;
    size_t fields_len = len - (size_t)(fields - (const char *)head);
    if (ws->engine->opt.access_log != NULL && fields_len > 2 && /* without the empty line */
        sl_buf_append(&ws->headers, fields, fields_len - 2) < 0)
        return sl_response_gone(res);
    if (sl_out_append(&ws->out, head, len) < 0)
        return sl_response_gone(res);
    return SL_OK;
}

/* An error page in place of what the application gave; false if there is no memory for it. */
static bool
put_error_page(struct sl_response *res, int status, const char *sentence)
{
    struct sl_workspace *ws = res->ws;
    const struct sl_request *req = &ws->x.req;
    size_t room_len = 2048 + 6 * (sentence != NULL ? strlen(sentence) : 0), len = 0; /* escaped */
    char *room = sl_out_reserve(&ws->out, room_len);
    if (room == NULL || sl_http_error_page(room, room_len, status, sentence, req->version_minor,
                                           sl_request_is_head(req), &len) < 0)
        return false;
    ws->out.end += len;
    ws->headers.len = 0; /* what the application gave was not sent */
    res->sealed = true;
    res->status = status;
    res->started = res->committed = res->has_length = true;
    return true;
}

void
sl_response_fail(struct sl_response *res, int status, const char *sentence)
{
    if (res->ended)
        return;
    res->close = true;
    if (res->committed || !put_error_page(res, status, sentence))
        res->failed = true;
    mark_ended(res);
}

void
sl_response_settle(struct sl_response *res, int result)
{
    if (res->ended)
        return;
    if (result < 0 || !res->started)
        sl_response_fail(res, 500, NULL);
    else
        sl_response_end(res);
}

int
sl_response_interim(struct sl_response *res, int status, const struct sl_header *headers,
                    size_t header_count)
{
    struct sl_out *out = &res->ws->out;
    char line[64];
    if (res->committed)
        return SL_EBUSY;
    if (status < 100 || status > 199 || status == 101 || !are_fields(headers, header_count))
        return SL_EINVAL;
    for (size_t i = 0; i < header_count; i++)
        if (!sl_name_may_be_interim(&headers[i].name))
            return SL_EINVAL;
    if (exchange_of(res)->req.version_minor == 0)
        return SL_OK;
    int n = snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status, sl_http_reason(status));
    int rc = sl_out_append(out, line, (size_t)n);
    if (rc == SL_OK)
        rc = append_fields(out, headers, header_count);
    if (rc == SL_OK)
        rc = sl_out_append(out, "\r\n", 2);
    if (rc < 0 || sl_out_flush(out, socket_of(res)) == SL_ECLOSED)
        return sl_response_gone(res);
    return SL_OK;
}

void
sl_response_close(struct sl_response *res)
{
    res->close = true;
}

int
sl_response_status(const struct sl_response *res)
{
    return res->status;
}

bool
sl_response_has_header(const struct sl_response *res, const char *name)
{
    const char *p = res->ws->headers.ptr, *end = p + res->ws->headers.len;
    size_t len = strlen(name);
    while (p < end) {
        if ((size_t)(end - p) > len && p[len] == ':' && strncasecmp(p, name, len) == 0)
            return true;
        p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
    }
    return false;
}

bool
sl_response_started(const struct sl_response *res)
{
    return res->started;
}

bool
sl_response_committed(const struct sl_response *res)
{
    return res->committed;
}

bool
sl_response_chunked(const struct sl_response *res)
{
    return res->chunked;
}

bool
sl_response_keep_alive(const struct sl_response *res)
{
    return !res->close && !res->failed;
}

uint64_t
sl_response_body_bytes(const struct sl_response *res)
{
    return res->sent;
}
