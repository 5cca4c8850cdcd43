/* The threads executor: the engine changes hands, as a processor does in Go's runtime when its
 * thread blocks.
 *
 * One thread owns the engine and runs handlers inline, so fast applications pay no hand-off. A
 * second one watches: when the owner has been inside the same handler call for half a millisecond
 * to a whole one, the watcher takes the engine over and serves on; the late thread finishes its
 * response on its own, gives the connection back and parks. There are `limit` handler threads and
 * one more, so that somebody can always do the input and output.
 *
 *     parked --> watching --(the owner is late)--> owning --(is late itself)--> busy --> parked
 *        |             |                                                         ^
 *        +-------------+-----(a request is queued)-------------------------------+
 *
 * The owner and the watcher meet in one word, the gate: a call number, a bit "inside a handler" and
 * a bit "taken". Entering a handler is one exchange, leaving one compare-and-swap that fails when
 * the engine was taken. No clock is read and no system call made on that path.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <saola/host.h>

#include "base/clock.h"
#include "http/engine_state.h"

enum {
    GATE_INSIDE = 1,
    GATE_TAKEN = 2,
    GATE_CALL = 4, /* the call number counts in these steps */

    TICK_US = 500,  /* the watcher looks this often ... */
    IDLE_TICKS = 8, /* ... until it saw nothing this many times */

    /* Calls that block one after the other are given to parked threads at once. */
    SLOW_STEP = 16, /* added when the engine was taken over */
    SLOW_MAX = 64,
    SLOW_DIRECT = 32, /* from here on requests are queued */
    FAST_STEP = 4,    /* taken off when a queued request turns out to be fast */
    FAST_US = 300,
};

struct sl_pool {
    struct sl_engine *engine;
    unsigned limit; /* handlers at once */
    unsigned thread_count, joined;
    pthread_t *threads;
    struct sl_workspace **spaces;
    int news_fd; /* eventfd: sl_pool_wait() shall look */

    pthread_mutex_t lock;
    pthread_cond_t work; /* parked threads: something to do */
    pthread_cond_t tick; /* the watcher: wake up */
    /* under the lock */
    struct sl_conn *queue, **queue_end; /* requests that wait for a thread */
    struct sl_conn *returned;
    unsigned busy; /* threads inside a handler that do not own the engine */
    unsigned started;
    bool owned, watched;

    atomic_bool quit;
    atomic_bool finished; /* the engine has drained: nothing to own any more */
    _Atomic uint64_t gate;
    atomic_bool watcher_sleeps; /* until the next handler call */
    atomic_uint load;           /* busy threads and queued requests; changed under the lock */
    atomic_uint parked;         /* changed under the lock */
    atomic_int slowness;        /* 0 fast .. SLOW_MAX; a hint only */
};

/* ---- the owner's side ------------------------------------------------------------------------ */

static void
wake_watcher(struct sl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->tick);
    pthread_mutex_unlock(&pool->lock);
}

bool
sl_pool_enter(struct sl_pool *pool, struct sl_workspace *ws)
{
    /* Only the owner queues, so the load does not grow while it is inside: with its own call there
     * are never more than `limit`, and one thread is left to watch it. */
    if (atomic_load_explicit(&pool->load, memory_order_relaxed) >= pool->limit)
        return false;
    if (atomic_load_explicit(&pool->slowness, memory_order_relaxed) >= SLOW_DIRECT &&
        atomic_load_explicit(&pool->parked, memory_order_relaxed) > 0)
        return false;
    uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_relaxed);
    ws->ticket = ((gate & ~(uint64_t)(GATE_CALL - 1)) + GATE_CALL) | GATE_INSIDE;
    /* Sequentially consistent with watcher_sleeps: either the watcher sees the call or we see that
     * it sleeps. */
    atomic_exchange(&pool->gate, ws->ticket);
    if (atomic_load(&pool->watcher_sleeps))
        wake_watcher(pool);
    return true;
}

bool
sl_pool_leave(struct sl_pool *pool, struct sl_workspace *ws)
{
    uint64_t expected = ws->ticket;
    if (!atomic_compare_exchange_strong(&pool->gate, &expected,
                                        ws->ticket & ~(uint64_t)GATE_INSIDE))
        return false;
    int slowness = atomic_load_explicit(&pool->slowness, memory_order_relaxed);
    if (slowness > 0)
        atomic_store_explicit(&pool->slowness, slowness - 1, memory_order_relaxed);
    return true;
}

