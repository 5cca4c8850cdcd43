/* A request whose answer comes later: the handler returned SL_PENDING, and its host goes on with it
 * from an event loop on the engine's thread.
 *
 * The workspace in which the handler ran stays with the request, so that every pointer the host has
 * remains valid; only its receive buffer goes on to the engine's next workspace, and the request's
 * bytes are copied. What the client sends meanwhile stays in the socket unless the host asks
 * (sl_request_more()); that an edge has passed is kept in conn->unread.
 */
#include <assert.h>
#include <stdlib.h>

#include "http/engine_state.h"

enum {
    SPARE_LEAST = 64,         /* workspaces that are kept however few requests wait */
    SPARE_MOST = 1024,        /* ... however many have waited */
    SPARE_OUTPUT = 16 * 1024, /* largest buffer that those beyond the least keep */
};

/* ---- workspaces ----------------------------------------------------------------------------- */

static struct sl_workspace *
take_workspace(struct sl_engine *engine)
{
    struct sl_workspace *ws = engine->spare_ws;
    if (ws == NULL)
        return sl_workspace_new(engine, false);
    engine->spare_ws = ws->next;
    engine->spare_ws_count--;
    return ws;
}

/* The engine goes on with another workspace; the receive buffer changes hands. */
static bool
leave_workspace(struct sl_workspace *ws)
{
    struct sl_engine *engine = ws->engine;
    struct sl_workspace *next = take_workspace(engine);
    if (next == NULL)
        return false;
    next->scratch = ws->scratch;
    ws->scratch = NULL;
    next->record = ws->record;
    engine->ws = next;
    if (++engine->waiting > engine->waiting_peak)
        engine->waiting_peak = engine->waiting;
    return true;
}

static void
give_workspace(struct sl_engine *engine, struct sl_workspace *ws)
{
    engine->waiting--;
    ws->wants_body = ws->wants_room = false;
    sl_buf_release(&ws->x.spill);
    if (engine->spare_ws_count >= SPARE_MOST) {
        sl_workspace_free(ws);
        return;
    }
    if (engine->spare_ws_count >= SPARE_LEAST && ws->out.cap > SPARE_OUTPUT)
        sl_out_release(&ws->out);
    ws->next = engine->spare_ws;
    engine->spare_ws = ws;
    engine->spare_ws_count++;
}

static void
free_spares(struct sl_engine *engine, unsigned keep)
{
    while (engine->spare_ws_count > keep)
        sl_workspace_free(take_workspace(engine));
}

/* As many requests as since the last time may wait again before the next. */
void
sl_pending_trim(struct sl_engine *engine)
{
    unsigned again = engine->waiting_peak - engine->waiting;
    free_spares(engine, again > SPARE_LEAST ? again : SPARE_LEAST);
    engine->waiting_peak = engine->waiting;
}

void
sl_pending_release(struct sl_engine *engine)
{
    free_spares(engine, 0);
}

/* ---- begin ---------------------------------------------------------------------------------- */

/* The bytes at old[0..len) are at now from here on. */
struct shift {
    const char *old, *now;
    size_t len;
};

static void
move(const struct shift *shift, const char **text)
{
    uintptr_t at = (uintptr_t)*text, from = (uintptr_t)shift->old;
    if (*text != NULL && at >= from && at <= from + shift->len)
        *text = shift->now + (at - from);
}

static void
move_exchange(const struct shift *shift, struct sl_workspace *ws)
{
    struct sl_exchange *x = &ws->x;
    const char *view = x->view;
    move(shift, &x->req.method.ptr);
    move(shift, &x->req.target.ptr);
    move(shift, &x->req.path.ptr);
    move(shift, &x->req.query.ptr);
    for (size_t i = 0; i < x->req.header_count; i++) {
        move(shift, &ws->fields[i].name.ptr);
        move(shift, &ws->fields[i].value.ptr);
    }
    for (size_t i = 0; i < x->trailer_count; i++) {
        move(shift, &x->trailers[i].name.ptr);
        move(shift, &x->trailers[i].value.ptr);
    }
    move(shift, &x->slice);
    if (x->spill.ptr == NULL) {
        move(shift, &view);
        x->view = (char *)(uintptr_t)view;
    }
}

static void
tell(struct sl_workspace *ws, unsigned what)
{
    const struct sl_engine_options *opt = &ws->engine->opt;
    if (what != 0 && opt->on_event != NULL)
        opt->on_event(opt->ctx, &ws->x.req, what);
}

void
sl_pending_begin(struct sl_workspace *ws, struct sl_conn *conn, char *buf, size_t pos, size_t len,
                 bool own)
{
    struct sl_engine *engine = ws->engine;
    if ((!own && sl_buf_append(&conn->in, buf + pos, len - pos) < 0) || !leave_workspace(ws)) {
        /* Without memory the request ends here, and with it the host's pointers. */
        tell(ws, SL_ON_CLOSED);
        sl_out_release(&ws->out);
        sl_buf_release(&ws->x.spill);
        sl_engine_drop(engine, conn);
        return;
    }
    if (!own) {
        struct shift shift = {buf + pos, conn->in.ptr, len - pos};
        move_exchange(&shift, ws);
    }
    conn->pending = ws;
    conn->active_ms = engine->now_ms;
    if (!sl_out_empty(&ws->out) && sl_out_flush(&ws->out, conn->fd) == SL_ECLOSED) {
        (void)sl_response_gone(&ws->x.res);
        tell(ws, SL_ON_GONE);
        return;
    }
    /* If all is sent now, the room that the handler missed is told by the event of this. */
    if (!sl_out_empty(&ws->out) || ws->wants_room)
        (void)sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_WRITE, conn);
    if (conn->hung_up) /* it was told before there was anybody to listen */
        tell(ws, SL_ON_GONE);
}

