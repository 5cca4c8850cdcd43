/* Header fields of requests for files: Range, dates, Accept-Encoding, entity tags. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "files/date.h"
#include "files/encoding.h"
#include "files/range.h"
#include "files/validator.h"

static char *
exact(const char *text)
{
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static void
test_ranges(void **state)
{
    (void)state;
    /* RFC 9110 section 14.1.2 */
    static const struct {
        const char *value;
        uint64_t size;
        enum sl_range result;
        uint64_t first, length;
    } cases[] = {
        {"bytes=0-499", 10000, SL_RANGE_ONE, 0, 500},
        {"bytes=500-999", 10000, SL_RANGE_ONE, 500, 500},
        {"bytes=-500", 10000, SL_RANGE_ONE, 9500, 500},
        {"bytes=9500-", 10000, SL_RANGE_ONE, 9500, 500},
        {"BYTES= 0-0", 10, SL_RANGE_ONE, 0, 1},
        {"bytes=0-18446744073709551615", 10, SL_RANGE_ONE, 0, 10},
        {"bytes=0-99999999999999999999999", 10, SL_RANGE_ONE, 0, 10},
        {"bytes=-99999999999999999999999", 10, SL_RANGE_ONE, 0, 10},
        {"bytes=9-9", 10, SL_RANGE_ONE, 9, 1},
        {"bytes=10-", 10, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-20", 10, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", 10, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, SL_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-4", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=0-1,3-4", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=-", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=a-b", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=1", 10, SL_RANGE_NONE, 0, 0},
        {"bytes=1-2 ", 10, SL_RANGE_NONE, 0, 0},
        {"bytes =1-2", 10, SL_RANGE_NONE, 0, 0},
        {"items=1-2", 10, SL_RANGE_NONE, 0, 0},
        {"", 10, SL_RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t first = 0, length = 0;
        char *value = exact(cases[i].value);
        assert_int_equal(
            sl_range_parse(value, strlen(cases[i].value), cases[i].size, &first, &length),
            cases[i].result);
        free(value);
        if (cases[i].result == SL_RANGE_ONE) {
            assert_int_equal(first, cases[i].first);
            assert_int_equal(length, cases[i].length);
        }
    }
}

static void
test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t when;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Sun Nov 16 08:49:37 1994", 784975777},
        {"Friday, 31-Dec-60 23:59:59 GMT", 2871763199}, /* 2060: within 50 years of 2026 */
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:60:37 GMT", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1969 08:49:37 GMT", -1},
        {"Sunday, 06-Nov-1994 08:49:37 GMT", -1},
        {"Sun Nov  6 08:49:37 1994 GMT", -1},
        {"Sun,", -1},
        {"784111777", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = exact(cases[i].text);
        int64_t when = sl_http_date_parse(text, strlen(cases[i].text), 1795000000);
        free(text);
        if (when != cases[i].when)
            fail_msg("%s: %lld", cases[i].text, (long long)when);
    }
}

static void
test_encodings(void **state)
{
    (void)state;
    static const struct {
        const char *list, *coding;
        unsigned weight;
    } cases[] = {
        {"gzip", "gzip", 1000},
        {"GZIP", "gzip", 1000},
        {"gzip, br", "br", 1000},
        {" gzip ;q=0.5 , br;q=0.123", "br", 123},
        {"gzip;q=0.5", "gzip", 500},
        {"gzip;Q=1.000", "gzip", 1000},
        {"gzip;q=0", "gzip", 0},
        {"gzip;q=0.000, *", "gzip", 0},
        {"*", "br", 1000},
        {"*;q=0.2, br;q=0.4", "br", 400},
        {"identity", "gzip", 0},
        {"", "gzip", 0},
        {"gzip;q=2", "gzip", 0},
        {"gzip;q=1.5", "gzip", 0},
        {"gzip;q=0.1234", "gzip", 0},
        {"gzip;x=1", "gzip", 0},
        {"gzipx", "gzip", 0},
        {"x gzip", "gzip", 0},
        {",,gzip", "gzip", 1000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *list = exact(cases[i].list);
        unsigned weight = sl_encoding_weight(list, strlen(cases[i].list), cases[i].coding);
        free(list);
        if (weight != cases[i].weight)
            fail_msg("%s: %u", cases[i].list, weight);
    }
}

/* ---- validators ----------------------------------------------------------------------------- */

enum { NOW = 1000000 };

static struct sl_validator
validator_of(int64_t modified, int64_t size, const char *coding)
{
    struct sl_validator validator;
    struct stat status = {0};
    status.st_size = size;
    status.st_mtim.tv_sec = modified;
    status.st_mtim.tv_nsec = 5;
    sl_validator_init(&validator, &status, coding, NOW);
    return validator;
}

static void
test_a_tag_is_of_time_size_and_coding(void **state)
{
    (void)state;
    struct sl_validator plain = validator_of(1, 16, ""), coded = validator_of(1, 16, "br");
    assert_memory_equal(plain.tag, "\"3b9aca05-10\"", plain.tag_len);
    assert_int_equal(plain.tag_len, 13);
    assert_memory_equal(coded.tag, "\"3b9aca05-10-br\"", coded.tag_len);
    assert_true(plain.strong);
}

static void
test_a_young_file_has_a_weak_tag(void **state)
{
    (void)state;
    struct sl_validator young = validator_of(NOW - 1, 1, ""), future = validator_of(NOW + 9, 1, "");
    assert_false(young.strong);
    assert_memory_equal(young.tag, "W/\"", 3);
    assert_int_equal(future.modified, NOW);
    assert_true(validator_of(NOW - 2, 1, "").strong);
}

static void
test_lists_of_tags(void **state)
{
    (void)state;
    struct sl_validator strong = validator_of(1, 16, ""), weak = validator_of(NOW, 16, "");
    static const struct {
        const char *list;
        bool in_weak, in_strong; /* compared weakly, strongly */
    } cases[] = {
        {"*", true, true},
        {"\"3b9aca05-10\"", true, true},
        {"W/\"3b9aca05-10\"", true, false},
        {"\"a\", \"3b9aca05-10\"", true, true},
        {"\"a\",W/\"b,c\" ,\"3b9aca05-10\"", true, true},
        {"\"3b9aca05-11\"", false, false},
        {"3b9aca05-10", false, false},
        {"\"a\", x, \"3b9aca05-10\"", false, false},
        {"\"3b9aca05-10", false, false},
        {"W/", false, false},
        {"", false, false},
        {"*, \"a\"", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *list = exact(cases[i].list);
        size_t len = strlen(cases[i].list);
        assert_int_equal(sl_validator_in_list(&strong, list, len, true), cases[i].in_weak);
        assert_int_equal(sl_validator_in_list(&strong, list, len, false), cases[i].in_strong);
        free(list);
    }
    assert_true(sl_validator_in_list(&weak, weak.tag, weak.tag_len, true));
    assert_false(sl_validator_in_list(&weak, weak.tag, weak.tag_len, false));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_a_tag_is_of_time_size_and_coding),
        cmocka_unit_test(test_a_young_file_has_a_weak_tag),
        cmocka_unit_test(test_lists_of_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
