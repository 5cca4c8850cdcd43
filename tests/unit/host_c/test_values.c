/* Settings that an application has declared. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <host_c/host_c.h>

static const struct sl_setting rows[] = {
    {.name = "limit", .type = SL_SETTING_INT, .default_text = "10", .min = 1, .max = 100},
    {.name = "size", .type = SL_SETTING_SIZE, .default_text = "1K"},
    {.name = "below", .type = SL_SETTING_INT, .default_text = "-5"},
    {.name = "file", .type = SL_SETTING_STRING},
    {.name = "mode", .type = SL_SETTING_CHOICE, .default_text = "slow", .choices = "slow|fast"},
    {.name = NULL},
};

static void
test_defaults_and_what_was_given(void **state)
{
    (void)state;
    const char *given[] = {"file=a=b", "mode=fast", "nobodys=1", NULL};
    struct sl_values values;
    assert_int_equal(sl_values_init(&values, rows, given, NULL), SL_OK);
    assert_int_equal(sl_values_number(&values, "limit"), 10);
    assert_int_equal(sl_values_number(&values, "size"), 1024);
    assert_int_equal(sl_values_number(&values, "below"), -5);
    assert_string_equal(sl_values_text(&values, "file"), "a=b");
    assert_int_equal(sl_values_number(&values, "mode"), 1);
    assert_null(sl_values_text(&values, "nobodys"));
    assert_true(sl_values_has(rows, given[0]) && !sl_values_has(rows, given[2]));
    assert_false(sl_values_has(rows, "mod=1"));
    assert_false(sl_values_has(NULL, "mode=fast"));
    sl_values_release(&values);
}

static void
test_the_last_of_a_name_counts_and_bounds_are_kept(void **state)
{
    (void)state;
    const char *twice[] = {"limit=1", "limit=7", NULL}, *beyond[] = {"limit=101", NULL};
    struct sl_values values;
    struct sl_error err;
    assert_int_equal(sl_values_init(&values, rows, twice, NULL), SL_OK);
    assert_int_equal(sl_values_number(&values, "limit"), 7);
    sl_values_release(&values);
    assert_int_equal(sl_values_init(&values, rows, beyond, &err), SL_ERANGE);
    assert_true(strncmp(err.text, "limit", 5) == 0);
}

static void
test_no_table_has_no_values(void **state)
{
    (void)state;
    struct sl_values values;
    assert_int_equal(sl_values_init(&values, NULL, NULL, NULL), SL_OK);
    assert_null(sl_values_text(&values, "limit"));
    assert_int_equal(sl_values_number(&values, "limit"), 0);
    sl_values_release(&values);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_what_was_given),
        cmocka_unit_test(test_the_last_of_a_name_counts_and_bounds_are_kept),
        cmocka_unit_test(test_no_table_has_no_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
