/* The shell around the plan: one poll, what happened becomes events, decisions are carried out.
 *
 * Reading order: this file (the loop), start.c, plan.h (who decides), act.c, spawn.c, reexec.c.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <base/clock.h>
#include <proc/arbiter_state.h>
#include <proc/exclusive.h>
#include <proc/memory.h>

enum { PARENT_CHECK_MS = 1000, SIGNALS_AT_ONCE = 256 };

int
sl_arbiter_new(const struct sl_host *host, void *ctx, struct sl_arbiter **ret_arbiter,
               struct sl_error *err)
{
    struct sl_arbiter *arbiter = calloc(1, sizeof *arbiter);
    if (arbiter == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    arbiter->host = host;
    arbiter->ctx = ctx;
    arbiter->signals.read_fd = arbiter->signals.write_fd = -1;
    arbiter->ready_fds[0] = arbiter->ready_fds[1] = -1;
    arbiter->death_fds[0] = arbiter->death_fds[1] = -1;
    arbiter->parent_fd = -1;
    arbiter->pidfile.fd = -1;
    arbiter->upgrade_fd = arbiter->words_fd = arbiter->notice.fd = -1;
    atomic_init(&arbiter->asked_workers, -1);
    sl_arbiter_find_start_dir(arbiter);
    sl_arbiter_find_words(arbiter);
    *ret_arbiter = arbiter;
    return SL_OK;
}

void
sl_arbiter_free(struct sl_arbiter *arbiter)
{
    if (arbiter != NULL && arbiter->words_fd >= 0) /* it never ran */
        close(arbiter->words_fd);
    free(arbiter);
}

/* ---- small services ------------------------------------------------------------------------ */

void
sl_arbiter_log(struct sl_arbiter *arbiter, enum sl_log_level level, const char *format, ...)
{
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    arbiter->host->log(arbiter->ctx, level, text);
    if (level >= SL_LOG_ERROR)
        sl_arbiter_tell_parent(arbiter, text);
}

int
sl_arbiter_hook(struct sl_arbiter *arbiter, enum sl_hook hook, void *worker)
{
    struct sl_hook_call call = {.hook = hook, .worker = worker};
    return arbiter->host->hook(arbiter->ctx, &call);
}

const char *
sl_arbiter_name(const struct sl_arbiter *arbiter)
{
    return arbiter->parent != 0 ? "Master.2" : "Master";
}

struct generation *
sl_arbiter_generation(struct sl_arbiter *arbiter, unsigned id)
{
    if (arbiter->next.id == id)
        return &arbiter->next;
    assert(arbiter->current.id == id);
    return &arbiter->current;
}

void
sl_arbiter_drop_generation(struct sl_arbiter *arbiter, struct generation *generation)
{
    sl_binds_drop(&arbiter->binds, &generation->binds);
    for (size_t i = 0; i < generation->group_count; i++) {
        sl_exclusive_remove(generation->lock_paths[i]); /* stays when a worker of ours holds it */
        free(generation->lock_paths[i]);
    }
    sl_config_free(generation->config);
    *generation = (struct generation){0};
}

/* ---- events -------------------------------------------------------------------------------- */

static void
step(struct sl_arbiter *arbiter, struct sl_plan_event *event)
{
    event->now_ms = (long long)sl_clock_ms();
    size_t count = sl_plan_step(arbiter->plan, event, arbiter->actions);
    for (size_t i = 0; i < count; i++)
        sl_arbiter_act(arbiter, &arbiter->actions[i]);
}

/* Events that arise while actions are carried out wait until all of these are done. */
void
sl_arbiter_feed(struct sl_arbiter *arbiter, struct sl_plan_event event)
{
    assert(arbiter->event_count < arbiter->event_size);
    size_t at = (arbiter->event_first + arbiter->event_count++) % arbiter->event_size;
    arbiter->events[at] = event;
    if (arbiter->feeding)
        return;
    arbiter->feeding = true;
    while (arbiter->event_count > 0) {
        struct sl_plan_event next = arbiter->events[arbiter->event_first];
        arbiter->event_first = (arbiter->event_first + 1) % arbiter->event_size;
        arbiter->event_count--;
        step(arbiter, &next);
    }
    arbiter->feeding = false;
}