/* With the lock: somebody who is free looks at the queue. A parked thread that is called but has
 * not run yet still counts as parked, so whoever takes a request calls for the next one. */
static void
call_for_help(struct sl_pool *pool)
{
    if (pool->parked > 0)
        pthread_cond_signal(&pool->work);
    else
        pthread_cond_signal(&pool->tick); /* the watcher is the last one free */
}

void
sl_pool_queue(struct sl_pool *pool, struct sl_conn *conn)
{
    conn->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->queue_end = conn;
    pool->queue_end = &conn->next;
    pool->load++;
    call_for_help(pool);
    pthread_mutex_unlock(&pool->lock);
}

struct sl_conn *
sl_pool_collect(struct sl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct sl_conn *list = pool->returned;
    pool->returned = NULL;
    pthread_mutex_unlock(&pool->lock);
    return list;
}

/* ---- the other threads' side ------------------------------------------------------------------
 */

void
sl_pool_return(struct sl_pool *pool, struct sl_conn *conn)
{
    pthread_mutex_lock(&pool->lock);
    conn->next = pool->returned;
    pool->returned = conn;
    pthread_mutex_unlock(&pool->lock);
    sl_engine_nudge(pool->engine);
}

/* With the lock held. */
static struct sl_conn *
pop(struct sl_pool *pool)
{
    struct sl_conn *conn = pool->queue;
    if (conn == NULL)
        return NULL;
    pool->queue = conn->next;
    if (pool->queue == NULL)
        pool->queue_end = &pool->queue;
    return conn;
}

static void
serve_queued(struct sl_pool *pool, struct sl_workspace *ws, struct sl_conn *conn)
{
    uint64_t begin = sl_clock_ns();
    sl_session_run_away(ws, conn);
    if (sl_clock_ns() - begin >= FAST_US * 1000u)
        return;
    int slowness = atomic_load_explicit(&pool->slowness, memory_order_relaxed) - FAST_STEP;
    atomic_store_explicit(&pool->slowness, slowness > 0 ? slowness : 0, memory_order_relaxed);
}

/* This thread counts as busy: it works off the queue before it stops to. Takes the lock and returns
 * with it. */
static void
work_off(struct sl_pool *pool, struct sl_workspace *ws)
{
    struct sl_conn *conn;
    pthread_mutex_lock(&pool->lock);
    pool->load--;
    while (!pool->quit && (conn = pop(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        serve_queued(pool, ws, conn);
        pthread_mutex_lock(&pool->lock);
        pool->load--;
    }
    pool->busy--;
}

void
sl_pool_tell(struct sl_pool *pool)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t n = write(pool->news_fd, &one, sizeof one);
    (void)n; /* EAGAIN: it was told very often already */
    errno = saved;
}

/* Turns the engine until it is taken away or the end. Without the lock; returns with it. */
static void
own(struct sl_pool *pool, struct sl_workspace *ws)
{
    while (!atomic_load_explicit(&pool->quit, memory_order_relaxed)) {
        int rc = sl_engine_serve(pool->engine, ws, -1);
        if (rc == SL_ELOST) {
            work_off(pool, ws);
            return;
        }
        if (rc == SL_ECLOSED) {
            pthread_mutex_lock(&pool->lock);
            pool->finished = true;
            sl_pool_tell(pool);
            return;
        }
    }
    pthread_mutex_lock(&pool->lock);
    pool->owned = false;
}

static void
wait_tick(struct sl_pool *pool)
{
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_nsec += TICK_US * 1000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_nsec -= 1000000000;
        when.tv_sec++;
    }
    pthread_cond_timedwait(&pool->tick, &pool->lock, &when);
}

/* The owner is in a handler. A call that was taken over is not the owner's any more. */
static bool
inside(uint64_t gate)
{
    return (gate & (GATE_INSIDE | GATE_TAKEN)) == GATE_INSIDE;
}

