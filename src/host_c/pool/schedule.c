/* Periods and cron expressions. Each field is a set of bits; days are gone through one by one. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "schedule.h"

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };
enum { FAR_DAYS = 366 * 5 }; /* a 29th of February comes in that time */

static const struct field {
    const char *name;
    int low, high;
    const char *names; /* of three letters each, the first is low's */
} fields[SL_CRON_FIELDS] = {
    {"second", 0, 59, NULL},
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"weekday", 0, 7, "sunmontuewedthufrisat"},
};

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool
read_number(const char **text, const struct field *field, int *ret_number)
{
    char *end;
    if (isdigit((unsigned char)**text)) {
        long number = strtol(*text, &end, 10);
        *text = end;
        *ret_number = number > 99 ? 99 : (int)number;
        return true;
    }
    for (int i = 0; field->names != NULL && field->names[3 * i] != '\0'; i++) {
        if (strncasecmp(*text, field->names + 3 * i, 3) != 0)
            continue;
        *text += 3;
        *ret_number = field->low + i;
        return true;
    }
    return false;
}

/* "*", "N", "N-M", each with or without "/STEP". */
static bool
read_piece(const char **text, const struct field *field, uint64_t *set)
{
    static const struct field steps = {.low = 1};
    int begin = field->low, end = strcmp(field->name, "weekday") == 0 ? 6 : field->high, step = 1;
    bool star = **text == '*';
    if (star)
        ++*text;
    else if (!read_number(text, field, &begin))
        return false;
    bool single = !star && **text != '-';
    if (!star && **text == '-') {
        ++*text;
        if (!read_number(text, field, &end))
            return false;
    }
    if (**text == '/') {
        ++*text;
        if (!read_number(text, &steps, &step) || step < 1)
            return false;
        end = single ? field->high : end;
    } else if (single) {
        end = begin;
    }
    if (begin < field->low || end > field->high || begin > end)
        return false;
    for (int value = begin; value <= end; value += step)
        *set |= UINT64_C(1) << value;
    return true;
}

static bool
read_field(const char **text, const struct field *field, uint64_t *ret_set)
{
    uint64_t set = 0;
    do {
        if (!read_piece(text, field, &set))
            return false;
    } while (*(*text)++ == ',');
    --*text;
    *ret_set = set;
    return **text == '\0' || isspace((unsigned char)**text);
}

static unsigned
count_words(const char *text)
{
    unsigned count = 0;
    for (bool inside = false; *text != '\0'; text++) {
        count += !inside && !isspace((unsigned char)*text);
        inside = !isspace((unsigned char)*text);
    }
    return count;
}

int
sl_schedule_parse(const char *cron, struct sl_schedule *ret_schedule, struct sl_error *err)
{
    struct sl_schedule schedule = {.every_ms = 0};
    const char *text = cron;
    unsigned count = count_words(cron);
    if (count != SL_CRON_FIELDS && count != SL_CRON_FIELDS - 1)
        return sl_error_set(err, SL_EINVAL,
                            "cron \"%.80s\" has %u fields; it is minute hour day month weekday",
                            cron, count);
    schedule.fields[SECOND] = 1;
    for (unsigned i = SL_CRON_FIELDS - count; i < SL_CRON_FIELDS; i++) {
        while (isspace((unsigned char)*text))
            text++;
        const char *word = text;
        schedule.any_day |= i == DAY && *text == '*';
        schedule.any_weekday |= i == WEEKDAY && *text == '*';
        if (!read_field(&text, &fields[i], &schedule.fields[i]))
            return sl_error_set(err, SL_EINVAL, "cron \"%.80s\": \"%.*s\" is no %s from %d to %d",
                                cron, (int)strcspn(word, " \t"), word, fields[i].name,
                                fields[i].low, fields[i].high);
    }
    schedule.fields[WEEKDAY] |= schedule.fields[WEEKDAY] >> 7 & 1; /* 7 is Sunday, too */
    if (sl_schedule_after_ms(&schedule, 0) < 0)
        return sl_error_set(err, SL_EINVAL, "cron \"%.80s\": there is no such day", cron);
    *ret_schedule = schedule;
    return SL_OK;
}

/* ---- looking ahead ----------------------------------------------------------------------------
 */

static bool
has(const struct sl_schedule *schedule, int field, int value)
{
    return (schedule->fields[field] >> value & 1) != 0;
}

static bool
day_fits(const struct sl_schedule *schedule, const struct tm *day)
{
    bool in_month = has(schedule, DAY, day->tm_mday);
    bool in_week = has(schedule, WEEKDAY, day->tm_wday);
    if (!has(schedule, MONTH, day->tm_mon + 1))
        return false;
    /* When both are given either will do, as cron has always done it. */
    return schedule->any_day || schedule->any_weekday ? in_month && in_week : in_month || in_week;
}

/* The next second of the day, from this one on, that the fields allow; 86400: none is left. */
static int
find_second(const struct sl_schedule *schedule, int second)
{
    while (second < 86400) {
        if (!has(schedule, HOUR, second / 3600))
            second += 3600 - second % 3600;
        else if (!has(schedule, MINUTE, second / 60 % 60))
            second += 60 - second % 60;
        else if (!has(schedule, SECOND, second % 60))
            second++;
        else
            break;
    }
    return second;
}

/* The first time of this day, from that second on, that is after now; -1: there is none. */
static time_t
find_in_day(const struct sl_schedule *schedule, const struct tm *day, int second, time_t now)
{
    while ((second = find_second(schedule, second)) < 86400) {
        struct tm due = *day;
        due.tm_hour = second / 3600;
        due.tm_min = second / 60 % 60;
        due.tm_sec = second % 60;
        due.tm_isdst = -1;
        time_t when = mktime(&due);
        if (when > now && due.tm_hour == second / 3600)
            return when;
        second++;
    }
    return -1;
}

long long
sl_schedule_after_ms(const struct sl_schedule *schedule, long long now_ms)
{
    time_t now = (time_t)(now_ms / 1000);
    struct tm start;
    if (schedule->every_ms > 0)
        return (now_ms / schedule->every_ms + 1) * schedule->every_ms;
    if (localtime_r(&now, &start) == NULL)
        return -1;
    for (int days = 0; days < FAR_DAYS; days++) {
        /* At noon, where no change of the clock makes another day of it. */
        struct tm day = {.tm_year = start.tm_year,
                         .tm_mon = start.tm_mon,
                         .tm_mday = start.tm_mday + days,
                         .tm_hour = 12,
                         .tm_isdst = -1};
        if (mktime(&day) == -1 || !day_fits(schedule, &day))
            continue;
        int from = days > 0 ? 0 : 3600 * start.tm_hour + 60 * start.tm_min + start.tm_sec;
        time_t when = find_in_day(schedule, &day, from, now);
        if (when != -1)
            return (long long)when * 1000;
    }
    return -1;
}
