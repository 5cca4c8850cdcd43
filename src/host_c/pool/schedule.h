/* When a pool's main() is called: every so often, or by a cron expression. */
#ifndef SL_HOST_C_SCHEDULE_H
#define SL_HOST_C_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include <saola/status.h>

enum { SL_CRON_FIELDS = 6 }; /* second minute hour day month weekday */

struct sl_schedule {
    unsigned every_ms;               /* 0: the expression counts */
    uint64_t fields[SL_CRON_FIELDS]; /* a bit for each value */
    bool any_day, any_weekday;
};

/* cron: five fields, or six with the seconds first. SL_EINVAL with a sentence. */
int sl_schedule_parse(const char *cron, struct sl_schedule *ret_schedule, struct sl_error *err);

/* The first time after now_ms (both milliseconds of the machine's clock, since 1970); -1: there is
 * none. An hour that summer time skips is left out, one that comes twice counts once. */
long long sl_schedule_after_ms(const struct sl_schedule *schedule, long long now_ms);

#endif
