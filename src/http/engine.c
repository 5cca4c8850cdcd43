/* The engine: listening sockets, connection records, one turn of the loop, the coarse clock. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <saola/host.h>

#include "base/clock.h"
#include "base/hints.h"
#include "http/engine_state.h"
#include "http/text.h"

enum {
    OPEN_FAILED_WAIT_MS = 10000, /* for threads that did start */
    ACCEPT_BUDGET = 64,          /* connections taken in one go */
    ACCEPT_PAUSE_MS = 100,       /* after running out of descriptors */
    SWEEP_MS = 1000,             /* time-outs are looked at this often */
    STOP_SWEEP_MS = 50,          /* ... while stopping */
    SLOW_TURN_MS = 50,           /* a turn that takes longer shows in the time-outs */
    BEAT_MS = 200,
    BUSY_BATCH = 2,          /* events at once: there will be some when these are served */
    SPARE_CONNECTIONS = 256, /* free records kept */
};

/* ---- workspaces ----------------------------------------------------------------------------- */

static int
prepare_fixed(struct sl_workspace *ws, const char *server_name)
{
    size_t room = strlen(server_name) + SL_DATE_LEN + 64;
    ws->fixed = malloc(room);
    if (ws->fixed == NULL)
        return SL_ENOMEM;
    int n = server_name[0] == '\0' ? snprintf(ws->fixed, room, "\r\n")
                                   : snprintf(ws->fixed, room, "\r\nServer: %s\r\n", server_name);
    ws->fixed_date = (size_t)n + 6;
    n += snprintf(ws->fixed + n, room - (size_t)n, "Date: %*s\r\nConnection: ", SL_DATE_LEN, "");
    ws->fixed_len = (size_t)n;
    return SL_OK;
}

struct sl_workspace *
sl_workspace_new(struct sl_engine *engine, bool scratch)
{
    struct sl_workspace *ws = calloc(1, sizeof *ws);
    if (ws == NULL)
        return NULL;
    ws->engine = engine;
    sl_out_init(&ws->out);
    ws->out.cut = &engine->cut;
    ws->desk = engine->opt.threads == 0 ? &engine->desk : &ws->own_desk;
    ws->fields = malloc(engine->head_rules.max_fields * sizeof *ws->fields);
    ws->scratch = scratch ? malloc(SL_SCRATCH_SIZE) : NULL;
    if (ws->fields == NULL || (scratch && ws->scratch == NULL) ||
        prepare_fixed(ws, engine->opt.server_name ? engine->opt.server_name : "") < 0) {
        sl_workspace_free(ws);
        return NULL;
    }
    return ws;
}

void
sl_workspace_free(struct sl_workspace *ws)
{
    if (ws == NULL)
        return;
    sl_out_release(&ws->out);
    sl_buf_release(&ws->headers);
    sl_buf_release(&ws->substitute);
    sl_access_desk_release(&ws->own_desk);
    sl_buf_release(&ws->x.spill);
    free(ws->fields);
    free(ws->fixed);
    free(ws->scratch);
    free(ws);
}

/* ---- listening sockets ---------------------------------------------------------------------- */

static void
describe_point(struct sl_listen_point *point)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    if (getsockname(point->fd, (struct sockaddr *)&sa, &len) < 0)
        return;
    point->family = sa.ss_family;
    if (sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&sa;
        inet_ntop(AF_INET, &in->sin_addr, point->local, sizeof point->local);
        point->port = ntohs(in->sin_port);
    } else if (sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, point->local, sizeof point->local);
        point->port = ntohs(in6->sin6_port);
    } else if (sa.ss_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path)) {
        const struct sockaddr_un *un = (const void *)&sa;
        size_t n = len - offsetof(struct sockaddr_un, sun_path);
        if (n >= sizeof point->local)
            n = sizeof point->local - 1;
        memcpy(point->local, un->sun_path, n);
        if (point->local[0] == '\0') /* abstract */
            point->local[0] = '@';
    }
}

