/* A pool in C below another host's arbiter (<saola/guest.h>): a generation that has nothing but
 * this pool, and its worker. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <saola/guest.h>
#include "../host_c.h"

struct sl_guest_pool {
    struct sl_run_options options;
    struct sl_host_c host;
    struct sl_worker worker;
};

/* Of the other host's configuration, what is not for this pool is left out. */
static int
configure(struct sl_config *config, const char *text, const char *const *settings,
          struct sl_error *err)
{
    (void)sl_config_set(config, "wsgi_app", NULL, NULL, NULL);
    (void)sl_config_set(config, "native_hooks", NULL, NULL, NULL);
    (void)sl_config_clear(config, "mount");
    (void)sl_config_clear(config, "native_pools");
    if (settings != NULL)
        (void)sl_config_clear(config, "app_settings");
    int rc = sl_config_set(config, "native_pools", text, NULL, err);
    for (; rc == SL_OK && settings != NULL && *settings != NULL; settings++)
        rc = sl_config_set(config, "app_settings", *settings, NULL, err);
    return rc;
}

static int
load(struct sl_guest_pool *pool, const struct sl_config *config, const char *text,
     const char *const *settings, struct sl_error *err)
{
    struct sl_commandline line = {.config = sl_config_copy(config)};
    struct sl_worker *worker = &pool->worker;
    int exit_status;
    if (line.config == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    int rc = configure(line.config, text, settings, err);
    if (rc == SL_OK)
        rc = sl_generation_new(&pool->host, &line, &worker->generation, err);
    sl_commandline_release(&line);
    if (rc == SL_OK)
        rc = sl_pools_check(worker->generation, err);
    if (rc == SL_OK)
        worker->generation->shares_settings = settings == NULL;
    if (rc == SL_OK)
        rc = sl_generation_load_tables(worker->generation, &exit_status, err);
    if (rc == SL_OK)
        worker->pool = &worker->generation->pools[0];
    return rc;
}

int
sl_guest_pool_new(const struct sl_config *config, const char *text, const char *const *settings,
                  struct sl_guest_pool **ret_pool, struct sl_error *err)
{
    struct sl_guest_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    pool->host.options = &pool->options;
    pool->host.start_dir = -1;
    pool->worker.host = &pool->host;
    pool->worker.stop_fd = -1;
    int rc = load(pool, config, text, settings, err);
    if (rc != SL_OK) {
        sl_guest_pool_free(pool);
        return rc;
    }
    *ret_pool = pool;
    return SL_OK;
}

const struct sl_pool *
sl_guest_pool_table(const struct sl_guest_pool *pool)
{
    return pool->worker.pool->table;
}

int
sl_guest_pool_open(struct sl_guest_pool *pool, struct sl_error *err)
{
    return sl_pools_open_shared(pool->worker.pool, err);
}

void
sl_guest_pool_free(struct sl_guest_pool *pool)
{
    if (pool == NULL)
        return;
    sl_errlog_close(pool->worker.log);
    sl_generation_unref(pool->worker.generation);
    free(pool);
}

int
sl_guest_pool_enter(struct sl_guest_pool *pool, struct sl_error *err)
{
    int rc = sl_errlog_open(pool->worker.generation, &pool->host.log, err);
    pool->worker.log = pool->host.log;
    if (rc == SL_OK && sl_errlog_leave_stderr(pool->worker.log) != SL_OK)
        rc = sl_error_set(err, SL_ESYS, "no descriptor for the log");
    return rc;
}

int
sl_guest_pool_start(struct sl_guest_pool *pool, const struct sl_worker_info *info, int place,
                    struct sl_error *err)
{
    struct sl_worker *worker = &pool->worker;
    worker->info = *info;
    worker->place = place;
    worker->pid = getpid();
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = sl_worker_open_parts(worker, err);
    if (rc != SL_OK)
        return rc;
    sl_worker_take_signals(worker);
    rc = sl_pools_start(worker, err);
    if (rc != SL_OK)
        snprintf(worker->failure, sizeof worker->failure, "%s\n", err->text);
    return rc;
}

int
sl_guest_pool_main(struct sl_guest_pool *pool)
{
    return sl_pools_run(&pool->worker);
}

void
sl_guest_pool_stop(struct sl_guest_pool *pool)
{
    if (pool->worker.loop != NULL)
        sl_loop_c_turn(pool->worker.loop, 0); /* what was posted last */
    sl_pools_stop(&pool->worker);
    fflush(NULL);
}
