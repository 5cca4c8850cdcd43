/* The scoreboard: plain loads and stores on shared memory, no lock that a killed worker could keep.
 *
 * The line of a request is wider than an atomic, so it is guarded by a sequence number: the writer
 * makes it odd, writes, makes it even; a reader that saw it odd or changed looks again, a few times
 * at most.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <base/clock.h>
#include <proc/orphan.h>
#include <proc/scoreboard.h>

enum { READ_TRIES = 8, PRINTED = 4 /* requests of a worker that a log line shows */ };

#define LOAD(field) atomic_load_explicit(&(field), memory_order_acquire)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

int
sl_scoreboard_open(unsigned count, struct sl_scoreboard *ret_board)
{
    size_t size;
    if (count == 0 || __builtin_mul_overflow((size_t)count, sizeof(struct sl_slot), &size))
        return SL_EINVAL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return SL_ENOMEM;
    *ret_board =
        (struct sl_scoreboard){.slots = memory, .count = count}; /* zeros are EMPTY slots */
    return SL_OK;
}

void
sl_scoreboard_close(struct sl_scoreboard *board)
{
    if (board == NULL || board->slots == NULL)
        return;
    munmap(board->slots, board->count * sizeof(struct sl_slot));
    *board = (struct sl_scoreboard){NULL, 0};
}

struct sl_slot *
sl_scoreboard_take(struct sl_scoreboard *board, unsigned generation, int notify_fd)
{
    for (unsigned i = 0; i < board->count; i++) {
        struct sl_slot *slot = &board->slots[i];
        if (LOAD(slot->state) != SL_SLOT_EMPTY)
            continue;
        memset(slot, 0, sizeof *slot);
        uint64_t now_ms = sl_clock_ms();
        STORE(slot->parent, getpid());
        STORE(slot->generation, generation);
        STORE(slot->notify_fd, notify_fd);
        STORE(slot->forked_ms, now_ms);
        STORE(slot->heartbeat_ms, now_ms);
        STORE(slot->state, SL_SLOT_SPAWNING);
        return slot;
    }
    return NULL;
}

unsigned
sl_scoreboard_index(const struct sl_scoreboard *board, const struct sl_slot *slot)
{
    return (unsigned)(slot - board->slots);
}

/* Moves on to state from any of first..last; false when it is (or meanwhile came) elsewhere. */
static bool
move(struct sl_slot *slot, enum sl_slot_state first, enum sl_slot_state last, enum sl_slot_state to)
{
    int now = LOAD(slot->state);
    while (now >= (int)first && now <= (int)last)
        if (atomic_compare_exchange_weak(&slot->state, &now, (int)to))
            return true;
    return false;
}

void
sl_slot_forked(struct sl_slot *slot, pid_t pid)
{
    STORE(slot->pid, pid);
    if (move(slot, SL_SLOT_SPAWNING, SL_SLOT_SPAWNING, SL_SLOT_BOOTING))
        STORE(slot->heartbeat_ms, sl_clock_ms()); /* fork itself may have taken long */
}

void
sl_slot_stopping(struct sl_slot *slot)
{
    if (move(slot, SL_SLOT_SPAWNING, SL_SLOT_READY, SL_SLOT_STOPPING))
        STORE(slot->asked_ms, sl_clock_ms());
}

bool
sl_slot_asked_to_leave(const struct sl_slot *slot, uint64_t *ret_ago_ms)
{
    uint64_t asked_ms = slot != NULL ? LOAD(slot->asked_ms) : 0;
    if (asked_ms == 0)
        return false;
    *ret_ago_ms = sl_clock_ms() - asked_ms;
    return true;
}

void
sl_slot_announce_stop(struct sl_slot *slot)
{
    STORE(slot->stop_is_near, true);
}

void
sl_slot_announce_end(struct sl_slot *slot)
{
    STORE(slot->server_ends, true);
    sl_slot_announce_stop(slot);
}

bool
sl_slot_server_ends(const struct sl_slot *slot)
{
    return slot != NULL && LOAD(slot->server_ends);
}

