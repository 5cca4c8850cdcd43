/* What a host language implements so that the arbiter can run its workers, and what the arbiter
 * offers in return. A host knows these headers and nothing else of the tree.
 *
 * Process: functions marked (arbiter) run in the arbiter, (worker) in a forked worker.
 * Thread: the main one.
 */
#ifndef SAOLA_HOST_H
#define SAOLA_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <saola/config.h>
#include <saola/log.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

enum sl_hook {
#define SL_HOOK(name, arity, process, on_failure, moment) SL_HOOK_##name,
#include <saola/hooks.def>
#undef SL_HOOK
    SL_HOOK_COUNT
};

struct sl_arbiter;
struct sl_slot;
struct sl_engine;

/* Arguments of a hook; a field that the hook does not have is NULL or 0. */
struct sl_hook_call {
    enum sl_hook hook;
    void *worker;                 /* what worker_new() returned */
    int new_value;                /* nworkers_changed */
    int old_value;                /* -1 for "none yet" */
    struct sl_request *request;   /* pre_request, post_request */
    struct sl_response *response; /* post_request */
};

/* How a worker process ended its boot, and gunicorn's meaning of exit codes. */
enum sl_exit_code {
    SL_EXIT_OK = 0,
    SL_EXIT_ERROR = 1,       /* configuration, address in use, ... */
    SL_EXIT_USAGE = 2,       /* command line */
    SL_EXIT_WORKER_BOOT = 3, /* exception while a worker booted */
    SL_EXIT_APP_LOAD = 4,    /* the application could not be found or is not usable */
    SL_EXIT_HALT = 5,        /* a worker that served asks for the end of all */
    SL_EXIT_INTERNAL = 255,
};

/* What is known of a worker before it is forked. */
struct sl_worker_info {
    const char *group;   /* "web" */
    unsigned long age;   /* how many workers this arbiter has made, this one included; from 1 */
    unsigned generation; /* from 1 */
    unsigned slot_index;
    struct sl_slot *slot; /* in shared memory; valid in the worker too */
};

/* What follows when a worker of a group ends by itself. Deaths by a signal and exits with another
 * status than 0 are failures; so is a worker that hangs. */
enum sl_restart { SL_RESTART_ALWAYS, SL_RESTART_ON_FAILURE, SL_RESTART_NEVER };

/* A group beside "web", or instead of it. Its workers keep their places: a successor is made when
 * the one before has been reaped, never beside it. 0 = that clock, that limit is off. */
enum { SL_GROUPS = 31, SL_GROUP_NAME = 32 };
struct sl_group {
    char name[SL_GROUP_NAME];
    unsigned workers;
    bool exclusive; /* one worker in all arbiters of this service; workers is 1 */
    enum sl_restart restart;
    long long boot_ms, timeout_ms, graceful_ms, exit_ms, lifetime_ms;
    long long memory; /* bytes; above it the worker is replaced */
};

struct sl_host {
    const char *name; /* "python", "native" */

    /* (arbiter, worker) One line for the error log. */
    sl_log_fn log;

    /* (arbiter) Makes the configuration of the next generation, and the application with
     * preload_app. reload is false for the very first. On failure nothing of the running generation
     * may be changed; err tells the user why. *ret_config becomes the arbiter's. */
    int (*generation_load)(void *ctx, bool reload, struct sl_config **ret_config,
                           struct sl_error *err);
    /* (arbiter) The generation just loaded is in force (its workers are ready), or it was given up
     * and the one before stays. May be NULL. */
    void (*generation_settle)(void *ctx, bool accepted);

    /* (arbiter) The groups of the generation just loaded beside "web": writes at most SL_GROUPS.
     * *ret_web (true before the call): whether there is a group "web"; without one there is at
     * least one other, and the first takes TTIN and TTOU. May be NULL. */
    int (*groups)(void *ctx, struct sl_group *ret_groups, size_t *ret_count, bool *ret_web,
                  struct sl_error *err);

    /* (arbiter) Name of the worker class of the generation just loaded, for the log. Valid until
     * the next call. May be NULL, and may return NULL: the log says what the setting's default is.
     */
    const char *(*worker_class)(void *ctx);

    /* Runs one hook. SL_OK, or SL_EHOST: it failed and the host has logged how. */
    int (*hook)(void *ctx, const struct sl_hook_call *call);