static bool
ends_service(int number)
{
    return number == SIGTERM || number == SIGINT || number == SIGQUIT;
}

static void
feed_signal(struct sl_arbiter *arbiter, int number)
{
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = number});
}

/* A stop overtakes everything else that waits: a reload may take long. */
static void
take_signals(struct sl_arbiter *arbiter)
{
    int waiting[SIGNALS_AT_ONCE];
    size_t count = 0;
    int number;
    while (count < SIGNALS_AT_ONCE && (number = sl_signals_next(&arbiter->signals)) != 0) {
        if (ends_service(number))
            feed_signal(arbiter, number);
        else if (number == SL_SIGNALS_TERMINAL_GONE)
            sl_arbiter_log(arbiter, SL_LOG_INFO, "The terminal is gone; serving on without it.");
        else if (number != SIGCHLD)
            waiting[count++] = number;
    }
    for (size_t i = 0; i < count; i++)
        feed_signal(arbiter, waiting[i]);
}

static void
take_requests(struct sl_arbiter *arbiter)
{
    int wanted = atomic_exchange(&arbiter->asked_workers, -1);
    if (wanted >= 0)
        sl_arbiter_feed(arbiter,
                        (struct sl_plan_event){.kind = SL_EV_SET_WORKERS, .number = wanted});
}

static void
feed_beats(struct sl_arbiter *arbiter)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        const struct child *child = &arbiter->children[slot];
        if (child->pid == 0)
            continue;
        long long beat_ms = (long long)atomic_load(&child->slot->heartbeat_ms);
        sl_arbiter_feed(
            arbiter, (struct sl_plan_event){.kind = SL_EV_BEAT, .slot = slot, .beat_ms = beat_ms});
    }
}

static void
feed_requests(struct sl_arbiter *arbiter)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        const struct child *child = &arbiter->children[slot];
        uint64_t oldest_ns = sl_clock_ns(), newest_ns = oldest_ns;
        if (child->pid == 0)
            continue;
        sl_slot_requests_span(child->slot, &oldest_ns, &newest_ns);
        sl_arbiter_feed(arbiter,
                        (struct sl_plan_event){.kind = SL_EV_REQUESTS,
                                               .slot = slot,
                                               .oldest_ms = (long long)(oldest_ns / SL_NS_PER_MS),
                                               .newest_ms = (long long)(newest_ns / SL_NS_PER_MS)});
    }
}

/* One worker a turn of the loop: with many that are due, signals and deaths are not kept waiting.
 */
static void
feed_memory(struct sl_arbiter *arbiter)
{
    unsigned slot;
    if (!sl_plan_wants_memory(arbiter->plan, (long long)sl_clock_ms(), &slot))
        return;
    const char *why;
    long long bytes = 0, limit = sl_plan_memory_limit(arbiter->plan, slot);
    sl_reserve_lend(&arbiter->reserve);
    int rc = sl_memory_read("/proc", arbiter->children[slot].pid, limit, &bytes, &why);
    int saved = errno;
    sl_reserve_fill(&arbiter->reserve);
    if (rc != SL_OK && saved != ESRCH && saved != ENOENT) /* it has not just died */
        why = strerror(saved);
    if (why != NULL && !arbiter->told_memory) {
        arbiter->told_memory = true;
        sl_arbiter_log(arbiter, SL_LOG_WARNING,
                       rc != SL_OK ? "max_worker_memory: the memory of workers cannot be read: %s"
                                   : "max_worker_memory: the PSS of workers cannot be read (%s); "
                                     "their own pages without files are counted instead",
                       why);
    }
    sl_arbiter_feed(arbiter,
                    (struct sl_plan_event){.kind = SL_EV_MEMORY, .slot = slot, .bytes = bytes});
}

