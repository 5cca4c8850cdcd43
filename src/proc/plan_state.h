/* Inside of the plan, shared by plan.c and the plan_*.c files only. */
#ifndef SAOLA_PROC_PLAN_STATE_H
#define SAOLA_PROC_PLAN_STATE_H

#include <proc/plan.h>

/* The arbiter's life.
 *
 *   STARTING --first worker ready--> SERVING --TERM, INT, QUIT--> STOPPING --all reaped--> STOPPED
 *       `------cannot boot, TERM, INT, QUIT--------------------------^
 */
enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_STOPPING, PHASE_STOPPED, PHASE_COUNT };

/* A reload is a transaction; every state falls back to STEADY when the new generation fails.
 *
 *   STEADY --HUP--> LOADING --loaded--> BINDING --listening--> FILLING
 *     ^                                                          | overlap groups are ready
 *     `--all groups ready: adopted-- HANDING_OVER <--------------'
 *                                    (exclusive groups, one after the other's end)
 */
enum reload {
    RELOAD_STEADY,
    RELOAD_LOADING,
    RELOAD_BINDING,
    RELOAD_FILLING,
    RELOAD_HANDING_OVER,
    RELOAD_COUNT
};

/* A worker's life as the arbiter sees it. Every state but FREE and FORKING ends by being reaped.
 *
 *   FREE --> FORKING --> BOOTING --ready--> READY
 *                           |                |
 *                           +--- asked to leave ----> LEAVING
 *                           |                            | grace
 *                           +--- a clock ran out ---> ABORTING --1 s--> KILLED
 *                           |            (or 0.4 s)    |    ^
 *                           |                          |    | exit_timeout
 *                           `--- drained, by itself or asked --> EXITING
 *
 * An aborted worker's place is free at once: in an overlap group its successor is made while it
 * dies. A worker that says it has drained runs its exit hooks: from then on their own clock counts,
 * and no other, and nothing is asked of it any more.
 */
enum worker_state {
    WORKER_FREE,
    WORKER_FORKING,
    WORKER_BOOTING,
    WORKER_READY,
    WORKER_ABORTING,
    WORKER_LEAVING,
    WORKER_EXITING,
    WORKER_KILLED,
    WORKER_STATE_COUNT
};

enum {
    ABORT_MS = 1000,      /* from SIGABRT to SIGKILL */
    ABORT_ALONE_MS = 400, /* ... of one that hangs where the next has to wait for its end */
    QUICK_MS = 2000,      /* what INT leaves of a stop in progress */
    UNKILLABLE_MS = 5000, /* a killed worker that does not die is left behind at a stop */
    OUTSIDE_MS = 500,     /* who kills a worker that served for so long is no fault of its own */
    SETTLED_MS = 2000,    /* a worker that was ready for so long ends a crash loop */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    BACKOFF_FACTOR = 2,  /* each pause is so many times the one before */
    BACKOFF_STEEP = 4,   /* ... where nobody serves meanwhile */
    PROVEN_MS = 1000,    /* a worker that serves for so long shows that this generation can */
    AFTER_FAILURE = 4,   /* as long as none has, so many are made at once after a failure */
    AFTER_FAILURES = 1,  /* ... and after more of them */
    CRASH_LOOP = 3,      /* failed rounds before it is called a crash loop */
    LOCK_RETRY_MS = 100, /* between two looks whether an exclusive group is free elsewhere */
    LATE_MS = 1000,      /* a tick this late: we stood still, heartbeats are judged afresh */
};

