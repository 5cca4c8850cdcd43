/* A connection apart from its requests: sending, closing, lingering, the time it may take. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/engine_state.h"
#include "http/text.h"
#include "net/io.h"

/* ---- closing -------------------------------------------------------------------------------- */

void
sl_conn_end(struct sl_conn *conn, bool linger)
{
    conn->close_after = true;
    conn->linger |= linger;
    conn->draining = false;
}

/* Bytes that are here unread when a socket is closed turn the close into a reset, which may
 * overtake the answer. */
static bool
has_unread(const struct sl_conn *conn)
{
    char byte;
    return sl_io_recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static bool
begin_linger(struct sl_engine *engine, struct sl_conn *conn)
{
    /* Level-triggered: the client's end may be here already, and one receive a turn is enough. */
    if (shutdown(conn->fd, SHUT_WR) < 0 ||
        sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_LEVEL, conn) < 0)
        return false;
    conn->state = SL_CONN_LINGERING;
    conn->active_ms = conn->linger_ms = engine->now_ms;
    sl_buf_release(&conn->in);
    return true;
}

void
sl_conn_set_reset(struct sl_conn *conn, bool on)
{
    struct linger reset = {.l_onoff = on, .l_linger = 0};
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void
sl_conn_finish(struct sl_engine *engine, struct sl_conn *conn)
{
    if (conn->undelimited && !conn->abort)
        sl_conn_set_reset(conn, false);
    if (conn->abort) {
        sl_conn_set_reset(conn, true);
    } else if ((conn->linger || has_unread(conn)) && begin_linger(engine, conn)) {
        return;
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
    bool head_only = sl_request_is_head(req);
    if (room != NULL &&
        sl_http_error_page(room, 1024, status, sentence, 1, head_only, &len) == SL_OK)
        ws->out.end += len;
    sl_conn_end(conn, true);
    if (opt->on_bad_request != NULL)
        opt->on_bad_request(opt->ctx, req, &conn->peer, status, sentence);
    if (opt->access_log != NULL && req->method.len > 0) {
        struct sl_access_entry entry = {.req = req, .status = status};
        clock_gettime(CLOCK_REALTIME_COARSE, &entry.now);
        sl_access_log_note(opt->access_log, ws->desk, &entry);
    }
}

/* ---- output and what nobody wants --------------------------------------------------------------
 */

bool
sl_conn_rearm(struct sl_engine *engine, struct sl_conn *conn)
{
    if (sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_WRITE, conn) == SL_OK)
        return true;
    sl_engine_drop(engine, conn);
    return false;
}

void
sl_conn_note_taken(struct sl_engine *engine, struct sl_conn *conn, uint64_t moved)
{
    int usual = 0;
    if (conn->fast || moved == 0 || conn->peer.family == AF_UNIX ||
        engine->now_ms - conn->active_ms >= SL_FAST_MS)
        return;
    conn->fast = true;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &usual, sizeof usual);
}

void
sl_conn_await_client(struct sl_engine *engine, struct sl_conn *conn)
{
    if (conn->state != SL_CONN_WRITING)
        conn->rate_ms = 0;
    conn->state = SL_CONN_WRITING;
    conn->active_ms = engine->now_ms;
    (void)sl_conn_rearm(engine, conn);
}

void
sl_conn_keep(struct sl_workspace *ws, struct sl_conn *conn)
{
    if (sl_out_move(&ws->out, &conn->out, &ws->engine->store) == SL_OK) {
        sl_conn_await_client(ws->engine, conn);
    } else {
        sl_out_release(&ws->out);
        sl_engine_drop(ws->engine, conn);
    }
}

void
sl_conn_send(struct sl_workspace *ws, struct sl_conn *conn)
{
    int rc = sl_out_flush(&ws->out, conn->fd);
    if (rc == SL_EAGAIN) {
        sl_conn_keep(ws, conn);
    } else if (rc < 0) {
        sl_out_release(&ws->out);
        sl_engine_drop(ws->engine, conn);
    } else if (conn->close_after) {
        sl_conn_finish(ws->engine, conn);
    }
}

size_t
sl_conn_drain(struct sl_conn *conn, const char *data, size_t len)
{
    size_t used = sl_body_skip(&conn->body, data, len);
    if (used != SIZE_MAX && conn->body.done) {
        conn->draining = false;
        return used;
    }
    conn->scanned += len;
    if (used == SIZE_MAX || conn->scanned > SL_DRAIN_MAX) {
        sl_conn_end(conn, true);
        return len;
    }
    return used;
}

void
sl_conn_sink(struct sl_workspace *ws, struct sl_conn *conn)
{
    if (!conn->draining && !conn->close_after)
        return;
    ssize_t n = sl_io_recv(conn->fd, ws->scratch, SL_SCRATCH_SIZE, MSG_DONTWAIT);
    if (n <= 0) /* an error will show when the rest is sent */
        return;
    size_t len = (size_t)n;
    size_t used = conn->draining ? sl_conn_drain(conn, ws->scratch, len) : len;
    if (sl_buf_append(&conn->in, ws->scratch + used, len - used) < 0)
        sl_conn_end(conn, false);
    if (len == SL_SCRATCH_SIZE)
        (void)sl_conn_rearm(ws->engine, conn);
}