static void
tick(struct sl_arbiter *arbiter)
{
    long long wake_ms = sl_plan_wake_ms(arbiter->plan);
    if (wake_ms < 0 || (long long)sl_clock_ms() < wake_ms)
        return;
    if (sl_plan_wants_beats(arbiter->plan))
        feed_beats(arbiter);
    if (sl_plan_wants_requests(arbiter->plan))
        feed_requests(arbiter);
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_TICK});
    feed_memory(arbiter); /* after the tick: it notices first whether we stood still */
}

/* ---- the loop ------------------------------------------------------------------------------ */

static int
sleep_limit_ms(const struct sl_arbiter *arbiter)
{
    long long wake_ms = sl_plan_wake_ms(arbiter->plan);
    long long left_ms = wake_ms < 0 ? -1 : wake_ms - (long long)sl_clock_ms();
    if (wake_ms >= 0 && left_ms < 0)
        left_ms = 0;
    bool unwatched = arbiter->parent != 0 && arbiter->parent_fd < 0;
    if (unwatched && (left_ms < 0 || left_ms > PARENT_CHECK_MS))
        left_ms = PARENT_CHECK_MS;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

size_t
sl_arbiter_wait_for(const struct sl_arbiter *arbiter, int fds[SL_ARBITER_FDS], int *ret_limit_ms)
{
    size_t count = 0;
    fds[count++] = arbiter->signals.read_fd;
    fds[count++] = arbiter->ready_fds[0];
    if (arbiter->parent_fd >= 0)
        fds[count++] = arbiter->parent_fd;
    *ret_limit_ms = sleep_limit_ms(arbiter);
    return count;
}

static void
sleep_until_something(struct sl_arbiter *arbiter)
{
    struct pollfd polled[SL_ARBITER_FDS];
    int fds[SL_ARBITER_FDS], limit_ms;
    size_t count = sl_arbiter_wait_for(arbiter, fds, &limit_ms);
    if (limit_ms == 0)
        return;
    for (size_t i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    if (arbiter->host->sleep_begin != NULL)
        arbiter->host->sleep_begin(arbiter->ctx);
    (void)poll(polled, count, limit_ms);
    if (arbiter->host->sleep_end != NULL)
        arbiter->host->sleep_end(arbiter->ctx);
}

static void
run_host(struct sl_arbiter *arbiter)
{
    if (arbiter->host->idle != NULL && arbiter->host->idle(arbiter->ctx) != SL_OK)
        feed_signal(arbiter, SIGTERM);
}

bool
sl_arbiter_turn(struct sl_arbiter *arbiter)
{
    run_host(arbiter);
    sl_arbiter_watch_parent(arbiter); /* a stop depends on it: whose are the files? */
    take_signals(arbiter);
    sl_arbiter_listen_to_workers(arbiter);
    sl_arbiter_reap(arbiter);
    take_requests(arbiter);
    tick(arbiter);
    if (!arbiter->done)
        sl_arbiter_tell_state(arbiter);
    return !arbiter->done;
}

/* ---- from begin to end ---------------------------------------------------------------------- */

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void
end(struct sl_arbiter *arbiter)
{
    sl_arbiter_drop_generation(arbiter, &arbiter->next);
    sl_arbiter_drop_generation(arbiter, &arbiter->current);
    sl_binds_finish(&arbiter->binds);
    sl_notice_close(&arbiter->notice);
    free(arbiter->upgrade_why);
    arbiter->upgrade_why = NULL;
    sl_signals_close(&arbiter->signals);
    for (int i = 0; i < 2; i++) {
        close_fd(&arbiter->ready_fds[i]);
        close_fd(&arbiter->death_fds[i]);
    }
    close_fd(&arbiter->parent_fd);
    close_fd(&arbiter->upgrade_fd);
    close_fd(&arbiter->words_fd);
    sl_reserve_lend(&arbiter->reserve);
    sl_scoreboard_close(&arbiter->board);
    sl_plan_free(arbiter->plan);
    free(arbiter->actions);
    free(arbiter->events);
    for (unsigned i = 0; i < arbiter->child_count && arbiter->stacks_fds != NULL; i++)
        close_fd(&arbiter->stacks_fds[i]);
    free(arbiter->stacks_fds);
    free(arbiter->children);
    arbiter->plan = NULL;
}

int
sl_arbiter_begin(struct sl_arbiter *arbiter)
{
    arbiter->pid = getpid();
    arbiter->status = sl_arbiter_start(arbiter);
    if (arbiter->status != 0)
        return arbiter->status;
    arbiter->started = true;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_START,
                                                    .groups = arbiter->current.groups,
                                                    .group_count = arbiter->current.group_count});
    sl_arbiter_tell_state(arbiter);
    return 0;
}

