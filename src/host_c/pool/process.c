/* What a pool's worker does: start, main, at once or at times, stop (worker process). */
#include <unistd.h>
#include "../host_c.h"

int
sl_worker_id(const struct sl_worker *worker)
{
    return worker->pool != NULL ? worker->place : -1;
}

int
sl_pools_start(struct sl_worker *worker, struct sl_error *err)
{
    const struct sl_pool_worker *table = worker->pool->table->worker;
    for (size_t i = 0; i < worker->listener_count; i++)
        close(worker->listeners[i]); /* clients are the web workers' */
    worker->listener_count = 0;
    worker->values = &worker->pool->values;
    *err = worker->pool->broken;
    if (err->code != SL_OK)
        return err->code;
    int rc = table->start == NULL ? SL_OK : table->start(worker, &worker->class_state, err);
    if (rc < 0 && err->text[0] == '\0')
        sl_error_set(err, rc, "start() of the pool %s failed (%s)", worker->info.group,
                     sl_status_name(rc));
    worker->inited = rc >= 0;
    return rc < 0 ? rc : SL_OK;
}

static long long
wall_ms(void)
{
    return sl_clock_ns(CLOCK_REALTIME) / 1000000;
}

/* What a call returns is logged when it is a failure, and the next time comes all the same. */
static int
run_at_times(struct sl_worker *worker)
{
    const struct sl_pool_site *pool = worker->pool;
    long long due = sl_schedule_after_ms(&pool->schedule, wall_ms());
    while (!worker->stopping && due >= 0) {
        long long now = wall_ms();
        if (now < due) {
            (void)sl_worker_wait(worker, due - now < 3600000 ? (int)(due - now) : 3600000);
            continue;
        }
        int rc = pool->table->worker->main(worker, worker->class_state);
        if (rc < 0)
            sl_worker_log(worker, SL_LOG_ERROR, "The run of pool %s at its time failed (%s)",
                          worker->info.group, sl_status_name(rc));
        else if (rc > 0)
            sl_worker_log(worker, SL_LOG_ERROR, "The run of pool %s at its time ended with %d",
                          worker->info.group, rc);
        now = wall_ms();
        due = sl_schedule_after_ms(&pool->schedule, now > due ? now : due);
    }
    return 0;
}

static int
run_main(struct sl_worker *worker)
{
    const struct sl_pool *table = worker->pool->table;
    bool failed = worker->failure[0] != '\0';
    if (!failed && sl_pools_is_scheduled(table))
        return run_at_times(worker);
    if (!failed && table->worker->main != NULL)
        return worker->stopping ? 0 : table->worker->main(worker, worker->class_state);
    (void)sl_worker_wait(worker, -1);
    return 0;
}

int
sl_pools_run(struct sl_worker *worker)
{
    enum { ASKED = 1 };
    int result = sl_pools_beat_start(worker);
    if (result == SL_OK)
        result = run_main(worker);
    sl_pools_beat_stop(worker);
    if (worker->stopping)
        sl_slot_set_cause(worker->info.slot, ASKED);
    if (result < 0)
        sl_errlog_format(worker->log, SL_LOG_ERROR, "main() of worker %d of pool %s failed (%s)",
                         worker->place, worker->info.group, sl_status_name(result));
    return result < 0 ? SL_EXIT_INTERNAL : result & 0xff;
}

void
sl_pools_stop(struct sl_worker *worker)
{
    const struct sl_pool_worker *table = worker->pool->table->worker;
    if (worker->inited && table->stop != NULL)
        table->stop(worker, worker->class_state);
}
