/* Pools in C: which a generation has, who has which place, what their workers do. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "host_c.h"

/* ---- loading (arbiter) ------------------------------------------------------------------------
 */

static bool
name_is_good(const char *name)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t len = name != NULL ? strlen(name) : 0;
    return len > 0 && len < SL_GROUP_NAME && strspn(name, good) == len && strcmp(name, "web") != 0;
}

static bool
is_scheduled(const struct sl_pool *table)
{
    return table->every_ms > 0 || table->cron != NULL;
}

static int
check_table(const struct sl_generation *generation, const struct sl_pool *table,
            struct sl_error *err)
{
    const char *name = table->name != NULL ? table->name : "";
    if (!name_is_good(table->name))
        return sl_error_set(err, SL_EINVAL,
                            "pool \"%.40s\": a name has 1 to %d letters, digits, '-', '_' and "
                            "'.', and is not web",
                            name, SL_GROUP_NAME - 1);
    for (size_t i = 0; i < generation->pool_count; i++) {
        if (strcmp(generation->pools[i].table->name, name) == 0)
            return sl_error_set(err, SL_EINVAL, "there are two pools of the name %s", name);
    }
    if (table->worker == NULL)
        return sl_error_set(err, SL_EINVAL, "pool %s: its member worker is missing", name);
    if (table->every_ms > 0 && table->cron != NULL)
        return sl_error_set(err, SL_EINVAL, "pool %s: every_ms or cron, not both", name);
    if (is_scheduled(table) && table->worker->main == NULL)
        return sl_error_set(err, SL_EINVAL, "pool %s: a schedule needs a function main", name);
    if ((table->exclusive || is_scheduled(table)) && table->workers > 1)
        return sl_error_set(err, SL_EINVAL, "pool %s: %s means one worker, not %u", name,
                            table->exclusive ? "exclusive" : "a schedule", table->workers);
    return SL_OK;
}

static int
add(struct sl_generation *generation, const struct sl_pool *table, struct sl_error *err)
{
    struct sl_pool_site *site = &generation->pools[generation->pool_count];
    struct sl_error why;
    int rc = check_table(generation, table, err);
    if (rc != SL_OK)
        return rc;
    site->schedule.every_ms = table->every_ms;
    if (table->cron != NULL && sl_schedule_parse(table->cron, &site->schedule, &why) != SL_OK)
        return sl_error_set(err, SL_EINVAL, "pool %s: %s", table->name, why.text);
    site->table = table;
    generation->pool_count++;
    return SL_OK;
}

static int
add_object(struct sl_generation *generation, const char *text, struct sl_error *err)
{
    struct sl_object *object = &generation->pools[generation->pool_count].object;
    const void *table = NULL;
    int rc = sl_object_open(object, SL_TABLE_POOL, text, err);
    if (rc == SL_OK)
        rc = sl_object_load(object, &table, err);
    if (rc == SL_OK)
        rc = add(generation, table, err);
    if (rc != SL_OK)
        sl_object_close(object);
    return rc;
}

/* Notes the table; not *ret_first when it was noted before, also for a reload that failed later. */
static int
note_opening(struct sl_host_c *host, const struct sl_pool *table, bool *ret_first)
{
    for (size_t i = 0; i < host->opened_count; i++) {
        if (host->opened[i] == table) {
            *ret_first = false;
            return SL_OK;
        }
    }
    const struct sl_pool **more =
        realloc(host->opened, (host->opened_count + 1) * sizeof *host->opened);
    if (more == NULL)
        return SL_ENOMEM;
    host->opened = more;
    host->opened[host->opened_count++] = table;
    *ret_first = true;
    return SL_OK;
}

int
sl_pools_load(struct sl_host_c *host, struct sl_generation *generation, struct sl_error *err)
{
    const struct sl_pool *const *given = host->options->pools;
    const char *const *named = sl_config_list(generation->config, "native_pools");
    size_t count = 0, i;
    for (i = 0; given != NULL && given[i] != NULL; i++)
        count++;
    for (i = 0; named != NULL && named[i] != NULL; i++)
        count++;
    if (count > SL_GROUPS)
        return sl_error_set(err, SL_ERANGE, "there can be %d pools at most, not %zu", SL_GROUPS,
                            count);
    generation->pools = calloc(count + 1, sizeof *generation->pools);
    int rc = generation->pools != NULL ? SL_OK : sl_error_set(err, SL_ENOMEM, "out of memory");
    for (i = 0; rc == SL_OK && given != NULL && given[i] != NULL; i++) {
        rc = sl_object_check(SL_TABLE_POOL, given[i], "a pool of this program", err);
        if (rc == SL_OK)
            rc = add(generation, given[i], err);
    }
    for (i = 0; rc == SL_OK && named != NULL && named[i] != NULL; i++)
        rc = add_object(generation, named[i], err);
    return rc;
}

