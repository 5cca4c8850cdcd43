/* The engine: one turn of the loop, the coarse clock, its life. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <saola/host.h>

#include "base/clock.h"
#include "base/hints.h"
#include "http/engine_state.h"

enum {
    OPEN_FAILED_WAIT_MS = 10000, /* for threads that did start */
    SWEEP_MS = 1000,             /* time-outs are looked at this often */
    STOP_SWEEP_MS = 50,          /* ... while stopping */
    SLOW_TURN_MS = 50,           /* a turn that takes longer shows in the time-outs */
    BEAT_MS = 200,
    BUSY_BATCH = 2,   /* events at once: there will be some when these are served */
    BUSY_ROUNDS = 16, /* batches in one turn */
};

/* ---- the coarse clock ------------------------------------------------------------------------ */

static SL_COLD void
sweep(struct sl_engine *engine, struct sl_workspace *ws)
{
    engine->swept_ms = engine->now_ms;
    engine->linger_ms = sl_drain_idle_ms(engine);
    SL_LIST_EACH(link, &engine->conns)
    sl_conn_expire(ws, SL_LIST_ENTRY(link, struct sl_conn, link));
    sl_engine_trim_spare(engine);
    sl_pending_trim(engine);
}

/* The time that handlers took is not charged to the connections that were active then. */
static SL_COLD void
forgive(struct sl_engine *engine, uint64_t now)
{
    SL_LIST_EACH(link, &engine->conns)
    {
        struct sl_conn *conn = SL_LIST_ENTRY(link, struct sl_conn, link);
        if (conn->active_ms == engine->now_ms)
            conn->active_ms = now;
    }
}

static void
keep_time(struct sl_engine *engine, struct sl_workspace *ws)
{
    uint64_t now = sl_clock_ms();
    if (now - engine->now_ms >= SLOW_TURN_MS)
        forgive(engine, now);
    engine->now_ms = now;
    if (engine->opt.slot != NULL && engine->pool == NULL && now - engine->beat_ms >= BEAT_MS) {
        engine->beat_ms = now;
        sl_slot_beat(engine->opt.slot);
    }
    if (!engine->draining && atomic_load_explicit(&engine->stopping, memory_order_acquire))
        sl_drain_begin(engine);
    if (engine->queue != SL_QUEUE_OTHERS)
        sl_drain_tend(engine);
    bool accepting =
        (!engine->draining || engine->queue != SL_QUEUE_OTHERS) && !engine->opt.accept_later;
    bool sweeping = now - engine->swept_ms >= (engine->draining ? STOP_SWEEP_MS : SWEEP_MS);
    if (accepting && !engine->listening && now >= engine->accept_after_ms &&
        (!sl_engine_full(engine) || (sweeping && sl_engine_find_spare(engine) != NULL)))
        (void)sl_engine_listen_on(engine);
    if (sweeping)
        sweep(engine, ws);
}

static int
shorter(int a, int b)
{
    return a >= 0 && a < b ? a : b;
}

/* Stopped, and nothing is left to do. */
static bool
is_over(const struct sl_engine *engine)
{
    return engine->draining && engine->queue == SL_QUEUE_OTHERS &&
           sl_engine_connections(engine) == 0;
}

/* How long the loop may sleep: the caller's time, less where a clock of ours is due. */
static int
sleep_time(const struct sl_engine *engine, int timeout_ms)
{
    if (engine->returned != NULL)
        return 0;
    if (is_over(engine))
        return timeout_ms;
    if (engine->draining)
        return shorter(timeout_ms, STOP_SWEEP_MS);
    if (!engine->listening && !engine->opt.accept_later &&
        !sl_engine_full(engine)) /* out of descriptors or memory: try again */
        return shorter(timeout_ms, SL_ACCEPT_PAUSE_MS);
    if (sl_engine_connections(engine) > 0)
        return shorter(timeout_ms, SWEEP_MS);
    return timeout_ms;
}

/* ---- turning ----------------------------------------------------------------------------------
 */

static bool
is_point(const struct sl_engine *engine, const void *data)
{
    const struct sl_listen_point *first = engine->points;
    return (const char *)data >= (const char *)first &&
           (const char *)data < (const char *)(first + engine->opt.listener_count);
}

