/* A connection apart from its requests: sending, closing, lingering, the time it may take. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "http/session.h"
#include "http/text.h"

/* ---- closing -------------------------------------------------------------------------------- */

void
sl_conn_end(struct sl_conn *conn, bool linger)
{
    conn->close_after = true;
    conn->linger |= linger;
    conn->draining = false;
}

void
sl_conn_finish(struct sl_engine *engine, struct sl_conn *conn)
{
    if (conn->linger && !conn->abort && shutdown(conn->fd, SHUT_WR) == 0) {
        conn->state = SL_CONN_LINGERING;
        conn->active_ms = engine->now_ms;
        sl_buf_release(&conn->in);
        return;
    }
    if (conn->abort) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    sl_engine_drop(engine, conn);
}

void
sl_conn_refuse(struct sl_workspace *ws, struct sl_conn *conn, int status, const char *sentence,
               const struct sl_request *req)
{
    const struct sl_engine_options *opt = &ws->engine->opt;
    char *room = sl_out_reserve(&ws->out, 1024);
    size_t len = 0;
    bool head_only = req->method.len == 4 && memcmp(req->method.ptr, "HEAD", 4) == 0;
    if (room != NULL && sl_http_error_page(room, 1024, status, sentence, 1, head_only, &len) == SL_OK)
        ws->out.end += len;
    sl_conn_end(conn, true);
    if (opt->on_bad_request != NULL)
        opt->on_bad_request(opt->ctx, req, &conn->peer, status, sentence);
}

/* ---- output and what nobody wants -------------------------------------------------------------- */

void
sl_conn_send(struct sl_workspace *ws, struct sl_conn *conn)
{
    struct sl_engine *engine = ws->engine;
    int rc = sl_out_flush(&ws->out, conn->fd);
    if (rc == SL_EAGAIN) {
        rc = sl_out_move(&ws->out, &conn->out);
        conn->state = SL_CONN_WRITING;
        conn->active_ms = engine->now_ms;
    } else if (rc == SL_OK && conn->close_after) {
        sl_conn_finish(engine, conn);
    }
    if (rc < 0) {
        sl_out_release(&ws->out);
        sl_engine_drop(engine, conn);
    }
}

size_t
sl_conn_drain(struct sl_conn *conn, const char *data, size_t len)
{
    size_t used = sl_body_skip(&conn->body, data, len);
    if (used == SIZE_MAX) {
        sl_conn_end(conn, true);
        return len;
    }
    if (conn->body.done)
        conn->draining = false;
    return used;
}

void
sl_conn_discard(struct sl_workspace *ws, struct sl_conn *conn)
{
    ssize_t n;
    do
        n = recv(conn->fd, ws->scratch, SL_SCRATCH_SIZE, MSG_DONTWAIT);
    while (n > 0 || (n < 0 && errno == EINTR));
    if (n == 0 || errno != EAGAIN)
        sl_engine_drop(ws->engine, conn);
}

/* ---- time -------------------------------------------------------------------------------------- */

/* There is something for us to read, or room to write, that we have not come to: a handler took the
 * time, not the client. The edge is asked for again, so that it is looked at next. */
static bool
waits_for_us(struct sl_engine *engine, struct sl_conn *conn)
{
    struct pollfd p = {.fd = conn->fd, .events = POLLIN};
    if (conn->state == SL_CONN_WRITING)
        p.events = POLLOUT;
    return poll(&p, 1, 0) > 0 &&
           sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_WRITE, conn) == SL_OK;
}

/* How long the connection may stay as it is, from active_ms on; 0: for ever. */
static uint64_t
limit_of(const struct sl_engine *engine, const struct sl_conn *conn)
{
    const struct sl_engine_options *opt = &engine->opt;
    if (conn->state == SL_CONN_LINGERING)
        return SL_LINGER_MS;
    if (conn->state == SL_CONN_WRITING || conn->draining || conn->need > 0)
        return opt->body_timeout_ms;
    if (conn->in.len > 0 || conn->first)
        return opt->header_timeout_ms;
    return opt->keepalive_ms;
}

static bool
is_over(const struct sl_engine *engine, const struct sl_conn *conn)
{
    uint64_t limit = limit_of(engine, conn), idle = engine->now_ms - conn->active_ms;
    if (engine->draining && conn->state == SL_CONN_READING && !conn->draining && conn->in.len == 0)
        return idle >= SL_STOP_LINGER_MS && engine->now_ms - engine->stop_ms >= SL_STOP_LINGER_MS;
    return limit != 0 && idle >= limit;
}

void
sl_conn_expire(struct sl_workspace *ws, struct sl_conn *conn)
{
    static const struct sl_request nothing;
    struct sl_engine *engine = ws->engine;
    if (conn->away || !is_over(engine, conn))
        return;
    bool in_head = conn->in.len > 0 && conn->need == 0; /* its clock runs from the first byte */
    if (conn->state != SL_CONN_LINGERING && !in_head && waits_for_us(engine, conn))
        return;
    if (conn->state == SL_CONN_READING && !conn->draining && conn->in.len > 0) {
        sl_conn_refuse(ws, conn, 408, "The request did not arrive in time.", &nothing);
        sl_conn_send(ws, conn);
    } else {
        sl_engine_drop(engine, conn);
    }
}