/* The owner has been inside one call for a whole tick: take the engine from it. With the lock. */
static bool
take_over(struct sl_pool *pool, uint64_t gate)
{
    if (!atomic_compare_exchange_strong(&pool->gate, &gate, gate | GATE_TAKEN))
        return false;
    pool->busy++;
    pool->load++;
    int slowness = atomic_load_explicit(&pool->slowness, memory_order_relaxed) + SLOW_STEP;
    atomic_store_explicit(&pool->slowness, slowness < SLOW_MAX ? slowness : SLOW_MAX,
                          memory_order_relaxed);
    return true;
}

/* Watches the owner. With the lock. True: this thread owns the engine now; false: a request is
 * queued or the pool ends. */
static bool
watch(struct sl_pool *pool)
{
    uint64_t seen = 0;
    int idle = 0;
    while (!pool->quit && (pool->queue == NULL || pool->busy >= pool->limit)) {
        uint64_t gate = atomic_load(&pool->gate);
        if (inside(gate) && gate == seen && take_over(pool, gate))
            return true;
        idle = !inside(gate) && gate == seen ? idle + 1 : 0;
        seen = gate;
        if (idle < IDLE_TICKS) {
            wait_tick(pool);
            continue;
        }
        atomic_store(&pool->watcher_sleeps, true);
        if (!inside(atomic_load(&pool->gate)))
            pthread_cond_wait(&pool->tick, &pool->lock);
        atomic_store(&pool->watcher_sleeps, false);
        idle = 0;
    }
    return false;
}

static bool
something_to_do(const struct sl_pool *pool)
{
    if (pool->quit || pool->finished)
        return pool->quit;
    return !pool->owned || !pool->watched || (pool->queue != NULL && pool->busy < pool->limit);
}

/* The host's lock (an interpreter's) is never held while this thread waits for anything. */
static void
fall_asleep(struct sl_pool *pool)
{
    const struct sl_engine_options *opt = &pool->engine->opt;
    if (opt->sleep_begin != NULL)
        opt->sleep_begin(opt->ctx);
}

static void
wake_up(struct sl_pool *pool)
{
    const struct sl_engine_options *opt = &pool->engine->opt;
    if (opt->sleep_end != NULL)
        opt->sleep_end(opt->ctx);
}

enum role { PARK, OWN, SERVE, WATCH };

/* With the lock: takes one of the roles that are free. */
static enum role
take_role(struct sl_pool *pool, struct sl_conn **ret_conn)
{
    if (!something_to_do(pool))
        return PARK;
    if (!pool->owned) {
        pool->owned = true;
        return OWN;
    }
    if (pool->busy < pool->limit && (*ret_conn = pop(pool)) != NULL) {
        pool->busy++;
        if (pool->queue != NULL)
            call_for_help(pool);
        return SERVE;
    }
    pool->watched = true;
    return WATCH;
}

static void
park(struct sl_pool *pool)
{
    pool->parked++;
    while (!something_to_do(pool))
        pthread_cond_wait(&pool->work, &pool->lock);
    pool->parked--;
}

/* With the lock, which is held again at the end. conn NULL: own the engine. */
static void
work(struct sl_pool *pool, struct sl_workspace *ws, struct sl_conn *conn)
{
    pthread_mutex_unlock(&pool->lock);
    wake_up(pool);
    if (conn == NULL) {
        own(pool, ws);
    } else {
        serve_queued(pool, ws, conn);
        work_off(pool, ws);
    }
    pthread_mutex_unlock(&pool->lock);
    fall_asleep(pool);
    pthread_mutex_lock(&pool->lock);
}

static void
live(struct sl_pool *pool, struct sl_workspace *ws)
{
    while (!pool->quit) {
        struct sl_conn *conn = NULL;
        bool taken;
        switch (take_role(pool, &conn)) {
        case PARK:
            park(pool);
            break;
        case OWN:
        case SERVE:
            work(pool, ws, conn);
            break;
        case WATCH:
            taken = watch(pool);
            pool->watched = false;
            pthread_cond_signal(&pool->work); /* somebody else watches from now on */
            if (taken)
                work(pool, ws, NULL);
            break;
        }
    }
}

