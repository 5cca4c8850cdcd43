/* The arbiter's decisions as a pure state machine: one event in, actions out. No system call, no
 * clock and no allocation in a step, so a seeded simulator can drive it through any order of
 * deaths, signals, clocks and failed forks.
 *
 * Not thread-safe. The shell (arbiter.c) carries the actions out in order and feeds back what came
 * of them as further events; between an action and its answer other events may come.
 */
#ifndef SAOLA_PROC_PLAN_H
#define SAOLA_PROC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <saola/host.h>
#include <saola/log.h>

enum {
    SL_PLAN_GROUPS = SL_GROUPS + 1, /* groups of one generation */
    SL_PLAN_NAME = SL_GROUP_NAME,   /* bytes of a group's name, NUL included */
    SL_PLAN_BOOT_LIMIT = 5, /* failed rounds before a generation that never was ready is given up */
};

/* What a generation's configuration says of one group. 0 = that clock is off. */
struct sl_plan_group {
    char name[SL_PLAN_NAME];
    unsigned workers;
    bool exclusive;   /* one worker; the old one is gone before the new one is made */
    bool keeps_place; /* within a generation a worker's successor waits until it was reaped */
    enum sl_restart restart;
    long long boot_ms, timeout_ms, request_ms, graceful_ms, exit_ms;
    long long drain_ms; /* from TERM to the stop; the first group's counts */
    long long lifetime_ms, lifetime_jitter_ms;
    long long memory_soft, memory_jitter, memory_hard; /* bytes; 0 = no limit */
    unsigned recycle_percent; /* of the group, at least one: so many are recycled at once */
};

enum sl_plan_event_kind {
    SL_EV_START,          /* groups: the first generation, with its listeners */
    SL_EV_TICK,           /* time has passed (beats were fed before) */
    SL_EV_SIGNAL,         /* number */
    SL_EV_BEAT,           /* slot, beat_ms: last sign of life */
    SL_EV_REQUESTS,       /* slot, oldest_ms, newest_ms: when its requests in progress began; now
                             if there are none */
    SL_EV_MEMORY,         /* slot, bytes: what it uses, or some number below its limit */
    SL_EV_FORKED,         /* slot, pid */
    SL_EV_FORK_FAILED,    /* slot, why */
    SL_EV_LOCKED,         /* slot, why: somebody else runs what this group has once; try again */
    SL_EV_READY,          /* slot */
    SL_EV_SPENT,          /* slot: it wants to be replaced */
    SL_EV_DRAINED,        /* slot: its requests are finished, its exit hooks begin */
    SL_EV_EXITED,         /* slot, number = wait status, why: who killed it, where that is known */
    SL_EV_LOADED,         /* groups of the generation asked for */
    SL_EV_LOAD_FAILED,    /* why */
    SL_EV_LISTENING,      /* its listeners are open */
    SL_EV_LISTEN_FAILED,  /* why */
    SL_EV_UPGRADE_FORKED, /* pid: the child that becomes the next arbiter */
    SL_EV_UPGRADE_FAILED, /* why */
    SL_EV_UPGRADE_EXITED, /* pid, why */
    SL_EV_PROMOTED,       /* the arbiter that started this one (USR2) is gone */
    SL_EV_SET_WORKERS,    /* number: workers wanted in this group */
    SL_EV_REMOVE,         /* slot, number = signal: one worker less in its group, this one */
    SL_EV_COUNT
};

struct sl_plan_event {
    enum sl_plan_event_kind kind;
    long long now_ms; /* monotonic */
    unsigned slot, group;
    pid_t pid;
    int number;
    bool outside; /* EXITED: killed by another process, not for want of memory */
    long long beat_ms, oldest_ms, newest_ms;
    long long bytes;
    const char *why; /* one sentence, valid until the actions were carried out */
    const struct sl_plan_group *groups;
    size_t group_count;
};

enum sl_plan_action_kind {
    SL_DO_LOG,             /* message, pid, number, ms, why */
    SL_DO_SPAWN,           /* slot, generation, group; answer FORKED, FORK_FAILED or LOCKED */
    SL_DO_KILL,            /* slot, pid, number = signal (SIGABRT: the worker hangs) */
    SL_DO_SHOW,            /* slot, pid: its stacks into the log */
    SL_DO_LOAD,            /* generation; answer LOADED or LOAD_FAILED */
    SL_DO_LISTEN,          /* generation; answer LISTENING or LISTEN_FAILED */
    SL_DO_HOOK_RELOAD,     /* on_reload */
    SL_DO_ADOPT,           /* generation: it is in force, the one before is leaving */
    SL_DO_GIVE_UP,         /* generation: forget it, the one before stays */
    SL_DO_WORKERS_CHANGED, /* number = new, old */
    SL_DO_CLOSE_LISTENERS, /* a stop begins */
    SL_DO_REOPEN_LOGS,
    SL_DO_UPGRADE,      /* USR2; answer UPGRADE_FORKED or UPGRADE_FAILED */
    SL_DO_NOTIFY_READY, /* tell the service manager */
    SL_DO_NOTIFY_RELOADING,
    SL_DO_NOTIFY_STOPPING,
    SL_DO_ANNOUNCE_STOP, /* the stop begins later: clients and service manager are told */
    SL_DO_EXIT,          /* number = exit status, why = reason or NULL */
};