bool
sl_slot_stop_is_near(const struct sl_slot *slot)
{
    return slot != NULL && LOAD(slot->stop_is_near);
}

void
sl_slot_end_listeners(struct sl_slot *slot, uint64_t which)
{
    STORE(slot->ending_listeners, which);
}

uint64_t
sl_slot_ending_listeners(const struct sl_slot *slot)
{
    return slot == NULL ? 0 : LOAD(slot->ending_listeners);
}

void
sl_slot_condemn(struct sl_slot *slot)
{
    STORE(slot->condemned, true);
}

bool
sl_slot_condemned(const struct sl_slot *slot)
{
    return LOAD(slot->condemned);
}

void
sl_slot_dead(struct sl_slot *slot)
{
    STORE(slot->state, SL_SLOT_DEAD);
}

void
sl_slot_give(struct sl_slot *slot)
{
    if (slot != NULL)
        STORE(slot->state, SL_SLOT_EMPTY);
}

enum sl_slot_state
sl_slot_state(const struct sl_slot *slot)
{
    return (enum sl_slot_state)LOAD(slot->state);
}

const char *
sl_slot_state_name(enum sl_slot_state state)
{
    switch (state) {
    case SL_SLOT_EMPTY:
        return "EMPTY";
    case SL_SLOT_SPAWNING:
        return "SPAWNING";
    case SL_SLOT_BOOTING:
        return "BOOTING";
    case SL_SLOT_READY:
        return "READY";
    case SL_SLOT_STOPPING:
        return "STOPPING";
    case SL_SLOT_DEAD:
        return "DEAD";
    }
    return "?";
}

/* ---- the worker's side --------------------------------------------------------------------- */

void
sl_slot_beat(struct sl_slot *slot)
{
    if (slot != NULL)
        STORE(slot->heartbeat_ms, sl_clock_ms());
}

/* One byte that must not cost the worker its life when the arbiter is gone: SIGPIPE is held back
 * and taken away if this write raised it. */