enum { FOREIGN = 1 }; /* lowest bit of an event's data: the rest is a descriptor of the host's */

static SL_APART void
tell_ready(struct sl_engine *engine, const struct sl_loop_event *event)
{
    unsigned flags = 0;
    if (event->flags & SL_LOOP_READ)
        flags |= SL_WATCH_READ;
    if (event->flags & SL_LOOP_WRITE)
        flags |= SL_WATCH_WRITE;
    if (event->flags & SL_LOOP_BROKEN)
        flags |= SL_WATCH_ERROR;
    engine->opt.on_ready(engine->opt.ctx, (int)((uintptr_t)event->data >> 1), flags);
}

/* A request that the host answers later has taken the inline executor's workspace with it. */
static struct sl_workspace *
current(const struct sl_engine *engine, struct sl_workspace *ws)
{
    return engine->pool != NULL ? ws : engine->ws;
}

/* Serves what is left of the batch of events. */
static enum sl_step
serve_batch(struct sl_engine *engine, struct sl_workspace *ws)
{
    while (engine->event_next < engine->event_count) {
        struct sl_loop_event *event = &engine->events[engine->event_next++];
        if (SL_UNLIKELY((uintptr_t)event->data & FOREIGN))
            tell_ready(engine, event);
        else if (SL_UNLIKELY(is_point(engine, event->data)))
            sl_engine_accept_some(engine, event->data);
        else if (sl_session_event(current(engine, ws), event->data, event->flags) == SL_STEP_LOST)
            return SL_STEP_LOST;
    }
    return SL_STEP_DONE;
}

/* Goes on with the connections that other threads gave back. What is not reached before the engine
 * is lost waits in engine->returned for its next owner. */
static SL_APART enum sl_step
take_returned(struct sl_engine *engine, struct sl_workspace *ws)
{
    if (engine->returned == NULL && engine->pool != NULL)
        engine->returned = sl_pool_collect(engine->pool);
    while (engine->returned != NULL) {
        struct sl_conn *conn = engine->returned;
        engine->returned = conn->next;
        conn->away = false;
        if (sl_session_resume(current(engine, ws), conn) == SL_STEP_LOST)
            return SL_STEP_LOST;
    }
    return SL_STEP_DONE;
}

/* What was answered goes to the access log's writer once a millisecond, and before the engine or
 * its host may sleep. */
static void
hand_lines_over(struct sl_engine *engine)
{
    engine->handed_ms = engine->now_ms;
    if (engine->opt.access_log != NULL)
        sl_access_log_hand_over(engine->opt.access_log, &engine->desk);
}

static int
wait_events(struct sl_engine *engine, int timeout_ms)
{
    const struct sl_engine_options *opt = &engine->opt;
    int n;
    /* Who is busy looks first: with a time-out the kernel reads the clock even if it will not wait,
     * and to sleep may cost more than the look (the interpreter's lock). */
    if (timeout_ms == 0 || engine->event_count >= BUSY_BATCH) {
        n = sl_loop_wait(engine->loop, engine->events, SL_EVENT_BATCH, 0);
        if (n != 0 || timeout_ms == 0)
            return n;
    }
    if (atomic_exchange(&engine->woken, false)) /* a look may have swallowed the loop's wake-up */
        timeout_ms = 0;
    hand_lines_over(engine);
    if (opt->sleep_begin != NULL)
        opt->sleep_begin(opt->ctx);
    n = sl_loop_wait(engine->loop, engine->events, SL_EVENT_BATCH, timeout_ms);
    if (opt->sleep_end != NULL)
        opt->sleep_end(opt->ctx);
    if (n >= 0)
        engine->now_ms = sl_clock_ms();
    return n;
}

/* Who is busy goes on with what has come meanwhile, and spares the rest of a turn, as long as the
 * coarse clock stood still when the last request began. Whoever has something else for the owner
 * to do nudges the engine. */
