/* The head of a response: status line, what the server adds, framing (RFC 9112 section 6). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/hints.h"
#include "http/chars.h"
#include "http/engine_state.h"
#include "http/text.h"

/* ---- status --------------------------------------------------------------------------------- */

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
    ws->last_head.len = 0;
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
    if (SL_UNLIKELY(res->committed))
        return SL_EBUSY;
    /* Mostly it is the status of the response before. */
    bool same = len == ws->status_len && len > 0 && sl_chars_equal(status, ws->status_text, len);
    if (SL_UNLIKELY(!same) && take_status(ws, status, len) < 0)
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
    if (SL_LIKELY(status == 200))
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
    time_t now = time(NULL); /* a third of what clock_gettime() costs */
    if (SL_LIKELY(now == ws->date_second))
        return;
    ws->date_second = now;
    ws->last_head.len = 0;
    sl_http_date(now, text);
    memcpy(ws->fixed + ws->fixed_date, text, SL_DATE_LEN);
}

bool
sl_response_is_last(const struct sl_response *res)
{
    const struct sl_exchange *x = &res->ws->x;
    if (SL_UNLIKELY(!x->req.keep_alive || res->ws->engine->opt.keepalive_ms == 0 || x->broken) ||
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

/* What there is no body for may have a Content-Length all the same. */
static SL_APART void
limit_length(struct sl_response *res, bool tunnel)
{
    if (res->status < 200 || res->status == 204 || tunnel) {
        res->has_length = false;
    } else if (res->status == 205) { /* has none, and must say so */
        res->has_length = true;
        res->length = 0;
    }
}

/* Content-Length, and whether there may be a body at all (RFC 9110 section 6.4.1). */
static void
choose_length(struct sl_response *res, bool tunnel, bool whole, size_t len)
{
    int status = res->status;
    res->no_body = sl_request_is_head(&res->ws->x.req) || status < 200 || status == 204 ||
                   status == 205 || status == 304;
    if (SL_UNLIKELY(res->no_body || tunnel)) {
        limit_length(res, tunnel);
    } else if (whole && !res->has_length) {
        res->has_length = true;
        res->length = len;
    }
}

/* Decides how the end of the body is marked and whether the connection stays. */
static void
choose_framing(struct sl_response *res, bool whole, size_t len)
{
    struct sl_exchange *x = &res->ws->x;
    bool tunnel = is_tunnel(&x->req, res->status);
    choose_length(res, tunnel, whole, len);
    res->chunked = !res->no_body && !res->has_length && !tunnel && x->req.version_minor >= 1;
    if (SL_UNLIKELY(!res->no_body && !res->has_length && !res->chunked)) {
        res->close = x->conn->undelimited = true;
        sl_conn_set_reset(x->conn, true);
    }
    if (SL_UNLIKELY(tunnel) || SL_UNLIKELY(sl_response_is_last(res)))
        res->close = true;
    if (SL_UNLIKELY(res->status < 200)) /* no client takes it for the last word */
        res->close = true;
    /* Nobody will read the rest of the body, and it is too much to skip. */
    if (SL_UNLIKELY(whole && x->body.kind == SL_BODY_LENGTH) &&
        x->body.left > SL_DRAIN_MAX + x->view_len)
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

/* ---- text ----------------------------------------------------------------------------------- */

/* What the text in ws->last_head depends on besides status, date and fields. */
static uint8_t
kind_of(const struct sl_response *res)
{
    return (uint8_t)((res->ws->x.req.version_minor == 0) | res->close << 1 | res->chunked << 2);
}

/* Writes all but Content-Length and the empty line to p, where there is room for it. Returns its
 * end. */
static SL_APART char *
write_head(struct sl_response *res, char *p)
{
    struct sl_workspace *ws = res->ws;
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
    }
    if (ws->headers.len > 0)
        memcpy(p, ws->headers.ptr, ws->headers.len);
    return p + ws->headers.len;
}

static char *
write_length(char *p, uint64_t length)
{
    memcpy(p, "Content-Length: ", 16);
    p += 16;
    p += sl_http_put_number(p, length);
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

/* Mostly it is the head of the response before, but for the length. */
static bool
is_last_head(const struct sl_response *res)
{
    const struct sl_last_head *last = &res->ws->last_head;
    return last->len > 0 && last->fields_len == res->ws->headers.len &&
           last->kind == kind_of(res) && !res->upgraded;
}

static SL_APART void
keep_head(struct sl_response *res, const char *text, size_t len)
{
    struct sl_last_head *last = &res->ws->last_head;
    last->len = 0;
    if (len > sizeof last->text || res->upgraded)
        return;
    memcpy(last->text, text, len);
    last->len = (uint32_t)len;
    last->fields_len = res->ws->headers.len;
    last->kind = kind_of(res);
}

int
sl_response_commit(struct sl_response *res, bool whole, size_t len)
{
    struct sl_workspace *ws = res->ws;
    if (SL_UNLIKELY(res->substituted && !res->sealed))
        return substitute(res);
    res->whole = whole;
    choose_framing(res, whole, len);
    refresh_date(ws);
    size_t need = 9 + ws->status_len + ws->fixed_len + 64 + ws->headers.len + SL_NUMBER_MAX;
    char *start = sl_out_reserve(&ws->out, need), *p = start;
    if (p == NULL)
        return SL_ENOMEM;
    if (SL_LIKELY(is_last_head(res))) {
        memcpy(p, ws->last_head.text, ws->last_head.len);
        p += ws->last_head.len;
    } else {
        p = write_head(res, p);
        keep_head(res, start, (size_t)(p - start));
    }
    if (SL_LIKELY(res->has_length))
        p = write_length(p, res->length);
    *p++ = '\r';
    *p++ = '\n';
    ws->out.end += (size_t)(p - start);
    res->committed = true;
    return SL_OK;
}
