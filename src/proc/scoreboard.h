/* Shared memory in which workers tell the arbiter how they are: one record, the slot, per worker.
 *
 * Anonymous and shared, made before the first fork and inherited; there is no file. Every field
 * that two processes touch is atomic, every field has one writer, and no reader ever waits for a
 * writer (a worker may be killed in the middle of a store).
 *
 * Life of a slot, and who moves it on:
 *
 *        take           forked         ready            stopping          dead        give
 *     EMPTY --> SPAWNING --> BOOTING --------> READY -----------> STOPPING --> DEAD --> EMPTY
 *                  |            |   (worker)                         ^          ^
 *                  |            +------------------------------------+          |
 *                  +------------- the fork failed, or it died early ------------+
 */
#ifndef SL_PROC_SCOREBOARD_H
#define SL_PROC_SCOREBOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <saola/host.h>

enum sl_slot_state {
    SL_SLOT_EMPTY,
    SL_SLOT_SPAWNING,
    SL_SLOT_BOOTING,
    SL_SLOT_READY,
    SL_SLOT_STOPPING,
    SL_SLOT_DEAD,
};

enum { SL_CACHE_LINE = 64 };

/* The request that one thread of a worker serves. Written by that thread only. */
struct sl_slot_thread {
    alignas(SL_CACHE_LINE) _Atomic uint64_t mark; /* twice the requests begun; odd: being written */
    _Atomic uint64_t ended;
    _Atomic uint64_t started_ns;
    uint32_t line_len;
    char line[SL_SLOT_LINE];
};

struct sl_slot {
    /* The arbiter's line. */
    alignas(SL_CACHE_LINE) _Atomic int state; /* enum sl_slot_state; the worker moves it to READY */
    _Atomic pid_t pid;
    _Atomic pid_t parent;
    _Atomic unsigned generation;
    atomic_bool condemned; /* it is aborted and will be killed */
    _Atomic int notify_fd; /* the arbiter's, inherited; -1 = none */
    atomic_bool stop_is_near;
    atomic_bool server_ends;
    _Atomic uint64_t ending_listeners;
    _Atomic uint64_t forked_ms; /* monotonic, like all times here */
    _Atomic uint64_t asked_ms;  /* to leave; 0: not yet */
    /* The worker's line. */
    alignas(SL_CACHE_LINE) _Atomic uint64_t heartbeat_ms;
    _Atomic uint64_t ready_ms;   /* 0: not yet */
    _Atomic uint64_t spent_ms;   /* 0: not yet */
    _Atomic uint64_t drained_ms; /* 0: not yet */
    _Atomic uint64_t requests;   /* begun by threads that have no record */
    _Atomic uint64_t shown;      /* bytes of stacks written so far (stacks.h) */
    _Atomic unsigned connections;
    _Atomic unsigned lifecycle[SL_LIFE_COUNT];
    _Atomic uint64_t lifecycle_ms[SL_LIFE_COUNT]; /* of the first; 0: not yet */
    _Atomic int cause;
    struct sl_slot_thread threads[SL_SLOT_THREADS];
};

struct sl_scoreboard {
    struct sl_slot *slots;
    unsigned count;
};

/* A consistent copy of what a thread is doing. */
struct sl_slot_request {
    unsigned thread;
    uint64_t started_ns;
    char line[SL_SLOT_LINE + 1]; /* NUL-terminated; what is not printable ASCII is '?' */
};

/* Maps count (> 0) EMPTY slots. (arbiter, before the first fork) SL_EINVAL, SL_ENOMEM. */
int sl_scoreboard_open(unsigned count, struct sl_scoreboard *ret_board);

/* Unmaps in this process only. NULL is accepted. */
void sl_scoreboard_close(struct sl_scoreboard *board);

/* (arbiter) An EMPTY slot, cleared, as SPAWNING with this process as its parent and the heartbeat
 * begun; NULL when all are taken. notify_fd: a pipe or socket to which ready writes one byte, or
 * -1. */
struct sl_slot *sl_scoreboard_take(struct sl_scoreboard *board, unsigned generation, int notify_fd);

unsigned sl_scoreboard_index(const struct sl_scoreboard *board, const struct sl_slot *slot);

/* (arbiter and child, right after fork; either may be first) */
void sl_slot_forked(struct sl_slot *slot, pid_t pid);

/* (arbiter) It was asked to stop; ready comes too late from now on. */
void sl_slot_stopping(struct sl_slot *slot);

/* (arbiter) See sl_slot_stop_is_near() and sl_slot_ending_listeners() in host.h. */
void sl_slot_announce_stop(struct sl_slot *slot);
void sl_slot_announce_end(struct sl_slot *slot); /* ... of the server */
void sl_slot_end_listeners(struct sl_slot *slot, uint64_t which);

/* (arbiter) It hangs and is about to be killed. */
void sl_slot_condemn(struct sl_slot *slot);
bool sl_slot_condemned(const struct sl_slot *slot);

/* (arbiter) It was reaped or never came to be; the contents stay readable until give. */
void sl_slot_dead(struct sl_slot *slot);

/* (arbiter) Makes it EMPTY. NULL is accepted. */
void sl_slot_give(struct sl_slot *slot);

/* (worker, in a signal handler) It has shown its stacks, size bytes in all; wakes the arbiter. */
void sl_slot_shown(struct sl_slot *slot, size_t size);
size_t sl_slot_bytes_shown(const struct sl_slot *slot);

enum sl_slot_state sl_slot_state(const struct sl_slot *slot);
const char *sl_slot_state_name(enum sl_slot_state state); /* "READY"; never NULL */

/* (any process) When it last said that it lives; monotonic. Async-signal-safe. */
uint64_t sl_slot_last_beat_ms(const struct sl_slot *slot);

/* (any process) True and *ret_request when that thread is inside a request now. */
bool sl_slot_request(const struct sl_slot *slot, unsigned thread,
                     struct sl_slot_request *ret_request);

/* (any process) The request in progress that began first, if there is any. */
bool sl_slot_oldest_request(const struct sl_slot *slot, struct sl_slot_request *ret_request);

/* (any process) When the first and the last of the requests in progress began; false, and nothing
 * is changed, if there is none. */
bool sl_slot_requests_span(const struct sl_slot *slot, uint64_t *ret_oldest_ns,
                           uint64_t *ret_newest_ns);

/* (any process) The requests in progress, oldest first, as a log line shows them:
 * "GET /a running 3.2 s, POST /b running 0.1 s and 2 more", or "no request in progress" and false.
 */
bool sl_slot_requests_print(const struct sl_slot *slot, uint64_t now_ns, char *buf, size_t size);

#endif