static void
serve_on(struct sl_engine *engine, struct sl_workspace *ws)
{
    struct timespec moment = engine->desk.moment;
    for (int rounds = 1; rounds < BUSY_ROUNDS && engine->event_count >= BUSY_BATCH; rounds++) {
        if (engine->desk.moment.tv_nsec != moment.tv_nsec || engine->returned != NULL ||
            atomic_load_explicit(&engine->stopping, memory_order_relaxed) ||
            atomic_load_explicit(&engine->woken, memory_order_relaxed))
            return;
        int n = sl_loop_wait(engine->loop, engine->events, SL_EVENT_BATCH, 0);
        if (n <= 0 && atomic_load(&engine->woken)) /* that look may have swallowed the wake-up */
            return;
        engine->event_next = 0;
        engine->event_count = n > 0 ? n : 0;
        (void)serve_batch(engine, ws); /* nobody takes the engine from an inline executor */
    }
}

int
sl_engine_serve(struct sl_engine *engine, struct sl_workspace *ws, int timeout_ms)
{
    if (serve_batch(engine, ws) == SL_STEP_LOST)
        return SL_ELOST;
    keep_time(engine, ws);
    if ((engine->pool != NULL || engine->returned != NULL) &&
        take_returned(engine, ws) == SL_STEP_LOST)
        return SL_ELOST;
    bool over = is_over(engine);
    if (over && !engine->opt.lent)
        return SL_ECLOSED;
    int n = wait_events(engine, sleep_time(engine, timeout_ms));
    if (n < 0)
        return n;
    engine->event_next = 0;
    engine->event_count = n;
    engine->desk.gathers = true;
    if (serve_batch(engine, ws) == SL_STEP_LOST)
        return SL_ELOST;
    if (engine->pool == NULL && timeout_ms != 0)
        serve_on(engine, ws);
    engine->desk.gathers = false;
    if (timeout_ms == 0 || engine->now_ms != engine->handed_ms)
        hand_lines_over(engine);
    return over ? SL_ECLOSED : SL_OK;
}

int
sl_engine_turn(struct sl_engine *engine, int timeout_ms)
{
    if (engine->pool != NULL)
        return sl_pool_wait(engine->pool, timeout_ms);
    engine->turning = true;
    int rc = sl_engine_serve(engine, engine->ws, timeout_ms);
    engine->turning = false;
    return rc;
}

int
sl_engine_patience(const struct sl_engine *engine)
{
    return sleep_time(engine, -1);
}

void
sl_engine_accept(struct sl_engine *engine)
{
    engine->opt.accept_later = false;
    if (!engine->draining)
        (void)sl_engine_listen_on(engine); /* else the clock tries again */
}

int
sl_engine_watch(struct sl_engine *engine, int fd, unsigned flags)
{
    void *data = (void *)((uintptr_t)fd << 1 | FOREIGN);
    unsigned interest = SL_LOOP_FOREIGN;
    if (flags == 0)
        return sl_loop_del(engine->loop, fd);
    if (flags & SL_WATCH_READ)
        interest |= SL_LOOP_READ;
    if (flags & SL_WATCH_WRITE)
        interest |= SL_LOOP_WRITE;
    int rc = sl_loop_add(engine->loop, fd, interest, data);
    return rc == SL_EBUSY ? sl_loop_mod(engine->loop, fd, interest, data) : rc;
}

void
sl_engine_cut(struct sl_engine *engine)
{
    SL_LIST_EACH(link, &engine->conns)
    {
        struct sl_conn *conn = SL_LIST_ENTRY(link, struct sl_conn, link);
        if (!sl_out_empty(&conn->out) || (conn->pending != NULL && conn->pending->x.res.committed))
            sl_conn_set_reset(conn, true);
        sl_engine_drop(engine, conn);
    }
    engine->returned = NULL;
}

int
sl_engine_fd(const struct sl_engine *engine)
{
    return engine->pool != NULL ? sl_pool_fd(engine->pool) : sl_loop_fd(engine->loop);
}

void
sl_engine_nudge(struct sl_engine *engine)
{
    atomic_store(&engine->woken, true);
    sl_loop_wake(engine->loop);
}

void
sl_engine_wake(struct sl_engine *engine)
{
    if (engine->pool != NULL)
        sl_pool_tell(engine->pool);
    else
        sl_engine_nudge(engine);
}

void
sl_engine_stop(struct sl_engine *engine)
{
    if (atomic_load(&engine->asked_ms) == 0)
        atomic_store(&engine->asked_ms, sl_clock_ms());
    atomic_store(&engine->stopping, true);
    sl_engine_nudge(engine);
}

