/* Pools in C for the tests: printing, computing, hanging, with settings of their own. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <saola/pool.h>

#ifndef GREETING
#define GREETING "hello"
#endif

static int
start(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    if (getenv("POOL_FAILS") != NULL && access(getenv("POOL_FAILS"), F_OK) == 0)
        return sl_error_set(err, SL_EHOST, "no database");
    *ret_state = (void *)sl_values_text(sl_worker_settings(worker), "greeting");
    printf("%s %d %d\n", *ret_state != NULL ? (char *)*ret_state : GREETING, sl_worker_id(worker),
           (int)getpid());
    return 0;
}

static void
stop(struct sl_worker *worker, void *state)
{
    (void)state;
    sl_worker_log(worker, SL_LOG_INFO, "logged %d", sl_worker_id(worker));
    printf("end %d", sl_worker_id(worker)); /* no end of the line, and nobody flushes */
}

/* A line of a megabyte, then a worker that is torn off in one. */
static int
print(struct sl_worker *worker, void *state)
{
    static char line[1 << 20];
    (void)state;
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    fwrite(line, sizeof line, 1, stderr);
    if (sl_worker_id(worker) == 1 && access("torn", F_OK) < 0) {
        fclose(fopen("torn", "w"));
        fputs("torn-off", stdout);
        fflush(stdout);
        kill(getpid(), SIGKILL);
    }
    while (sl_worker_wait(worker, -1) == SL_OK)
        ;
    return 0;
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Looks at nothing for 3.5 seconds. */
static int
compute(struct sl_worker *worker, void *state)
{
    double until = now() + 3.5;
    (void)state;
    printf("%s computes\n", sl_worker_info(worker)->group);
    while (now() < until)
        usleep(1000);
    printf("%s has computed\n", sl_worker_info(worker)->group);
    return sl_worker_wait(worker, -1) == SL_ECLOSED ? 0 : 1;
}

/* 40 lines a turn, for as long as nobody reads. */
static void
count(void *arg)
{
    static int number;
    (void)arg;
    for (int i = 0; i < 40; i++)
        printf("%08d %s\n", number++,
               "................................................................");
}

static int
start_counting(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    (void)ret_state;
    (void)err;
    return sl_worker_timer(worker, 1, 1, count, NULL, NULL);
}

static int
sleep_long(struct sl_worker *worker, void *state)
{
    (void)state;
    printf("begins to wait\n");
    int rc = sl_worker_wait(worker, 3600 * 1000);
    printf("woke: %s\n", sl_status_name(rc));
    return 0;
}

static int
tick(struct sl_worker *worker, void *state)
{
    (void)worker;
    (void)state;
    printf("tick\n");
    return 0;
}

/* Holds a lock for as long as it lives, and tells whether somebody else does. */
static int
start_alone(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    int fd = open("native.lock", O_RDWR | O_CREAT, 0600);
    (void)worker;
    (void)ret_state;
    (void)err;
    printf("said %s %d\n", flock(fd, LOCK_EX | LOCK_NB) == 0 ? "alone" : "two", (int)getpid());
    return 0;
}

static void
stop_alone(struct sl_worker *worker, void *state)
{
    (void)worker;
    (void)state;
    usleep(200 * 1000);
    printf("said left %d\n", (int)getpid());
}

static const struct sl_setting settings[] = {
    {.name = "greeting", .type = SL_SETTING_STRING, .default_text = GREETING},
    {.name = "level", .type = SL_SETTING_INT, .default_text = "1", .min = 1, .max = 9},
    {.name = NULL},
};
static int
open_shared(const struct sl_values *values, struct sl_error *err)
{
    if (sl_values_number(values, "level") == 9)
        return sl_error_set(err, SL_EHOST, "level 9 is taken");
    fprintf(stderr, "opened with level %d\n", (int)sl_values_number(values, "level"));
    return 0;
}

static const struct sl_pool_worker greets = {.start = start, .stop = stop};
static const struct sl_pool_worker is_alone = {.start = start_alone, .stop = stop_alone};
static const struct sl_pool_worker prints = {.main = print};
static const struct sl_pool_worker computes = {.main = compute};
static const struct sl_pool_worker counts = {.start = start_counting};
static const struct sl_pool_worker waits = {.main = sleep_long};
static const struct sl_pool_worker ticks = {.main = tick};

SL_POOL(pool) = {.abi = SL_POOL_ABI,
                 .name = "greets",
                 .workers = 2,
                 .worker = &greets,
                 .settings = settings,
                 .open = open_shared};
SL_POOL(printing) = {.abi = SL_POOL_ABI, .name = "prints", .workers = 2, .worker = &prints};
SL_POOL(computing) = {.abi = SL_POOL_ABI, .name = "busy", .worker = &computes, .timeout = 2};
SL_POOL(watched) = {.abi = SL_POOL_ABI,
                    .name = "watched",
                    .worker = &computes,
                    .timeout = 1,
                    .watch_main = true,
                    .graceful_timeout = 1};
SL_POOL(counting) = {.abi = SL_POOL_ABI, .name = "counts", .worker = &counts, .timeout = 2};
SL_POOL(waiting) = {.abi = SL_POOL_ABI, .name = "waits", .worker = &waits};
SL_POOL(raw) = {.abi = SL_POOL_ABI, .name = "raw", .worker = &waits, .raw_output = true};
SL_POOL(ticking) = {.abi = SL_POOL_ABI, .name = "ticks", .worker = &ticks, .every_ms = 200};
SL_POOL(alone) = {.abi = SL_POOL_ABI, .name = "alone", .worker = &is_alone, .exclusive = true};
