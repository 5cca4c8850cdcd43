/* A complete worker class: HTTP by the engine, a handler of its own, a setting of its own.
 * See docs/writing-a-worker.md.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) step3.c -o step3.so
 *     saola -k ./step3.so:my_worker --set greeting=hello
 */
#include <stdio.h>
#include <stdlib.h>
#include <saola/app.h>

struct state {
    struct sl_worker *worker;
    struct sl_engine *engine;
    const char *greeting;
};

static const struct sl_setting settings[] = {
    {.name = "greeting",
     .type = SL_SETTING_STRING,
     .default_text = "hello",
     .summary = "What is said."},
    {.name = NULL},
};

/* At each start and reload, in a process of its own: whether it can work with these settings. */
static int
check(const struct sl_config *config, struct sl_error *err)
{
    if (sl_config_number(config, "threads") > 1)
        return sl_error_set(err, SL_EINVAL, "threads: my_worker answers one request at a time");
    return SL_OK;
}

static int
handle(void *ctx, struct sl_request *req, struct sl_response *res)
{
    const struct state *state = ctx;
    char text[256];
    (void)req;
    int len = snprintf(text, sizeof text, "%s from %d\n", state->greeting,
                       (int)sl_worker_pid(state->worker));
    return sl_response_send(res, 200, "text/plain", text, (size_t)len);
}

static void
limit_reached(void *ctx)
{
    const struct state *state = ctx;
    sl_worker_log(state->worker, SL_LOG_INFO, "Autorestarting worker after current request.");
    sl_worker_stop(state->worker);
}

/* In the worker, before it counts as ready: what fails here is a failed boot. */
static int
init(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    struct sl_engine_options options;
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return SL_ENOMEM;
    *ret_state = state;
    state->worker = worker;
    state->greeting = sl_values_text(sl_worker_settings(worker), "greeting");
    if (sl_worker_engine_options(worker, &options) != SL_OK)
        return SL_ENOMEM;
    options.handle = handle;
    options.on_limit = limit_reached;
    options.ctx = state;
    return sl_engine_open(&options, &state->engine, err);
}

/* Until every connection is gone after TERM. The engine beats while it turns. */
static int
run(struct sl_worker *worker, void *ctx)
{
    struct state *state = ctx;
    while (!sl_worker_quitting(worker) && sl_engine_turn(state->engine, 500) != SL_ECLOSED)
        sl_worker_beat(worker);
    return 0;
}

/* TERM, in the signal handler. */
static void
stop(struct sl_worker *worker, void *ctx)
{
    const struct state *state = ctx;
    (void)worker;
    sl_engine_stop(state->engine);
}

static void
leave(struct sl_worker *worker, void *ctx)
{
    struct state *state = ctx;
    if (state != NULL && state->engine != NULL) {
        sl_worker_log(worker, SL_LOG_INFO, "my_worker has answered %llu requests",
                      (unsigned long long)sl_engine_requests(state->engine));
        (void)sl_engine_close(state->engine, 0);
    }
    free(state);
}

SL_WORKER_CLASS(my_worker) = {.abi = SL_WORKER_CLASS_ABI,
                              .name = "my_worker",
                              .settings = settings,
                              .check = check,
                              .init = init,
                              .run = run,
                              .stop = stop,
                              .exit = leave};