/* Rows of plan_log.c: level and text. */
enum sl_plan_message {
    SL_SAY_SIGNAL,
    SL_SAY_HANG_UP,
    SL_SAY_RELOAD_WAITS,
    SL_SAY_RELOAD_DONE,
    SL_SAY_RELOAD_FAILED,
    SL_SAY_FORK_FAILED,
    SL_SAY_TIMEOUT,
    SL_SAY_BOOT_TIMEOUT,
    SL_SAY_REQUEST_LATE,
    SL_SAY_REQUEST_CUT,
    SL_SAY_REQUEST_WAITED,
    SL_SAY_GRACE_OVER,
    SL_SAY_EXIT_OVER,
    SL_SAY_LOCKED,
    SL_SAY_SIGNALED,
    SL_SAY_TERMINATED,
    SL_SAY_KILLED,
    SL_SAY_EXITED,
    SL_SAY_CRASH_LOOP,
    SL_SAY_READY,
    SL_SAY_LIVED,
    SL_SAY_MEMORY_SOFT,
    SL_SAY_MEMORY_HARD,
    SL_SAY_QUICK,
    SL_SAY_UNKILLABLE,
    SL_SAY_STOP_LATER,
    SL_SAY_WINCH,
    SL_SAY_WINCH_IGNORED,
    SL_SAY_EXCLUSIVE,
    SL_SAY_TOO_MANY,
    SL_SAY_CHILD_EXISTS,
    SL_SAY_PARENT_EXISTS,
    SL_SAY_UPGRADE_FAILED,
    SL_SAY_UPGRADE_GONE,
    SL_SAY_UPGRADE_LOST,
    SL_SAY_PROMOTED,
    SL_SAY_COUNT
};

struct sl_plan_action {
    enum sl_plan_action_kind kind;
    enum sl_plan_message message;
    unsigned slot, generation, group;
    pid_t pid;
    int number, old;
    long long ms;
    long long elapsed_ms;   /* LOG of a clock: since it started */
    long long bytes, limit; /* LOG of a memory limit */
    const char *why;        /* LOG: see sl_plan_message_wants_requests() */
};

struct sl_plan;

/* slot_count: how many worker processes there can be at once, leaving ones included. daemon: WINCH
 * is obeyed. has_parent: started by another arbiter's USR2. NULL without memory. */
struct sl_plan *sl_plan_new(unsigned slot_count, bool daemon, bool has_parent);
void sl_plan_free(struct sl_plan *plan);

/* Actions one step may give at most: the size of the array that sl_plan_step() fills. */
size_t sl_plan_actions_max(const struct sl_plan *plan);

/* Digests one event. Returns the number of actions written. */
size_t sl_plan_step(struct sl_plan *plan, const struct sl_plan_event *event,
                    struct sl_plan_action *actions);

/* When the next TICK is due; -1 when nothing is. */
long long sl_plan_wake_ms(const struct sl_plan *plan);

/* True when the next TICK judges heartbeats, or requests (it wants those events first). */
bool sl_plan_wants_beats(const struct sl_plan *plan);
bool sl_plan_wants_requests(const struct sl_plan *plan);

/* True if a worker is to be weighed (MEMORY) at this time: the one that has waited longest. */
bool sl_plan_wants_memory(const struct sl_plan *plan, long long now_ms, unsigned *ret_slot);
/* The lower of its limits, in bytes: below it the exact number does not matter. */
long long sl_plan_memory_limit(const struct sl_plan *plan, unsigned slot);

unsigned sl_plan_workers_wanted(const struct sl_plan *plan);
/* Workers of the generation in force that are ready (first group), and whether one of it waits
 * until somebody else lets go of what the group has once. */
unsigned sl_plan_workers_ready(const struct sl_plan *plan);
bool sl_plan_is_locked(const struct sl_plan *plan);
/* Id of the generation in force, and of the one being loaded (0 = none). */
unsigned sl_plan_generation(const struct sl_plan *plan);
unsigned sl_plan_next_generation(const struct sl_plan *plan);

/* True for a LOG action whose text is to name the requests of the worker in its slot: the shell
 * puts them into why. */
bool sl_plan_message_wants_requests(enum sl_plan_message message);
/* Writes a message as the error log shows it. */
void sl_plan_message_format(const struct sl_plan_action *action, char *buf, size_t size);
enum sl_log_level sl_plan_message_level(enum sl_plan_message message);

const char *sl_plan_event_name(enum sl_plan_event_kind kind);
const char *sl_plan_action_name(enum sl_plan_action_kind kind);
/* State of the arbiter, of the reload and of one worker, as in the diagrams of plan_state.h. */
const char *sl_plan_phase_name(const struct sl_plan *plan);
const char *sl_plan_reload_name(const struct sl_plan *plan);

#endif
