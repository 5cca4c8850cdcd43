/* The worker classes sync and gthread: the engine, with the applications of the generation as its
 * handler.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host_c.h"

enum { STOPPING_TICK_MS = 20, STOPPING_TURN_MS = 100, CLOSE_MS = 500, LAST_LINES_MS = 2000 };

/* ---- requests ---------------------------------------------------------------------------------
 */

static int
run_hook(struct sl_worker *worker, enum sl_hook hook, struct sl_request *req,
         struct sl_response *res)
{
    struct sl_hook_call call = {.hook = hook, .worker = worker, .request = req, .response = res};
    return sl_host_c_hook(worker->host, &call);
}

static int
dispatch(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct sl_worker *worker = ctx;
    const struct sl_hooks *hooks = worker->generation->hooks;
    struct sl_site *site = sl_sites_find(worker->generation, req);
    if (hooks != NULL && hooks->pre_request != NULL &&
        run_hook(worker, SL_HOOK_pre_request, req, NULL) != SL_OK)
        return SL_EHOST;
    int rc;
    if (worker->failure[0] != '\0')
        rc = sl_response_send(res, 500, "text/plain; charset=utf-8", worker->failure,
                              strlen(worker->failure));
    else if (site == NULL)
        rc = sl_response_send(res, 404, "text/plain", "Not Found\n", 10);
    else
        rc = site->app->request(site->state, req, res);
    if (rc != SL_PENDING && hooks != NULL && hooks->post_request != NULL)
        (void)run_hook(worker, SL_HOOK_post_request, req, res);
    return rc;
}

static void
nothing_more(void *arg, struct sl_request *req, struct sl_response *res)
{
    (void)arg;
    (void)req;
    (void)res;
}

/* An exchange must not be finished in here, and may be dropped before it can be: so it is kept like
 * one that is answered later. The application is found again by the path, which is constant. */
static void
on_event(void *ctx, struct sl_request *req, unsigned what)
{
    struct sl_worker *worker = ctx;
    if (sl_later_event(req, what))
        return;
    struct sl_site *site = sl_sites_find(worker->generation, req);
    if (site == NULL || site->app->event == NULL)
        return;
    int rc = site->app->event(site->state, req, what);
    if (rc == SL_PENDING || (what & SL_ON_CLOSED))
        return;
    struct sl_later *later = sl_request_later(worker, req, NULL);
    if (later == NULL || sl_later_finish(later, nothing_more, NULL) != SL_OK)
        sl_worker_log(worker, SL_LOG_ERROR, "No memory to finish a request");
}

static void
on_bad_request(void *ctx, const struct sl_request *req, const struct sl_peer *peer, int status,
               const char *sentence)
{
    (void)req;
    (void)status;
    sl_worker_log(ctx, SL_LOG_WARNING, "Invalid request from ip=%s: %s", peer->addr, sentence);
}

/* max_requests: serves on until a successor is ready; an only worker leaves first, as under
 * gunicorn. */
static void
on_limit(void *ctx)
{
    struct sl_worker *worker = ctx;
    const struct sl_config *config = worker->generation->config;
    const char *hand_over = sl_config_text(config, "hand_over");
    bool alone = sl_config_number(config, "workers") == 1 ||
                 (hand_over != NULL && strcmp(hand_over, "exclusive") == 0);
    if (alone) {
        sl_worker_log(worker, SL_LOG_INFO, "Autorestarting worker after current request.");
        sl_worker_stop(worker);
    } else {
        sl_worker_log(worker, SL_LOG_INFO,
                      "Worker (pid:%d) has served max_requests and is replaced.", (int)worker->pid);
        sl_slot_spent(worker->info.slot);
    }
}

/* ---- access log and files ---------------------------------------------------------------------
 */

