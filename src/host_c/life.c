/* A worker's life:
 *
 *   signals -> "Booting" -> post_fork -> environment, user -> load tables, load(), start(), init()
 *      -> post_worker_init -> listen -> ready -> run() -> "exiting" -> exit() -> worker_exit
 *
 * What fails before "ready" is a failed boot: its reason is logged once for all workers of the
 * generation, and the exit status says whether the application (4) or something else (3) is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "host_c.h"

enum { TICK_MAX_MS = 1000 };

static int
run_hook(struct sl_worker *worker, enum sl_hook hook)
{
    struct sl_hook_call call = {.hook = hook, .worker = worker};
    return sl_host_c_hook(worker->host, &call);
}

static int
boot_failed(struct sl_worker *worker, int status, const struct sl_error *err)
{
    char byte;
    bool first = read(worker->generation->report_fds[0], &byte, 1) == 1;
    sl_errlog_format(worker->log, first ? SL_LOG_ERROR : SL_LOG_DEBUG,
                     first ? "%s" : "Worker failed to boot again: %s", err->text);
    return status;
}

/* "NAME=VALUE" each. */
static int
set_environment(const struct sl_config *config, struct sl_error *err)
{
    const char *const *list = sl_config_list(config, "raw_env");
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (strchr(list[i], '=') == NULL)
            return sl_error_set(err, SL_EINVAL, "raw_env: write NAME=VALUE");
        char *copy = strdup(list[i]);
        if (copy == NULL || putenv(copy) != 0)
            return sl_error_set(err, SL_ENOMEM, "out of memory");
    }
    return SL_OK;
}

/* With reuse_port the sockets are this worker's own, and bound only until it can serve. */
static int
start_listening(struct sl_worker *worker, struct sl_error *err)
{
    const struct sl_config *config = worker->generation->config;
    if (worker->pool != NULL || sl_config_number(config, "reuse_port") == 0)
        return SL_OK;
    for (size_t i = 0; i < worker->listener_count; i++) {
        int on = 0;
        socklen_t len = sizeof on;
        if (getsockopt(worker->listeners[i], SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on)
            continue;
        if (listen(worker->listeners[i], (int)sl_config_number(config, "backlog")) < 0)
            return sl_error_set(err, SL_ESYS, "listen: %s", strerror(errno));
    }
    return SL_OK;
}

static int
choose_tick(const struct sl_worker *worker)
{
    long long timeout_ms = worker->pool != NULL
                               ? sl_pools_timeout_ms(worker->pool->table)
                               : sl_config_number(worker->generation->config, "timeout") * 1000;
    return timeout_ms > 0 && timeout_ms / 2 < TICK_MAX_MS ? (int)timeout_ms / 2 : TICK_MAX_MS;
}

int
sl_worker_open_parts(struct sl_worker *worker, struct sl_error *err)
{
    worker->tick_ms = choose_tick(worker);
    worker->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->stop_fd < 0 || sl_loop_c_open(&worker->loop) != SL_OK)
        return sl_error_set(err, SL_ESYS, "no event loop for the worker: %s", strerror(errno));
    return SL_OK;
}

/* Applications are loaded and started; or a pool's worker. */
static int
load_code(struct sl_worker *worker, int *ret_status, struct sl_error *err)
{
    struct sl_generation *generation = worker->generation;
    if (worker->pool != NULL)
        return sl_pools_start(worker, err);
    bool loaded = sl_config_number(generation->config, "preload_app") != 0;
    int rc = loaded ? SL_OK : sl_generation_load_tables(generation, ret_status, err);
    if (rc != SL_OK)
        return rc;
    *ret_status = SL_EXIT_WORKER_BOOT;
    worker->class = generation->worker_class;
    sl_slot_count(worker->info.slot, SL_LIFE_LOAD);
    rc = sl_generation_load_apps(generation, err);
    if (rc != SL_OK)
        return rc;
    worker->serving_sync = worker->class == &sl_worker_sync;
    sl_slot_count(worker->info.slot, SL_LIFE_STARTUP);
    return sl_sites_start(worker, err);
}

static int
init_class(struct sl_worker *worker, struct sl_error *err)
{
    worker->values = &worker->generation->class_values;
    *err = (struct sl_error){.text = ""};
    int rc = worker->class->init == NULL ? SL_OK
                                         : worker->class->init(worker, &worker->class_state, err);
    if (rc < 0 && err->text[0] == '\0')
        sl_error_set(err, rc, "init() of the worker class failed (%s)", sl_status_name(rc));
    worker->inited = rc >= 0;
    return rc < 0 ? rc : SL_OK;
}

/* With the setting reload, a first start that fails is shown (500), and a file that changes leads
 * to the next generation. That one is refused as long as it fails. */
static bool
may_be_repaired(const struct sl_worker *worker)
{
    return worker->info.generation == 1 &&
           sl_config_number(worker->generation->config, "reload") != 0;
}

