/* An application with everything that can go wrong, for test_capi.py. -DTEXT="..." is its answer.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <saola/app.h>
#include <saola/hooks.h>

#ifndef TEXT
#define TEXT "faulty"
#endif

#ifdef CRASH_IN_CONSTRUCTOR
#include <signal.h>
__attribute__((constructor)) static void
crash_at_once(void)
{
    signal(SIGSEGV, SIG_DFL);
    *(volatile int *)8 = 1;
}
#endif

static int
start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    (void)data;
    *ret_state = worker;
#ifdef FAIL_IN_START
    return sl_error_set(err, SL_EHOST, "start: not today");
#else
    (void)err;
    return SL_OK;
#endif
}

static bool
path_is(const struct sl_request *req, const char *path)
{
    return req->path.len == strlen(path) && memcmp(req->path.ptr, path, req->path.len) == 0;
}

/* ---- crashes ----------------------------------------------------------------------------------
 */

static volatile int zero;
static int recurse(const char *above);
static int (*volatile deeper)(const char *above) = recurse; /* or the compiler sees through it */

static int
recurse(const char *above)
{
    volatile char frame[1000];
    frame[0] = above[0];
    return deeper((const char *)frame) + frame[0];
}

static void *
crash_at(void *address)
{
    *(volatile int *)address = 1;
    return NULL;
}

static void
crash(const char *way)
{
    pthread_t thread;
    if (strcmp(way, "SEGV") == 0)
        crash_at((void *)8);
    else if (strcmp(way, "FPE") == 0)
        zero = 1000 / zero;
    else if (strcmp(way, "ABRT") == 0)
        abort();
    else if (strcmp(way, "overflow") == 0)
        zero = recurse("x");
    else if (strcmp(way, "thread") == 0 && pthread_create(&thread, NULL, crash_at, (void *)8) == 0)
        pthread_join(thread, NULL);
}

static int
request(void *state, struct sl_request *req, struct sl_response *res)
{
    char path[64];
    snprintf(path, sizeof path, "%.*s", (int)req->path.len, req->path.ptr);
    const char *way = strstr(path, "/crash/"); /* also below a mount */
    if (way != NULL)
        crash(way + 7);
    while (path_is(req, "/hang"))
        sleep(1);
    if (req->query.len > 4 && memcmp(req->query.ptr, "log=", 4) == 0)
        sl_worker_log(state, SL_LOG_WARNING, "%.*s", (int)req->query.len - 4, req->query.ptr + 4);
    return sl_response_send(res, 200, "text/plain", TEXT, strlen(TEXT));
}

SL_APP(app) = {.abi = SL_APP_ABI, .name = "faulty", .start = start, .request = request};

/* ---- a worker class that forgets its beat
 * --------------------------------------------------------- */

static int
sleep_for_ever(struct sl_worker *worker, void *state)
{
    (void)state;
    while (!sl_worker_quitting(worker))
        sleep(1);
    return 0;
}

SL_WORKER_CLASS(silent) = {.abi = SL_WORKER_CLASS_ABI, .name = "silent", .run = sleep_for_ever};

/* ---- hooks
 * ---------------------------------------------------------------------------------------- */

#define HOOK(name)                                                                                 \
    static int name(const struct sl_hook_call *call)                                               \
    {                                                                                              \
        fprintf(stderr, "hook " #name " %d\n", (int)getpid());                                     \
        return call->request != NULL && path_is(call->request, "/refused") ? SL_EINVAL : SL_OK;    \
    }

HOOK(on_starting)
HOOK(when_ready)
HOOK(pre_fork)
HOOK(post_fork)
HOOK(post_worker_init)
HOOK(pre_request)
HOOK(post_request)
HOOK(child_exit)
HOOK(worker_exit)

/* In a signal handler. */
static int
worker_abort(const struct sl_hook_call *call)
{
    (void)call;
    return write(2, "hook worker_abort\n", 18) == 18 ? SL_OK : SL_ESYS;
}

static int
at_the_end(const struct sl_hook_call *call)
{
    (void)call;
    fprintf(stderr, "hook on_exit %d\n", (int)getpid());
    return SL_OK;
}

SL_HOOKS(hooks) = {.abi = SL_HOOKS_ABI,
                   .on_starting = on_starting,
                   .when_ready = when_ready,
                   .pre_fork = pre_fork,
                   .post_fork = post_fork,
                   .post_worker_init = post_worker_init,
                   .pre_request = pre_request,
                   .post_request = post_request,
                   .worker_abort = worker_abort,
                   .child_exit = child_exit,
                   .worker_exit = worker_exit,
                   .on_exit = at_the_end};
