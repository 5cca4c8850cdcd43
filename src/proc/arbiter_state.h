/* Inside of the arbiter's shell, shared by arbiter.c, act.c, spawn.c, start.c, outside.c and
 * reexec.c only. */
#ifndef SAOLA_PROC_ARBITER_STATE_H
#define SAOLA_PROC_ARBITER_STATE_H

#include <stdatomic.h>
#include <config/config.h>
#include <proc/binds.h>
#include <proc/notice.h>
#include <proc/oom.h>
#include <proc/pidfile.h>
#include <proc/plan.h>
#include <proc/reserve.h>
#include <proc/scoreboard.h>
#include <proc/signals.h>
#include <saola/host.h>

/* A configuration and what was opened for it. */
struct generation {
    unsigned id; /* 0: none */
    struct sl_config *config;
    struct sl_bind_set binds;
    struct sl_plan_group groups[SL_PLAN_GROUPS];
    size_t group_count;
    bool serves;                      /* the first group is "web" */
    char *lock_paths[SL_PLAN_GROUPS]; /* of exclusive groups; NULL: it is none */
};

/* A worker process (one slot of the plan). */
struct child {
    pid_t pid; /* 0: none */
    bool told_ready, told_spent, told_drained;
    size_t told_stacks; /* bytes of its stacks that were logged */
    int lock_fd;        /* of an exclusive worker, between the lock and the fork; -1 */
    bool exclusive;
    bool serves; /* HTTP: it is of the group "web" */
    unsigned group;
    struct sl_slot *slot;
    void *worker; /* the host's */
};

struct sl_arbiter {
    const struct sl_host *host;
    void *ctx;
    pid_t pid;
    struct sl_plan *plan;
    struct sl_plan_action *actions; /* of one step */
    struct sl_plan_event *events;   /* ring: answers wait here until the step's actions are done */
    size_t event_first, event_count, event_size;
    bool feeding;
    char why[512]; /* of the last answer */

    struct sl_scoreboard board;
    struct child *children;
    int *stacks_fds; /* one for each child, stacks.h; -1 */
    unsigned child_count;
    struct child dead; /* reaped, not buried yet; pid 0: none */
    int dead_status;
    char dead_words[768]; /* what is to be said of it */
    unsigned long ages;
    struct generation current, next;
    unsigned told_binds; /* generation whose listeners the host knows */
    struct sl_binds binds;

    struct sl_signals signals;
    int ready_fds[2]; /* workers write one byte when they are ready */
    int death_fds[2]; /* workers hold the read end; its end of file is the arbiter's death */
    int parent_fd;    /* pidfd of the arbiter that started this one, or -1 */
    pid_t parent;     /* its pid, or 0 */
    pid_t upgrade_pid;
    int upgrade_fd;    /* what the successor says before it serves; -1 */
    int words_fd;      /* the same, of the arbiter before, as long as this one does not serve; -1 */
    unsigned upgrades; /* how often one was tried */
    char *upgrade_why; /* how the last one failed; NULL: it did not */
    struct sl_notice notice;
    bool stop_is_near; /* it was announced: drain_delay */
    bool stopping;     /* the service manager was told, or is to be told on promotion */
    struct sl_pidfile pidfile;
    struct sl_reserve reserve;
    struct sl_oom oom;
    bool told_memory; /* that PSS cannot be read */
    char start_dir[4096];

    atomic_int asked_workers; /* by user code; -1: nothing */
    bool started;
    bool settled; /* the first generation serves */
    bool done;
    int status;
};

/* arbiter.c */
void sl_arbiter_feed(struct sl_arbiter *arbiter, struct sl_plan_event event);
void sl_arbiter_log(struct sl_arbiter *arbiter, enum sl_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* SL_OK or SL_EHOST. */
int sl_arbiter_hook(struct sl_arbiter *arbiter, enum sl_hook hook, void *worker);
/* "Master", or "Master.2" while the arbiter that started this one lives. */
const char *sl_arbiter_name(const struct sl_arbiter *arbiter);
struct generation *sl_arbiter_generation(struct sl_arbiter *arbiter, unsigned id);
void sl_arbiter_drop_generation(struct sl_arbiter *arbiter, struct generation *generation);

/* start.c: from nothing to listening. 0 or the exit status. */
int sl_arbiter_start(struct sl_arbiter *arbiter);
/* After generation_load(): checks the configuration and finds out what follows from it. */
int sl_arbiter_prepare(struct sl_arbiter *arbiter, struct generation *generation,
                       struct sl_error *err);
/* Tells the host which listeners the workers it makes from now on serve. */
void sl_arbiter_tell_binds(struct sl_arbiter *arbiter, struct generation *generation);
/* True if the generation being loaded serves other sockets than the one in force. */
bool sl_arbiter_binds_differ(const struct sl_arbiter *arbiter);

/* act.c */
void sl_arbiter_act(struct sl_arbiter *arbiter, const struct sl_plan_action *action);

/* spawn.c */
void sl_arbiter_spawn(struct sl_arbiter *arbiter, const struct sl_plan_action *action);
void sl_arbiter_bury(struct sl_arbiter *arbiter);
void sl_arbiter_reap(struct sl_arbiter *arbiter);
void sl_arbiter_listen_to_workers(struct sl_arbiter *arbiter);

/* outside.c: what the world outside is told */
int sl_arbiter_pidfile_open(struct sl_arbiter *arbiter, struct sl_error *err);
void sl_arbiter_pidfile_close(struct sl_arbiter *arbiter);
void sl_arbiter_pidfile_follow(struct sl_arbiter *arbiter);                /* after reload */
void sl_arbiter_pidfile_promote(struct sl_arbiter *arbiter);               /* "X.2" becomes "X" */
void sl_arbiter_pidfile_bury(struct sl_arbiter *arbiter, pid_t successor); /* its "X.2" */
void sl_arbiter_tell_state(struct sl_arbiter *arbiter);                    /* the notice */
void sl_arbiter_tell_name(struct sl_arbiter *arbiter);
void sl_arbiter_notify_ready(struct sl_arbiter *arbiter);
void sl_arbiter_notify_reloading(struct sl_arbiter *arbiter);
void sl_arbiter_notify_stopping(struct sl_arbiter *arbiter);
void sl_arbiter_notify_promoted(struct sl_arbiter *arbiter);

/* reexec.c */
void sl_arbiter_find_start_dir(struct sl_arbiter *arbiter);
void sl_arbiter_upgrade(struct sl_arbiter *arbiter);
void sl_arbiter_upgrade_gone(struct sl_arbiter *arbiter, int status);
void sl_arbiter_find_parent(struct sl_arbiter *arbiter);
void sl_arbiter_watch_parent(struct sl_arbiter *arbiter);
/* Before anything can fail: finds where to tell it; then tells the arbiter before why this one does
 * not come up. */
void sl_arbiter_find_words(struct sl_arbiter *arbiter);
void sl_arbiter_tell_parent(const struct sl_arbiter *arbiter, const char *text);

#endif
