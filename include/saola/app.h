/* An application in C: one constant table in a shared object, `saola ./app.so[:NAME]`.
 *
 *     #include <saola/app.h>
 *
 *     static int
 *     hello(void *state, struct sl_request *req, struct sl_response *res)
 *     {
 *         return sl_response_send(res, 200, "text/plain", "Hello, world\n", 13);
 *     }
 *
 *     SL_APP(app) = {.abi = SL_APP_ABI, .request = hello};
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) hello.c -o hello.so && saola ./hello.so
 *
 * The life of an application, in each worker: load, start, request ..., stop, exit. Every function
 * but request may be NULL.
 */
#ifndef SAOLA_APP_H
#define SAOLA_APP_H

#include <saola/http.h>
#include <saola/worker.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

#define SL_APP_ABI 0x534c4101u

struct sl_app {
    unsigned abi; /* SL_APP_ABI */
    const char *name;
    const struct sl_setting *settings; /* of its own: <saola/worker.h>; NULL: none */

    /* What takes long and needs no worker: tables, files. Process: the worker, after it has become
     * its user; with preload_app the arbiter, once a generation, and workers get what it has made
     * by fork (no threads then). *ret_data goes to start(). A negative result: the boot, or the
     * reload, has failed, err says why. */
    int (*load)(const struct sl_values *settings, void **ret_data, struct sl_error *err);

    /* (worker, main thread) Before the worker counts as ready: connections, threads, timers.
     * *ret_state, which is data unless it is set, goes to the functions below. */
    int (*start)(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err);

    /* Answers a request: 0, negative (500), or SL_PENDING, which only class sync knows. In class
     * gthread several run at once, each on a thread of its own. See sl_handler_fn. */
    int (*request)(void *state, struct sl_request *req, struct sl_response *res);

    /* (main thread) What happens to a request for which request() returned SL_PENDING: enum sl_on.
     * SL_PENDING: it goes on. 0: it is answered, and finished as soon as this returns; negative:
     * the same (500 where nothing was started; sl_response_fail() cuts what was). Elsewhere, in
     * timers and posts, sl_request_finish() ends it. After SL_ON_CLOSED, and after it was finished,
     * req and res must not be used any more. Not called for requests of sl_request_later(). */
    int (*event)(void *state, struct sl_request *req, unsigned what);

    /* (main thread) The worker was asked to leave: the engine answers what is in progress, and
     * requests may still come. Pending ones should be finished now. Not called at a quick end. */
    void (*stop)(void *state);

    /* (main thread) No request is in progress any more, but for handlers that hang: save. Under
     * exit_timeout. */
    void (*exit)(void *state);
};

/* Defines the table so that the server finds it: SL_APP(app) = {.abi = SL_APP_ABI, ...}; */
#ifdef __cplusplus
#define SL_APP(NAME)                                                                               \
    extern const struct sl_app NAME __attribute__((visibility("default")));                        \
    const struct sl_app NAME
#define SL_WORKER_CLASS(NAME)                                                                      \
    extern const struct sl_worker_class NAME __attribute__((visibility("default")));               \
    const struct sl_worker_class NAME
#else
#define SL_APP(NAME)                                                                               \
    __attribute__((visibility("default"))) extern const struct sl_app NAME;                        \
    const struct sl_app NAME
#define SL_WORKER_CLASS(NAME)                                                                      \
    __attribute__((visibility("default"))) extern const struct sl_worker_class NAME;               \
    const struct sl_worker_class NAME
#endif

/* A whole response at once: status, Content-Type (NULL: none) and body. What
 * sl_response_header() has added before is lost; use sl_response_start_code() and
 * sl_response_write() where there is more to say. Returns what a handler may return: 0, or a
 * negative code when the arguments are no response. */
int sl_response_send(struct sl_response *res, int status, const char *content_type,
                     const void *body, size_t len);

/* ---- answers that come later, from any thread --------------------------------------------------
 */

struct sl_later;

/* Keeps the exchange after the handler, which must return SL_PENDING then. It takes req->host_data
 * for itself (an application's own host_data is an even address). Thread: the handler's, class sync
 * only. NULL without memory or outside class sync.
 *
 * Ownership: the caller's until sl_later_finish(), which must be called exactly once, also when the
 * client has gone (the slices of the request are valid until then; read them before, if another
 * thread needs them). */
struct sl_later *sl_request_later(struct sl_worker *worker, struct sl_request *req,
                                  struct sl_response *res);

/* True when nobody waits for the answer any more. (any thread) */
bool sl_later_gone(const struct sl_later *later);

/* Answers: fn is called on the main thread and writes the response, with functions that do not
 * block; the exchange ends when it returns. req and res are NULL when the client is gone, so that
 * arg can be freed. later is invalid from now on. (any thread) SL_OK, SL_ENOMEM (call it again). */
typedef void (*sl_later_fn)(void *arg, struct sl_request *req, struct sl_response *res);
int sl_later_finish(struct sl_later *later, sl_later_fn fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
