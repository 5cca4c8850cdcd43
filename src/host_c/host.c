/* struct sl_host for C: the arbiter's side. Generations are loaded, workers made, hooks called;
 * what happens in the worker is in life.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host_c.h"

static const char *const hook_names[] = {
#define SL_HOOK(name, arity, process, on_failure, moment) #name,
#include <saola/hooks.def>
#undef SL_HOOK
};

/* ---- hooks ------------------------------------------------------------------------------------
 */

static sl_hook_fn
find_hook(const struct sl_hooks *hooks, enum sl_hook hook)
{
    switch (hook) {
#define SL_HOOK(name, arity, process, on_failure, moment)                                          \
    case SL_HOOK_##name:                                                                           \
        return hooks->name;
#include <saola/hooks.def>
#undef SL_HOOK
    default:
        return NULL;
    }
}

/* A worker has those of its generation; the arbiter those that were loaded last. */
static const struct sl_hooks *
hooks_of(const struct sl_host_c *host, const struct sl_hook_call *call)
{
    const struct sl_worker *worker = call->worker;
    if (worker != NULL)
        return worker->generation->hooks;
    const struct sl_generation *generation = host->next != NULL ? host->next : host->current;
    return generation != NULL ? generation->hooks : NULL;
}

int
sl_host_c_hook(struct sl_host_c *host, const struct sl_hook_call *call)
{
    const struct sl_hooks *hooks = hooks_of(host, call);
    sl_hook_fn hook = hooks != NULL ? find_hook(hooks, call->hook) : NULL;
    int rc = hook != NULL ? hook(call) : SL_OK;
    if (rc >= 0)
        return SL_OK;
    sl_errlog_format(host->log, SL_LOG_ERROR, "The %s hook failed (%s)", hook_names[call->hook],
                     sl_status_name(rc));
    return SL_EHOST;
}

/* ---- generations ------------------------------------------------------------------------------
 */

static int
enter_chdir(const struct sl_host_c *host, const struct sl_config *config, struct sl_error *err)
{
    const char *path = sl_config_text(config, "chdir");
    if (fchdir(host->start_dir) < 0)
        return sl_error_set(err, SL_ESYS, "the directory of the start: %s", strerror(errno));
    if (path != NULL && chdir(path) < 0)
        return sl_error_set(err, SL_ESYS, "chdir: %.300s: %s", path, strerror(errno));
    return SL_OK;
}

/* Everything is read anew; the generation that serves is not touched. */
static int
load_again(struct sl_host_c *host, struct sl_generation **ret_generation, struct sl_error *err)
{
    struct sl_commandline line;
    int exit_status;
    int rc = sl_commandline_read(host->options, &line, &exit_status, err);
    if (rc != SL_OK)
        return rc;
    rc = enter_chdir(host, line.config, err);
    if (rc == SL_OK)
        rc = sl_generation_new(host, &line, ret_generation, err);
    sl_commandline_release(&line);
    if (rc != SL_OK)
        return rc;
    rc = sl_pools_check(*ret_generation, err);
    if (rc == SL_OK)
        rc = sl_generation_check(*ret_generation, &exit_status, err);
    if (rc != SL_OK)
        sl_generation_unref(*ret_generation);
    return rc;
}

static int
preload(struct sl_generation *generation, struct sl_error *err)
{
    int exit_status;
    if (sl_config_number(generation->config, "preload_app") == 0)
        return SL_OK;
    int rc = sl_generation_load_tables(generation, &exit_status, err);
    return rc == SL_OK ? sl_generation_load_apps(generation, err) : rc;
}