static void *
thread_main(void *arg)
{
    struct sl_pool *pool = arg;
    const struct sl_engine_options *opt = &pool->engine->opt;
    if (opt->thread_begin != NULL)
        opt->thread_begin(opt->ctx);
    pthread_mutex_lock(&pool->lock);
    live(pool, pool->spaces[pool->started++]);
    pthread_mutex_unlock(&pool->lock);
    if (opt->thread_end != NULL)
        opt->thread_end(opt->ctx);
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
free_pool(struct sl_pool *pool)
{
    for (unsigned i = 0; pool->spaces != NULL && i <= pool->limit; i++)
        sl_workspace_free(pool->spaces[i]);
    if (pool->news_fd >= 0)
        close(pool->news_fd);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->tick);
    pthread_mutex_destroy(&pool->lock);
    free(pool->spaces);
    free(pool->threads);
    free(pool);
}

static struct sl_pool *
new_pool(struct sl_engine *engine)
{
    struct sl_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->engine = engine;
    pool->limit = engine->opt.threads;
    pool->queue_end = &pool->queue;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, &attr);
    pthread_cond_init(&pool->tick, &attr);
    pthread_condattr_destroy(&attr);
    pool->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool->threads = calloc(pool->limit + 1u, sizeof *pool->threads);
    pool->spaces = calloc(pool->limit + 1u, sizeof *pool->spaces);
    bool good = pool->news_fd >= 0 && pool->threads != NULL && pool->spaces != NULL;
    for (unsigned i = 0; good && i <= pool->limit; i++) {
        good = (pool->spaces[i] = sl_workspace_new(engine, true)) != NULL;
        if (good)
            pool->spaces[i]->record = i;
    }
    if (good)
        return pool;
    free_pool(pool);
    return NULL;
}

int
sl_pool_start(struct sl_engine *engine, struct sl_pool **ret_pool, struct sl_error *err)
{
    struct sl_pool *pool = new_pool(engine);
    if (pool == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for %u threads", engine->opt.threads);
    *ret_pool = pool;
    /* Signals are for the thread that opened the engine. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, sl_stacks_signal()); /* it shows where it is, too */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    while (rc == 0 && pool->thread_count <= pool->limit) {
        rc = pthread_create(&pool->threads[pool->thread_count], NULL, thread_main, pool);
        if (rc == 0)
            pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return sl_error_set(err, SL_ESYS, "cannot start %u threads: %s", pool->limit + 1,
                            strerror(rc));
    return SL_OK;
}

int
sl_pool_wait(struct sl_pool *pool, int timeout_ms)
{
    const struct sl_engine_options *opt = &pool->engine->opt;
    struct pollfd p = {.fd = pool->news_fd, .events = POLLIN};
    if (opt->sleep_begin != NULL)
        opt->sleep_begin(opt->ctx);
    int n = poll(&p, 1, timeout_ms);
    if (opt->sleep_end != NULL)
        opt->sleep_end(opt->ctx);
    if (n < 0)
        return SL_EAGAIN;
    if (pool->finished)
        return SL_ECLOSED;
    if (n > 0) {
        uint64_t count;
        ssize_t got = read(pool->news_fd, &count, sizeof count);
        (void)got; /* EAGAIN: another thread waits too and was faster */
    }
    return SL_OK;
}

int
sl_pool_fd(const struct sl_pool *pool)
{
    return pool->news_fd;
}

static int
join_all(struct sl_pool *pool, unsigned wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (pool->joined < pool->thread_count) {
        if (pthread_timedjoin_np(pool->threads[pool->joined], NULL, &until) != 0)
            return SL_ETIMEOUT;
        pool->joined++;
    }
    return SL_OK;
}

int
sl_pool_stop(struct sl_pool *pool, unsigned wait_ms)
{
    const struct sl_engine_options *opt = &pool->engine->opt;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->quit, true);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->tick);
    pthread_mutex_unlock(&pool->lock);
    sl_engine_nudge(pool->engine);
    if (opt->sleep_begin != NULL)
        opt->sleep_begin(opt->ctx);
    int rc = join_all(pool, wait_ms);
    if (opt->sleep_end != NULL)
        opt->sleep_end(opt->ctx);
    if (rc == SL_OK)
        free_pool(pool);
    return rc;
}
