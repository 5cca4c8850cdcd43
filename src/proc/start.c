/* The way from nothing to listening, in gunicorn's order. Each step may end the program; what was
 * begun is undone by the arbiter's end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <proc/arbiter_state.h>
#include <proc/exclusive.h>
#include <proc/stacks.h>

enum { SLOTS_MIN = 512, SLOTS_SPARE = 64 };

static long long
seconds(long long value)
{
    return value > 0 ? value * 1000 : 0;
}

/* The group that the gunicorn-style settings describe. */
static void
web_group(const struct sl_config *config, struct sl_plan_group *ret_group)
{
    bool exclusive = config->hand_over == SL_HAND_OVER_EXCLUSIVE;
    *ret_group = (struct sl_plan_group){
        .name = "web",
        .workers = (unsigned)config->workers,
        .exclusive = exclusive,
        .boot_ms = seconds(config->boot_timeout),
        .timeout_ms = seconds(config->timeout),
        .request_ms = seconds(config->request_timeout),
        .graceful_ms = seconds(config->graceful_timeout),
        .drain_ms = seconds(config->drain_delay),
        .exit_ms = seconds(config->exit_timeout),
        .lifetime_ms = seconds(config->max_worker_lifetime),
        .lifetime_jitter_ms = seconds(config->max_worker_lifetime_jitter),
        .memory_soft = config->max_worker_memory,
        .memory_jitter = config->max_worker_memory_jitter,
        .memory_hard = config->max_worker_memory_hard,
        .recycle_percent = (unsigned)config->recycle_share,
    };
}

static void
host_group(const struct sl_config *config, const struct sl_group *given,
           struct sl_plan_group *ret_group)
{
    *ret_group = (struct sl_plan_group){
        .workers = given->workers,
        .exclusive = given->exclusive,
        .keeps_place = true,
        .restart = given->restart,
        .boot_ms = given->boot_ms,
        .timeout_ms = given->timeout_ms,
        .graceful_ms = given->graceful_ms,
        .exit_ms = given->exit_ms,
        .drain_ms = seconds(config->drain_delay),
        .lifetime_ms = given->lifetime_ms,
        .memory_soft = given->memory,
        .recycle_percent = 100,
    };
    memcpy(ret_group->name, given->name, sizeof ret_group->name);
    ret_group->name[sizeof ret_group->name - 1] = '\0';
}

static int
find_groups(struct sl_arbiter *arbiter, struct generation *generation, struct sl_error *err)
{
    struct sl_group given[SL_GROUPS];
    size_t count = 0;
    bool web = true;
    if (arbiter->host->groups != NULL) {
        int rc = arbiter->host->groups(arbiter->ctx, given, &count, &web, err);
        if (rc != SL_OK)
            return rc;
    }
    if (!web && count == 0)
        return sl_error_set(err, SL_EINVAL, "there is nothing to run");
    generation->serves = web;
    if (web)
        web_group(generation->config, &generation->groups[generation->group_count++]);
    for (size_t i = 0; i < count; i++)
        host_group(generation->config, &given[i], &generation->groups[generation->group_count++]);
    return SL_OK;
}

/* "web" has the path itself. */
static char *
lock_path(const struct generation *generation, size_t group)
{
    char *path = sl_exclusive_path(generation->config), *full = NULL;
    if (path == NULL || (generation->serves && group == 0))
        return path;
    int n = asprintf(&full, "%s-%s", path, generation->groups[group].name);
    free(path);
    return n < 0 ? NULL : full;
}

int
sl_arbiter_prepare(struct sl_arbiter *arbiter, struct generation *generation, struct sl_error *err)
{
    int rc = sl_config_check(generation->config, err);
    if (rc != SL_OK)
        return rc;
    rc = find_groups(arbiter, generation, err);
    for (size_t i = 0; rc == SL_OK && i < generation->group_count; i++) {
        if (!generation->groups[i].exclusive)
            continue;
        generation->lock_paths[i] = lock_path(generation, i);
        if (generation->lock_paths[i] == NULL)
            rc = sl_error_set(err, SL_ENOMEM, "out of memory");
    }
    return rc;
}

void
sl_arbiter_tell_binds(struct sl_arbiter *arbiter, struct generation *generation)
{
    const struct sl_bind_set *set = &generation->binds;
    if (arbiter->told_binds == generation->id)
        return;
    arbiter->told_binds = generation->id;
    arbiter->host->listeners_changed(arbiter->ctx, set->fds, set->names, set->count);
}