int
sl_pools_open(struct sl_host_c *host, const struct sl_generation *generation, struct sl_error *err)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        const struct sl_pool *table = generation->pools[i].table;
        bool first = false;
        if (table->open != NULL && note_opening(host, table, &first) != SL_OK)
            return sl_error_set(err, SL_ENOMEM, "out of memory");
        if (!first)
            continue;
        *err = (struct sl_error){.text = ""};
        int rc = table->open(err);
        if (rc < 0)
            host->opened_count--; /* the next reload tries again */
        if (rc < 0 && err->text[0] == '\0')
            sl_error_set(err, rc, "open() of the pool %s failed (%s)", table->name,
                         sl_status_name(rc));
        if (rc < 0)
            return rc;
    }
    return SL_OK;
}

void
sl_pools_release(struct sl_generation *generation)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        if (generation->pools[i].object.path != NULL)
            sl_object_close(&generation->pools[i].object);
        free(generation->pools[i].left);
    }
    free(generation->pools);
}

/* ---- groups (arbiter) -------------------------------------------------------------------------
 */

static long long
clock_ms(const struct sl_generation *generation, int own, const char *setting)
{
    long long seconds = own != 0 ? own : sl_config_number(generation->config, setting);
    return seconds > 0 ? seconds * 1000 : 0;
}

static struct sl_group
describe(const struct sl_generation *generation, const struct sl_pool *table)
{
    struct sl_group group = {
        .workers = table->workers > 0 ? table->workers : 1,
        .exclusive = table->exclusive,
        .restart = table->restart,
        .boot_ms = clock_ms(generation, table->boot_timeout, "boot_timeout"),
        .timeout_ms = sl_pools_timeout_ms(table),
        .graceful_ms = clock_ms(generation, table->graceful_timeout, "graceful_timeout"),
        .exit_ms = clock_ms(generation, table->exit_timeout, "exit_timeout"),
        .lifetime_ms = table->max_lifetime > 0 ? table->max_lifetime * 1000LL : 0,
        .memory = table->max_memory > 0 ? table->max_memory : 0,
    };
    memcpy(group.name, table->name, strlen(table->name) + 1);
    return group;
}

long long
sl_pools_timeout_ms(const struct sl_pool *table)
{
    enum { TIMEOUT_S = 15 };
    return table->timeout < 0 ? 0 : 1000LL * (table->timeout == 0 ? TIMEOUT_S : table->timeout);
}

size_t
sl_pools_groups(const struct sl_generation *generation, struct sl_group *ret_groups)
{
    for (size_t i = 0; i < generation->pool_count; i++)
        ret_groups[i] = describe(generation, generation->pools[i].table);
    return generation->pool_count;
}

/* ---- places (arbiter) -------------------------------------------------------------------------
 */

enum { HELD = -1, NEW = 0 }; /* else: when it was left; the likeliest to come back is the last */

struct sl_pool_site *
sl_pools_find(struct sl_generation *generation, const char *name)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        if (strcmp(generation->pools[i].table->name, name) == 0)
            return &generation->pools[i];
    }
    return NULL;
}

static bool
make_room(struct sl_pool_site *site, size_t count)
{
    if (count <= site->place_count)
        return true;
    long *left = realloc(site->left, count * sizeof *left);
    if (left == NULL)
        return false;
    memset(left + site->place_count, 0, (count - site->place_count) * sizeof *left);
    site->left = left;
    site->place_count = count;
    return true;
}

int
sl_pools_take_place(struct sl_pool_site *site)
{
    size_t best = SIZE_MAX;
    if (!make_room(site, site->table->workers > 0 ? site->table->workers : 1))
        return -1;
    for (size_t i = 0; i < site->place_count && (best == SIZE_MAX || site->left[best] != NEW);
         i++) {
        if (site->left[i] != HELD &&
            (best == SIZE_MAX || site->left[i] == NEW || site->left[i] > site->left[best]))
            best = i;
    }
    if (best == SIZE_MAX) { /* TTIN */
        best = site->place_count;
        if (!make_room(site, best + 1))
            return -1;
    }
    site->left[best] = HELD;
    return (int)best;
}

void
sl_pools_leave_place(struct sl_pool_site *site, int place, bool final)
{
    site->left[place] = final ? 1 : ++site->departures + 1;
}

/* ---- a worker ---------------------------------------------------------------------------------
 */

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
    *err = (struct sl_error){.text = ""};
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
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
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
            (void)sl_worker_turn(worker, due - now < 1000 ? (int)(due - now) : 1000);
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

int
sl_pools_main(struct sl_worker *worker)
{
    const struct sl_pool *table = worker->pool->table;
    if (is_scheduled(table))
        return run_at_times(worker);
    if (table->worker->main != NULL)
        return worker->stopping ? 0 : table->worker->main(worker, worker->class_state);
    while (sl_worker_turn(worker, -1) != SL_ECLOSED)
        ;
    return 0;
}

void
sl_pools_stop(struct sl_worker *worker)
{
    const struct sl_pool_worker *table = worker->pool->table->worker;
    if (worker->inited && table->stop != NULL)
        table->stop(worker, worker->class_state);
}
