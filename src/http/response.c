/* The response as the handler writes it: its body, and its end. The head: response_head.c. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/hints.h"
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
    if (SL_LIKELY(len < SL_OUT_DIRECT) || out->file_left > 0)
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
    if (SL_UNLIKELY(res->started && res->sealed))
        return SL_OK;
    if (SL_UNLIKELY(!res->started || res->ended))
        return SL_EINVAL;
    if (SL_UNLIKELY(res->failed))
        return SL_ECLOSED;
    if (!res->committed) {
        if (len == 0 && !(flags & (SL_WRITE_LAST | SL_WRITE_HEAD)))
            return SL_OK;
        if (sl_response_commit(res, (flags & SL_WRITE_LAST) != 0, len) < 0)
            return sl_response_gone(res);
    }
    if (SL_UNLIKELY(res->no_body || res->sealed))
        return SL_OK;
    if (res->has_length && len > res->length - res->sent)
        len = (size_t)(res->length - res->sent);
    if (SL_LIKELY(len > 0)) {
        int rc = SL_UNLIKELY(res->chunked) ? put_chunk(res, data, len) : put(res, data, len);
        if (rc < 0)
            return sl_response_gone(res);
        res->sent += len;
    }
    if (SL_UNLIKELY((flags & SL_WRITE_FLUSH) || out->end - out->start > SL_OUT_HIGH)) {
        if (sl_out_flush(out, socket_of(res)) == SL_ECLOSED)
            return sl_response_gone(res);
    }
    bool full = out->end - out->start > SL_OUT_HIGH && !(flags & SL_WRITE_LAST);
    if (SL_UNLIKELY((flags & SL_WRITE_FLUSH) || full) && !sl_out_empty(out))
        await_room(res);
    else if (SL_UNLIKELY(res->upgraded) && sl_out_empty(out))
        sl_out_release(out); /* many such connections are idle most of the time */
    if (SL_LIKELY(!full))
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
    struct timespec now = {.tv_sec = res->whole ? ws->date_second : time(NULL)};
    if (ws->engine->fine_log)
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    struct sl_access_entry entry = {
        .req = &ws->x.req,
        .fields = {ws->headers.ptr, ws->headers.len},
        .status = res->status,
        .body_bytes = res->sent,
        .duration_ns = ws->engine->timed_log ? sl_clock_ns() - ws->x.began_ns : 0,
        .now = now,
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
    sl_response_forget_fields(res->ws);
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
    sl_response_forget_fields(ws);
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