struct worker {
    enum worker_state state;
    bool leaving;   /* its place in the group is free again */
    bool spent;     /* it wants to be replaced, or has lived long enough */
    bool recycled;  /* ... and that is being done */
    bool replaced;  /* the same, but it serves until its successor is ready */
    bool overdue;   /* ... because a request of it is */
    bool booted;    /* was READY once */
    bool hand_over; /* never beside another generation's */
    bool reopen;    /* USR1 came while it booted */
    bool drained;   /* was EXITING once */
    unsigned generation, group, round;
    char name[SL_PLAN_NAME]; /* of its group */
    unsigned long age;
    pid_t pid;
    int asked; /* last signal that asked it to leave */
    long long forked_ms, beat_ms, ready_ms, left_ms, deadline_ms;
    long long oldest_ms, newest_ms; /* its requests in progress, when it was last looked at */
    long long overdue_ms;           /* since when it is overdue */
    long long boot_ms, timeout_ms, request_ms, graceful_ms, exit_ms, lifetime_ms;
    long long memory_soft, memory_hard; /* bytes; 0: no limit */
    long long weigh_at_ms;              /* -1: never */
};

struct group {
    struct sl_plan_group spec;
    bool hand_over;    /* exclusive, or its namesake in the other generation is */
    unsigned target;   /* spec.workers, changed by TTIN, TTOU, WINCH */
    unsigned round;    /* rises with each failure; workers of an older round do not count again */
    unsigned failures; /* rounds that failed in a row */
    unsigned finished; /* workers that have ended and are not to come back */
    bool any_ready;    /* of its workers, ever */
    long long spawn_at_ms;                    /* back-off: not before */
    bool locked;                              /* waits for a holder elsewhere, and has said so */
    long long memory_rest_ms, memory_from_ms; /* between two recyclings of young workers */
};

struct generation {
    unsigned id; /* 0: unused */
    bool any_ready;
    size_t group_count;
    struct group groups[SL_PLAN_GROUPS];
};

struct sl_plan {
    enum phase phase;
    enum reload reload;
    bool daemon, has_parent, upgrading;
    bool hup_waits;       /* one more reload after this one */
    unsigned rested;      /* workers before WINCH; they come back when nobody else serves */
    long long stop_at_ms; /* TERM came, and drain_delay is over then; 0: it did not */
    pid_t upgrade_pid;
    int exit_status;
    const char *exit_reason;
    unsigned generation_ids;
    unsigned long ages;
    long long now_ms;
    long long turned_ms;     /* the last event that was not a beat */
    long long judge_from_ms; /* no heartbeat counts as older than this */
    struct generation current, next;
    unsigned slot_count;
    struct sl_plan_action *out; /* of the step in progress */
    size_t out_count;
#ifdef SL_PLAN_MUTANTS
    int mutant;
#endif
    struct worker workers[];
};

/* Rules that the simulator can break one at a time, to show that it would notice. */
enum rule {
    RULE_NONE,
    RULE_RETIRE_AFTER_READY,
    RULE_KEEP_OLD_ON_FAILURE,
    RULE_EXCLUSIVE_WAITS,
    RULE_KILL_AFTER_GRACE,
    RULE_NO_SPAWN_IN_STOP,
    RULE_COUNT_BOOTING,
    RULE_FORKED_IN_STOP_LEAVES,
    RULE_SURPLUS_SPARES_READY,
    RULE_ABORT_THEN_KILL,
    RULE_BACK_OFF,
    RULE_PROBE,
    RULE_EXIT_HAS_ITS_CLOCK,
    RULE_EXIT_CLOCK_ENDS,
    RULE_ABORT_FREES_PLACE,
    RULE_REQUEST_CLOCK,
    RULE_SUCCESSOR_FIRST,
    RULE_ABORT_ALONE_IS_SHORT,
    RULE_RECYCLE_SHARE,
    RULE_MEMORY_SOFT,
    RULE_MEMORY_HARD,
    RULE_MEMORY_RESTS,
    RULE_RELOAD_FIRST,
    RULE_REQUEST_WAITS_NO_LONGER,
    RULE_COUNT
};
#ifdef SL_PLAN_MUTANTS
#define HOLDS(plan, rule) ((plan)->mutant != (rule))
#else
#define HOLDS(plan, rule) true
#endif

/* plan.c */
struct sl_plan_action *sl_plan_emit(struct sl_plan *plan, enum sl_plan_action_kind kind);
struct sl_plan_action *sl_plan_say(struct sl_plan *plan, enum sl_plan_message message);
void sl_plan_begin_stop(struct sl_plan *plan, int signal_number, int status, const char *reason);

