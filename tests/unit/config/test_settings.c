/* The table itself: every row is well formed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "config/config.h"

static void
test_the_table_holds_gunicorns_settings_and_ours(void **state)
{
    (void)state;
    size_t ours = 0;
    for (size_t i = 0; i < sl_settings_count(); i++)
        ours += (sl_settings_at(i)->flags & SL_SETTING_SAOLA) != 0;
    assert_int_equal(sl_settings_count() - ours, 118);
    assert_null(sl_settings_at(sl_settings_count()));
}

static void
test_names_are_unique_and_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        assert_ptr_equal(sl_settings_find(row->name), row);
    }
    assert_null(sl_settings_find("worker"));
    assert_null(sl_settings_find(""));
}

static bool
has_flag(const struct sl_setting *row, const char *flag)
{
    char *copy = strdup(row->cli != NULL ? row->cli : ""), *save = NULL;
    bool found = false;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        found = found || strcmp(word, flag) == 0;
    free(copy);
    return found;
}

static void
test_no_flag_belongs_to_two_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        char *copy = strdup(row->cli != NULL ? row->cli : ""), *save = NULL;
        for (char *word = strtok_r(copy, " ", &save); word != NULL;
             word = strtok_r(NULL, " ", &save)) {
            for (size_t j = 0; j < sl_settings_count(); j++)
                assert_int_equal(has_flag(sl_settings_at(j), word), i == j);
        }
        free(copy);
    }
}

static void
test_every_row_explains_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        size_t length = strlen(row->summary);
        assert_true(length > 10 && row->summary[length - 1] == '.');
        assert_non_null(row->more);
        assert_true(row->min <= row->max);
        assert_true(row->type != SL_SETTING_CHOICE || row->choices != NULL);
        assert_true((sl_settings_lacking(row) != NULL) ==
                    ((row->flags & SL_SETTING_UNAVAILABLE) != 0));
        if (sl_settings_lacking(row) != NULL)
            assert_null(strstr(sl_settings_lacking(row), "not built"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_holds_gunicorns_settings_and_ours),
        cmocka_unit_test(test_names_are_unique_and_found),
        cmocka_unit_test(test_no_flag_belongs_to_two_rows),
        cmocka_unit_test(test_every_row_explains_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