static int
open_access_file(const struct sl_config *config)
{
    const char *path = sl_config_text(config, "accesslog");
    if (path == NULL || *path == '\0')
        return -1;
    if (strcmp(path, "-") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
}

void
sl_worker_access_log_turn(struct sl_worker *worker)
{
    int fd = open_access_file(worker->generation->config);
    if (fd < 0)
        return;
    (void)sl_access_log_reopen(worker->access_log, fd);
    close(fd);
}

static void
tell_syslog(void *ctx, const char *line, size_t len)
{
    sl_syslog_write(ctx, "access", SL_LOG_INFO, line, len);
}

static int
open_access_log(struct sl_worker *worker, struct sl_error *err)
{
    const struct sl_config *config = worker->generation->config;
    const char *path = sl_config_text(config, "accesslog");
    bool filed = path != NULL && *path != '\0';
    bool redirected = sl_config_number(config, "disable_redirect_access_to_syslog") == 0;
    struct sl_syslog *syslog = redirected ? sl_errlog_syslog(worker->log) : NULL;
    if (!filed && syslog == NULL)
        return SL_OK;
    struct sl_access_log_options options = {
        .format = sl_config_text(config, "access_log_format"),
        .fd = open_access_file(config),
        .on_line = syslog != NULL ? tell_syslog : NULL,
        .ctx = syslog,
        .exclude = sl_config_list(config, "access_log_exclude"),
    };
    if (filed && options.fd < 0)
        return sl_error_set(err, SL_ESYS, "accesslog: %.300s: %s", path, strerror(errno));
    int rc = sl_access_log_open(&options, &worker->access_log, err);
    if (filed)
        close(options.fd);
    if (rc == SL_EUNAVAILABLE && err->text[0] == '\0')
        sl_error_set(err, rc, "access_log_format: %.300s: needs Python", options.format);
    return rc;
}

static void
tell_dropped(struct sl_worker *worker)
{
    uint64_t dropped = worker->access_log != NULL ? sl_access_log_dropped(worker->access_log) : 0;
    if (dropped <= worker->dropped)
        return;
    sl_worker_log(worker, SL_LOG_WARNING,
                  "The access log lost %llu lines: its file takes none, or not fast enough.",
                  (unsigned long long)(dropped - worker->dropped));
    worker->dropped = dropped;
}

static void
on_file_error(void *ctx, const char *sentence)
{
    sl_worker_log(ctx, SL_LOG_ERROR, "%s", sentence);
}

static int
open_files(struct sl_worker *worker, struct sl_error *err)
{
    const struct sl_config *config = worker->generation->config;
    struct sl_files_options options = {
        .routes = sl_config_list(config, "static_files"),
        .types = sl_config_list(config, "static_types"),
        .sendfile_roots = sl_config_list(config, "sendfile_roots"),
        .max_age_s = (uint32_t)sl_config_number(config, "static_max_age"),
        .on_error = on_file_error,
        .ctx = worker,
    };
    if (options.routes[0] == NULL && options.sendfile_roots[0] == NULL)
        return SL_OK;
    return sl_files_open(&options, &worker->files, err);
}

/* ---- the engine -------------------------------------------------------------------------------
 */

static void
on_ready(void *ctx, int fd, unsigned flags)
{
    struct sl_worker *worker = ctx;
    (void)fd;
    (void)flags;
    sl_loop_c_turn(worker->loop, 0);
}

static int
open_engine(struct sl_worker *worker, unsigned threads)
{
    struct sl_engine_options options;
    struct sl_engine *engine;
    struct sl_error err = {.text = ""};
    if (sl_worker_engine_options(worker, &options) != SL_OK)
        return SL_ENOMEM;
    options.threads = threads;
    options.handle = dispatch;
    options.ctx = worker;
    options.on_bad_request = on_bad_request;
    options.on_limit = on_limit;
    options.access_log = worker->access_log;
    options.front = worker->files != NULL ? sl_files_front(worker->files) : NULL;
    options.on_event = threads == 0 ? on_event : NULL;
    options.on_ready = threads == 0 ? on_ready : NULL;
    int rc = sl_engine_open(&options, &engine, &err);
    if (rc == SL_OK && threads == 0)
        rc = sl_engine_watch(engine, sl_loop_c_fd(worker->loop), SL_WATCH_READ);
    if (rc != SL_OK) {
        sl_worker_log(worker, SL_LOG_ERROR, "The engine cannot be opened: %s",
                      err.text[0] != '\0' ? err.text : sl_status_name(rc));
        return rc;
    }
    worker->engine = engine;
    sl_worker_on_abort(sl_engine_stop, engine);
    if (worker->stopping) /* asked before there was an engine */
        sl_engine_stop(engine);
    return SL_OK;
}

/* One turn: the engine's in class sync; in class gthread the pool turns it, and the main thread's
 * own loop is what it waits in. */
static int
turn(struct sl_worker *worker, unsigned threads, int tick_ms)
{
    struct sl_engine *engine = worker->engine;
    if (threads == 0)
        return sl_engine_turn(engine, tick_ms);
    sl_loop_c_turn(worker->loop, tick_ms);
    return sl_engine_turn(engine, 0);
}

static int
choose_tick(const struct sl_worker *worker, unsigned threads)
{
    if (worker->stopping)
        return threads > 0 ? STOPPING_TICK_MS : STOPPING_TURN_MS;
    return worker->tick_ms;
}

static void
serve_until_stopped(struct sl_worker *worker, unsigned threads)
{
    const struct sl_config *config = worker->generation->config;
    long long stop_at = 0;
    while (!worker->quitting) {
        int rc = turn(worker, threads, choose_tick(worker, threads));
        if (threads > 0) /* else the engine beats */
            sl_worker_beat(worker);
        sl_worker_chores(worker);
        tell_dropped(worker);
        if (rc == SL_ECLOSED)
            break;
        if (!worker->stopping)
            continue;
        if (stop_at == 0) {
            stop_at = sl_now_ms() + sl_config_number(config, "graceful_timeout") * 1000;
            sl_sites_stop(worker);
            sl_engine_stop(worker->engine);
        } else if (sl_now_ms() >= stop_at) {
            break;
        }
    }
}

static int
serve(struct sl_worker *worker, unsigned threads)
{
    int rc = open_engine(worker, threads);
    if (rc != SL_OK)
        return rc;
    serve_until_stopped(worker, threads);
    if (worker->stopping && sl_worker_orphaned(worker->info.slot))
        sl_worker_log(worker, SL_LOG_INFO, "Parent changed, shutting down: <Worker %d>",
                      (int)worker->pid);
    struct sl_engine *engine = worker->engine;
    worker->engine = NULL;
    sl_worker_on_abort(NULL, NULL);
    bool abandoned = sl_engine_close(engine, worker->quitting ? CLOSE_MS / 5 : CLOSE_MS) != SL_OK;
    if (worker->access_log != NULL && abandoned)
        (void)sl_access_log_flush(worker->access_log); /* a thread that is inside may write more */
    else if (worker->access_log != NULL &&
             sl_access_log_close(worker->access_log, LAST_LINES_MS) != SL_OK)
        sl_worker_log(worker, SL_LOG_WARNING,
                      "The access log takes no lines: the last ones are lost.");
    worker->access_log = NULL;
    if (!abandoned)
        sl_files_close(worker->files);
    return 0;
}

/* ---- the classes ------------------------------------------------------------------------------
 */

static int
init(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    (void)ret_state;
    int rc = open_access_log(worker, err);
    return rc == SL_OK ? open_files(worker, err) : rc;
}

static int
run_sync(struct sl_worker *worker, void *state)
{
    (void)state;
    return serve(worker, 0);
}

static int
run_gthread(struct sl_worker *worker, void *state)
{
    (void)state;
    long long threads = sl_config_number(worker->generation->config, "threads");
    return serve(worker, threads > 1 ? (unsigned)threads : 1);
}

const struct sl_worker_class sl_worker_sync = {
    .abi = SL_WORKER_CLASS_ABI, .name = "sync", .init = init, .run = run_sync};
const struct sl_worker_class sl_worker_gthread = {
    .abi = SL_WORKER_CLASS_ABI, .name = "gthread", .init = init, .run = run_gthread};