static int
host_generation_load(void *ctx, bool reload, struct sl_config **ret_config, struct sl_error *err)
{
    struct sl_host_c *host = ctx;
    struct sl_generation *generation = host->first;
    int rc = reload ? load_again(host, &generation, err) : SL_OK;
    if (rc != SL_OK)
        return rc;
    host->first = NULL;
    rc = preload(generation, err);
    if (rc == SL_OK)
        rc = sl_pools_open(host, generation, err);
    struct sl_config *copy = rc == SL_OK ? sl_config_copy(generation->config) : NULL;
    if (rc == SL_OK && copy == NULL)
        rc = sl_error_set(err, SL_ENOMEM, "no memory for the configuration");
    if (rc != SL_OK) {
        sl_generation_unref(generation);
        return rc;
    }
    if (reload) {
        sl_generation_unref(host->next); /* one that was given up */
        host->next = generation;
    } else {
        host->current = generation;
    }
    sl_errlog_configure(host->log, generation);
    *ret_config = copy;
    return SL_OK;
}

static void
host_generation_settle(void *ctx, bool accepted)
{
    struct sl_host_c *host = ctx;
    struct sl_error err;
    char byte;
    struct sl_generation *next = host->next;
    host->next = NULL;
    if (next == NULL)
        return;
    sl_generation_unref(accepted ? host->current : next);
    if (accepted)
        host->current = next;
    (void)enter_chdir(host, host->current->config, &err);
    sl_errlog_configure(host->log, host->current);
    /* Whoever fails to boot from now on says why. */
    (void)!read(host->current->report_fds[0], &byte, 1);
    (void)!write(host->current->report_fds[1], "1", 1);
}

/* Without an application there are pools only, unless a worker class of one's own needs none. */
static bool
serves_web(const struct sl_generation *generation)
{
    const struct sl_worker_class *class = generation->worker_class;
    return generation->site_count > 0 || (class != &sl_worker_sync && class != &sl_worker_gthread);
}

static int
host_groups(void *ctx, struct sl_group *ret_groups, size_t *ret_count, bool *ret_web,
            struct sl_error *err)
{
    const struct sl_host_c *host = ctx;
    const struct sl_generation *generation = host->next != NULL ? host->next : host->current;
    (void)err;
    *ret_count = sl_pools_groups(generation, ret_groups);
    *ret_web = serves_web(generation);
    return SL_OK;
}

static const char *
host_worker_class(void *ctx)
{
    struct sl_host_c *host = ctx;
    return (host->next != NULL ? host->next : host->current)->class_name;
}

/* ---- workers ----------------------------------------------------------------------------------
 */

/* Generations get their numbers when the first worker is made of them. */
static struct sl_generation *
find_generation(struct sl_host_c *host, unsigned number)
{
    if (host->next != NULL && (host->next->number == 0 || host->next->number == number) &&
        host->current->number != number) {
        host->next->number = number;
        return host->next;
    }
    if (host->current->number == 0)
        host->current->number = number;
    return host->current;
}

static void
free_worker(struct sl_worker *worker)
{
    sl_generation_unref(worker->generation);
    free(worker->listeners);
    free(worker);
}

/* Of a pool's worker. */
static int
take_place(struct sl_worker *worker, struct sl_error *err)
{
    struct sl_pool_site *site = sl_pools_find(worker->generation, worker->info.group);
    if (site == NULL)
        return SL_OK;
    worker->place = sl_pools_take_place(site);
    if (worker->place < 0)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    worker->pool = site;
    int rc = sl_output_prepare(worker, err);
    if (rc != SL_OK)
        sl_pools_leave_place(site, worker->place, false);
    return rc;
}

static int
host_worker_new(void *ctx, const struct sl_worker_info *info, void **ret_worker,
                struct sl_error *err)
{
    struct sl_host_c *host = ctx;
    struct sl_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    worker->host = host;
    worker->info = *info;
    worker->log = host->log;
    worker->stop_fd = -1;
    worker->generation = find_generation(host, info->generation);
    worker->generation->refs++;
    worker->listeners = calloc(host->listener_count + 1, sizeof *worker->listeners);
    if (worker->listeners == NULL) {
        free_worker(worker);
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    }
    int rc = take_place(worker, err);
    if (rc != SL_OK) {
        free_worker(worker);
        return rc;
    }
    worker->listener_count = host->listener_count;
    for (size_t i = 0; i < host->listener_count; i++)
        worker->listeners[i] = host->listener_copy[i];
    *ret_worker = worker;
    return SL_OK;
}

