/* Pools: what the files of this folder show to each other and to the host.
 *
 *   tables.c      which pools a generation has
 *   places.c      who has which place
 *   process.c     what a worker does
 *   schedule.c    when one with a schedule runs
 *   beat.c        the heartbeat beside main()
 *   output.c      what workers print; output.h: shared with
 *   collector.c   the process that reads it
 *   guest.c       a pool below another host's arbiter
 */
#ifndef SL_HOST_C_POOL_POOL_H
#define SL_HOST_C_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <saola/pool.h>
#include "../object.h"
#include "schedule.h"

struct sl_generation;
struct sl_host_c;
struct sl_worker;

/* A pool, and in the arbiter who has which place in it. */
struct sl_pool_site {
    const struct sl_pool *table;
    struct sl_object object; /* unless the table was given to sl_run() */
    struct sl_error broken;  /* why, if its code is not SL_OK */
    struct sl_pool stand_in; /* the table then */
    char stand_in_name[SL_GROUP_NAME];
    struct sl_schedule schedule;
    struct sl_values values;
    long *left; /* one a place */
    size_t place_count;
    long departures;
};

/* (arbiter) Finds the tables that the program and the setting native_pools name. A shared object
 * that holds no good one becomes a pool whose start() fails of the reason, for who waits for it to
 * be built anew (setting reload); everybody else asks sl_pools_check(). */
int sl_pools_load(struct sl_host_c *host, struct sl_generation *generation, struct sl_error *err);
/* The reason if one is broken. */
int sl_pools_check(const struct sl_generation *generation, struct sl_error *err);
/* (arbiter) Calls open() of those for which it was not called yet. */
int sl_pools_open(struct sl_host_c *host, const struct sl_generation *generation,
                  struct sl_error *err);
/* (arbiter) Calls open() of one. */
int sl_pools_open_shared(struct sl_pool_site *site, struct sl_error *err);
void sl_pools_release(struct sl_generation *generation);
/* (arbiter) Writes a row for each; returns how many. */
size_t sl_pools_groups(const struct sl_generation *generation, struct sl_group *ret_groups);
/* NULL: there is none of this name. */
struct sl_pool_site *sl_pools_find(struct sl_generation *generation, const char *name);
/* How many workers it is to have. */
unsigned sl_pools_size(const struct sl_pool *table);
/* (arbiter) The place of a new worker; -1 without memory. */
int sl_pools_take_place(struct sl_pool_site *site);
/* (arbiter) Its worker has ended; final: and is not to come back. */
void sl_pools_leave_place(struct sl_pool_site *site, int place, bool final);
long long sl_pools_timeout_ms(const struct sl_pool *table); /* 0: none */
/* Whether main() is called at times. */
bool sl_pools_is_scheduled(const struct sl_pool *table);
/* (worker) The steps of its life. */
int sl_pools_start(struct sl_worker *worker, struct sl_error *err);
int sl_pools_run(struct sl_worker *worker); /* the exit status */
void sl_pools_stop(struct sl_worker *worker);
/* (worker) Around main(): a thread beats, unless the table wants main() watched. */
int sl_pools_beat_start(struct sl_worker *worker);
void sl_pools_beat_stop(struct sl_worker *worker);

/* ---- output (output.c) ------------------------------------------------------------------------
 */

/* (arbiter) Before the fork: the streams of its place exist, and somebody reads them. */
int sl_output_prepare(struct sl_worker *worker, struct sl_error *err);
/* (arbiter) It was reaped, or never forked. */
void sl_output_worker_gone(struct sl_worker *worker);
/* (arbiter) Between events. */
void sl_output_idle(struct sl_host_c *host);
/* (arbiter) The log file was opened anew. */
void sl_output_reopen(struct sl_host_c *host);
/* (arbiter) Another child was reaped; perhaps the collector. */
void sl_output_child_gone(struct sl_host_c *host, pid_t pid, int wait_status);
/* (arbiter) At the end: everything written is shown, or the collector goes on alone. */
void sl_output_close(struct sl_host_c *host);
/* (worker) Standard output and error are the streams of its place, if its pool has such; the log
 * goes where it went. */
int sl_output_enter(struct sl_worker *worker, struct sl_error *err);
/* (worker of the web) The pipes are not its own. */
void sl_output_leave(struct sl_host_c *host);

#endif
