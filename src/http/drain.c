/* Leaving without a loss: which answer is a connection's last, and who serves those that wait in
 * the queue of a listening socket when nobody else accepts from it.
 *
 * The queue. With others at the same socket (a reload) the worker just stops to accept. Otherwise
 *
 *     SERVED ----half a second----> FILTERED --50 ms, the queue is empty--> OTHERS (shut down)
 *        |                              ^
 *        |   reuse_port, others stay ---'
 *        `-- the queue is empty, nobody has connected lately, nothing to do --> OTHERS
 *
 * FILTERED: packets that begin a connection are dropped, so the queue comes to an end; those whose
 * handshake is under way still get in. A client that is dropped asks again a second later and then
 * meets another socket, or is refused.
 */
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <saola/host.h>

#include "base/clock.h"
#include "http/engine_state.h"
#include "net/listener.h"

enum {
    HANDSHAKE_MS = 50, /* from the first packet of a connection to the last of three */
    MOVE_MS = 5,       /* ... where the kernel moves those that take longer to another socket */
    LATELY_MS = 1000,
};

/* ---- the last answer --------------------------------------------------------------------------
 */

/* What the client has sent behind the request in progress, as far as it was received. */
static size_t
received_behind(const struct sl_exchange *x, const char **ret_bytes)
{
    struct sl_body body = x->body;
    size_t used = body.done ? 0 : sl_body_skip(&body, x->view, x->view_len);
    if (!body.done || used > x->view_len)
        return 0;
    *ret_bytes = x->view + used;
    return x->view_len - used;
}

static bool
more_in_socket(int fd)
{
    int waiting = 0;
    return ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

/* A client that has sent ahead gets its answers: whole requests always, the rest for as long as
 * idle connections live, so that one who never stops sending does not hold up the stop. */
static bool
has_sent_more(const struct sl_exchange *x, bool patient)
{
    const char *bytes = NULL;
    size_t len = received_behind(x, &bytes);
    if (len > 0 && (patient || memmem(bytes, len, "\r\n\r\n", 4) != NULL))
        return true;
    return patient && x->body.done && len == 0 && more_in_socket(x->conn->fd);
}

bool
sl_drain_last_answer(const struct sl_exchange *x)
{
    const struct sl_engine *engine = x->res.ws->engine;
    if (atomic_load_explicit(&engine->stopping, memory_order_acquire)) {
        uint64_t asked_ms = atomic_load_explicit(&engine->asked_ms, memory_order_relaxed);
        return !has_sent_more(x, sl_clock_ms() - asked_ms < SL_STOP_LINGER_MS);
    }
    return sl_slot_stop_is_near(engine->opt.slot) && !has_sent_more(x, true);
}

/* ---- the queues -------------------------------------------------------------------------------
 */

/* The kernel moves the handshakes that are under way when we leave to another worker. What arrives
 * in that very moment it may reset all the same, so the filter comes first. */
static bool
are_moved(const struct sl_engine *engine)
{
    if (!engine->opt.multiple_workers || sl_slot_ending_listeners(engine->opt.slot) != 0)
        return false;
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        if (!engine->points[i].left && !sl_listener_migrates(engine->points[i].fd))
            return false;
    }
    return true;
}

static void
filter(struct sl_engine *engine)
{
    engine->queue = SL_QUEUE_FILTERED;
    engine->filtered_ms = engine->now_ms;
    engine->handshake_ms = are_moved(engine) ? MOVE_MS : HANDSHAKE_MS;
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        if (!engine->points[i].left)
            (void)sl_listener_filter(
                engine->points[i].fd); /* without: it may come to an end late */
    }
}

uint64_t
sl_drain_idle_ms(const struct sl_engine *engine)
{
    const struct sl_slot *slot = engine->opt.slot;
    bool goes_on = slot != NULL && !sl_slot_stop_is_near(slot) && !sl_worker_orphaned(slot);
    uint64_t limit = goes_on ? engine->opt.retire_linger_ms : 0;
    return limit > SL_STOP_LINGER_MS ? limit : SL_STOP_LINGER_MS;
}

void
sl_drain_begin(struct sl_engine *engine)
{
    uint64_t ending = sl_slot_ending_listeners(engine->opt.slot);
    bool ours = false;
    engine->draining = true;
    engine->stop_ms = engine->now_ms;
    sl_engine_listen_off(engine);
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        struct sl_listen_point *point = &engine->points[i];
        point->left = !point->own && (i >= 64 || (ending >> i & 1) == 0);
        ours = ours || !point->left;
    }
    if (!ours)
        return;
    engine->queue = SL_QUEUE_SERVED;
    if (ending == 0)
        filter(engine);
}

static bool
is_empty(const struct sl_listen_point *point)
{
    struct pollfd p = {.fd = point->fd, .events = POLLIN};
    return poll(&p, 1, 0) <= 0 || (p.revents & POLLHUP) != 0; /* or another worker has shut it */
}

static bool
all_empty(const struct sl_engine *engine)
{
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        if (!engine->points[i].left && !is_empty(&engine->points[i]))
            return false;
    }
    return true;
}

static void
leave_queues(struct sl_engine *engine)
{
    sl_engine_listen_off(engine);
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        if (engine->queue == SL_QUEUE_FILTERED && !engine->points[i].left)
            (void)shutdown(engine->points[i].fd, SHUT_RDWR);
    }
    engine->queue = SL_QUEUE_OTHERS;
}

void
sl_drain_tend(struct sl_engine *engine)
{
    uint64_t now = engine->now_ms;
    bool lately = engine->accepted_ms != 0 && engine->accepted_ms + LATELY_MS > engine->stop_ms;
    if (engine->queue == SL_QUEUE_SERVED && now - engine->stop_ms >= SL_STOP_LINGER_MS)
        filter(engine);
    if (engine->queue == SL_QUEUE_SERVED) {
        if (!lately && sl_engine_connections(engine) == 0 && all_empty(engine))
            leave_queues(engine);
    } else if (now - engine->filtered_ms >= engine->handshake_ms && all_empty(engine)) {
        leave_queues(engine);
    }
}