static void
wait_for_repair(struct sl_worker *worker, const struct sl_error *err)
{
    char byte;
    bool first = worker->pool != NULL ? worker->place == 0 /* of each pool one */
                                      : read(worker->generation->report_fds[0], &byte, 1) == 1;
    sl_errlog_format(worker->log, first ? SL_LOG_ERROR : SL_LOG_DEBUG, "%s; waiting for a change",
                     err->text);
    snprintf(worker->failure, sizeof worker->failure, "%s\n", err->text);
    worker->class = &sl_worker_sync;
    worker->serving_sync = true;
}

static int
boot(struct sl_worker *worker)
{
    struct sl_error err = {.text = ""};
    const struct sl_config *config = worker->generation->config;
    int status = SL_EXIT_WORKER_BOOT;
    if (sl_output_enter(worker, &err) != SL_OK)
        return boot_failed(worker, SL_EXIT_ERROR, &err);
    if (run_hook(worker, SL_HOOK_post_fork) != SL_OK)
        return status;
    if (set_environment(config, &err) != SL_OK || sl_worker_drop_privileges(&err) != SL_OK ||
        sl_worker_open_parts(worker, &err) != SL_OK)
        return boot_failed(worker, SL_EXIT_ERROR, &err);
    sl_worker_take_signals(worker);
    if (load_code(worker, &status, &err) != SL_OK) {
        if (!may_be_repaired(worker))
            return boot_failed(worker, status, &err);
        wait_for_repair(worker, &err);
    }
    if (worker->pool == NULL && init_class(worker, &err) != SL_OK)
        return boot_failed(worker, SL_EXIT_WORKER_BOOT, &err);
    if (run_hook(worker, SL_HOOK_post_worker_init) != SL_OK)
        return SL_EXIT_WORKER_BOOT;
    if (start_listening(worker, &err) != SL_OK)
        return boot_failed(worker, SL_EXIT_WORKER_BOOT, &err);
    sl_slot_ready(worker->info.slot);
    sl_slot_count(worker->info.slot, SL_LIFE_READY);
    return SL_EXIT_OK;
}

void
sl_worker_chores(struct sl_worker *worker)
{
    if (!worker->reopen)
        return;
    worker->reopen = 0;
    sl_errlog_reopen(worker->log);
    if (worker->access_log != NULL)
        sl_worker_access_log_turn(worker);
}

static void
end(struct sl_worker *worker)
{
    sl_errlog_format(worker->log, SL_LOG_INFO, "Worker exiting (pid: %d)", (int)worker->pid);
    sl_slot_drained(worker->info.slot);
    for (size_t i = 0; i < worker->listener_count; i++)
        close(worker->listeners[i]); /* clients are for those who still serve */
    worker->listener_count = 0;
    if (worker->loop != NULL)
        sl_loop_c_turn(worker->loop, 0); /* what was posted last */
    if (worker->pool != NULL)
        sl_pools_stop(worker);
    else if (worker->inited && worker->class->exit != NULL)
        worker->class->exit(worker, worker->class_state);
    sl_sites_exit(worker);
    fflush(NULL); /* it ends by _exit() */
    sl_slot_count(worker->info.slot, SL_LIFE_EXIT);
    (void)run_hook(worker, SL_HOOK_worker_exit);
}

static int
run_class(struct sl_worker *worker)
{
    int result = worker->class->run(worker, worker->class_state);
    if (result < 0)
        sl_errlog_format(worker->log, SL_LOG_ERROR, "run() of worker class %s failed (%s)",
                         worker->generation->class_name, sl_status_name(result));
    else if (result == 0 && !worker->stopping)
        sl_errlog_format(worker->log, SL_LOG_WARNING,
                         "run() of worker class %s ended though nobody asked it to stop",
                         worker->generation->class_name);
    return result < 0 ? SL_EXIT_INTERNAL : result & 0xff;
}

static void
set_title(struct sl_worker *worker)
{
    char role[SL_GROUP_NAME + 16];
    snprintf(role, sizeof role, "%s/%d", worker->info.group, worker->place);
    sl_host_c_title(worker->host, worker->pool != NULL ? role : "worker", worker->generation, "");
}

int
sl_worker_live(struct sl_worker *worker)
{
    worker->pid = getpid();
    set_title(worker);
    sl_errlog_configure(worker->log, worker->generation);
    sl_errlog_format(worker->log, SL_LOG_INFO, "Booting worker with pid: %d", (int)worker->pid);
    int status = boot(worker);
    if (status == SL_EXIT_OK) {
        status = worker->pool != NULL ? sl_pools_run(worker) : run_class(worker);
        if (worker->quitting)
            (void)run_hook(worker, SL_HOOK_worker_int);
    }
    end(worker);
    return status;
}
