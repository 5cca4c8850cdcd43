/* One connection's requests: receive, cut, run the handler, conclude. Life: engine_state.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <saola/host.h>

#include "base/clock.h"
#include "base/hints.h"
#include "http/engine_state.h"
#include "net/io.h"
#include "net/proxy.h"

/* What became of the bytes at the front of the input. */
enum outcome {
    SERVED, /* a request was answered; look at the next */
    MORE,   /* incomplete: wait for bytes */
    QUEUED, /* a pool thread will answer it; the bytes are in conn->in */
    ENDED,  /* no further byte of this connection is looked at */
    LOST,   /* answered, but the engine is another thread's now */
    GONE,   /* the connection is the host's, its record is free */
    LATER,  /* the host answers later; the workspace is the request's now */
};

static const char too_long[] = "The request body is too long.";
static const char no_place[] = "There is no room for the request body at the moment.";

/* ---- input that waits ----------------------------------------------------------------------- */

/* Keeps buf[pos..len) as conn->in. own: buf is conn->in itself. */
static void
stash(struct sl_conn *conn, const char *buf, size_t pos, size_t len, bool own)
{
    if (own) {
        sl_buf_consume(&conn->in, pos);
        if (conn->in.len == 0)
            sl_buf_release(&conn->in);
    } else if (pos < len && sl_buf_append(&conn->in, buf + pos, len - pos) < 0) {
        sl_conn_end(conn, false);
    }
}

/* ---- one request ---------------------------------------------------------------------------- */

static void
count_request(struct sl_engine *engine)
{
    uint64_t n = atomic_load_explicit(&engine->requests, memory_order_relaxed) + 1;
    if (engine->pool == NULL) /* nobody else counts: it need not be one step */
        atomic_store_explicit(&engine->requests, n, memory_order_relaxed);
    else
        n = atomic_fetch_add_explicit(&engine->requests, 1, memory_order_relaxed) + 1;
    if (engine->opt.max_requests != 0 && n >= engine->opt.max_requests &&
        !atomic_exchange(&engine->limit_reached, true) && engine->opt.on_limit != NULL)
        engine->opt.on_limit(engine->opt.ctx);
}

/* For the arbiter's clocks and the lines of earlier requests. The coarse clock costs a quarter of
 * the exact one; the engine's own time would be wrong for a request that has waited for the one
 * before it. */