bool
sl_arbiter_binds_differ(const struct sl_arbiter *arbiter)
{
    const struct sl_bind_set *now = &arbiter->current.binds, *next = &arbiter->next.binds;
    return now->count != next->count ||
           memcmp(now->items, next->items, now->count * sizeof now->items[0]) != 0;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* Descriptors 0 to 2 must be something, or a socket becomes one of them and gets what is printed.
 */
static int
open_stdio(struct sl_arbiter *arbiter, struct sl_error *err)
{
    (void)arbiter;
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return sl_error_set(err, SL_ESYS, "/dev/null: %s", strerror(errno));
    close(fd);
    return SL_OK;
}

static int
load(struct sl_arbiter *arbiter, struct sl_error *err)
{
    struct generation *first = &arbiter->current;
    int rc = arbiter->host->generation_load(arbiter->ctx, false, &first->config, err);
    first->id = 1;
    if (rc != SL_OK)
        return rc;
    rc = sl_arbiter_prepare(arbiter, first, err);
    if (rc != SL_OK)
        return rc;
    struct sl_hook_call call = {.hook = SL_HOOK_nworkers_changed,
                                .new_value = (int)first->groups[0].workers,
                                .old_value = -1};
    arbiter->host->hook(arbiter->ctx, &call);
    return SL_OK;
}

static int
take_signals(struct sl_arbiter *arbiter, struct sl_error *err)
{
    return sl_signals_open(&arbiter->signals, err);
}

static int
make_pipes(struct sl_arbiter *arbiter, struct sl_error *err)
{
    if (pipe2(arbiter->ready_fds, O_CLOEXEC | O_NONBLOCK) < 0 ||
        pipe2(arbiter->death_fds, O_CLOEXEC) < 0)
        return sl_error_set(err, SL_ESYS, "no pipe for the workers: %s", strerror(errno));
    return SL_OK;
}

static int
make_plan(struct sl_arbiter *arbiter, struct sl_error *err)
{
    const struct generation *first = &arbiter->current;
    const struct sl_config *config = first->config;
    unsigned long wanted = SLOTS_SPARE;
    for (size_t i = 0; i < first->group_count; i++)
        wanted += 2 * (unsigned long)first->groups[i].workers;
    unsigned count = wanted < SLOTS_MIN ? SLOTS_MIN : (unsigned)wanted;
    arbiter->plan = sl_plan_new(count, config->daemon, arbiter->parent != 0);
    arbiter->children = calloc(count, sizeof *arbiter->children);
    arbiter->stacks_fds = malloc(count * sizeof *arbiter->stacks_fds);
    for (unsigned i = 0; i < count && arbiter->stacks_fds != NULL; i++)
        arbiter->stacks_fds[i] = -1;
    arbiter->child_count = count;
    sl_stacks_warm_up();
    arbiter->event_size = 2 * (size_t)count + 64;
    arbiter->events = calloc(arbiter->event_size, sizeof *arbiter->events);
    if (arbiter->plan != NULL)
        arbiter->actions = calloc(sl_plan_actions_max(arbiter->plan), sizeof *arbiter->actions);
    if (arbiter->plan == NULL || arbiter->children == NULL || arbiter->stacks_fds == NULL ||
        arbiter->events == NULL || arbiter->actions == NULL ||
        sl_scoreboard_open(count, &arbiter->board) != SL_OK)
        return sl_error_set(err, SL_ENOMEM, "no memory for %lu workers", wanted / 2);
    return SL_OK;
}

/* Before user code runs: what it takes, it takes from the rest. */
static int
keep_reserve(struct sl_arbiter *arbiter, struct sl_error *err)
{
    (void)err;
    sl_reserve_fill(&arbiter->reserve);
    sl_oom_init(&arbiter->oom, "/proc/self/cgroup", "/sys/fs/cgroup");
    return SL_OK;
}

static int
find_parent(struct sl_arbiter *arbiter, struct sl_error *err)
{
    (void)err;
    sl_arbiter_find_parent(arbiter);
    sl_arbiter_tell_name(arbiter);
    if (!sl_notice_open(&arbiter->notice))
        sl_arbiter_log(arbiter, SL_LOG_WARNING,
                       "No memory for the notice: `saola upgrade` cannot "
                       "find this arbiter.");
    sl_arbiter_tell_state(arbiter);
    return SL_OK;
}

static int
announce(struct sl_arbiter *arbiter, struct sl_error *err)
{
    (void)err;
    sl_arbiter_log(arbiter, SL_LOG_INFO, "Starting saola %s", SAOLA_VERSION);
    return SL_OK;
}

static int
on_starting(struct sl_arbiter *arbiter, struct sl_error *err)
{
    if (sl_arbiter_hook(arbiter, SL_HOOK_on_starting, NULL) == SL_OK)
        return SL_OK;
    return sl_error_set(err, SL_EHOST, "the on_starting hook failed");
}

static const char *
worker_class(const struct sl_arbiter *arbiter)
{
    const struct sl_host *host = arbiter->host;
    const char *text = host->worker_class == NULL ? NULL : host->worker_class(arbiter->ctx);
    return text != NULL ? text : "sync";
}

static bool
told_to_stop(struct sl_arbiter *arbiter)
{
    int number;
    while ((number = sl_signals_next(&arbiter->signals)) != 0) {
        if (number == SIGTERM || number == SIGINT || number == SIGQUIT)
            return true;
    }
    return false;
}

/* An address in use, while the exclusive worker of a killed arbiter still lives, is most likely in
 * use by that worker: it is waited for, here as later for the lock itself. */
static int
open_when_free(struct sl_arbiter *arbiter, struct generation *first, struct sl_error *err)
{
    bool told = false;
    int rc, fd;
    while ((rc = sl_binds_open(&arbiter->binds, first->config, &first->binds, err)) == SL_EBUSY &&
           first->lock_paths[0] != NULL && !told_to_stop(arbiter)) {
        struct sl_error why;
        int held = sl_exclusive_take(first->lock_paths[0], &fd, &why);
        if (held == SL_OK)
            close(fd);
        if (held != SL_EBUSY)
            return sl_binds_open(&arbiter->binds, first->config, &first->binds, err);
        if (!told)
            sl_arbiter_log(arbiter, SL_LOG_WARNING,
                           "The exclusive worker waits until the one before it is gone: %s",
                           why.text);
        told = true;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000}, NULL);
    }
    return rc;
}

