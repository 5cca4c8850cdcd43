/* When scheduled pools run. The same table is in tests/e2e/test_pools_schedule.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <host_c/pool/schedule.h>

/* "2026-05-01 10:00:00" in local time. */
static long long
at(const char *text)
{
    struct tm tm = {.tm_isdst = -1};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return (long long)mktime(&tm) * 1000;
}

static void
test_a_cron_expression_says_when(void **state)
{
    static const struct {
        const char *cron, *now, *due;
    } rows[] = {
        {"* * * * *", "2026-05-01 10:00:00", "2026-05-01 10:01:00"},
        {"*/15 * * * *", "2026-05-01 10:50:00", "2026-05-01 11:00:00"},
        {"30 4 * * *", "2026-05-01 10:00:00", "2026-05-02 04:30:00"},
        {"0 0 1 1 *", "2026-05-01 10:00:00", "2027-01-01 00:00:00"},
        {"0 0 29 2 *", "2026-05-01 10:00:00", "2028-02-29 00:00:00"},
        {"0 9 * * mon-fri", "2026-05-01 10:00:00", "2026-05-04 09:00:00"},
        {"0 9 * * 7", "2026-05-01 10:00:00", "2026-05-03 09:00:00"},
        {"0 0 13 * fri", "2026-05-02 10:00:00", "2026-05-08 00:00:00"},
        {"5,10-12 8 * jun,jul *", "2026-06-30 08:11:30", "2026-06-30 08:12:00"},
        {"*/20 * * * * *", "2026-05-01 10:00:41", "2026-05-01 10:01:00"},
        {"30 2 * * *", "2026-03-28 12:00:00", "2026-03-30 02:30:00"},
        {"30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 02:30:00"},
        {"59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sl_schedule schedule;
        struct sl_error err;
        char got[32];
        assert_int_equal(sl_schedule_parse(rows[i].cron, &schedule, &err), SL_OK);
        time_t due = (time_t)(sl_schedule_after_ms(&schedule, at(rows[i].now)) / 1000);
        strftime(got, sizeof got, "%Y-%m-%d %H:%M:%S", localtime(&due));
        assert_string_equal(got, rows[i].due);
    }
}

static void
test_a_time_that_comes_twice_counts_once(void **state)
{
    struct sl_schedule schedule;
    struct sl_error err;
    (void)state;
    assert_int_equal(sl_schedule_parse("30 2 * * *", &schedule, &err), SL_OK);
    long long first = sl_schedule_after_ms(&schedule, at("2026-10-24 12:00:00"));
    assert_int_equal(sl_schedule_after_ms(&schedule, first), at("2026-10-26 02:30:00"));
}

static void
test_a_wrong_expression_is_said(void **state)
{
    static const char *const rows[][2] = {
        {"* * * *", "4 fields"},      {"60 * * * *", "no minute from 0 to 59"},
        {"* * 0 * *", "no day"},      {"* * * * 8", "no weekday"},
        {"*/0 * * * *", "no minute"}, {"5-1 * * * *", "no minute"},
        {"a * * * *", "no minute"},   {"0 0 31 2 *", "no such day"},
        {"1, * * * *", "no minute"},  {"1x * * * *", "no minute"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sl_schedule schedule;
        struct sl_error err;
        assert_int_equal(sl_schedule_parse(rows[i][0], &schedule, &err), SL_EINVAL);
        assert_non_null(strstr(err.text, rows[i][1]));
    }
}

static void
test_periods_are_counted_on_the_clock(void **state)
{
    struct sl_schedule schedule = {.every_ms = 60000};
    (void)state;
    assert_int_equal(sl_schedule_after_ms(&schedule, 120000), 180000);
    assert_int_equal(sl_schedule_after_ms(&schedule, 179999), 180000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cron_expression_says_when),
        cmocka_unit_test(test_a_time_that_comes_twice_counts_once),
        cmocka_unit_test(test_a_wrong_expression_is_said),
        cmocka_unit_test(test_periods_are_counted_on_the_clock),
    };
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