/* ---- while it lasts ---------------------------------------------------------------------------
 */

/* Nothing can be sent or received any more: what the host waits for will not come. */
static unsigned
break_off(struct sl_workspace *ws)
{
    unsigned what = SL_ON_GONE;
    if (ws->x.res.failed)
        return 0;
    sl_out_release(&ws->out);
    (void)sl_response_gone(&ws->x.res);
    if (ws->wants_body)
        what |= SL_ON_BODY;
    if (ws->wants_room)
        what |= SL_ON_ROOM;
    ws->wants_body = ws->wants_room = false;
    return what;
}

static unsigned
send_more(struct sl_conn *conn)
{
    struct sl_workspace *ws = conn->pending;
    struct sl_engine *engine = ws->engine;
    uint64_t before = sl_out_waiting(&ws->out);
    int rc = sl_out_flush(&ws->out, conn->fd);
    if (rc == SL_ECLOSED)
        return break_off(ws);
    uint64_t moved = before - sl_out_waiting(&ws->out);
    if (rc == SL_EAGAIN)
        sl_conn_note_taken(engine, conn, moved);
    if (moved > 0)
        conn->active_ms = engine->now_ms;
    if (rc == SL_EAGAIN)
        (void)sl_loop_mod(engine->loop, conn->fd, SL_LOOP_READ | SL_LOOP_WRITE, conn);
    if (!ws->wants_room || ws->out.end - ws->out.start > SL_OUT_HIGH / 2)
        return 0;
    ws->wants_room = false;
    return SL_ON_ROOM;
}

void
sl_pending_event(struct sl_conn *conn, unsigned flags)
{
    struct sl_workspace *ws = conn->pending;
    unsigned what = 0;
    if (flags & (SL_LOOP_READ | SL_LOOP_HANGUP)) {
        conn->unread = true;
        if (ws->wants_body)
            what |= SL_ON_BODY;
        ws->wants_body = false;
    }
    if ((flags & SL_LOOP_HANGUP) && !conn->hung_up) {
        conn->hung_up = true;
        what |= SL_ON_GONE;
    }
    if (flags & SL_LOOP_BROKEN)
        what |= break_off(ws);
    else if ((flags & SL_LOOP_WRITE) && (!sl_out_empty(&ws->out) || ws->wants_room))
        what |= send_more(conn);
    tell(ws, what);
}

void
sl_pending_expire(struct sl_engine *engine, struct sl_conn *conn)
{
    struct sl_workspace *ws = conn->pending;
    struct sl_exchange *x = &ws->x;
    uint64_t limit = engine->opt.body_timeout_ms;
    if (limit == 0 || engine->now_ms - conn->active_ms < limit)
        return;
    if (!sl_out_empty(&ws->out)) {
        tell(ws, break_off(ws));
    } else if (ws->wants_body && x->body.kind != SL_BODY_RAW) {
        ws->wants_body = false;
        x->broken = true;
        x->error = SL_ETIMEOUT;
        tell(ws, SL_ON_BODY);
    }
}

void
sl_pending_drop(struct sl_conn *conn)
{
    struct sl_workspace *ws = conn->pending;
    conn->pending = NULL;
    tell(ws, SL_ON_CLOSED);
    sl_out_release(&ws->out);
    give_workspace(ws->engine, ws);
}

/* ---- end ---------------------------------------------------------------------------------------
 */

/* The connection goes on: at once where that runs no handler, else in the next turn. */
static void
go_on(struct sl_engine *engine, struct sl_conn *conn)
{
    conn->active_ms = engine->now_ms;
    if (conn->dead) {
        sl_engine_drop(engine, conn);
    } else if (!sl_out_empty(&conn->out)) {
        sl_conn_await_client(engine, conn);
    } else if (conn->close_after) {
        sl_conn_finish(engine, conn);
    } else if (conn->in.len > 0 || conn->unread || conn->hung_up) {
        conn->away = true; /* till then */
        conn->next = engine->returned;
        engine->returned = conn;
        if (!engine->turning)
            sl_engine_nudge(engine);
    }
}

void
sl_request_finish(struct sl_request *req)
{
    struct sl_exchange *x = (struct sl_exchange *)(void *)req;
    struct sl_workspace *ws = x->res.ws;
    struct sl_conn *conn = x->conn;
    struct sl_engine *engine = ws->engine;
    assert(conn->pending == ws);
    sl_response_settle(&x->res, 0);
    size_t len = conn->in.len;
    size_t pos = sl_session_conclude(ws, conn, conn->in.ptr, len);
    conn->pending = NULL;
    sl_session_stash(ws, conn, conn->in.ptr, pos, len, true);
    int rc = sl_out_flush(&ws->out, conn->fd);
    if (rc == SL_EAGAIN)
        rc = sl_out_move(&ws->out, &conn->out, &engine->store);
    if (rc < 0) {
        sl_out_release(&ws->out);
        conn->dead = true;
    }
    if (conn->close_after)
        sl_buf_release(&conn->in);
    give_workspace(engine, ws);
    go_on(engine, conn);
}