    /* (arbiter) Makes the worker object before the fork. While a reload is in progress it may be
     * one of the generation before: info->generation tells. */
    int (*worker_new)(void *ctx, const struct sl_worker_info *info, void **ret_worker,
                      struct sl_error *err);
    /* (arbiter) fork(2) as the language needs it. Returns as fork does. */
    pid_t (*fork)(void *ctx);
    /* (both sides of the fork) Tells the worker object its pid. */
    void (*worker_forked)(void *ctx, void *worker, pid_t pid, bool in_child);
    /* (worker) Lives the whole life of the worker: log "Booting worker with pid: N", post_fork
     * hook, sl_worker_drop_privileges(), init, sl_slot_ready(), run, log "Worker exiting (pid: N)",
     * sl_slot_drained(), worker_exit hook. Signals have their default actions and are unblocked;
     * PIPE, TTIN and TTOU are ignored. When the arbiter dies the worker gets TERM, ABRT after
     * graceful_timeout, and KILL a second later (SIGRTMAX - 1 is used for that). A worker that
     * lives longer than graceful_timeout after TERM gets ABRT and KILL from the arbiter, too. With
     * reuse_port the descriptors of listeners_changed() are this worker's own sockets,
     * bound only: it listens on them just before sl_slot_ready(). Returns the exit status. */
    int (*worker_main)(void *ctx, void *worker);
    /* (arbiter) The worker was reaped: child_exit hook has run; release the object. pid is 0 when
     * it was never forked. */
    void (*worker_free)(void *ctx, void *worker, pid_t pid, int wait_status);
    /* (arbiter) A child that is no worker was reaped: one that the host has forked for itself, or
     * an orphan. May be NULL. */
    void (*child_gone)(void *ctx, pid_t pid, int wait_status);
    /* (arbiter) Just before a worker that hangs gets SIGABRT. May be NULL. */
    void (*worker_aborted)(void *ctx, void *worker);
    /* (arbiter) Listeners of the workers that are made from now on (start; reload with another
     * bind, and back again when it is given up or a worker of the generation before is replaced).
     */
    void (*listeners_changed)(void *ctx, const int *fds, const char *const *names, size_t count);
    /* (arbiter) Log files are to be opened anew (USR1, HUP). */
    void (*reopen_logs)(void *ctx);
    /* (arbiter) For the process title: suffix is ".2" as long as the arbiter that started this one
     * by USR2 lives, else "". Called at the start, after a reload, and on promotion. May be NULL.
     */
    void (*arbiter_named)(void *ctx, const char *suffix);
    /* (arbiter) Pending work of the language that must run between events (Python: signal handlers
     * set by user code). SL_EHOST ends the arbiter as TERM would. May be NULL. */
    int (*idle)(void *ctx);
    /* Around the arbiter's sleep (the interpreter's lock). May be NULL. */
    void (*sleep_begin)(void *ctx);
    void (*sleep_end)(void *ctx);
    /* (EXEC) argv and directory of the program that USR2 starts. */
    char *const *exec_argv;
    const char *exec_program; /* looked up in PATH when it has no slash */
    const char *exec_dir;     /* NULL: where sl_arbiter_new() was called */
};

/* ---- arbiter ------------------------------------------------------------------------------- */

/* Host and its table must outlive the arbiter. */
int sl_arbiter_new(const struct sl_host *host, void *ctx, struct sl_arbiter **ret_arbiter,
                   struct sl_error *err);
/* Runs from "Starting" to the end; returns the exit status of the program. In a worker it does not
 * return: the process ends inside. The process is to end then: the arbiter's signals but INT are
 * ignored from here on. */
int sl_arbiter_run(struct sl_arbiter *arbiter);
void sl_arbiter_free(struct sl_arbiter *arbiter);

/* sl_arbiter_run() in pieces, for a host with a loop of its own: begin (0, or the exit status: end
 * all the same), then turns until one returns false, then end. Between two turns the host waits
 * until one of the descriptors is readable or the limit is over (-1: there is none). In a worker
 * turn does not return. */
enum { SL_ARBITER_FDS = 3 };
int sl_arbiter_begin(struct sl_arbiter *arbiter);
size_t sl_arbiter_wait_for(const struct sl_arbiter *arbiter, int fds[SL_ARBITER_FDS],
                           int *ret_limit_ms);
bool sl_arbiter_turn(struct sl_arbiter *arbiter);
int sl_arbiter_end(struct sl_arbiter *arbiter);

/* For the host's "server" object: state now, and requests from user code (arbiter process). */
unsigned sl_arbiter_workers_wanted(const struct sl_arbiter *arbiter);
void sl_arbiter_set_workers(struct sl_arbiter *arbiter, unsigned count);
/* The same for a group by its name, and: one worker less, this one. signal_number: TERM, or QUIT
 * for a quick end. In idle() or between turns. SL_ENOENT: there is no such group, no such worker.
 */
