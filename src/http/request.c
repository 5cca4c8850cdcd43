/* The request body as the handler reads it: what has arrived, and waiting for more. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http/chars.h"
#include "http/engine_state.h"
#include "net/io.h"

enum { RECEIVE_STEP = 64 * 1024 };

/* sl_body.left of a chunked body: 0 while chunks come, then what is expected behind them. Only
 * where nobody wants the trailers, a line may be cut. */
enum {
    TRAILER_LINE = 1, /* a name, or the CR of the last line */
    TRAILER_LAST_LF,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
};

static struct sl_exchange *
exchange_of(struct sl_request *req)
{
    return (struct sl_exchange *)(void *)req;
}

void
sl_exchange_begin(struct sl_exchange *x, struct sl_conn *conn, char *view, size_t view_len)
{
    x->conn = conn;
    x->view = view;
    x->view_len = view_len;
    x->slice = NULL;
    x->slice_len = 0;
    x->trailer_count = 0;
    x->resume = 0;
    x->broken = false;
    x->error = SL_OK;
    x->received = 0;
    x->waited_ms = 0;
    x->moved = 0;
    x->body.kind = x->req.body;
    x->body.left = x->req.body == SL_BODY_LENGTH ? x->req.content_length : 0;
    x->body.done = x->req.body == SL_BODY_NONE ||
                   (x->req.body == SL_BODY_LENGTH && x->req.content_length == 0);
    if (x->req.body == SL_BODY_CHUNKED)
        sl_chunked_init(&x->body.chunks);
}

static void
advance(struct sl_exchange *x, size_t n)
{
    x->view += n;
    x->view_len -= n;
}

static void
fail(struct sl_exchange *x, int error)
{
    x->broken = true;
    x->error = error;
}

/* The trailer section starts at the view; true once it is complete (and the body with it). */
static bool
read_trailers(struct sl_exchange *x)
{
    size_t count = 0;
    const char *sentence;
    size_t capacity = sizeof x->trailers / sizeof x->trailers[0];
    int n = sl_head_parse_trailers(x->trailers, capacity, &count, x->view, x->view_len, &x->resume,
                                   &x->res.ws->engine->head_rules, &sentence);
    if (n < 0)
        fail(x, SL_EPROTO);
    if (n <= 0)
        return false;
    advance(x, (size_t)n);
    x->trailer_count = count;
    x->body.done = true;
    return true;
}

/* Makes the next piece of chunk data the slice, if there is one in the view. */
static void
next_chunk(struct sl_exchange *x)
{
    while (!x->body.done && !x->broken && x->slice_len == 0) {
        size_t used;
        const char *sentence;
        if (x->body.left != 0) { /* the last chunk was seen */
            read_trailers(x);
            return;
        }
        enum sl_chunked_event event = sl_chunked_next(&x->body.chunks, x->view, x->view_len, &used,
                                                      &x->slice, &x->slice_len, &sentence);
        if (event == SL_CHUNKED_ERROR) {
            fail(x, SL_EPROTO);
            x->slice_len = 0;
            return;
        }
        if (event != SL_CHUNKED_DATA)
            x->slice_len = 0;
        x->received += x->slice_len;
        if (sl_body_too_long(&x->res.ws->engine->opt, x->received)) {
            x->slice_len = 0;
            fail(x, SL_ERANGE);
            return;
        }
        advance(x, used);
        if (event == SL_CHUNKED_TRAILERS)
            x->body.left = TRAILER_LINE;
        if (event == SL_CHUNKED_MORE)
            return;
    }
}

size_t
sl_request_body(struct sl_request *req, const char **ret_data)
{
    struct sl_exchange *x = exchange_of(req);
    if (x->body.done)
        return 0;
    if (x->body.kind == SL_BODY_CHUNKED) {
        if (x->slice_len == 0)
            next_chunk(x);
        *ret_data = x->slice;
        return x->slice_len;
    }
    *ret_data = x->view;
    return x->view_len < x->body.left ? x->view_len : (size_t)x->body.left;
}

void
sl_request_consume(struct sl_request *req, size_t n)
{
    struct sl_exchange *x = exchange_of(req);
    if (x->body.kind == SL_BODY_CHUNKED) {
        if (n > x->slice_len)
            n = x->slice_len;
        x->slice += n;
        x->slice_len -= n;
        return;
    }
    if (n > x->view_len)
        n = x->view_len;
    if (n > x->body.left)
        n = (size_t)x->body.left;
    advance(x, n);
    x->body.left -= n;
    x->body.done = x->body.left == 0;
}

