/* The threads executor: the engine goes on while handlers block. */
#include "engine_fixture.h"

#include <sys/resource.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void
wait_inside(struct server *s, int count)
{
    while (s->inside != count)
        usleep(500);
}

static void
test_others_are_served_while_a_handler_blocks(void **state)
{
    struct server s;
    (void)state;
    server_prepare(&s, 2);
    server_start(&s);
    s.hold = true;
    int slow = dial(&s), fast = dial(&s);
    say_text(slow, GET("/hold"));
    wait_inside(&s, 1);
    for (int i = 0; i < 100; i++) {
        say_text(fast, GET("/"));
        expect(fast, 200, "hello");
    }
    assert_int_equal(s.inside, 1);
    s.hold = false;
    expect(slow, 200, "held");
    say_text(slow, GET("/")); /* the connection came back */
    expect(slow, 200, "hello");
    close(slow);
    close(fast);
    server_stop(&s);
}

static void
test_as_many_handlers_run_as_there_are_threads_and_no_more(void **state)
{
    enum { THREADS = 4, CLIENTS = 12 };
    struct server s;
    (void)state;
    server_prepare(&s, THREADS);
    server_start(&s);
    s.hold = true;
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial(&s);
        say_text(fds[i], GET("/hold") GET("/"));
    }
    wait_inside(&s, THREADS);
    /* all threads are taken: the rest wait, yet input and output go on */
    int bad = dial(&s);
    say_text(bad, "nonsense\r\n\r\n");
    expect(bad, 400, NULL);
    close(bad);
    assert_int_equal(s.inside, THREADS);
    s.hold = false;
    for (int i = 0; i < CLIENTS; i++) {
        expect(fds[i], 200, "held");
        expect(fds[i], 200, "hello");
        close(fds[i]);
    }
    assert_int_equal(s.most_inside, THREADS);
    server_stop(&s);
}

static void
test_the_rest_of_a_batch_is_not_lost_with_the_engine(void **state)
{
    struct server s;
    (void)state;
    server_prepare(&s, 1);
    server_start(&s);
    int fds[20];
    for (int round = 0; round < 20; round++) {
        s.hold = true;
        for (int i = 0; i < 20; i++) {
            fds[i] = dial(&s);
            say_text(fds[i], i % 5 == 0 ? GET("/hold") GET("/204") : GET("/204"));
        }
        wait_inside(&s, 1);
        s.hold = false;
        for (int i = 0; i < 20; i++) {
            if (i % 5 == 0)
                expect(fds[i], 200, "held");
            expect(fds[i], 204, NULL);
            close(fds[i]);
        }
    }
    server_stop(&s);
}

static void
test_closing_while_a_handler_hangs_is_told(void **state)
{
    struct server s;
    (void)state;
    server_prepare(&s, 1);
    server_start(&s);
    s.hold = true;
    int fd = dial(&s);
    say_text(fd, GET("/hold"));
    wait_inside(&s, 1);
    assert_int_equal(sl_engine_close(s.engine, 50), SL_ETIMEOUT);
    s.hold = false;
    sl_engine_stop(s.engine);
    close(fd);
    s.give_up = true; /* the pool has quit: nobody will tell that all is drained */
    pthread_join(s.thread, NULL);
    assert_int_equal(sl_engine_close(s.engine, 5000), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static _Thread_local bool in_sleep;

static void
note_sleep(void *ctx)
{
    (void)ctx;
    in_sleep = true;
}

static void
note_wake(void *ctx)
{
    (void)ctx;
    in_sleep = false;
}

static int
awake_handler(void *ctx, struct sl_request *req, struct sl_response *res)
{
    assert_false(in_sleep);
    usleep(path_is(req, "/slow") ? 3000 : 0);
    return test_handler(ctx, req, res);
}

static void
test_handlers_never_run_on_a_thread_that_said_it_sleeps(void **state)
{
    struct server s;
    (void)state;
    server_prepare(&s, 3);
    s.options.sleep_begin = note_sleep;
    s.options.sleep_end = note_wake;
    s.options.handle = awake_handler;
    server_start(&s);
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = dial(&s);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 8; i++)
            say_text(fds[i], (round + i) % 4 ? GET("/") : GET("/slow"));
        for (int i = 0; i < 8; i++)
            expect(fds[i], 200, "hello");
    }
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    server_stop(&s);
}

