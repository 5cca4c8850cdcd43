/* How a table in a shared object is named and checked. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <host_c/host_c.h>

static void
test_what_names_a_shared_object(void **state)
{
    (void)state;
    assert_true(sl_object_is_named("./app.so") && sl_object_is_named("app.so:name"));
    assert_true(sl_object_is_named("/x/y:name") && !sl_object_is_named("sync"));
    assert_false(sl_object_is_named("module:app") || sl_object_is_named(".so"));
}

static void
test_a_mount_is_a_path_and_a_shared_object(void **state)
{
    (void)state;
    static const char *const wrong[] = {"x=./a.so", "/x", "/x=", "=/a.so"};
    struct sl_error err;
    for (size_t i = 0; i < 4; i++) {
        struct sl_site site = {0};
        assert_int_equal(sl_site_parse(&site, wrong[i], &err), SL_EINVAL);
    }
    struct sl_str path = {"/fast/x", 7}, faster = {"/faster", 7};
    assert_true(sl_path_is_below(path, "/fast", 5) && sl_path_is_below(path, "", 0));
    assert_false(sl_path_is_below(faster, "/fast", 5));
}

static int
answer(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    (void)req;
    (void)res;
    return 0;
}

static void
test_a_table_of_another_kind_or_version_is_refused(void **state)
{
    (void)state;
    struct sl_app app = {.abi = SL_APP_ABI, .request = answer};
    struct sl_error err;
    assert_int_equal(sl_object_check(SL_TABLE_APP, &app, "x", &err), SL_OK);
    assert_int_equal(sl_object_check(SL_TABLE_HOOKS, &app, "x", &err), SL_EINVAL);
    assert_string_equal(err.text, "x is an application, not a table of hooks");
    app.abi = SL_APP_ABI + 1;
    assert_int_equal(sl_object_check(SL_TABLE_APP, &app, "x", &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "another version"));
    app.abi = 0;
    assert_int_equal(sl_object_check(SL_TABLE_APP, &app, "x", &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "SL_APP_ABI"));
    app = (struct sl_app){.abi = SL_APP_ABI};
    assert_int_equal(sl_object_check(SL_TABLE_APP, &app, "x", &err), SL_EINVAL);
    assert_string_equal(err.text, "x has no function request");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_names_a_shared_object),
        cmocka_unit_test(test_a_mount_is_a_path_and_a_shared_object),
        cmocka_unit_test(test_a_table_of_another_kind_or_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
