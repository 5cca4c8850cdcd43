/* What the engine tells the scoreboard of the requests in progress. */
#include "engine_fixture.h"

#include <proc/scoreboard.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void
check_records(unsigned threads)
{
    enum { CLIENTS = 3 };
    struct server s;
    struct sl_scoreboard board;
    struct sl_slot_request seen;
    char text[300];
    unsigned held = threads == 0 ? 1 : CLIENTS;
    int fds[CLIENTS];
    server_prepare(&s, threads);
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    s.options.slot = sl_scoreboard_take(&board, 1, -1);
    server_start(&s);
    s.hold = true;
    for (unsigned i = 0; i < held; i++) {
        fds[i] = dial(&s);
        say_text(fds[i], GET("/") GET("/hold?me"));
    }
    while (s.inside != (int)held)
        usleep(500);
    assert_true(sl_slot_oldest_request(s.options.slot, &seen));
    assert_string_equal(seen.line, "GET /hold?me");
    sl_slot_requests_print(s.options.slot, seen.started_ns, text, sizeof text);
    unsigned found = 0;
    for (const char *p = text; (p = strstr(p, "GET /hold?me running")) != NULL; p++)
        found++;
    assert_int_equal(found, held);
    s.hold = false;
    for (unsigned i = 0; i < held; i++) {
        expect(fds[i], 200, "hello");
        expect(fds[i], 200, "held");
        close(fds[i]);
    }
    assert_false(sl_slot_oldest_request(s.options.slot, &seen));
    assert_int_equal(sl_slot_requests(s.options.slot), 2 * held);
    server_stop(&s);
    sl_scoreboard_close(&board);
}

static void
test_an_inline_handler_has_a_record(void **state)
{
    (void)state;
    check_records(0);
}

static void
test_each_thread_in_a_handler_has_a_record(void **state)
{
    (void)state;
    check_records(3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_inline_handler_has_a_record),
        cmocka_unit_test(test_each_thread_in_a_handler_has_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