static void
stop_at_limit(void *ctx)
{
    struct server *s = ctx;
    s->limit_calls++;
    assert_non_null(s->engine);
    sl_engine_stop(s->engine);
}

static void
test_callbacks_during_the_opening_know_the_engine(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct server s;
        server_prepare(&s, 4);
        s.options.max_requests = 1;
        s.options.on_limit = stop_at_limit;
        server_listen(&s);
        int fd = dial(&s); /* waits in the backlog, with its request */
        say_text(fd, GET("/"));
        server_open(&s);
        expect(fd, 200, "hello");
        close(fd);
        server_stop(&s);
        assert_int_equal(s.limit_calls, 1);
    }
}

static void
test_every_waiting_request_finds_a_free_thread(void **state)
{
    enum { THREADS = 3, ROUNDS = 30 };
    struct server s;
    (void)state;
    server_prepare(&s, THREADS);
    server_start(&s);
    int fds[THREADS];
    for (int i = 0; i < THREADS; i++)
        fds[i] = dial(&s);
    for (int round = 0; round < ROUNDS; round++) {
        s.hold = true;
        for (int i = 0; i < THREADS; i++)
            say_text(fds[i], GET("/hold"));
        wait_inside(&s, THREADS); /* none waits for another's end */
        s.hold = false;
        for (int i = 0; i < THREADS; i++)
            expect(fds[i], 200, "held");
        usleep(10000); /* time enough for the watcher to fall asleep */
    }
    for (int i = 0; i < THREADS; i++)
        close(fds[i]);
    server_stop(&s);
}

static void *
wake_turn(void *arg)
{
    struct server *s = arg;
    sl_engine_wake(s->engine);
    return NULL;
}

static void
test_a_wake_ends_the_turn_of_the_waiting_thread(void **state)
{
    struct server s;
    pthread_t waker;
    (void)state;
    server_prepare(&s, 2);
    server_listen(&s);
    assert_int_equal(sl_engine_open(&s.options, &s.engine, NULL), 0);
    struct pollfd p = {.fd = sl_engine_fd(s.engine), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    pthread_create(&waker, NULL, wake_turn, &s);
    assert_int_equal(sl_engine_turn(s.engine, -1), SL_OK);
    pthread_join(waker, NULL);
    assert_int_equal(poll(&p, 1, 0), 0); /* told once */
    assert_int_equal(sl_engine_turn(s.engine, 0), SL_OK);
    sl_engine_stop(s.engine);
    assert_int_equal(poll(&p, 1, 30000), 1);
    assert_int_equal(sl_engine_turn(s.engine, 30000), SL_ECLOSED);
    assert_int_equal(sl_engine_turn(s.engine, 30000), SL_ECLOSED);
    assert_int_equal(sl_engine_close(s.engine, 5000), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

/* How often threads of this process went to sleep. */
static long
sleeps(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_nvcsw;
}

static void
test_nobody_wakes_up_while_nothing_happens(void **state)
{
    struct server s;
    (void)state;
    server_prepare(&s, 2);
    server_start(&s);
    s.hold = true;
    int slow = dial(&s);
    say_text(slow, GET("/hold"));
    wait_inside(&s, 1);
    usleep(20000); /* the engine is taken over, and no request follows */
    s.hold = false;
    expect(slow, 200, "held");
    usleep(50000);
    long before = sleeps();
    usleep(500000);
    assert_in_range(sleeps() - before, 0, 30);
    close(slow);
    server_stop(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_are_served_while_a_handler_blocks),
        cmocka_unit_test(test_as_many_handlers_run_as_there_are_threads_and_no_more),
        cmocka_unit_test(test_the_rest_of_a_batch_is_not_lost_with_the_engine),
        cmocka_unit_test(test_closing_while_a_handler_hangs_is_told),
        cmocka_unit_test(test_every_waiting_request_finds_a_free_thread),
        cmocka_unit_test(test_a_wake_ends_the_turn_of_the_waiting_thread),
        cmocka_unit_test(test_nobody_wakes_up_while_nothing_happens),
        cmocka_unit_test(test_handlers_never_run_on_a_thread_that_said_it_sleeps),
        cmocka_unit_test(test_callbacks_during_the_opening_know_the_engine),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
