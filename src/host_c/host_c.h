/* What the files of this room share: the host (one, in the arbiter and, by fork, in each worker),
 * the generations it has loaded, the worker.
 *
 *   run.c          sl_run(): command line, first look at the application, arbiter
 *   commandline.c  flags and environment to a configuration; help.c: what --help says
 *   host.c         struct sl_host: the arbiter's side
 *   generation.c   one loaded configuration and the tables it names
 *   object.c       shared objects: open one, find a table in it; check.c: try that in a process
 *   values.c       settings of applications and worker classes
 *   life.c         a worker's life; signals.c: what it does upon signals
 *   worker.c       <saola/worker.h>; loop.c: its timers, descriptors, posts; later.c: late answers
 *   serve.c        the classes sync and gthread; options.c: settings to the engine's options
 *   pool/          pools
 *   mount.c        applications below a path
 *   log.c          the error log; syslog.c: to syslog
 *   reloader.c     a HUP when a shared object was built anew (--reload)
 */
#ifndef SL_HOST_C_HOST_C_H
#define SL_HOST_C_HOST_C_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <saola/access_log.h>
#include <saola/files.h>
#include <saola/guest.h>
#include <saola/saola.h>
#include "log.h"
#include "object.h"
#include "pool/pool.h"

static inline long long
sl_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline long long
sl_now_ms(void)
{
    return sl_clock_ns(CLOCK_MONOTONIC) / 1000000;
}

/* ---- generations (generation.c) ---------------------------------------------------------------
 */

/* An application at a place: where it is from, and what has become of it in this process. */
struct sl_site {
    char *prefix; /* NULL: the application itself */
    size_t prefix_len;
    struct sl_object object;  /* unless the table was given to sl_run() */
    const struct sl_app *app; /* once it is loaded */
    struct sl_values values;
    void *data, *state;
    bool loaded, started;
};

struct sl_generation {
    unsigned number; /* 0 as long as no worker was made of it */
    unsigned refs;
    struct sl_config *config;
    struct sl_site *sites; /* the application, if there is one, is the last; longest prefix first */
    size_t site_count;
    const struct sl_worker_class *worker_class; /* NULL until its object is loaded */
    struct sl_object class_object;
    struct sl_values class_values;
    char *class_name;
    const struct sl_hooks *hooks;
    struct sl_object hooks_object;
    struct sl_pool_site *pools;
    size_t pool_count;
    bool shares_settings; /* app_settings may be meant for others, who are not here */
    int report_fds[2];    /* holds a byte until a worker has said why it cannot boot */
};

/* What the command line said. */
struct sl_commandline {
    struct sl_config *config;
    char *app;          /* as named, or NULL */
    char *worker_class; /* as named, or NULL */
    bool check_config, print_config;
};

struct sl_host_c;

/* Opens what a configuration names, and takes config. first: nothing may be tried yet. */
int sl_generation_new(struct sl_host_c *host, struct sl_commandline *line,
                      struct sl_generation **ret_generation, struct sl_error *err);
void sl_generation_unref(struct sl_generation *generation);
/* Loads tables (of the application and the worker class) and reads their settings. Process: a
 * worker, or the process of a check; not the arbiter. *ret_exit is the status of one that fails. */
int sl_generation_load_tables(struct sl_generation *generation, int *ret_exit,
                              struct sl_error *err);
/* Calls load() of the applications. */
int sl_generation_load_apps(struct sl_generation *generation, struct sl_error *err);
/* Does the first in a process of its own, and check() of the worker class; says what came of it. */
int sl_generation_check(struct sl_generation *generation, int *ret_exit, struct sl_error *err);

/* ---- the host (host.c) ------------------------------------------------------------------------
 */

struct sl_host_c {
    const struct sl_run_options *options;
    struct sl_host table;
    struct sl_arbiter *arbiter;
    struct sl_generation *current, *next, *first;
    const struct sl_pool **opened; /* tables whose open() was called */
    size_t opened_count;
    struct sl_title title;
    struct sl_errlog *log;
    struct sl_reloader *reloader;
    struct sl_pool_output *output; /* NULL: no worker's output is captured */
    const int *listeners;
    int *listener_copy;
    size_t listener_count;
    char suffix[8];
    pid_t arbiter_pid;
    char **exec_argv;
    int start_dir; /* descriptor of the directory in which it was started */
};

/* sl_run() for a program that ends with it: signals stay ignored, so that a late one does not make
 * a failure of an orderly end. */
int sl_run_program(const struct sl_run_options *options);
/* Fills host->table. */
void sl_host_c_init(struct sl_host_c *host);
/* Runs a hook; logs a failure. */
int sl_host_c_hook(struct sl_host_c *host, const struct sl_hook_call *call);
void sl_host_c_title(struct sl_host_c *host, const char *role,
                     const struct sl_generation *generation, const char *suffix);

