/* Pools in C: processes that serve no HTTP, kept alive by the same arbiter as web workers, beside
 * them or alone.
 *
 *     #include <saola/pool.h>
 *
 *     static int
 *     work(struct sl_worker *worker, void *state)
 *     {
 *         while (sl_worker_wait(worker, 1000) == SL_OK)
 *             do_some();
 *         return 0;
 *     }
 *
 *     static const struct sl_pool_worker mailer = {.main = work};
 *
 *     SL_POOL(pool) = {.abi = SL_POOL_ABI, .name = "mailer", .workers = 4, .worker = &mailer};
 *
 * is served by `saola --pool ./mailer.so[:NAME]` (the default NAME is pool; several may be given,
 * with or without an application), or by sl_run() with it in its options.
 */
#ifndef SAOLA_POOL_H
#define SAOLA_POOL_H

#include <saola/worker.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

#define SL_POOL_ABI 0x534c5002u

/* A worker's life: start, main, stop. Process: the worker, after it has become its user. Thread:
 * the main one. What <saola/worker.h> has for worker classes may be used: timers, descriptors,
 * posts, settings of the server; there is no application, and listeners are not for pools. */
struct sl_pool_worker {
    /* Before the worker counts as ready; *ret_state goes to the others. A negative result is a
     * failed boot, err says why. May be NULL. */
    int (*start)(struct sl_worker *worker, void **ret_state, struct sl_error *err);
    /* Works until sl_worker_stopping(); sl_worker_wait() sleeps until then. It may compute for as
     * long as it likes, unless the pool has watch_main. Returns 0, or an exit status; a negative
     * result is a failure. In a pool with a schedule it is called at each time. NULL: the loop's
     * timers, descriptors and posts are all the work; a callback that does not return for `timeout`
     * seconds is a hang. */
    int (*main)(struct sl_worker *worker, void *state);
    /* The last of every orderly end, also when main() has failed. Under exit_timeout. May be NULL.
     */
    void (*stop)(struct sl_worker *worker, void *state);
};

/* What is 0 or NULL has the meaning said here. Times in seconds; -1: no limit. */
struct sl_pool {
    unsigned abi;     /* SL_POOL_ABI */
    const char *name; /* at most 31 bytes; not "web", which the applications' workers are */
    unsigned workers; /* 0: one */
    const struct sl_pool_worker *worker;
    /* Settings of its own, see <saola/worker.h>: sl_worker_settings() in all functions of the
     * worker. NULL: none. */
    const struct sl_setting *settings;
    /* Opens what all workers share, such as a socket: they inherit it as by fork(). Process: the
     * arbiter, once for each table, before its first worker. A negative result: the start, or the
     * reload, has failed. May be NULL. */
    int (*open)(const struct sl_values *settings, struct sl_error *err);
    /* Times at which main() is called, by one worker, instead of once. Milliseconds of a period
     * (counted on the clock of the machine), or a cron expression, "MINUTE HOUR DAY MONTH WEEKDAY"
     * or with the second before these, in local time. A time that comes while main() runs is left
     * out. */
    unsigned every_ms;
    const char *cron;
    /* Never two workers at a time, in no reload, upgrade or restart; there is one. */
    bool exclusive;
    enum sl_restart restart;
    /* 0: the settings of these names; timeout: 15. */
    int boot_timeout, timeout, graceful_timeout, exit_timeout;
    int max_lifetime;     /* after which a worker is replaced; 0: never */
    long long max_memory; /* bytes, the same */
    /* main() calls sl_worker_wait(), sl_worker_turn() or sl_worker_beat() more often than every
     * `timeout` seconds, else it hangs and the worker is replaced. Without it a thread beats. */
    bool watch_main;
    /* Standard output and error of the workers are the arbiter's. Without it they come through a
     * process that writes whole lines, each behind "[NAME/ID] ", live; stdout is line-buffered. */
    bool raw_output;
};

/* The worker's place in its pool, from 0 on; its successor has the same. -1 outside of pools. */
int sl_worker_id(const struct sl_worker *worker);

/* Defines the table so that the server finds it. */
#ifdef __cplusplus
#define SL_POOL(NAME)                                                                              \
    extern const struct sl_pool NAME __attribute__((visibility("default")));                       \
    const struct sl_pool NAME
#else
#define SL_POOL(NAME)                                                                              \
    __attribute__((visibility("default"))) extern const struct sl_pool NAME;                       \
    const struct sl_pool NAME
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
