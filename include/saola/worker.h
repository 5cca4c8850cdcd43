/* What code in a worker process can ask of it: an application (<saola/app.h>), a worker class of
 * one's own (below), hooks (<saola/hooks.h>).
 *
 * Process: one worker, unless a function says otherwise. Thread: the worker's main one, but for
 * functions marked (any thread) and (signal). The main thread is the one that runs the engine in
 * class sync, so that there callbacks of timers, descriptors and sl_worker_post() may use requests
 * that are pending; in class gthread handlers run on other threads.
 */
#ifndef SAOLA_WORKER_H
#define SAOLA_WORKER_H

#include <stdarg.h>
#include <saola/config.h>
#include <saola/engine.h>
#include <saola/host.h>
#include <saola/log.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_app;
struct sl_timer;
struct sl_values;
struct sl_worker;

/* ---- what is known --------------------------------------------------------------------------- */

/* Group, age, generation, slot. Also in the arbiter, for hooks. */
const struct sl_worker_info *sl_worker_info(const struct sl_worker *worker);
/* 0 before the fork. Also in the arbiter. */
pid_t sl_worker_pid(const struct sl_worker *worker);
/* Settings of the server, of this worker's generation; see <saola/config.h>. (any thread) */
const struct sl_config *sl_worker_config(const struct sl_worker *worker);
/* Settings of one's own: in start() those that the application has declared, in init() and run()
 * those of the worker class. What is got from them lives as long as the worker. */
const struct sl_values *sl_worker_settings(const struct sl_worker *worker);
/* The worker's listening sockets: non-blocking, owned by the worker. Process: also valid in the
 * arbiter. */
const int *sl_worker_listeners(const struct sl_worker *worker, size_t *ret_count);
/* The application, or NULL; and what its start() has made. */
const struct sl_app *sl_worker_app(const struct sl_worker *worker, void **ret_state);

/* One line for the error log, cut at 2000 bytes; control characters are replaced. (any thread) */
void sl_worker_log(const struct sl_worker *worker, enum sl_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- settings of one's own --------------------------------------------------------------------
 */

/* A table of settings ends with a row whose name is NULL. Of struct sl_setting only name, type
 * (BOOL, INT, OCTAL, SIZE, STRING, CHOICE), default_text, min, max (of numbers; both 0: no
 * bounds), choices and summary count. Users give them by `--set NAME=VALUE`. */

/* The value as text; NULL where there is none or no row of that name. (any thread) */
const char *sl_values_text(const struct sl_values *values, const char *name);
/* The value as a number: see sl_config_number(). (any thread) */
long long sl_values_number(const struct sl_values *values, const char *name);

/* ---- the worker's loop ------------------------------------------------------------------------
 */

/* Called on the main thread, between requests; they must not block. */
typedef void (*sl_post_fn)(void *arg);
typedef void (*sl_poll_fn)(void *arg, int fd, unsigned flags); /* enum sl_watch */

/* Calls fn(arg) soon, in the order of the calls. (any thread) SL_OK, SL_ENOMEM. What is posted when
 * the worker has ended its loop is called once more before exit(), or not at all. */
int sl_worker_post(struct sl_worker *worker, sl_post_fn fn, void *arg);

/* Calls fn(arg) after so many milliseconds and, if every_ms is not 0, again and again in that
 * distance. *ret_timer (may be NULL) is valid until it has run for the last time or was cancelled,
 * whichever is first. SL_OK, SL_ENOMEM, SL_EUNAVAILABLE (there is no loop: a mounted application in
 * a Python worker). */
int sl_worker_timer(struct sl_worker *worker, unsigned after_ms, unsigned every_ms, sl_post_fn fn,
                    void *arg, struct sl_timer **ret_timer);
/* Also inside its own callback. NULL is accepted. */
void sl_timer_cancel(struct sl_timer *timer);

/* Calls fn whenever the descriptor is ready (level-triggered); flags are SL_WATCH_READ and
 * SL_WATCH_WRITE, 0 ends it (fn and arg do not matter then). The descriptor stays the caller's, who
 * ends the watch before closing it. SL_OK, SL_EINVAL (cannot be polled), SL_ENOENT (to end: not
 * watched), SL_ENOMEM, SL_ESYS, SL_EUNAVAILABLE. */
int sl_worker_poll(struct sl_worker *worker, int fd, unsigned flags, sl_poll_fn fn, void *arg);

/* For worker classes: one turn of the loop. Waits at most timeout_ms (-1: as long as a beat allows,
 * a second at most) for timers, descriptors, posts and the request to stop, and runs what is due.
 * Beats. SL_OK, SL_ECLOSED once the worker is to stop. */
int sl_worker_turn(struct sl_worker *worker, int timeout_ms);

/* Sleeps for so many milliseconds (-1: no limit) or until the worker is to stop, and runs meanwhile
 * what is due in the loop. Beats. SL_OK, SL_ECLOSED once the worker is to stop. */
int sl_worker_wait(struct sl_worker *worker, int timeout_ms);

/* ---- life of a worker -------------------------------------------------------------------------
 */

/* "I am alive": more often than every `timeout` seconds. The classes sync and gthread do it.
 * (any thread) */
void sl_worker_beat(struct sl_worker *worker);
/* The worker was asked to leave (TERM), or to leave at once (INT, QUIT). (any thread, signal) */
bool sl_worker_stopping(const struct sl_worker *worker);
/* It was asked to leave at once. (any thread, signal) */
bool sl_worker_quitting(const struct sl_worker *worker);
/* Readable from the moment sl_worker_stopping() is true. Do not read it. (any thread) */
int sl_worker_stop_fd(const struct sl_worker *worker);
/* Leaves as after TERM. (any thread, signal) */
void sl_worker_stop(struct sl_worker *worker);

/* ---- worker classes ----------------------------------------------------------------------------
 */

#define SL_WORKER_CLASS_ABI 0x534c5701u

/* How a worker runs: `-k ./my.so:NAME` names a constant struct sl_worker_class NAME (default:
 * worker_class) of a shared object. All functions but run() may be NULL. */
struct sl_worker_class {
    unsigned abi; /* SL_WORKER_CLASS_ABI */
    const char *name;
    const struct sl_setting *settings; /* of its own, see above; NULL: none */
    /* Whether it can work with these settings; err says what to change. Process: a short-lived one
     * at each start and reload, which is then given up. */
    int (*check)(const struct sl_config *config, struct sl_error *err);
    /* Before the worker counts as ready; *ret_state goes to the others. A negative result is a
     * failed boot. */
    int (*init)(struct sl_worker *worker, void **ret_state, struct sl_error *err);
    /* Serves until sl_worker_stopping(). 0, or an exit status. */
    int (*run)(struct sl_worker *worker, void *state);
    /* (signal) The request to stop has come; only what is async-signal-safe (sl_engine_stop()). */
    void (*stop)(struct sl_worker *worker, void *state);
    /* The last of an orderly end, under exit_timeout; also when run() has failed. */
    void (*exit)(struct sl_worker *worker, void *state);
};

/* The classes that are built in. */
extern const struct sl_worker_class sl_worker_sync, sl_worker_gthread;

/* For a class that runs the engine itself: the options that follow from the worker's settings
 * (listeners, limits, times, names, slot), without a handler. What they point to lives as long as
 * the worker. SL_ENOMEM. */
int sl_worker_engine_options(struct sl_worker *worker, struct sl_engine_options *ret_options);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