/* plan_worker.c */
void sl_plan_kill(struct sl_plan *plan, unsigned slot, int signal_number);
void sl_plan_ask_to_leave(struct sl_plan *plan, unsigned slot, int signal_number);
void sl_plan_judge_clocks(struct sl_plan *plan);
void sl_plan_stood_still(struct sl_plan *plan);
void sl_plan_on_forked(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_fork_failed(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_locked(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_ready(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_drained(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_exited(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_remove(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_reopen_logs(struct sl_plan *plan);
void sl_plan_spawn(struct sl_plan *plan, unsigned slot, const struct generation *generation,
                   unsigned group);
long long sl_plan_worker_wake_ms(const struct sl_plan *plan, const struct worker *worker);

/* Counts the failure, unless it is no fault of the worker's as a whole, and frees its place. */
void sl_plan_abort(struct sl_plan *plan, unsigned slot, enum sl_plan_message message,
                   long long limit_ms, long long since_ms);
/* The same, after its message. */
void sl_plan_abort_silently(struct sl_plan *plan, unsigned slot);

/* plan_request.c */
void sl_plan_on_requests(struct sl_plan *plan, const struct sl_plan_event *event);
long long sl_plan_request_wake_ms(const struct sl_plan *plan, const struct worker *worker);
void sl_plan_judge_requests(struct sl_plan *plan, unsigned slot);

/* plan_memory.c */
void sl_plan_memory_begin(struct worker *worker, const struct sl_plan_group *spec);
void sl_plan_memory_ready(const struct sl_plan *plan, struct worker *worker);
long long sl_plan_memory_wake_ms(const struct sl_plan *plan);
void sl_plan_on_memory(struct sl_plan *plan, const struct sl_plan_event *event);

/* plan_recycle.c */
void sl_plan_on_spent(struct sl_plan *plan, const struct sl_plan_event *event);
long long sl_plan_lifetime_ms(const struct sl_plan_group *spec, unsigned long age);
long long sl_plan_lifetime_wake_ms(const struct worker *worker);
void sl_plan_judge_lifetime(struct sl_plan *plan, unsigned slot);
void sl_plan_recycle(struct sl_plan *plan);

/* plan_fill.c */
unsigned sl_plan_occupants(const struct sl_plan *plan, unsigned generation, unsigned group);
unsigned sl_plan_ready(const struct sl_plan *plan, unsigned generation, unsigned group);
/* True when a worker of the group is missing, and its place is free. */
bool sl_plan_misses(const struct sl_plan *plan, const struct generation *generation,
                    unsigned group);
/* Workers that the group should have now. */
unsigned sl_plan_wanted(const struct group *group);
/* True while a worker of the group has been ready for PROVEN_MS. */
bool sl_plan_somebody_serves(const struct sl_plan *plan, unsigned generation, unsigned group);
/* How many workers may be made now, however many are missing. */
unsigned sl_plan_spawns_allowed(const struct sl_plan *plan, const struct generation *generation,
                                unsigned group);
/* When more may, because one has been ready for long enough; -1: never by that. */
long long sl_plan_proven_wake_ms(const struct sl_plan *plan, const struct generation *generation,
                                 unsigned group);
void sl_plan_set_target(struct sl_plan *plan, unsigned target);
void sl_plan_fill(struct sl_plan *plan);
unsigned sl_plan_target_max(const struct sl_plan *plan);

/* plan_reload.c */
void sl_plan_generation_init(struct sl_plan *plan, struct generation *generation,
                             const struct sl_plan_event *event);
void sl_plan_hang_up(struct sl_plan *plan);
void sl_plan_on_loaded(struct sl_plan *plan, const struct sl_plan_event *event);
void sl_plan_on_listening(struct sl_plan *plan);
void sl_plan_give_up(struct sl_plan *plan, const char *why);
void sl_plan_reload_advance(struct sl_plan *plan);
void sl_plan_reload_cancel(struct sl_plan *plan);
struct generation *sl_plan_find_generation(struct sl_plan *plan, unsigned id);

#endif