static bool
shares_port(int fd)
{
    int on = 0;
    socklen_t len = sizeof on;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

int
sl_engine_listen_on(struct sl_engine *engine)
{
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        struct sl_listen_point *point = &engine->points[i];
        if (point->left)
            continue;
        int rc = sl_loop_add(engine->loop, point->fd, SL_LOOP_READ | SL_LOOP_LISTEN, point);
        if (rc < 0 && rc != SL_EBUSY)
            return rc;
    }
    engine->listening = true;
    return SL_OK;
}

void
sl_engine_listen_off(struct sl_engine *engine)
{
    if (!engine->listening)
        return;
    for (size_t i = 0; i < engine->opt.listener_count; i++)
        (void)sl_loop_del(engine->loop, engine->points[i].fd);
    engine->listening = false;
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct sl_conn *
take_record(struct sl_engine *engine)
{
    struct sl_list *link = sl_list_first(&engine->spare);
    if (link != NULL) {
        sl_list_remove(link);
        engine->spare_count--;
        return SL_LIST_ENTRY(link, struct sl_conn, link);
    }
    return malloc(sizeof(struct sl_conn));
}

void
sl_engine_drop(struct sl_engine *engine, struct sl_conn *conn)
{
    if (conn->pending != NULL)
        sl_pending_drop(conn);
    /* A child that the application forked may hold the socket open: closing alone would leave it in
     * the loop, with a pointer to this record. */
    (void)sl_loop_del(engine->loop, conn->fd);
    close(conn->fd);
    conn->fd = -1;
    sl_buf_release(&conn->in);
    sl_out_release(&conn->out);
    sl_list_remove(&conn->link);
    sl_list_push_front(&engine->spare, &conn->link);
    engine->spare_count++;
    atomic_fetch_sub_explicit(&engine->connections, 1, memory_order_relaxed);
}

static void
trim_spare(struct sl_engine *engine)
{
    while (engine->spare_count > SPARE_CONNECTIONS) {
        struct sl_list *link = sl_list_first(&engine->spare);
        sl_list_remove(link);
        engine->spare_count--;
        free(SL_LIST_ENTRY(link, struct sl_conn, link));
    }
}

static void
describe_peer(struct sl_engine *engine, struct sl_peer *peer, const struct sl_listen_point *point,
              const struct sockaddr_storage *sa)
{
    memset(peer, 0, sizeof *peer);
    peer->family = point->family;
    peer->local = point->local;
    peer->local_port = point->port;
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, peer->addr, sizeof peer->addr);
        peer->port = ntohs(in->sin_port);
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, peer->addr, sizeof peer->addr);
        peer->port = ntohs(in6->sin6_port);
    }
    peer->trusted =
        point->family == AF_UNIX ||
        sl_cidr_match(engine->forwarded, engine->forwarded_count, (const struct sockaddr *)sa);
}

static void
admit(struct sl_engine *engine, const struct sl_listen_point *point, int fd,
      const struct sockaddr_storage *sa)
{
    struct sl_conn *conn = take_record(engine);
    if (conn == NULL) {
        close(fd);
        return;
    }
    memset(conn, 0, sizeof *conn);
    conn->fd = fd;
    conn->first = true;
    conn->proxy_pending = engine->opt.proxy_protocol != 0;
    conn->active_ms = engine->now_ms;
    sl_out_init(&conn->out);
    describe_peer(engine, &conn->peer, point, sa);
    if (sl_loop_add(engine->loop, fd, SL_LOOP_READ | SL_LOOP_WRITE, conn) < 0) {
        close(fd);
        free(conn);
        return;
    }
    sl_list_push_back(&engine->conns, &conn->link);
    engine->accepted_ms = engine->now_ms;
    atomic_fetch_add_explicit(&engine->connections, 1, memory_order_relaxed);
}