/* The kernel hands the queue of a dead worker's socket to another one only if it is told to. */
static void
warn_of_own_queues(struct sl_arbiter *arbiter, const struct generation *first)
{
    FILE *file =
        first->config->reuse_port ? fopen("/proc/sys/net/ipv4/tcp_migrate_req", "re") : NULL;
    if (file == NULL)
        return;
    if (getc(file) == '0')
        sl_arbiter_log(arbiter, SL_LOG_WARNING,
                       "reuse_port: a worker that is killed takes the connections that wait for it "
                       "along; sysctl net.ipv4.tcp_migrate_req=1 has others serve them");
    fclose(file);
}

static int
open_listeners(struct sl_arbiter *arbiter, struct sl_error *err)
{
    struct generation *first = &arbiter->current;
    char names[1024];
    int rc = sl_binds_inherit(&arbiter->binds, err);
    if (rc == SL_OK)
        rc = open_when_free(arbiter, first, err);
    if (rc != SL_OK)
        return rc;
    sl_binds_forget(&arbiter->binds);
    if (!first->serves)
        return SL_OK;
    sl_bind_set_print(&first->binds, names, sizeof names);
    sl_arbiter_log(arbiter, SL_LOG_INFO, "Listening at: %s (%d)", names, (int)arbiter->pid);
    sl_arbiter_log(arbiter, SL_LOG_INFO, "Using worker: %s", worker_class(arbiter));
    warn_of_own_queues(arbiter, first);
    sl_arbiter_tell_binds(arbiter, first);
    return SL_OK;
}

static int
when_ready(struct sl_arbiter *arbiter, struct sl_error *err)
{
    if (sl_arbiter_hook(arbiter, SL_HOOK_when_ready, NULL) == SL_OK)
        return SL_OK;
    return sl_error_set(err, SL_EHOST, "the when_ready hook failed");
}

int
sl_arbiter_start(struct sl_arbiter *arbiter)
{
    static int (*const steps[])(struct sl_arbiter *, struct sl_error *) = {
        open_stdio,   load,           find_parent,
        make_plan,    make_pipes,     take_signals,
        keep_reserve, announce,       sl_arbiter_pidfile_open,
        on_starting,  open_listeners, when_ready,
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct sl_error err = {.text = ""};
        if (steps[i](arbiter, &err) == SL_OK)
            continue;
        if (err.text[0] != '\0')
            sl_arbiter_log(arbiter, SL_LOG_ERROR, "%s", err.text);
        return SL_EXIT_ERROR;
    }
    return 0;
}
