/* Fields of a response, of which mostly the ones of the response before are repeated. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "http/engine_state.h"

static struct sl_engine *engine;
static struct sl_workspace *remembers, *forgets;

static int
answer_nothing(void *ctx, struct sl_request *req, struct sl_response *res)
{
    (void)ctx;
    (void)req;
    (void)res;
    return 0;
}

static int
set_up(void **state)
{
    (void)state;
    static const struct sl_engine_options options = {.handle = answer_nothing,
                                                     .limits = {.fields = 100}};
    struct sl_error err;
    if (sl_engine_open(&options, &engine, &err) != SL_OK)
        return -1;
    remembers = sl_workspace_new(engine, true);
    forgets = sl_workspace_new(engine, true);
    return remembers != NULL && forgets != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    sl_workspace_free(remembers);
    sl_workspace_free(forgets);
    sl_engine_close(engine, 0);
    return 0;
}

static void
begin(void)
{
    sl_response_init(&remembers->x.res, remembers);
    sl_response_init(&forgets->x.res, forgets);
    forgets->kept_count = 0;
}

/* Both must make the same of it. */
static int
add(const char *name, const char *value)
{
    int rc = sl_response_header(&remembers->x.res, name, strlen(name), value, strlen(value));
    int other = sl_response_header(&forgets->x.res, name, strlen(name), value, strlen(value));
    assert_int_equal(rc, other);
    assert_int_equal(remembers->headers.len, forgets->headers.len);
    if (forgets->headers.len > 0)
        assert_memory_equal(remembers->headers.ptr, forgets->headers.ptr, forgets->headers.len);
    assert_int_equal(remembers->x.res.close, forgets->x.res.close);
    assert_int_equal(remembers->x.res.has_length, forgets->x.res.has_length);
    assert_int_equal(remembers->x.res.length, forgets->x.res.length);
    return rc;
}

static void
test_what_was_said_before_is_checked_anew_where_it_means_something_else(void **state)
{
    (void)state;
    begin();
    assert_int_equal(add("X", "1"), SL_OK);
    assert_int_equal(add("Y", "2"), SL_OK);
    begin();
    assert_int_equal(add("X", "1\r\nY: 2"), SL_EINVAL); /* the same bytes */
    assert_int_equal(add("X: 1\r\nY", "2"), SL_EINVAL);
    assert_int_equal(add("X", " 1 "), SL_OK);
    assert_int_equal(add("Y", "2"), SL_OK);
    begin();
    assert_int_equal(add("A", "b: c"), SL_OK);
    begin();
    assert_int_equal(add("A: b", "c"), SL_EINVAL);
}

static void
test_a_field_that_is_not_written_does_not_stand_in_the_way(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        begin();
        assert_int_equal(add("Content-Length", "7"), SL_OK);
        assert_int_equal(add("X", "1"), SL_OK);
        assert_int_equal(add("Connection", "close"), SL_OK);
        assert_int_equal(add("Y", "2"), SL_OK);
        assert_int_equal(remembers->kept_next, 2);
        assert_int_equal(remembers->kept_count, 2);
    }
}

static void
test_whatever_comes_it_is_as_if_nothing_was_remembered(void **state)
{
    (void)state;
    static const char *const names[] = {"X",  "Y",     "Content-Type",   "Connection",
                                        "Y:", "X\r\n", "Content-Length", "x"};
    static const char *const values[] = {"1", "2", "", "text/plain", "close", "1\r\nY: 2", "12"};
    unsigned seed = 7;
    for (int i = 0; i < 20000; i++) {
        begin();
        int fields = rand_r(&seed) % 24;
        unsigned name = 0, value = 0;
        for (int k = 0; k < fields; k++) {
            if (rand_r(&seed) % 4 == 0) { /* else mostly as in the response before */
                name = (unsigned)rand_r(&seed);
                value = (unsigned)rand_r(&seed);
            } else {
                name = value = (unsigned)k;
            }
            add(names[name % 8], values[value % 7]);
        }
        if (rand_r(&seed) % 16 == 0)
            sl_response_rewind_fields(remembers), sl_response_rewind_fields(forgets);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_said_before_is_checked_anew_where_it_means_something_else),
        cmocka_unit_test(test_a_field_that_is_not_written_does_not_stand_in_the_way),
        cmocka_unit_test(test_whatever_comes_it_is_as_if_nothing_was_remembered),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