int sl_arbiter_resize(struct sl_arbiter *arbiter, const char *group, unsigned count);
int sl_arbiter_remove(struct sl_arbiter *arbiter, pid_t worker, int signal_number);
/* As if the signal had arrived (TERM, HUP, TTIN, ...). Async-signal-safe. */
void sl_arbiter_signal(struct sl_arbiter *arbiter, int signal_number);
pid_t sl_arbiter_reexec_pid(const struct sl_arbiter *arbiter);
pid_t sl_arbiter_master_pid(const struct sl_arbiter *arbiter); /* parent arbiter after USR2, or 0 */

/* fork(2) as the host language needs it. */
typedef pid_t (*sl_fork_fn)(void *ctx);

/* (before sl_arbiter_run()) Makes this a daemon: double fork, new session, umask 022, standard
 * input from /dev/null; standard output and error to /dev/null too, with inherit_stdio only those
 * that are a terminal. Returns SL_OK in the daemon; the process that called ends with status 0, or
 * 1 when the second fork failed. On SL_ESYS nothing happened. fork_fn NULL is fork(2). Call it
 * before threads and before descriptors 0 to 2 mean something else. */
int sl_daemonize(bool inherit_stdio, sl_fork_fn fork_fn, void *ctx, struct sl_error *err);

/* ---- the name under which ps and top show a process ------------------------------------------ */

/* Zeroed is a valid title that only sets the short name. */
struct sl_title {
    char *area; /* where the kernel looks for the command line */
    size_t size;
    char *environment; /* where the environment strings are now; never freed, libc may point into it
                        */
    char *before;      /* the command line */
    size_t before_size;
    char *program; /* where libc's name of the program is now */
    char name[16]; /* the short name */
};

/* Finds the memory of the command line and moves the environment behind it away, so that a title
 * may be longer than the command line was. Once per process tree, single-threaded, before anybody
 * keeps pointers into the original argv; forks inherit it. SL_EUNAVAILABLE: not here; set then sets
 * the short name only. */
int sl_title_init(struct sl_title *title);

/* Sets title (cut to fit) and, from its first 15 bytes before " [", the short name. */
void sl_title_set(const struct sl_title *title, const char *text);

/* The title that the process had before sl_title_init(), which may be called again then. */
void sl_title_release(struct sl_title *title);

/* (worker) Becomes the user and group of its generation's configuration, for good, and makes sure
 * that it still dies with the arbiter. SL_ENOENT, SL_ESYS: the worker must end. */
int sl_worker_drop_privileges(struct sl_error *err);

/* ---- a worker's side of its slot (any thread of the worker) ---------------------------------- */

void sl_slot_beat(struct sl_slot *slot);  /* I am alive: stores the monotonic time */
void sl_slot_ready(struct sl_slot *slot); /* booted: the arbiter is woken and told */
/* The requests are finished, the exit hooks begin: from now on exit_timeout is the only clock of
 * this worker, also when the arbiter dies. Called once, before the first of them, at every orderly
 * end. */
void sl_slot_drained(struct sl_slot *slot);
/* It has served what it should, or wants to be replaced for another reason. It goes on serving
 * until TERM comes, which is when its successor is ready. */
void sl_slot_spent(struct sl_slot *slot);
/* True when a stop is near or has begun (before TERM is sent): serve on, and say "Connection:
 * close" with each answer. May become true at any time. slot may be NULL, here and below. */
bool sl_slot_stop_is_near(const struct sl_slot *slot);
/* True when it is the whole server that stops: nobody takes this worker's place. */
bool sl_slot_server_ends(const struct sl_slot *slot);
/* True when the arbiter has asked this worker to leave; how long ago. What the worker does upon the
 * signal stands first; this is for those who miss it. */
bool sl_slot_asked_to_leave(const struct sl_slot *slot, uint64_t *ret_ago_ms);
/* Which of this worker's listening sockets nobody else accepts from when it leaves: bit N for the
 * Nth of listeners_changed(), from 0. What waits in their queues is this worker's (and its
 * siblings') to serve, and they may be shut down then. Final before TERM is sent. */
uint64_t sl_slot_ending_listeners(const struct sl_slot *slot);
/* What the engine notes of the requests it serves, for clocks and status: a request begins when its
 * handler is called and ends when that has returned. thread: from 0, each record has one writer;
 * threads beyond SL_SLOT_THREADS are counted but their requests have no record, so that no clock
 * runs for them. line is method and target (cut to SL_SLOT_LINE bytes), now_ns CLOCK_MONOTONIC (the
 * coarse one will do). slot may be NULL. */
