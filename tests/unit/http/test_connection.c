/* The life of a connection beside its requests, from outside: clocks, closing, lingering, fairness;
 * every test runs inline and with threads. */
#include "engine_fixture.h"

static unsigned threads_of(void **state) { return *(unsigned *)*state; }

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void
begin(struct server *s, void **state)
{
    server_prepare(s, threads_of(state));
    server_start(s);
}

static void
test_the_time_that_handlers_take_is_not_the_clients(void **state)
{
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.keepalive_ms = 1500;
    s.options.header_timeout_ms = 1500;
    server_start(&s);
    int busy = dial(&s), idle = dial(&s);
    say_text(idle, GET("/"));
    expect(idle, 200, "hello");
    s.hold = true;
    say_text(busy, GET("/hold"));
    while (s.inside == 0)
        usleep(1000);
    usleep(1000000);
    say_text(idle, GET("/")); /* in time, but inline nobody looks before the handler is done */
    int new = dial(&s);
    say_text(new, GET("/"));
    usleep(700000);
    s.hold = false;
    expect(busy, 200, "held");
    expect(idle, 200, "hello");
    expect(new, 200, "hello");
    usleep(1100000); /* the clocks were swept since */
    say_text(busy, GET("/"));
    expect(busy, 200, "hello");
    close(busy);
    close(idle);
    close(new);
    server_stop(&s);
}

int
main(void)
{
    static unsigned inline_threads = 0, pool_threads = 3;
#define BOTH(test) cmocka_unit_test_prestate(test, &inline_threads), cmocka_unit_test_prestate(test, &pool_threads)
    const struct CMUnitTest tests[] = {
        BOTH(test_the_time_that_handlers_take_is_not_the_clients),
    };
    return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
