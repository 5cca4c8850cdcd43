/* Fields and head of a response, which mostly repeat those of the response before. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "http/engine_state.h"

static struct sl_access_log *access_log;
static struct sl_engine *engine;
static struct sl_conn nobody = {.fd = -1};
static struct sl_workspace *remembers, *forgets;

static int
answer_nothing(void *ctx, struct sl_request *req, struct sl_response *res)
{
    (void)ctx;
    (void)req;
    (void)res;
    return 0;
}

static void
see_line(void *ctx, const char *line, size_t len)
{
    (void)ctx;
    (void)line;
    (void)len;
}

static int
set_up(void **state)
{
    (void)state;
    /* With a log sl_response_raw() leaves fields where sl_response_header() would. */
    static const struct sl_access_log_options log_options = {
        .format = "%(h)s", .fd = -1, .on_line = see_line};
    struct sl_engine_options options = {
        .handle = answer_nothing, .limits = {.fields = 100}, .keepalive_ms = 1000};
    struct sl_error err;
    if (sl_access_log_open(&log_options, &access_log, &err) != SL_OK)
        return -1;
    options.access_log = access_log;
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
    return sl_access_log_close(access_log, 1000);
}

static void
begin(void)
{
    sl_response_init(&remembers->x.res, remembers);
    sl_response_init(&forgets->x.res, forgets);
    forgets->kept_count = 0;
    forgets->last_head.len = 0;
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

static void
commit(struct sl_workspace *ws, unsigned choice)
{
    static const char *const statuses[] = {"200 OK",           "200 OK",           "404 Not Found",
                                           "204 No Content",   "304 Not Modified", "200 Well",
                                           "205 Reset Content"};
    static const char raw[] = "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n";
    struct sl_response *res = &ws->x.res;
    ws->x.conn = &nobody;
    ws->x.req.keep_alive = choice % 5 != 0;
    ws->x.req.version_minor = choice / 5 % 6 != 0;
    ws->x.body.done = true;
    ws->x.broken = false;
    ws->out.start = ws->out.end = 0;
    if (choice / 30 % 11 == 0) {
        assert_int_equal(sl_response_raw(res, 200, raw, sizeof raw - 1), SL_OK);
        return;
    }
    const char *status = statuses[choice / 330 % 7];
    assert_int_equal(sl_response_set_status(res, status, strlen(status)), SL_OK);
    assert_int_equal(sl_response_commit(res, choice / 2310 % 3 != 0, choice / 6930 % 2000), SL_OK);
}

static void
test_a_head_is_as_if_none_was_before_it(void **state)
{
    (void)state;
    static const char *const names[] = {"X", "Y", "Content-Length", "X", "Y"};
    static const char *const values[] = {"1", "2", "12", "2", "1"};
    unsigned seed = 11, kind = 0, known = 0;
    for (int i = 0; i < 50000; i++) {
        begin();
        if (rand_r(&seed) % 2 == 0) /* else as the one before */
            kind = (unsigned)rand_r(&seed);
        for (unsigned k = 0; k < kind % 4; k++)
            add(names[(k + kind / 4) % 5], values[(k + kind / 4) % 5]);
        known += remembers->last_head.len > 0;
        commit(remembers, kind / 20);
        commit(forgets, kind / 20);
        if (remembers->date_second != forgets->date_second) /* it struck just now */
            continue;
        size_t len = forgets->out.end;
        assert_int_equal(remembers->out.end, len);
        assert_memory_equal(remembers->out.ptr, forgets->out.ptr, len);
        assert_memory_equal(forgets->out.ptr + len - 4, "\r\n\r\n", 4);
    }
    assert_in_range(known, 1000, 50000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_said_before_is_checked_anew_where_it_means_something_else),
        cmocka_unit_test(test_a_field_that_is_not_written_does_not_stand_in_the_way),
        cmocka_unit_test(test_whatever_comes_it_is_as_if_nothing_was_remembered),
        cmocka_unit_test(test_a_head_is_as_if_none_was_before_it),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