enum { SL_SLOT_THREADS = 128, SL_SLOT_LINE = 100 };
void sl_slot_request_begin(struct sl_slot *slot, unsigned thread, const char *line, size_t len,
                           uint64_t now_ns);
void sl_slot_request_end(struct sl_slot *slot, unsigned thread);
void sl_slot_connections(struct sl_slot *slot, unsigned open_now);

/* Steps of an application's life in a worker. READY and REQUEST (the first one) are noted by the
 * core, the others by the host as they come to pass. */
enum sl_lifecycle {
    SL_LIFE_LOAD,    /* the application was loaded in this process */
    SL_LIFE_STARTUP, /* it and the hooks of the boot are done with what comes before the first
                        accept */
    SL_LIFE_READY,
    SL_LIFE_REQUEST,
    SL_LIFE_STOP,     /* it is known that the worker will end */
    SL_LIFE_SHUTDOWN, /* the requests are over */
    SL_LIFE_CLEANUP,  /* the application has cleaned up */
    SL_LIFE_EXIT,     /* the last thing that the worker says */
    SL_LIFE_COUNT
};
/* Counts a step, and keeps the time of the first. slot may be NULL. */
void sl_slot_count(struct sl_slot *slot, enum sl_lifecycle step);
/* (any process) How often it was taken; *ret_ms since the fork, for the first time. */
unsigned sl_slot_counted(const struct sl_slot *slot, enum sl_lifecycle step, uint64_t *ret_ms);
/* (worker) Why it will end: a number of the host's, for the arbiter's side of the host. The first
 * one counts. */
void sl_slot_set_cause(struct sl_slot *slot, int cause);
int sl_slot_cause(const struct sl_slot *slot);         /* 0: none was given */
uint64_t sl_slot_requests(const struct sl_slot *slot); /* (any process) begun so far */
unsigned sl_slot_generation(const struct sl_slot *slot);
uint64_t sl_slot_age_ms(const struct sl_slot *slot); /* since the fork */

/* ---- where a worker is (worker) -------------------------------------------------------------- */

/* Before the arbiter aborts a worker that hangs, it sends this signal, upon which the worker writes
 * the stacks of its threads for the error log. The core's handler writes the native stack of the
 * thread that takes the signal. A host that has more to say installs a handler for the same signal,
 * which writes to sl_stacks_fd() (-1: nobody wants it) and takes no lock that the worker may hold,
 * then calls sl_stacks_wrap(): the core's handler is on top again and calls the host's first. */
int sl_stacks_signal(void);
int sl_stacks_fd(void);
void sl_stacks_wrap(void);
/* For a host's SIGABRT handler, outside of signal context: shows them now, unless they were shown
 * since the last call. False: the arbiter is gone, nobody will log them. */
bool sl_stacks_show(void);
/* What is called in that signal's handler when the arbiter is about to abort the worker, so that it
 * takes no new connection into its grave: sl_engine_stop() of its engine. NULL: nothing. */
void sl_worker_on_abort(void (*stop)(struct sl_engine *engine), struct sl_engine *engine);

/* ---- when the arbiter has died (worker) ------------------------------------------------------ */

/* The worker gets TERM, as from the arbiter, and graceful_timeout for what it is doing; whoever
 * handles TERM acknowledges by leaving. A host whose language has a lock (an interpreter's),
 * without which TERM is not heard, can do better for a worker that hangs with it. It gives a
 * function that tells, in a signal handler on the main thread, that the lock cannot be had: this
 * thread holds it, or waits for it and for nothing else. this_thread_ran: it is this thread that
 * has used the processor lately, not another. And it handles sl_worker_acknowledge_signal(), which
 * comes together with TERM, in its language: as soon as code of the language runs again on the main
 * thread it calls sl_worker_acknowledge(). A worker that does not within 70 ms, had not beaten for
 * two seconds when the arbiter died, and in which exactly one thread is running, is killed at once.
 * Exclusive workers never are. Without sl_worker_watch() nothing of this happens. */
typedef bool (*sl_worker_stuck_fn)(bool this_thread_ran);
void sl_worker_watch(sl_worker_stuck_fn stuck);
int sl_worker_acknowledge_signal(void);
void sl_worker_acknowledge(void);

/* Descriptor that becomes readable (end of file) when the arbiter has died. -1 outside a worker. */
int sl_worker_death_fd(void);
/* True when the arbiter is gone (the parent changed). */
bool sl_worker_orphaned(const struct sl_slot *slot);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