bool
sl_engine_full(const struct sl_engine *engine)
{
    uint32_t limit = engine->opt.max_connections;
    return limit != 0 && sl_engine_connections(engine) >= limit;
}

/* Errors that belong to one connection; the next one may be fine (accept(2)). */
static bool
passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/* The oldest connection that is idle between requests, or NULL. */
static struct sl_conn *
find_spare(struct sl_engine *engine)
{
    SL_LIST_EACH(link, &engine->conns)
    {
        struct sl_conn *conn = SL_LIST_ENTRY(link, struct sl_conn, link);
        if (sl_conn_is_spare(conn))
            return conn;
    }
    return NULL;
}

static SL_APART void
accept_some(struct sl_engine *engine, const struct sl_listen_point *point)
{
    int budget = engine->opt.multiple_workers ? 1 : ACCEPT_BUDGET;
    while (budget-- > 0 && engine->listening) {
        struct sockaddr_storage sa = {0};
        socklen_t len = sizeof sa;
        /* At the limit one that is idle makes room, but only for somebody who is there. */
        struct sl_conn *spare = sl_engine_full(engine) ? find_spare(engine) : NULL;
        if (spare == NULL && sl_engine_full(engine)) {
            sl_engine_listen_off(engine);
            return;
        }
        int fd = accept4(point->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (spare != NULL)
                sl_engine_drop(engine, spare);
            admit(engine, point, fd, &sa);
            continue;
        }
        if (passing(errno))
            continue;
        if (errno != EAGAIN) { /* no descriptors or memory: let others go first */
            sl_engine_listen_off(engine);
            engine->accept_after_ms = engine->now_ms + ACCEPT_PAUSE_MS;
        }
        return;
    }
}

/* ---- the coarse clock ------------------------------------------------------------------------ */

static SL_COLD void
sweep(struct sl_engine *engine, struct sl_workspace *ws)
{
    engine->swept_ms = engine->now_ms;
    engine->linger_ms = sl_drain_idle_ms(engine);
    SL_LIST_EACH(link, &engine->conns)
    sl_conn_expire(ws, SL_LIST_ENTRY(link, struct sl_conn, link));
    trim_spare(engine);
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
        (!sl_engine_full(engine) || (sweeping && find_spare(engine) != NULL)))
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
        return shorter(timeout_ms, ACCEPT_PAUSE_MS);
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
        if ((uintptr_t)event->data & FOREIGN)
            tell_ready(engine, event);
        else if (is_point(engine, event->data))
            accept_some(engine, event->data);
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
        /* That look may have swallowed the loop's wake-up; the flag tells. */
        if (n != 0 || timeout_ms == 0 || atomic_exchange(&engine->woken, false))
            return n;
    }
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
open_points(struct sl_engine *engine, struct sl_error *err)
{
    size_t count = engine->opt.listener_count;
    engine->points = calloc(count ? count : 1, sizeof *engine->points);
    if (engine->points == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the listening sockets");
    for (size_t i = 0; i < count; i++) {
        int one = 1, unsent = SL_UNSENT_MAX;
        engine->points[i].fd = engine->opt.listener_fds[i];
        describe_point(&engine->points[i]);
        engine->points[i].own = engine->opt.own_listeners && shares_port(engine->points[i].fd);
        if (engine->points[i].family == AF_UNIX)
            continue;
        /* Connections inherit both. */
        (void)setsockopt(engine->points[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(engine->points[i].fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent,
                         sizeof unsent);
    }
    if (!engine->opt.accept_later && sl_engine_listen_on(engine) < 0)
        return sl_error_set(err, SL_ESYS, "cannot watch the listening sockets: %s",
                            strerror(errno));
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
    rc = open_points(engine, err);
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
    SL_LIST_EACH(link, &engine->spare)
    free(SL_LIST_ENTRY(link, struct sl_conn, link));
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