int
sl_arbiter_end(struct sl_arbiter *arbiter)
{
    bool started = arbiter->started;
    /* Who went meanwhile? Pid file and sockets are left to another arbiter that lives. */
    if (started)
        sl_arbiter_watch_parent(arbiter);
    sl_arbiter_pidfile_close(arbiter);
    if (started)
        sl_arbiter_hook(arbiter, SL_HOOK_on_exit, NULL);
    end(arbiter);
    return arbiter->status;
}

int
sl_arbiter_run(struct sl_arbiter *arbiter)
{
    if (sl_arbiter_begin(arbiter) == 0) {
        do
            sleep_until_something(arbiter);
        while (sl_arbiter_turn(arbiter));
    }
    return sl_arbiter_end(arbiter);
}

/* ---- questions and requests of the host ------------------------------------------------------ */

unsigned
sl_arbiter_workers_wanted(const struct sl_arbiter *arbiter)
{
    if (arbiter->plan != NULL && sl_plan_generation(arbiter->plan) != 0)
        return sl_plan_workers_wanted(arbiter->plan);
    return arbiter->current.groups[0].workers;
}

/* User code may call it inside a hook, in the middle of a step: it is noted and done afterwards. */
void
sl_arbiter_set_workers(struct sl_arbiter *arbiter, unsigned count)
{
    atomic_store(&arbiter->asked_workers, count > INT_MAX ? INT_MAX : (int)count);
    sl_signals_note(SIGCHLD); /* wakes the loop */
}

int
sl_arbiter_resize(struct sl_arbiter *arbiter, const char *group, unsigned count)
{
    const struct generation *current = &arbiter->current;
    for (unsigned i = 0; i < current->group_count; i++) {
        if (strcmp(current->groups[i].name, group) != 0)
            continue;
        sl_arbiter_feed(arbiter, (struct sl_plan_event){
                                     .kind = SL_EV_SET_WORKERS, .group = i, .number = (int)count});
        return SL_OK;
    }
    return SL_ENOENT;
}

int
sl_arbiter_remove(struct sl_arbiter *arbiter, pid_t worker, int signal_number)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        if (worker <= 0 || arbiter->children[slot].pid != worker)
            continue;
        sl_arbiter_feed(arbiter, (struct sl_plan_event){
                                     .kind = SL_EV_REMOVE, .slot = slot, .number = signal_number});
        return SL_OK;
    }
    return SL_ENOENT;
}

void
sl_arbiter_signal(struct sl_arbiter *arbiter, int signal_number)
{
    (void)arbiter;
    sl_signals_note(signal_number);
}

pid_t
sl_arbiter_reexec_pid(const struct sl_arbiter *arbiter)
{
    return arbiter->upgrade_pid;
}

pid_t
sl_arbiter_master_pid(const struct sl_arbiter *arbiter)
{
    return arbiter->parent;
}