void
sl_conn_discard(struct sl_workspace *ws, struct sl_conn *conn)
{
    ssize_t n = sl_io_recv(conn->fd, ws->scratch, SL_SCRATCH_SIZE, MSG_DONTWAIT);
    if (n > 0)
        conn->active_ms = ws->engine->now_ms;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        sl_engine_drop(ws->engine, conn);
}

/* ---- time --------------------------------------------------------------------------------------
 */

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
        return conn->close_after ? SL_LINGER_MS : SL_STOP_FIN_MS;
    if (conn->state == SL_CONN_WRITING || conn->draining || conn->need > 0)
        return opt->body_timeout_ms;
    if (conn->in.len > 0 || conn->first)
        return opt->header_timeout_ms;
    return opt->keepalive_ms;
}

/* Bytes of an answer that the client has not taken: ours, and what waits in the kernel, whose
 * buffer may be so large that a slow client makes room in it more seldom than once in body_timeout.
 */
static uint64_t
ahead(const struct sl_conn *conn)
{
    int queued = 0;
    if (ioctl(conn->fd, SIOCOUTQ, &queued) < 0 || queued < 0)
        queued = 0;
    return sl_out_waiting(&conn->out) + (uint64_t)queued;
}

/* The body or the answer that is on its way comes too slowly, on average over an interval of limit.
 * A drip of bytes is none the better for never pausing. */
static bool
is_too_slow(struct sl_engine *engine, struct sl_conn *conn, uint64_t limit)
{
    bool writing = conn->state == SL_CONN_WRITING;
    uint64_t now = engine->now_ms;
    if (limit == 0 || !(writing || (conn->state == SL_CONN_READING && conn->need > 0))) {
        conn->rate_ms = 0;
        return false;
    }
    if (conn->rate_ms != 0 && now - conn->rate_ms < limit)
        return false;
    uint64_t mark = writing ? ahead(conn) : conn->in.len;
    uint64_t moved = writing ? conn->rate_mark - mark : mark - conn->rate_mark;
    uint32_t rate = writing ? engine->opt.min_response_rate : engine->opt.min_body_rate;
    uint64_t must = sl_rate_bytes(rate, now - conn->rate_ms);
    if (conn->rate_ms != 0 && moved < must)
        return true;
    conn->rate_ms = now;
    conn->rate_mark = mark;
    conn->active_ms = writing ? now : conn->active_ms;
    return false;
}

/* Stopping: it waits for a request and none was begun. */
static bool
is_idle(const struct sl_engine *engine, const struct sl_conn *conn)
{
    return engine->draining && conn->state == SL_CONN_READING && !conn->draining &&
           conn->in.len == 0;
}

static bool
is_over(struct sl_engine *engine, struct sl_conn *conn)
{
    uint64_t limit = limit_of(engine, conn), idle = engine->now_ms - conn->active_ms;
    if (conn->state == SL_CONN_LINGERING &&
        engine->now_ms - conn->linger_ms >= (engine->draining ? SL_LINGER_MS : SL_LINGER_MAX_MS))
        return true;
    if (is_idle(engine, conn))
        return idle >= engine->linger_ms && engine->now_ms - engine->stop_ms >= engine->linger_ms;
    if (is_too_slow(engine, conn, limit))
        return true;
    return conn->state != SL_CONN_WRITING && limit != 0 && idle >= limit;
}

bool
sl_conn_is_spare(const struct sl_conn *conn)
{
    return conn->state == SL_CONN_READING && !conn->away && conn->pending == NULL && !conn->first &&
           !conn->draining && !conn->close_after && conn->in.len == 0 && !has_unread(conn);
}

void
sl_conn_expire(struct sl_workspace *ws, struct sl_conn *conn)
{
    static const struct sl_request nothing;
    struct sl_engine *engine = ws->engine;
    if (conn->pending != NULL) {
        sl_pending_expire(engine, conn);
        return;
    }
    if (conn->away || !is_over(engine, conn))
        return;
    bool in_head = conn->in.len > 0 && conn->need == 0; /* its clock runs from the first byte */
    if (conn->state != SL_CONN_LINGERING && !in_head && waits_for_us(engine, conn))
        return;
    if (conn->state == SL_CONN_READING && !conn->draining && conn->in.len > 0) {
        sl_conn_refuse(ws, conn, 408, "The request did not arrive in time.", &nothing);
        sl_conn_send(ws, conn);
    } else if (!is_idle(engine, conn) || !begin_linger(engine, conn)) {
        sl_engine_drop(engine, conn);
    }
}
