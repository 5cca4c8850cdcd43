/* "Did you mean": which word is the nearest, and when none is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <saola/config.h>

static void
test_one_slip_is_forgiven(void **state)
{
    (void)state;
    assert_string_equal(sl_settings_nearest("worker_clas"), "worker_class");
    assert_string_equal(sl_settings_nearest("worker"), "workers");
    assert_string_equal(sl_settings_nearest("tiemout"), "timeout");
    assert_string_equal(sl_settings_nearest("log_level"), "loglevel");
    assert_string_equal(sl_settings_nearest("bnid"), "bind");
}

static void
test_case_dashes_and_underscores_do_not_count(void **state)
{
    (void)state;
    assert_string_equal(sl_settings_nearest("--Max-Requests"), "max_requests");
    assert_string_equal(sl_settings_nearest("WORKER-CLASS"), "worker_class");
}

static void
test_a_stranger_has_no_neighbour(void **state)
{
    (void)state;
    char endless[4096];
    memset(endless, 'w', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(sl_settings_nearest("zzzzzz"));
    assert_null(sl_settings_nearest("xq"));
    assert_null(sl_settings_nearest(""));
    assert_null(sl_settings_nearest("---"));
    assert_null(sl_settings_nearest(endless));
}

static void
test_the_first_of_equals_wins(void **state)
{
    (void)state;
    const char *const words[] = {"--abcd", "--abce", NULL};
    assert_ptr_equal(sl_words_nearest("--abc", words, 2), words[0]);
    assert_ptr_equal(sl_words_nearest("--abce", words, 2), words[1]);
    assert_null(sl_words_nearest("--abc", words, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_slip_is_forgiven),
        cmocka_unit_test(test_case_dashes_and_underscores_do_not_count),
        cmocka_unit_test(test_a_stranger_has_no_neighbour),
        cmocka_unit_test(test_the_first_of_equals_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