int
sl_request_detach(struct sl_request *req, int *ret_fd, const char **ret_data, size_t *ret_len)
{
    struct sl_exchange *x = exchange_of(req);
    struct sl_out *out = &x->res.ws->out;
    if (x->res.started || x->spill.ptr != NULL || x->res.ws->engine->pool != NULL)
        return SL_EBUSY;
    if (!sl_out_empty(out) && sl_out_flush(out, x->conn->fd) != SL_OK)
        return SL_EBUSY;
    int fd = fcntl(x->conn->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return SL_ESYS;
    /* Head and what came after it are neighbours in the receive buffer. */
    *ret_fd = fd;
    *ret_data = req->method.ptr;
    *ret_len = (size_t)(x->view + x->view_len - req->method.ptr);
    x->res.detached = x->res.ended = true;
    return SL_OK;
}

bool
sl_request_body_done(const struct sl_request *req)
{
    const struct sl_exchange *x = (const struct sl_exchange *)(const void *)req;
    return sl_exchange_is_read(x);
}

int
sl_out_continue(struct sl_out *out)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    return sl_out_append(out, text, sizeof text - 1);
}

static int
send_continue(struct sl_exchange *x)
{
    struct sl_out *out = &x->res.ws->out;
    x->req.expect_continue = false;
    if (x->res.committed)
        return SL_OK;
    return sl_out_continue(out);
}

/* Only the time that we wait counts: a handler that takes its own between two reads is not the
 * client's fault. */
int
sl_exchange_wait(struct sl_exchange *x, short events, uint32_t rate)
{
    uint32_t limit = x->res.ws->engine->opt.body_timeout_ms;
    struct pollfd p = {.fd = x->conn->fd, .events = events};
    for (;;) {
        uint64_t began = sl_clock_ms();
        int n = poll(&p, 1, limit == 0 ? -1 : (int)limit);
        if (n == 0)
            return SL_ETIMEOUT;
        if (n < 0 && errno != EINTR)
            return SL_ESYS;
        x->waited_ms += (uint32_t)(sl_clock_ms() - began);
        if (limit != 0 && x->waited_ms >= limit) {
            if (x->moved < sl_rate_bytes(rate, x->waited_ms))
                return SL_ETIMEOUT;
            x->waited_ms = 0;
            x->moved = 0;
        }
        if (n > 0)
            return SL_OK;
    }
}

