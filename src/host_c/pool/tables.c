/* Which pools a generation has, and what the arbiter is told of them (arbiter process). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../host_c.h"

static bool
name_is_good(const char *name)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t len = name != NULL ? strlen(name) : 0;
    return len > 0 && len < SL_GROUP_NAME && strspn(name, good) == len && strcmp(name, "web") != 0;
}

bool
sl_pools_is_scheduled(const struct sl_pool *table)
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
    if (sl_pools_is_scheduled(table) && table->worker->main == NULL)
        return sl_error_set(err, SL_EINVAL, "pool %s: a schedule needs a function main", name);
    if ((table->exclusive || sl_pools_is_scheduled(table)) && table->workers > 1)
        return sl_error_set(err, SL_EINVAL, "pool %s: %s means one worker, not %u", name,
                            table->exclusive ? "exclusive" : "a schedule", table->workers);
    return SL_OK;
}

static int
check_schedule(struct sl_pool_site *site, const struct sl_pool *table, struct sl_error *err)
{
    struct sl_error why;
    site->schedule.every_ms = table->every_ms;
    if (table->cron != NULL && sl_schedule_parse(table->cron, &site->schedule, &why) != SL_OK)
        return sl_error_set(err, SL_EINVAL, "pool %s: %s", table->name, why.text);
    return SL_OK;
}

static int
check(struct sl_generation *generation, const struct sl_pool *table, struct sl_error *err)
{
    int rc = check_table(generation, table, err);
    return rc != SL_OK ? rc
                       : check_schedule(&generation->pools[generation->pool_count], table, err);
}

static int
add(struct sl_generation *generation, const struct sl_pool *table, struct sl_error *err)
{
    struct sl_pool_site *site = &generation->pools[generation->pool_count];
    int rc = sl_values_init(&site->values, table->settings,
                            sl_config_list(generation->config, "app_settings"), err);
    if (rc != SL_OK)
        return rc;
    site->table = table;
    generation->pool_count++;
    return SL_OK;
}

/* One that waits: its start() is never called. */
static int
add_stand_in(struct sl_generation *generation, const struct sl_error *why, struct sl_error *err)
{
    static const struct sl_pool_worker nothing;
    struct sl_pool_site *site = &generation->pools[generation->pool_count];
    site->broken = *why;
    snprintf(site->stand_in_name, sizeof site->stand_in_name, "broken-%zu", generation->pool_count);
    site->stand_in =
        (struct sl_pool){.abi = SL_POOL_ABI, .name = site->stand_in_name, .worker = &nothing};
    return add(generation, &site->stand_in, err);
}

static int
add_object(struct sl_generation *generation, const char *text, struct sl_error *err)
{
    struct sl_object *object = &generation->pools[generation->pool_count].object;
    const void *table = NULL;
    struct sl_error why = {.text = ""};
    int rc = sl_object_open(object, SL_TABLE_POOL, text, &why);
    if (rc == SL_OK)
        rc = sl_object_load(object, &table, &why);
    if (rc == SL_OK)
        rc = check(generation, table, &why);
    rc = rc == SL_OK ? add(generation, table, err) : add_stand_in(generation, &why, err);
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
            rc = check(generation, given[i], err);
        if (rc == SL_OK)
            rc = add(generation, given[i], err);
    }
    for (i = 0; rc == SL_OK && named != NULL && named[i] != NULL; i++)
        rc = add_object(generation, named[i], err);
    return rc;
}

int
sl_pools_check(const struct sl_generation *generation, struct sl_error *err)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        const struct sl_error *broken = &generation->pools[i].broken;
        if (broken->code != SL_OK)
            return sl_error_set(err, broken->code, "%s", broken->text);
    }
    return SL_OK;
}

int
sl_pools_open_shared(struct sl_pool_site *site, struct sl_error *err)
{
    const struct sl_pool *table = site->table;
    *err = (struct sl_error){.text = ""};
    int rc = table->open != NULL ? table->open(&site->values, err) : SL_OK;
    if (rc < 0 && err->text[0] == '\0')
        sl_error_set(err, rc, "open() of the pool %s failed (%s)", table->name, sl_status_name(rc));
    return rc < 0 ? rc : SL_OK;
}

int
sl_pools_open(struct sl_host_c *host, const struct sl_generation *generation, struct sl_error *err)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        struct sl_pool_site *site = &generation->pools[i];
        bool first = false;
        if (site->table->open == NULL)
            continue;
        if (note_opening(host, site->table, &first) != SL_OK)
            return sl_error_set(err, SL_ENOMEM, "out of memory");
        int rc = first ? sl_pools_open_shared(site, err) : SL_OK;
        if (rc != SL_OK) {
            host->opened_count--; /* the next reload tries again */
            return rc;
        }
    }
    return SL_OK;
}

void
sl_pools_release(struct sl_generation *generation)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        if (generation->pools[i].object.path != NULL)
            sl_object_close(&generation->pools[i].object);
        sl_values_release(&generation->pools[i].values);
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
        .workers = sl_pools_size(table),
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

unsigned
sl_pools_size(const struct sl_pool *table)
{
    return table->workers > 0 ? table->workers : 1;
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

struct sl_pool_site *
sl_pools_find(struct sl_generation *generation, const char *name)
{
    for (size_t i = 0; i < generation->pool_count; i++) {
        if (strcmp(generation->pools[i].table->name, name) == 0)
            return &generation->pools[i];
    }
    return NULL;
}