static void
write_notice(int fd)
{
    sigset_t pipe_only, old, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    ssize_t n;
    do
        n = write(fd, "", 1);
    while (n < 0 && errno == EINTR);
    /* EAGAIN: the pipe is full of notices, so the arbiter wakes anyway */
    if (n < 0 && errno == EPIPE && !was_pending) {
        struct timespec now = {0, 0};
        while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
sl_slot_ready(struct sl_slot *slot)
{
    if (slot == NULL)
        return;
    uint64_t now_ms = sl_clock_ms();
    STORE(slot->heartbeat_ms, now_ms);
    if (LOAD(slot->ready_ms) == 0) {
        STORE(slot->ready_ms, now_ms);
        sl_slot_count(slot, SL_LIFE_READY);
    }
    if (!move(slot, SL_SLOT_SPAWNING, SL_SLOT_BOOTING, SL_SLOT_READY))
        return; /* already, or it was asked to stop */
    int fd = LOAD(slot->notify_fd);
    if (fd >= 0)
        write_notice(fd);
}

uint64_t
sl_slot_last_beat_ms(const struct sl_slot *slot)
{
    return LOAD(slot->heartbeat_ms);
}

void
sl_slot_spent(struct sl_slot *slot)
{
    if (slot == NULL || LOAD(slot->spent_ms) != 0)
        return;
    STORE(slot->spent_ms, sl_clock_ms());
    int fd = LOAD(slot->notify_fd);
    if (fd >= 0)
        write_notice(fd);
}

void
sl_slot_drained(struct sl_slot *slot)
{
    sl_orphan_drained();
    if (slot == NULL || LOAD(slot->drained_ms) != 0)
        return;
    STORE(slot->drained_ms, sl_clock_ms());
    int fd = LOAD(slot->notify_fd);
    if (fd >= 0)
        write_notice(fd);
}

void
sl_slot_shown(struct sl_slot *slot, size_t size)
{
    STORE(slot->shown, size);
    int fd = LOAD(slot->notify_fd);
    if (fd >= 0)
        write_notice(fd);
}

size_t
sl_slot_bytes_shown(const struct sl_slot *slot)
{
    return (size_t)LOAD(slot->shown);
}

bool
sl_worker_orphaned(const struct sl_slot *slot)
{
    return slot != NULL && getppid() != LOAD(slot->parent);
}

void
sl_slot_count(struct sl_slot *slot, enum sl_lifecycle step)
{
    if (slot == NULL)
        return;
    if (LOAD(slot->lifecycle_ms[step]) == 0)
        STORE(slot->lifecycle_ms[step], sl_clock_ms());
    atomic_fetch_add_explicit(&slot->lifecycle[step], 1, memory_order_release);
}

/* Between two readings of one clock of which one may be coarse. */
static uint64_t
since_fork(const struct sl_slot *slot, uint64_t ms)
{
    uint64_t forked = LOAD(slot->forked_ms);
    return ms > forked ? ms - forked : 0;
}

unsigned
sl_slot_counted(const struct sl_slot *slot, enum sl_lifecycle step, uint64_t *ret_ms)
{
    unsigned count = LOAD(slot->lifecycle[step]);
    *ret_ms = count == 0 ? 0 : since_fork(slot, LOAD(slot->lifecycle_ms[step]));
    return count;
}

void
sl_slot_set_cause(struct sl_slot *slot, int cause)
{
    if (slot != NULL && LOAD(slot->cause) == 0)
        STORE(slot->cause, cause);
}

int
sl_slot_cause(const struct sl_slot *slot)
{
    return LOAD(slot->cause);
}

unsigned
sl_slot_generation(const struct sl_slot *slot)
{
    return LOAD(slot->generation);
}

uint64_t
sl_slot_age_ms(const struct sl_slot *slot)
{
    return since_fork(slot, sl_clock_ms());
}

void
sl_slot_connections(struct sl_slot *slot, unsigned open_now)
{
    if (slot != NULL)
        atomic_store_explicit(&slot->connections, open_now, memory_order_relaxed);
}

/* memcpy for a few bytes: the compiler makes `rep movs` of that, which costs 20 ns to start. */
static inline void
copy_short(char *to, const char *from, size_t len)
{
    if (len < 8) {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
        return;
    }
    for (size_t i = 0; i < len - 8; i += 8)
        memcpy(to + i, from + i, 8);
    memcpy(to + len - 8, from + len - 8, 8);
}

void
sl_slot_request_begin(struct sl_slot *slot, unsigned thread, const char *line, size_t len,
                      uint64_t now_ns)
{
    if (slot == NULL)
        return;
    if (thread >= SL_SLOT_THREADS) {
        atomic_fetch_add_explicit(&slot->requests, 1, memory_order_relaxed);
        return;
    }
    struct sl_slot_thread *record = &slot->threads[thread];
    uint64_t mark = atomic_load_explicit(&record->mark, memory_order_relaxed);
    if (mark == 0 && LOAD(slot->lifecycle[SL_LIFE_REQUEST]) == 0)
        sl_slot_count(slot, SL_LIFE_REQUEST);
    atomic_store_explicit(&record->mark, mark + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&record->started_ns, now_ns, memory_order_relaxed);
    if (len > SL_SLOT_LINE)
        len = SL_SLOT_LINE;
    copy_short(record->line, line, len);
    record->line_len = (uint32_t)len;
    STORE(record->mark, mark + 2);
}

void
sl_slot_request_end(struct sl_slot *slot, unsigned thread)
{
    if (slot == NULL || thread >= SL_SLOT_THREADS)
        return;
    struct sl_slot_thread *record = &slot->threads[thread];
    STORE(record->ended, atomic_load_explicit(&record->mark, memory_order_relaxed) / 2);
}

/* ---- readers ------------------------------------------------------------------------------- */

/* A copy may be torn until the mark was looked at again. */
static void
copy_line(const struct sl_slot_thread *record, struct sl_slot_request *copy)
{
    size_t len = record->line_len;
    if (len > SL_SLOT_LINE)
        len = SL_SLOT_LINE;
    memcpy(copy->line, record->line, len);
    copy->line[len] = '\0';
}

static void
make_printable(char *line)
{
    for (char *p = line; *p != '\0'; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

bool
sl_slot_request(const struct sl_slot *slot, unsigned thread, struct sl_slot_request *ret_request)
{
    if (thread >= SL_SLOT_THREADS)
        return false;
    const struct sl_slot_thread *record = &slot->threads[thread];
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t mark = LOAD(record->mark);
        if (mark & 1)
            continue;
        if (LOAD(record->ended) >= mark / 2)
            return false;
        struct sl_slot_request copy = {.thread = thread};
        copy.started_ns = atomic_load_explicit(&record->started_ns, memory_order_relaxed);
        copy_line(record, &copy);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&record->mark, memory_order_relaxed) != mark)
            continue;
        make_printable(copy.line);
        *ret_request = copy;
        return true;
    }
    return false; /* it begins requests faster than we can read: none of them is old */
}

bool
sl_slot_oldest_request(const struct sl_slot *slot, struct sl_slot_request *ret_request)
{
    bool found = false;
    for (unsigned i = 0; i < SL_SLOT_THREADS; i++) {
        struct sl_slot_request one;
        if (!sl_slot_request(slot, i, &one))
            continue;
        if (!found || one.started_ns < ret_request->started_ns)
            *ret_request = one;
        found = true;
    }
    return found;
}

bool
sl_slot_requests_span(const struct sl_slot *slot, uint64_t *ret_oldest_ns, uint64_t *ret_newest_ns)
{
    bool found = false;
    for (unsigned i = 0; i < SL_SLOT_THREADS; i++) {
        struct sl_slot_request one;
        if (!sl_slot_request(slot, i, &one))
            continue;
        if (!found || one.started_ns < *ret_oldest_ns)
            *ret_oldest_ns = one.started_ns;
        if (!found || one.started_ns > *ret_newest_ns)
            *ret_newest_ns = one.started_ns;
        found = true;
    }
    return found;
}

uint64_t
sl_slot_requests(const struct sl_slot *slot)
{
    uint64_t count = LOAD(slot->requests);
    for (unsigned i = 0; i < SL_SLOT_THREADS; i++)
        count += (LOAD(slot->threads[i].mark) + 1) / 2;
    return count;
}

static bool
is_before(const struct sl_slot_request *a, const struct sl_slot_request *b)
{
    return a->started_ns != b->started_ns ? a->started_ns < b->started_ns : a->thread < b->thread;
}

/* Replaces *request by the one that began next after it, or first of all. */
static bool
advance(const struct sl_slot *slot, bool first, struct sl_slot_request *request)
{
    struct sl_slot_request best, one;
    bool found = false;
    for (unsigned i = 0; i < SL_SLOT_THREADS; i++) {
        if (!sl_slot_request(slot, i, &one) || (!first && !is_before(request, &one)) ||
            (found && !is_before(&one, &best)))
            continue;
        best = one;
        found = true;
    }
    if (found)
        *request = best;
    return found;
}

static unsigned
count_running(const struct sl_slot *slot)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SL_SLOT_THREADS; i++) {
        uint64_t mark = LOAD(slot->threads[i].mark);
        count += LOAD(slot->threads[i].ended) < (mark + 1) / 2;
    }
    return count;
}

bool
sl_slot_requests_print(const struct sl_slot *slot, uint64_t now_ns, char *buf, size_t size)
{
    struct sl_slot_request one;
    size_t at = 0;
    unsigned shown = 0;
    snprintf(buf, size, "no request in progress");
    while (shown < PRINTED && advance(slot, shown == 0, &one)) {
        double seconds = now_ns > one.started_ns ? (double)(now_ns - one.started_ns) / 1e9 : 0;
        int len = snprintf(buf + at, size - at, "%s%s running %.1f s", shown == 0 ? "" : ", ",
                           one.line, seconds);
        if (len < 0 || (size_t)len >= size - at)
            return true;
        at += (size_t)len;
        shown++;
    }
    unsigned running = shown < PRINTED ? shown : count_running(slot);
    if (running > shown)
        snprintf(buf + at, size - at, " and %u more", running - shown);
    return shown > 0;
}