static pid_t
host_fork(void *ctx)
{
    (void)ctx;
    return fork();
}

static void
host_worker_forked(void *ctx, void *opaque, pid_t pid, bool in_child)
{
    (void)ctx;
    (void)in_child;
    ((struct sl_worker *)opaque)->pid = pid;
}

static int
host_worker_main(void *ctx, void *opaque)
{
    (void)ctx;
    return sl_worker_live(opaque);
}

static void
host_worker_free(void *ctx, void *opaque, pid_t pid, int wait_status)
{
    struct sl_worker *worker = opaque;
    (void)ctx;
    if (worker->pool != NULL) {
        enum sl_restart restart = worker->pool->table->restart;
        bool ended = pid != 0 && sl_slot_cause(worker->info.slot) == 0; /* by itself */
        sl_pools_leave_place(worker->pool, worker->place,
                             ended && (restart == SL_RESTART_NEVER ||
                                       (restart == SL_RESTART_ON_FAILURE && wait_status == 0)));
        sl_output_worker_gone(worker);
    }
    free_worker(worker);
}

static void
host_child_gone(void *ctx, pid_t pid, int wait_status)
{
    sl_output_child_gone(ctx, pid, wait_status);
}

static void
host_listeners_changed(void *ctx, const int *fds, const char *const *names, size_t count)
{
    struct sl_host_c *host = ctx;
    int *copy = calloc(count + 1, sizeof *copy);
    (void)names;
    if (copy == NULL)
        return; /* the next worker serves the sockets of before */
    for (size_t i = 0; i < count; i++)
        copy[i] = fds[i];
    free(host->listener_copy);
    host->listener_copy = copy;
    host->listener_count = count;
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

static void
host_log(void *ctx, enum sl_log_level level, const char *message)
{
    sl_errlog_write(((struct sl_host_c *)ctx)->log, level, message);
}

static int
host_hook(void *ctx, const struct sl_hook_call *call)
{
    struct sl_host_c *host = ctx;
    if (call->hook == SL_HOOK_pre_exec)
        (void)!fchdir(host->start_dir);
    return sl_host_c_hook(host, call);
}

/* Between events: with the setting reload, and while pools have heartbeats, the loop wakes up for
 * it. */
static int
host_idle(void *ctx)
{
    struct sl_host_c *host = ctx;
    sl_output_idle(host);
    const char *path = host->reloader != NULL ? sl_reloader_look(host->reloader) : NULL;
    if (path != NULL) {
        sl_errlog_format(host->log, SL_LOG_INFO, "Reloading: %s has changed", path);
        sl_arbiter_signal(host->arbiter, SIGHUP);
    }
    return SL_OK;
}

static void
host_reopen_logs(void *ctx)
{
    struct sl_host_c *host = ctx;
    sl_errlog_reopen(host->log);
    sl_output_reopen(host);
}

void
sl_host_c_title(struct sl_host_c *host, const char *role, const struct sl_generation *generation,
                const char *suffix)
{
    char text[256];
    snprintf(text, sizeof text, "saola: %s [%s%s]", role, sl_generation_name(generation), suffix);
    sl_title_set(&host->title, text);
}

static void
host_arbiter_named(void *ctx, const char *suffix)
{
    struct sl_host_c *host = ctx;
    sl_host_c_title(host, "master", host->next != NULL ? host->next : host->current, suffix);
}

void
sl_host_c_init(struct sl_host_c *host)
{
    host->table = (struct sl_host){
        .name = "c",
        .log = host_log,
        .generation_load = host_generation_load,
        .generation_settle = host_generation_settle,
        .groups = host_groups,
        .worker_class = host_worker_class,
        .hook = host_hook,
        .worker_new = host_worker_new,
        .fork = host_fork,
        .worker_forked = host_worker_forked,
        .worker_main = host_worker_main,
        .worker_free = host_worker_free,
        .child_gone = host_child_gone,
        .listeners_changed = host_listeners_changed,
        .reopen_logs = host_reopen_logs,
        .arbiter_named = host_arbiter_named,
        .idle = host_idle,
    };
}