/* Receives behind the unread rest of the view, which moves into the spill buffer for that. */
static int
receive_more(struct sl_exchange *x)
{
    struct sl_buf *spill = &x->spill;
    if (spill->ptr != NULL)
        sl_buf_consume(spill, spill->len - x->view_len);
    else if (sl_buf_append(spill, x->view, x->view_len) < 0)
        return SL_ENOMEM;
    if (sl_buf_reserve(spill, RECEIVE_STEP) < 0)
        return SL_ENOMEM;
    x->view = spill->ptr;
    ssize_t n;
    do
        n = sl_io_recv(x->conn->fd, spill->ptr + spill->len, RECEIVE_STEP, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? SL_EAGAIN : SL_ECLOSED;
    if (n == 0)
        return SL_ECLOSED;
    spill->len += (size_t)n;
    x->view_len += (size_t)n;
    x->moved += (size_t)n;
    return SL_OK;
}

int
sl_request_wait(struct sl_request *req)
{
    struct sl_exchange *x = exchange_of(req);
    if (sl_request_body_done(req))
        return SL_OK;
    if (x->broken)
        return x->error;
    if (x->body.kind == SL_BODY_CHUNKED && x->slice_len > 0)
        return SL_OK;
    int rc = req->expect_continue ? send_continue(x) : SL_OK;
    while (rc == SL_OK || rc == SL_EAGAIN) {
        /* What was said so far (100 Continue, an early part of the response) must reach the client,
         * or both sides wait. */
        if (!sl_out_empty(&x->res.ws->out) &&
            sl_out_flush(&x->res.ws->out, x->conn->fd) == SL_ECLOSED)
            rc = SL_ECLOSED;
        else
            rc = receive_more(x);
        if (rc == SL_OK)
            return SL_OK;
        if (rc == SL_EAGAIN) /* output that waits may be what the client waits for */
            rc = sl_exchange_wait(x, sl_out_empty(&x->res.ws->out) ? POLLIN : POLLIN | POLLOUT,
                                  x->res.ws->engine->opt.min_body_rate);
    }
    fail(x, rc);
    return rc;
}

/* Connections that were handed over are many, and idle most of the time. */
static void
save_memory(struct sl_exchange *x)
{
    struct sl_workspace *ws = x->res.ws;
    if (x->view_len == 0) {
        sl_buf_release(&x->spill);
        x->view = NULL;
    }
    if (sl_out_empty(&ws->out))
        sl_out_release(&ws->out);
    sl_buf_release(&ws->headers);
    sl_response_forget_fields(ws);
}

int
sl_request_more(struct sl_request *req)
{
    struct sl_exchange *x = exchange_of(req);
    struct sl_out *out = &x->res.ws->out;
    if (sl_request_body_done(req))
        return SL_OK;
    if (x->broken)
        return x->error;
    if (x->body.kind == SL_BODY_CHUNKED && x->slice_len > 0)
        return SL_OK;
    int rc = req->expect_continue ? send_continue(x) : SL_OK;
    if (rc == SL_OK && !sl_out_empty(out) && sl_out_flush(out, x->conn->fd) == SL_ECLOSED)
        rc = SL_ECLOSED;
    if (rc == SL_OK)
        rc = receive_more(x);
    x->res.ws->wants_body = rc == SL_EAGAIN;
    x->conn->active_ms = x->res.ws->engine->now_ms;
    if (rc == SL_EAGAIN) {
        x->conn->unread = false;
        if (x->body.kind == SL_BODY_RAW)
            save_memory(x);
    } else if (rc < 0)
        fail(x, rc);
    return rc;
}

bool
sl_request_gone(const struct sl_request *req)
{
    const struct sl_exchange *x = (const struct sl_exchange *)(const void *)req;
    return x->conn->hung_up || x->res.failed || (x->broken && x->error == SL_ECLOSED);
}

size_t
sl_request_trailers(const struct sl_request *req, const struct sl_header **ret_headers)
{
    const struct sl_exchange *x = (const struct sl_exchange *)(const void *)req;
    *ret_headers = x->trailers;
    return x->trailer_count;
}

const struct sl_header *
sl_request_header(const struct sl_request *req, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_header *h = &req->headers[i];
        if (h->name.len == len && strncasecmp(h->name.ptr, name, len) == 0)
            return h;
    }
    return NULL;
}

/* ---- the rest of a body that the handler did not read --------------------------------------- */

bool
sl_exchange_skip_body(struct sl_exchange *x)
{
    const char *data;
    size_t n;
    while (!x->broken && (n = sl_request_body(&x->req, &data)) > 0)
        sl_request_consume(&x->req, n);
    return sl_request_body_done(&x->req);
}

/* One byte of trailers that are dropped: names do not matter, where they end does. */
static bool
skip_trailer_byte(struct sl_body *body, char c)
{
    bool in_token = sl_char_class(c) & SL_CHAR_TOKEN;
    switch (body->left) {
    case TRAILER_LINE:
        body->left = c == '\r' ? TRAILER_LAST_LF : TRAILER_NAME;
        return c == '\r' || in_token;
    case TRAILER_LAST_LF:
        body->done = c == '\n';
        return body->done;
    case TRAILER_NAME:
        if (c == ':')
            body->left = TRAILER_VALUE;
        return c == ':' || in_token;
    case TRAILER_VALUE:
        if (c == '\r')
            body->left = TRAILER_LF;
        return c == '\r' || (sl_char_class(c) & SL_CHAR_VALUE);
    default:
        body->left = TRAILER_LINE;
        return c == '\n';
    }
}

size_t
sl_body_skip(struct sl_body *body, const char *data, size_t len)
{
    if (body->kind == SL_BODY_LENGTH) {
        size_t n = len < body->left ? len : (size_t)body->left;
        body->left -= n;
        body->done = body->left == 0;
        return n;
    }
    size_t pos = 0;
    while (pos < len && body->left == 0) {
        size_t used, slice_len;
        const char *slice, *sentence;
        enum sl_chunked_event event = sl_chunked_next(&body->chunks, data + pos, len - pos, &used,
                                                      &slice, &slice_len, &sentence);
        if (event == SL_CHUNKED_ERROR)
            return SIZE_MAX;
        pos += used;
        if (event == SL_CHUNKED_TRAILERS)
            body->left = TRAILER_LINE;
    }
    while (pos < len && !body->done)
        if (!skip_trailer_byte(body, data[pos++]))
            return SIZE_MAX;
    return pos;
}
