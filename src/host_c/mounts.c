/* Mounted applications in a worker of another host: a generation that has nothing but sites, and a
 * worker without a loop, behind the engine's front.
 */
#include <stdlib.h>
#include <unistd.h>
#include <saola/mount.h>
#include "host_c.h"

struct sl_mounts {
    struct sl_front front;
    const struct sl_front *next;
    struct sl_run_options options;
    struct sl_host_c host;
    struct sl_worker worker;
    bool ended;
};

static int
serve(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct sl_mounts *mounts = ctx;
    struct sl_site *site = sl_sites_find(mounts->worker.generation, req);
    if (site == NULL) {
        const struct sl_front *next = mounts->next;
        return next != NULL && next->serve != NULL ? next->serve(next->ctx, req, res) : SL_ENOENT;
    }
    int rc = site->app->request(site->state, req, res);
    if (rc == SL_PENDING) {
        sl_worker_log(&mounts->worker, SL_LOG_ERROR,
                      "The application mounted at %s cannot answer later there", site->prefix);
        return SL_EUNAVAILABLE;
    }
    return rc == SL_ENOENT ? SL_EHOST : rc; /* SL_ENOENT would ask the next one */
}

static void
send_file(void *ctx, struct sl_request *req, struct sl_response *res, const char *path, size_t len)
{
    const struct sl_front *next = ((struct sl_mounts *)ctx)->next;
    next->send_file(next->ctx, req, res, path, len);
}

static int
load(struct sl_mounts *mounts, const struct sl_config *config, struct sl_error *err)
{
    struct sl_commandline line = {.config = sl_config_copy(config)};
    struct sl_worker *worker = &mounts->worker;
    int exit_status;
    if (line.config == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    (void)sl_config_set(line.config, "wsgi_app", NULL, NULL, NULL); /* the other host's */
    (void)sl_config_set(line.config, "native_hooks", NULL, NULL, NULL);
    (void)sl_config_clear(line.config, "native_pools");
    int rc = sl_generation_new(&mounts->host, &line, &worker->generation, err);
    sl_commandline_release(&line);
    if (rc == SL_OK)
        worker->generation->shares_settings = true; /* with pools */
    if (rc == SL_OK)
        rc = sl_generation_load_tables(worker->generation, &exit_status, err);
    if (rc == SL_OK)
        rc = sl_errlog_open(worker->generation, &worker->log, err);
    if (rc == SL_OK)
        rc = sl_generation_load_apps(worker->generation, err);
    return rc == SL_OK ? sl_sites_start(worker, err) : rc;
}

int
sl_mounts_open(const struct sl_config *config, const struct sl_front *next,
               struct sl_mounts **ret_mounts, struct sl_error *err)
{
    struct sl_mounts *mounts = calloc(1, sizeof *mounts);
    if (mounts == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    bool sends = next != NULL && next->send_file != NULL;
    mounts->next = next;
    mounts->front =
        (struct sl_front){.serve = serve, .send_file = sends ? send_file : NULL, .ctx = mounts};
    mounts->host.options = &mounts->options;
    mounts->host.start_dir = -1;
    mounts->worker.host = &mounts->host;
    mounts->worker.pid = getpid();
    mounts->worker.stop_fd = -1;
    int rc = load(mounts, config, err);
    if (rc != SL_OK) {
        mounts->ended = true;
        sl_mounts_close(mounts);
        return rc;
    }
    *ret_mounts = mounts;
    return SL_OK;
}

const struct sl_front *
sl_mounts_front(const struct sl_mounts *mounts)
{
    return &mounts->front;
}

void
sl_mounts_reopen_logs(struct sl_mounts *mounts)
{
    sl_errlog_reopen(mounts->worker.log);
}

void
sl_mounts_end(struct sl_mounts *mounts)
{
    if (mounts->ended)
        return;
    mounts->ended = true;
    sl_sites_stop(&mounts->worker);
    sl_sites_exit(&mounts->worker);
}

void
sl_mounts_close(struct sl_mounts *mounts)
{
    if (mounts == NULL)
        return;
    sl_mounts_end(mounts);
    sl_errlog_close(mounts->worker.log);
    sl_generation_unref(mounts->worker.generation);
    free(mounts);
}