uint64_t
sl_engine_requests(const struct sl_engine *engine)
{
    return atomic_load_explicit(&engine->requests, memory_order_relaxed);
}

unsigned
sl_engine_connections(const struct sl_engine *engine)
{
    return atomic_load_explicit(&engine->connections, memory_order_relaxed);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static int
parse_networks(const char *const *texts, struct sl_cidr **ret_list, size_t *ret_count,
               struct sl_error *err)
{
    size_t count = 0;
    while (texts != NULL && texts[count] != NULL)
        count++;
    if (count == 0)
        return SL_OK;
    *ret_list = calloc(count, sizeof **ret_list);
    if (*ret_list == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the list of trusted addresses");
    for (*ret_count = 0; *ret_count < count; ++*ret_count) {
        int rc = sl_cidr_parse(texts[*ret_count], &(*ret_list)[*ret_count], err);
        if (rc < 0)
            return rc;
    }
    return SL_OK;
}

static int
set_up(struct sl_engine *engine, struct sl_error *err)
{
    const struct sl_engine_options *opt = &engine->opt;
    int rc =
        parse_networks(opt->forwarded_allow, &engine->forwarded, &engine->forwarded_count, err);
    if (rc == SL_OK)
        rc = parse_networks(opt->proxy_allow, &engine->proxy, &engine->proxy_count, err);
    if (rc < 0)
        return rc;
    if (sl_loop_open(&engine->loop) < 0)
        return sl_error_set(err, SL_ESYS, "cannot make an event loop: %s", strerror(errno));
    rc = sl_engine_open_points(engine, err);
    if (rc < 0)
        return rc;
    engine->ws = sl_workspace_new(engine, true);
    if (engine->ws == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the engine's buffers");
    return opt->threads > 0 ? sl_pool_start(engine, &engine->pool, err) : SL_OK;
}

/* sendfile(2) has no MSG_NOSIGNAL: a client that leaves must not end the process. */
static void
ignore_broken_pipes(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        now.sa_handler = SIG_IGN;
        (void)sigaction(SIGPIPE, &now, NULL);
    }
}

int
sl_engine_open(const struct sl_engine_options *options, struct sl_engine **ret_engine,
               struct sl_error *err)
{
    struct sl_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the engine");
    engine->opt = *options;
    engine->spool.directory = options->spool_dir;
    engine->spool.limit = options->spool_limit;
    engine->store.spool = options->spool_dir != NULL ? &engine->spool : NULL;
    ignore_broken_pipes();
    sl_head_rules_init(&engine->head_rules, &options->limits, options->scheme_headers);
    engine->timed_log = options->access_log != NULL && sl_access_log_is_timed(options->access_log);
    engine->fine_log = options->access_log != NULL && sl_access_log_is_fine(options->access_log);
    sl_list_init(&engine->conns);
    sl_list_init(&engine->spare);
    engine->now_ms = engine->swept_ms = sl_clock_ms();
    /* The pool may serve, and call back, before set_up() returns. */
    *ret_engine = engine;
    int rc = set_up(engine, err);
    if (rc < 0) {
        (void)sl_engine_close(engine, OPEN_FAILED_WAIT_MS);
        *ret_engine = NULL;
    }
    return rc;
}

int
sl_engine_close(struct sl_engine *engine, unsigned wait_ms)
{
    if (engine == NULL)
        return SL_OK;
    if (engine->pool != NULL) {
        int rc = sl_pool_stop(engine->pool, wait_ms);
        if (rc < 0) { /* a thread still uses it: the process is about to end */
            /* What its handler does from now on may not be saved any more, so no client is told. */
            atomic_store(&engine->cut, true);
            return rc;
        }
    }
    hand_lines_over(engine);
    sl_engine_cut(engine);
    sl_pending_release(engine);
    sl_engine_free_spare(engine);
    if (engine->loop != NULL) {
        sl_engine_listen_off(engine);
        sl_loop_close(engine->loop);
    }
    sl_workspace_free(engine->ws);
    sl_access_desk_release(&engine->desk);
    free(engine->points);
    free(engine->forwarded);
    free(engine->proxy);
    free(engine);
    return SL_OK;
}