/* ---- command line (commandline.c, help.c) ------------------------------------------------------
 */

/* Reads defaults of the program, environment and command line, in this order. SL_EINVAL and others
 * with a sentence; *ret_exit is the exit status then, or -1 when everything is said (--help). */
int sl_commandline_read(const struct sl_run_options *options, struct sl_commandline *ret_line,
                        int *ret_exit, struct sl_error *err);
void sl_commandline_release(struct sl_commandline *line);
void sl_help_print(const char *program, const char *setting);
void sl_help_print_config(const struct sl_commandline *line);

/* ---- reload upon changes (reloader.c) ----------------------------------------------------------
 */

/* Watches the shared objects of a generation, as it has opened them, and the setting
 * reload_extra_files: from now on the arbiter's loop is woken several times a second. *ret_reloader
 * is left alone without the setting reload. SL_ENOMEM, SL_ESYS with a sentence. See
 * <saola/guest.h>, too. */
int sl_reloader_new(const struct sl_generation *generation, struct sl_reloader **ret_reloader,
                    struct sl_error *err);

/* ---- worker -----------------------------------------------------------------------------------
 */

struct sl_loop_c;

struct sl_worker {
    struct sl_host_c *host;
    struct sl_generation *generation;
    struct sl_worker_info info;
    struct sl_pool_site *pool;       /* NULL: it serves the web */
    int place;                       /* in its pool */
    struct sl_pool_streams *streams; /* (arbiter) of its place */
    struct sl_worker *beside;        /* (arbiter) another one at its place */
    pid_t pid;
    int *listeners;
    size_t listener_count;
    struct sl_errlog *log;

    /* in the worker's process */
    struct sl_loop_c *loop;         /* NULL: a mounted application in another host's worker */
    const struct sl_values *values; /* of whom the worker calls just now */
    struct sl_pool_beat *heart;     /* NULL: who runs beats */
    const struct sl_worker_class *class;
    void *class_state;
    char failure[sizeof((struct sl_error *)0)->text + 1]; /* why it serves nothing else */
    bool inited, serving_sync;
    int tick_ms; /* that a turn may last, so that the beat comes in time */
    int stop_fd;
    atomic_int stopping, quitting, reopen; /* set by signals, asked by any thread */
    struct sigaction abort_action;         /* what SIGABRT did before the hook worker_abort */
    struct sl_engine *_Atomic engine;      /* for the signal handler */
    struct sl_access_log *access_log;
    struct sl_files *files;
    uint64_t dropped; /* lines of the access log, as far as they were told */
};

/* The whole life of a worker (life.c). */
int sl_worker_live(struct sl_worker *worker);
/* Its loop, and what wakes it upon a stop. */
int sl_worker_open_parts(struct sl_worker *worker, struct sl_error *err);
/* Starts, asks to stop, and ends the applications of its generation. */
int sl_sites_start(struct sl_worker *worker, struct sl_error *err);
void sl_sites_stop(struct sl_worker *worker);
void sl_sites_exit(struct sl_worker *worker);
/* From now on signals reach this worker (signals.c). */
void sl_worker_take_signals(struct sl_worker *worker);
/* What signals have left to do: log files (main thread). */
void sl_worker_chores(struct sl_worker *worker);
const struct sl_site *sl_generation_main(const struct sl_generation *generation);
/* What people call it: proc_name, the application's file or name. */
const char *sl_generation_name(const struct sl_generation *generation);

void sl_worker_access_log_turn(struct sl_worker *worker); /* opens its file anew (serve.c) */

/* The worker's loop (loop.c): an epoll set of its own. */
int sl_loop_c_open(struct sl_loop_c **ret_loop);
int sl_loop_c_fd(const struct sl_loop_c *loop);
/* Runs what is due. Waits for at most timeout_ms. */
void sl_loop_c_turn(struct sl_loop_c *loop, int timeout_ms);
void sl_loop_c_wake(struct sl_loop_c *loop); /* any thread, signal */
void sl_loop_c_close(struct sl_loop_c *loop);

/* Which application a request is for, or NULL (mount.c). Mostly there is only one. */
struct sl_site *sl_sites_search(struct sl_generation *generation, const struct sl_request *req);
static inline struct sl_site *
sl_sites_find(struct sl_generation *generation, const struct sl_request *req)
{
    bool one = generation->site_count > 0 && generation->sites[0].prefix == NULL;
    return one ? &generation->sites[0] : sl_sites_search(generation, req);
}
bool sl_path_is_below(struct sl_str path, const char *prefix, size_t len);
/* "/prefix=PATH.so[:NAME]" */
int sl_site_parse(struct sl_site *site, const char *text, struct sl_error *err);

/* on_event of the engine for requests of sl_request_later() (later.c); false: it is none. */
bool sl_later_event(struct sl_request *req, unsigned what);

#endif