static void
note_begin(struct sl_workspace *ws)
{
    const struct sl_engine_options *opt = &ws->engine->opt;
    const struct sl_str *method = &ws->x.req.method, *target = &ws->x.req.target;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    size_t len = (size_t)(target->ptr + target->len - method->ptr); /* they are neighbours */
    sl_slot_request_begin(opt->slot, ws->record, method->ptr, len,
                          (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    sl_access_log_expect(opt->access_log, ws->desk, &now);
}

static void
note_end(const struct sl_workspace *ws)
{
    sl_slot_request_end(ws->engine->opt.slot, ws->record);
}

/* Calls the handler. noted: that it begins is in the slot already. False: the answer comes later.
 */
static bool
call_handler(struct sl_workspace *ws, bool noted)
{
    struct sl_engine *engine = ws->engine;
    if (SL_UNLIKELY(engine->timed_log))
        ws->x.began_ns = sl_clock_ns();
    count_request(engine);
    if (!noted)
        note_begin(ws);
    int result = engine->opt.handle(engine->opt.ctx, &ws->x.req, &ws->x.res);
    note_end(ws);
    if (result == SL_PENDING && engine->pool == NULL)
        return false;
    sl_response_settle(&ws->x.res, result > 0 ? SL_EINVAL : result);
    return true;
}

static bool
has_front(const struct sl_engine *engine)
{
    return engine->opt.front != NULL && engine->opt.front->serve != NULL;
}

/* What is not for the handler: files, mounted applications. Answered here, on the engine's thread,
 * whatever the others do. False: it is for the handler. */
static SL_APART bool
call_front(struct sl_workspace *ws)
{
    struct sl_engine *engine = ws->engine;
    const struct sl_front *front = engine->opt.front;
    if (engine->timed_log)
        ws->x.began_ns = sl_clock_ns();
    note_begin(ws);
    int result = front->serve(front->ctx, &ws->x.req, &ws->x.res);
    if (result == SL_ENOENT)
        return false;
    note_end(ws);
    sl_response_settle(&ws->x.res, result);
    return true;
}

size_t
sl_session_conclude(struct sl_workspace *ws, struct sl_conn *conn, const char *buf, size_t len)
{
    struct sl_exchange *x = &ws->x;
    if (SL_UNLIKELY(x->res.upgraded)) {
        if (x->res.failed) /* its host has given the client up */
            sl_out_release(&ws->out);
        sl_conn_end(conn, !x->res.failed);
        return len;
    }
    bool complete = SL_LIKELY(sl_exchange_is_read(x)) || sl_exchange_skip_body(x);
    bool spilled = x->spill.ptr != NULL;
    conn->first = false;
    conn->sent_continue = false;
    conn->no_spool = false;
    conn->rate_ms = 0;
    conn->scanning = false;
    conn->scanned = 0;
    conn->pipelined |= complete && x->view_len > 0;
    if (SL_UNLIKELY(x->res.failed) && !x->res.chunked && !x->res.has_length && !x->res.no_body)
        conn->abort = true;
    if (SL_UNLIKELY(x->broken) ||
        (!complete && x->body.kind == SL_BODY_LENGTH && x->body.left > SL_DRAIN_MAX)) {
        sl_conn_end(conn, true);
        return len;
    }
    if (SL_UNLIKELY(x->res.close || x->res.failed)) {
        sl_conn_end(conn, !complete || conn->pipelined);
        return len;
    }
    if (SL_UNLIKELY(!complete)) { /* what is in the view is the beginning of its trailers */
        conn->draining = true;
        conn->body = x->body;
    }
    if (SL_LIKELY(!spilled))
        return (size_t)(x->view - buf);
    sl_buf_consume(&x->spill, x->spill.len - x->view_len);
    return len;
}

void
sl_session_stash(struct sl_workspace *ws, struct sl_conn *conn, const char *buf, size_t pos,
                 size_t len, bool own)
{
    stash(conn, buf, pos, len, own);
    if (ws->x.spill.len > 0) {
        sl_buf_release(&conn->in);
        conn->in = ws->x.spill;
        sl_buf_init(&ws->x.spill);
    } else {
        sl_buf_release(&ws->x.spill);
    }
}

/* The connection leaves with its thread: everything it needs later goes into it, then the engine
 * gets it back. */
static SL_APART void
give_back(struct sl_workspace *ws, struct sl_conn *conn, const char *buf, size_t pos, size_t len,
          bool own)
{
    sl_session_stash(ws, conn, buf, pos, len, own);
    int rc = sl_out_flush(&ws->out, conn->fd);
    if (rc == SL_EAGAIN)
        rc = sl_out_move(&ws->out, &conn->out, &ws->engine->store);
    if (rc < 0) {
        sl_out_release(&ws->out);
        conn->dead = true;
    }
    sl_pool_return(ws->engine->pool, conn);
}

static int
parse(struct sl_workspace *ws, struct sl_conn *conn, char *buf, size_t len, uint64_t *resume,
      const char **ret_sentence)
{
    struct sl_engine *engine = ws->engine;
    struct sl_exchange *x = &ws->x;
    memset(&x->req, 0, sizeof x->req);
    x->req.peer = &conn->peer;
    struct sl_head head = {&x->req, ws->fields, engine->head_rules.max_fields, &ws->known_host};
    int n = sl_head_parse(&head, buf, len, resume, &engine->head_rules, conn->peer.trusted,
                          ret_sentence);
    x->req.first = conn->first;
    if (conn->sent_continue)
        x->req.expect_continue = false;
    return n;
}

/* ---- PROXY protocol ---------------------------------------------------------------------------
 */

static bool
may_proxy(const struct sl_engine *engine, const struct sl_peer *peer)
{
    return peer->family == AF_UNIX ||
           sl_cidr_match_text(engine->proxy, engine->proxy_count, peer->addr);
}

/* The connection is from now on the one that the proxy tells of; who may be trusted stays a matter
 * of who really connected. */
static void
take_addresses(struct sl_peer *peer, const struct sl_proxy *told)
{
    memcpy(peer->proxy_addr, peer->addr, sizeof peer->proxy_addr);
    peer->proxy_port = peer->port;
    peer->proxied = told->version;
    if (told->family == AF_UNSPEC) {
        if (peer->family != AF_UNIX)
            snprintf(peer->dest_addr, sizeof peer->dest_addr, "%s", peer->local);
        peer->dest_port = peer->local_port;
        return;
    }
    memcpy(peer->addr, told->source, sizeof told->source);
    peer->port = told->source_port;
    memcpy(peer->dest_addr, told->dest, sizeof told->dest);
    peer->dest_port = told->dest_port;
}

/* Takes a PROXY header off the front of a connection. Returns its length (0: there is none) with
 * *ret_outcome SERVED, or what to do instead. */
static SL_APART size_t
take_proxy_header(struct sl_workspace *ws, struct sl_conn *conn, const char *buf, size_t len,
                  enum outcome *ret_outcome)
{
    static const struct sl_request nothing;
    struct sl_engine *engine = ws->engine;
    struct sl_proxy told;
    const char *sentence = NULL;
    ssize_t n = sl_proxy_parse(buf, len, engine->opt.proxy_protocol, &told, &sentence);
    *ret_outcome = n == 0 ? MORE : SERVED;
    if (n == 0)
        return 0;
    conn->proxy_pending = false;
    if (n == SL_ENOENT)
        return 0;
    if (n < 0 || !may_proxy(engine, &conn->peer)) {
        if (n < 0)
            sl_conn_refuse(ws, conn, 400, sentence, &nothing);
        else
            sl_conn_refuse(ws, conn, 403, "This address may not send a PROXY header.", &nothing);
        *ret_outcome = ENDED;
        return 0;
    }
    take_addresses(&conn->peer, &told);
    return (size_t)n;
}

/* Of a body `have` bytes are here. SERVED: the handler may run. */
static SL_APART enum outcome
await_body(struct sl_workspace *ws, struct sl_conn *conn, const char *body, size_t have,
           size_t head_len)
{
    const struct sl_engine_options *opt = &ws->engine->opt;
    const struct sl_request *req = &ws->x.req;
    if (sl_body_too_long(opt, req->content_length)) {
        sl_conn_refuse(ws, conn, 413, too_long, req);
        return ENDED;
    }
    if (!sl_upload_has_place(ws->engine, conn, req)) {
        sl_conn_refuse(ws, conn, 503, no_place, req);
        return ENDED;
    }
    if (!sl_upload_is_ready(ws, conn, req, body, have, head_len))
        return MORE;
    if (req->body == SL_BODY_CHUNKED && sl_body_too_long(opt, conn->body.left)) {
        sl_conn_refuse(ws, conn, 413, too_long, req);
        return ENDED;
    }
    return SERVED;
}

/* Serves the request at buf[pos]; on SERVED *ret_pos is where the next one starts. */
static enum outcome
next_request(struct sl_workspace *ws, struct sl_conn *conn, char *buf, size_t pos, size_t len,
             bool own, size_t *ret_pos)
{
    struct sl_engine *engine = ws->engine;
    struct sl_exchange *x = &ws->x;
    uint64_t resume = pos == 0 ? conn->resume : 0;
    const char *sentence = NULL;
    if (SL_UNLIKELY(conn->scanning) && !sl_upload_is_over(engine, conn, buf + pos, len - pos))
        return MORE;
    int n = parse(ws, conn, buf + pos, len - pos, &resume, &sentence);
    conn->need = 0;
    conn->resume = n == 0 ? resume : 0;
    if (SL_UNLIKELY(n == 0))
        return MORE;
    if (n < 0) {
        sl_conn_refuse(ws, conn, -n, sentence, &x->req);
        return ENDED;
    }
    size_t body = pos + (size_t)n;
    if (SL_UNLIKELY(x->req.body != SL_BODY_NONE)) {
        enum outcome outcome = await_body(ws, conn, buf + body, len - body, (size_t)n);
        if (outcome != SERVED)
            return outcome;
    }
    sl_exchange_begin(x, conn, buf + body, len - body);
    sl_response_init(&x->res, ws);
    bool noted = has_front(engine);
    if (SL_UNLIKELY(noted) && call_front(ws)) {
        *ret_pos = sl_session_conclude(ws, conn, buf, len);
        return conn->close_after ? ENDED : SERVED;
    }

    conn->away = engine->pool != NULL;
    if (engine->pool != NULL && !sl_pool_enter(engine->pool, ws)) {
        if (noted) /* it begins once more where it is answered */
            note_end(ws);
        stash(conn, buf, pos, len, own);
        return QUEUED;
    }
    if (!call_handler(ws, noted)) {
        sl_pending_begin(ws, conn, buf, pos, len, own);
        return LATER;
    }
    if (SL_UNLIKELY(x->res.detached)) {
        sl_engine_drop(engine, conn);
        return GONE;
    }
    bool owner = engine->pool == NULL || sl_pool_leave(engine->pool, ws);
    *ret_pos = sl_session_conclude(ws, conn, buf, len);
    if (SL_UNLIKELY(!owner)) {
        give_back(ws, conn, buf, *ret_pos, len, own);
        return LOST;
    }
    conn->away = false;
    return conn->close_after ? ENDED : SERVED;
}

void
sl_session_run_away(struct sl_workspace *ws, struct sl_conn *conn)
{
    uint64_t resume = 0;
    size_t pos;
    const char *sentence;
    int n = parse(ws, conn, conn->in.ptr, conn->in.len, &resume, &sentence);
    if (n <= 0) { /* it was complete when it was queued */
        conn->dead = true;
        sl_pool_return(ws->engine->pool, conn);
        return;
    }
    sl_exchange_begin(&ws->x, conn, conn->in.ptr + n, conn->in.len - (size_t)n);
    sl_response_init(&ws->x.res, ws);
    (void)call_handler(ws, false);
    pos = sl_session_conclude(ws, conn, conn->in.ptr, conn->in.len);
    give_back(ws, conn, conn->in.ptr, pos, conn->in.len, true);
}

/* ---- input ---------------------------------------------------------------------------------- */

static bool
batch_full(const struct sl_workspace *ws)
{
    return ws->out.file_left > 0 || ws->out.end - ws->out.start > SL_OUT_BATCH;
}

/* Answers to earlier pipelined requests go first: only then may another thread write. */
static SL_APART enum sl_step
hand_to_pool(struct sl_workspace *ws, struct sl_conn *conn)
{
    conn->away = false;
    sl_conn_send(ws, conn);
    if (conn->fd >= 0 && conn->state == SL_CONN_READING) {
        conn->away = true;
        sl_pool_queue(ws->engine->pool, conn);
    }
    return SL_STEP_DONE;
}

/* Serves everything in buf[0..len), which is the thread's scratch or (own) conn->in. */
static enum sl_step
serve(struct sl_workspace *ws, struct sl_conn *conn, char *buf, size_t len, bool own)
{
    size_t pos = 0;
    bool slow = false; /* what follows is served when the client has taken its answers */
    enum outcome outcome = SERVED;
    while (pos < len && outcome == SERVED) {
        if (SL_UNLIKELY(conn->draining)) {
            pos += sl_conn_drain(conn, buf + pos, len - pos);
            if (conn->close_after)
                break;
            continue;
        }
        if (SL_UNLIKELY(conn->proxy_pending)) {
            pos += take_proxy_header(ws, conn, buf + pos, len - pos, &outcome);
            if (outcome != SERVED || pos == len)
                break;
        }
        size_t start = pos;
        outcome = next_request(ws, conn, buf, start, len, own, &pos);
        if (SL_UNLIKELY(outcome == LOST))
            return SL_STEP_LOST;
        if (outcome == LATER || outcome == GONE)
            return SL_STEP_DONE;
        if (outcome == QUEUED)
            return hand_to_pool(ws, conn);
        /* The body went on outside of buf, and more came after it. */
        if (SL_UNLIKELY(ws->x.spill.len > 0)) {
            sl_buf_release(&conn->in);
            conn->in = ws->x.spill;
            sl_buf_init(&ws->x.spill);
            buf = conn->in.ptr;
            len = conn->in.len;
            own = true;
            pos = 0;
        }
        if (SL_UNLIKELY(outcome == SERVED && pos < len) && batch_full(ws)) {
            int rc = sl_out_flush(&ws->out, conn->fd);
            slow = rc == SL_EAGAIN;
            if (slow)
                break;
            if (rc < 0) { /* the answer is broken off, even if a next try would succeed */
                sl_out_release(&ws->out);
                sl_buf_release(&ws->x.spill);
                sl_engine_drop(ws->engine, conn);
                return SL_STEP_DONE;
            }
        }
    }
    if (SL_UNLIKELY(ws->x.spill.ptr != NULL))
        sl_buf_release(&ws->x.spill);
    if (SL_UNLIKELY(conn->close_after))
        sl_buf_release(&conn->in);
    else
        stash(conn, buf, pos, len, own);
    if (SL_UNLIKELY(slow))
        sl_conn_keep(ws, conn);
    else if (!sl_out_empty(&ws->out) || conn->close_after)
        sl_conn_send(ws, conn);
    return SL_STEP_DONE;
}

static bool
readable(const struct sl_conn *conn)
{
    return conn->fd >= 0 && !conn->away && conn->pending == NULL && conn->state == SL_CONN_READING;
}

/* What has come of a body cannot be kept, and is too much to be a handler's while it comes. */
static SL_COLD void
refuse_body(struct sl_workspace *ws, struct sl_conn *conn)
{
    uint64_t resume = 0;
    const char *sentence;
    (void)parse(ws, conn, conn->in.ptr, conn->in.len, &resume, &sentence); /* again, for the logs */
    sl_conn_refuse(ws, conn, 503, no_place, &ws->x.req);
    sl_buf_release(&conn->in);
    sl_conn_send(ws, conn);
}

/* Receives and serves. to_end: until nothing is left, else one short receive ends it (an edge will
 * tell of more). A client that sends without end lets others have their turn. */
static enum sl_step
receive(struct sl_workspace *ws, struct sl_conn *conn, bool to_end)
{
    for (int rounds = 0; readable(conn); rounds++) {
        if (rounds == SL_RECEIVE_ROUNDS) {
            (void)sl_conn_rearm(ws->engine, conn);
            return SL_STEP_DONE;
        }
        size_t space = SL_SCRATCH_SIZE;
        char *room = ws->scratch;
        int rc = SL_LIKELY(conn->in.len == 0) ? SL_OK : sl_upload_room(ws, conn, &room, &space);
        if (rc == SL_EFULL) {
            refuse_body(ws, conn);
            return SL_STEP_DONE;
        }
        ssize_t n = rc < 0 ? -1 : sl_io_recv(conn->fd, room, space, MSG_DONTWAIT);
        if (n < 0 && rc == SL_OK && errno == EINTR)
            continue;
        if (n < 0 && rc == SL_OK && errno == EAGAIN)
            return SL_STEP_DONE;
        if (SL_UNLIKELY(n <= 0)) {
            sl_engine_drop(ws->engine, conn);
            return SL_STEP_DONE;
        }
        /* The clock of a request head runs from its first byte, all others from the last one. */
        if (conn->in.len == 0 || conn->need > 0)
            conn->active_ms = ws->engine->now_ms;
        conn->unread = to_end || (size_t)n == space;
        enum sl_step step = SL_STEP_DONE;
        if (SL_LIKELY(conn->in.len == 0)) {
            step = serve(ws, conn, room, (size_t)n, false);
        } else {
            conn->in.len += (size_t)n;
            if (conn->in.len >= conn->need)
                step = serve(ws, conn, conn->in.ptr, conn->in.len, true);
        }
        if (SL_UNLIKELY(step == SL_STEP_LOST))
            return step;
        if (SL_LIKELY((size_t)n < space && !to_end))
            return SL_STEP_DONE;
    }
    return SL_STEP_DONE;
}

/* ---- called by the engine ------------------------------------------------------------------- */

enum sl_step
sl_session_resume(struct sl_workspace *ws, struct sl_conn *conn)
{
    struct sl_engine *engine = ws->engine;
    if (conn->dead) {
        sl_engine_drop(engine, conn);
        return SL_STEP_DONE;
    }
    if (!sl_out_empty(&conn->out)) {
        uint64_t before = sl_out_waiting(&conn->out);
        int rc = sl_out_flush(&conn->out, conn->fd);
        if (rc == SL_EAGAIN) {
            sl_conn_note_taken(engine, conn, before - sl_out_waiting(&conn->out));
            sl_conn_await_client(engine, conn);
            return SL_STEP_DONE;
        }
        if (rc < 0) {
            sl_engine_drop(engine, conn);
            return SL_STEP_DONE;
        }
    }
    conn->active_ms = engine->now_ms;
    sl_out_release(&conn->out);
    if (conn->close_after) {
        sl_conn_finish(engine, conn);
        return SL_STEP_DONE;
    }
    conn->state = SL_CONN_READING;
    if (conn->in.len > 0 && conn->in.len >= conn->need &&
        serve(ws, conn, conn->in.ptr, conn->in.len, true) == SL_STEP_LOST)
        return SL_STEP_LOST;
    return receive(ws, conn, true);
}

enum sl_step
sl_session_event(struct sl_workspace *ws, struct sl_conn *conn, unsigned flags)
{
    if (SL_UNLIKELY(conn->away || conn->fd < 0))
        return SL_STEP_DONE; /* looked at again when it comes back */
    if (conn->pending != NULL) {
        sl_pending_event(conn, flags);
        return SL_STEP_DONE;
    }
    if (flags & SL_LOOP_HANGUP)
        conn->hung_up = true;
    switch ((enum sl_conn_state)conn->state) {
    case SL_CONN_READING:
        if (flags & (SL_LOOP_READ | SL_LOOP_HANGUP))
            return receive(ws, conn, (flags & SL_LOOP_HANGUP) != 0);
        break;
    case SL_CONN_WRITING:
        if (flags & (SL_LOOP_WRITE | SL_LOOP_BROKEN))
            return sl_session_resume(ws, conn);
        sl_conn_sink(ws, conn);
        break;
    case SL_CONN_LINGERING:
        sl_conn_discard(ws, conn);
        break;
    }
    return SL_STEP_DONE;
}
