/* A stop loses nothing: last answers, connections that wait in the queue, requests half arrived. */
#include "engine_fixture.h"

#include <stdlib.h>
#include <time.h>

#include <saola/host.h>

#include "proc/scoreboard.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static unsigned
threads_of(void **state)
{
    return *(const unsigned *)*state;
}

static void
begin(struct server *s, void **state)
{
    server_prepare(s, threads_of(state));
    server_start(s);
}

/* One answer, and what it says about the connection. */
static void
expect_connection(int fd, const char *body, bool close)
{
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.len, strlen(body));
    assert_memory_equal(a.body, body, a.len);
    assert_true((strstr(a.head, "\r\nConnection: close\r\n") != NULL) == close);
    free(a.body);
}

static void
wait_inside(const struct server *s, int count)
{
    while (s->inside < count)
        usleep(1000);
}

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int
connect_now(const struct server *s)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof rc;
    if (rc == EINPROGRESS && poll(&p, 1, 5000) == 1)
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &rc, &len), 0);
    close(fd);
    return rc;
}

/* ---- the last answer --------------------------------------------------------------------------
 */

static void
test_only_the_last_of_pipelined_answers_says_close(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    s.hold = true;
    say_text(fd, GET("/hold") GET("/") "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
                                       "ab" GET("/"));
    wait_inside(&s, 1);
    sl_engine_stop(s.engine);
    s.hold = false;
    expect_connection(fd, "held", false);
    expect_connection(fd, "hello", false);
    expect_connection(fd, "ab", false);
    expect_connection(fd, "hello", true);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void
test_what_came_behind_a_chunked_body_is_answered(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    s.hold = true;
    say_text(fd, "POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nab\r\n0\r\n\r\n" GET("/"));
    wait_inside(&s, 1);
    sl_engine_stop(s.engine);
    s.hold = false;
    expect_connection(fd, "held", false);
    expect_connection(fd, "hello", true);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void
test_a_request_that_came_while_the_handler_ran_is_answered(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    s.hold = true;
    say_text(fd, GET("/hold"));
    wait_inside(&s, 1);
    sl_engine_stop(s.engine);
    say_text(fd, GET("/"));
    s.hold = false;
    expect_connection(fd, "held", false);
    expect_connection(fd, "hello", true);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

struct flood {
    int fd;
    atomic_bool over;
};

static void *
send_without_end(void *arg)
{
    struct flood *flood = arg;
    while (!flood->over && send(flood->fd, GET("/"), strlen(GET("/")), MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

static void *
read_without_end(void *arg)
{
    struct flood *flood = arg;
    char bytes[65536];
    while (recv(flood->fd, bytes, sizeof bytes, 0) > 0)
        ;
    return NULL;
}

static void
test_a_client_that_never_stops_does_not_hold_up_the_stop(void **state)
{
    struct server s;
    pthread_t sender, reader;
    begin(&s, state);
    struct flood flood = {.fd = dial(&s)};
    pthread_create(&sender, NULL, send_without_end, &flood);
    pthread_create(&reader, NULL, read_without_end, &flood);
    while (sl_engine_requests(s.engine) < 100)
        usleep(1000);
    sl_engine_stop(s.engine);
    long start = now_ms();
    pthread_join(s.thread, NULL);
    assert_in_range(now_ms() - start, 0, 15000); /* half a second and two of lingering */
    flood.over = true;
    shutdown(flood.fd, SHUT_RDWR);
    pthread_join(sender, NULL);
    pthread_join(reader, NULL);
    close(flood.fd);
    assert_int_equal(sl_engine_close(s.engine, 5000), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_requests_half_arrived_are_finished(void **state)
{
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.proxy_protocol = 1;
    s.options.proxy_allow = (const char *const[]){"*", NULL};
    server_start(&s);
    int head = dial(&s), body = dial(&s), wait = dial(&s), proxy = dial(&s), done = dial(&s);
    say_text(head, "GET / HT");
    say_text(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
    say_text(wait, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                   "Content-Length: 2\r\n\r\n");
    struct answer a;
    hear(wait, &a, false);
    assert_int_equal(a.status, 100);
    say_text(proxy, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r");
    say_text(done, GET("/"));
    expect_connection(done, "hello", false);
    while (sl_engine_connections(s.engine) < 5)
        usleep(1000);
    sl_engine_stop(s.engine);
    usleep(1000 * 700); /* longer than an idle connection has */
    say_text(head, "TP/1.1\r\nHost: x\r\n\r\n");
    expect_connection(head, "hello", true);
    say_text(body, "cd");
    expect_connection(body, "abcd", true);
    say_text(wait, "ok");
    expect_connection(wait, "ok", true);
    say_text(proxy, "\n" GET("/"));
    expect_connection(proxy, "hello", true);
    int all[] = {head, body, wait, proxy, done};
    for (int i = 0; i < 5; i++) {
        assert_true(at_end(all[i]));
        close(all[i]);
    }
    server_stop(&s);
}

static void
test_a_slow_reader_gets_all_of_its_answer(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/big"));
    while (sl_engine_requests(s.engine) == 0)
        usleep(1000);
    sl_engine_stop(s.engine);
    usleep(1000 * 700);
    hear(fd, &a, false);
    assert_int_equal(a.len, 4 << 20);
    assert_false(a.cut);
    free(a.body);
    close(fd);
    server_stop(&s);
}

enum { BLOCKS = 500 };

static int
plenty(void *ctx, struct sl_request *req, struct sl_response *res)
{
    static char block[40000];
    (void)ctx;
    (void)req;
    sl_response_start(res, "200 OK", 6);
    for (int i = 0; i < BLOCKS; i++)
        (void)sl_response_write(res, block, sizeof block, SL_WRITE_FLUSH);
    return 0;
}

/* An answer whose end is the end of the connection (HTTP/1.0) must not end early without a sign. */
static void
test_an_answer_that_is_cut_at_the_end_is_reset(void **state)
{
    struct server s;
    char bytes[65536];
    server_prepare(&s, threads_of(state));
    s.options.handle = plenty;
    server_start(&s);
    int fd = dial(&s);
    say_text(fd, "GET / HTTP/1.0\r\n\r\n");
    while (sl_engine_requests(s.engine) == 0)
        usleep(1000);
    usleep(1000 * 200);
    s.give_up = true;
    sl_engine_wake(s.engine);
    pthread_join(s.thread, NULL);
    assert_int_equal(sl_engine_close(s.engine, 5000), 0);
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    close(s.listener);
    /* and a whole one ends in order */
    server_prepare(&s, threads_of(state));
    s.options.handle = plenty;
    server_start(&s);
    fd = dial(&s);
    say_text(fd, "GET / HTTP/1.0\r\n\r\n");
    size_t all = 0;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        all += (size_t)n;
    assert_int_equal(n, 0);
    assert_true(all > BLOCKS * 40000);
    close(fd);
    server_stop(&s);
}

static void
test_a_stop_does_not_wait_for_idle_connections(void **state)
{
    enum { COUNT = 400 };
    static int fds[COUNT];
    struct server s;
    begin(&s, state);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = dial(&s);
        say_text(fds[i], GET("/"));
        expect(fds[i], 200, "hello");
    }
    long start = now_ms();
    sl_engine_stop(s.engine);
    pthread_join(s.thread, NULL); /* the clients do not even look */
    assert_in_range(now_ms() - start, 450, 5000);
    for (int i = 0; i < COUNT; i++) {
        assert_true(at_end(fds[i]));
        close(fds[i]);
    }
    assert_int_equal(sl_engine_close(s.engine, 5000), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_a_worker_that_is_replaced_lets_idle_connections_live(void **state)
{
    struct server s;
    struct sl_scoreboard board;
    server_prepare(&s, threads_of(state));
    assert_int_equal(sl_scoreboard_open(1, &board), 0);
    s.options.slot = sl_scoreboard_take(&board, 1, -1);
    atomic_store(&s.options.slot->parent, getppid());
    s.options.retire_linger_ms = 60000;
    server_start(&s);
    int fd = dial(&s), other = dial(&s);
    say_text(fd, GET("/"));
    expect_connection(fd, "hello", false);
    say_text(other, GET("/"));
    expect_connection(other, "hello", false);
    sl_engine_stop(s.engine);
    assert_true(quiet(fd, 1500));
    say_text(fd, GET("/"));
    expect_connection(fd, "hello", true);
    assert_true(quiet(other, 0));
    sl_slot_announce_stop(s.options.slot); /* now the whole server ends */
    assert_true(at_end(other));
    close(fd);
    close(other);
    server_stop(&s);
    sl_scoreboard_close(&board);
}

/* ---- the queue --------------------------------------------------------------------------------
 */

/* Waits for the engine's end and releases all but the listener's successor. */
static void
finish(struct server *s)
{
    pthread_join(s->thread, NULL);
    assert_int_equal(sl_engine_close(s->engine, 5000), 0);
}

enum { WAITING = 50 };

/* Connections that wait in the queue while every handler is busy. */
static void
fill_queue(struct server *s, int *busy, unsigned busy_count, int *fds)
{
    s->hold = true;
    for (unsigned i = 0; i < busy_count; i++) {
        busy[i] = dial(s);
        say_text(busy[i], GET("/hold"));
        wait_inside(s, (int)i + 1);
    }
    for (int i = 0; i < WAITING; i++) {
        fds[i] = dial(s);
        say_text(fds[i], GET("/"));
    }
}

static void
all_are_served(struct server *s, int *busy, unsigned busy_count, int *fds)
{
    s->hold = false;
    for (unsigned i = 0; i < busy_count; i++) {
        expect_connection(busy[i], "held", true);
        close(busy[i]);
    }
    for (int i = 0; i < WAITING; i++) {
        expect_connection(fds[i], "hello", true);
        assert_true(at_end(fds[i]));
        close(fds[i]);
    }
}

static void
test_the_queue_of_an_own_socket_is_emptied_and_the_socket_shut(void **state)
{
    struct server s;
    int busy[4], fds[WAITING], one = 1;
    server_prepare(&s, threads_of(state));
    s.options.own_listeners = true;
    server_listen(&s);
    assert_int_equal(setsockopt(s.listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
    server_open(&s);
    unsigned count = threads_of(state) == 0 ? 1 : 4;
    fill_queue(&s, busy, count, fds);
    sl_engine_stop(s.engine);
    all_are_served(&s, busy, count, fds);
    finish(&s);
    assert_int_equal(connect_now(&s), ECONNREFUSED); /* although it is open still */
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_the_queue_of_a_server_that_ends_is_emptied(void **state)
{
    struct server s;
    struct sl_scoreboard board;
    int busy[4], fds[WAITING];
    server_prepare(&s, threads_of(state));
    assert_int_equal(sl_scoreboard_open(1, &board), 0);
    s.options.slot = sl_scoreboard_take(&board, 1, -1);
    server_start(&s);
    unsigned count = threads_of(state) == 0 ? 1 : 4;
    fill_queue(&s, busy, count, fds);
    sl_slot_end_listeners(s.options.slot, 1);
    sl_engine_stop(s.engine);
    all_are_served(&s, busy, count, fds);
    int late = dial(&s); /* half a second more for those that were on their way */
    say_text(late, GET("/"));
    expect_connection(late, "hello", true);
    close(late);
    finish(&s);
    assert_int_equal(connect_now(&s), ECONNREFUSED);
    close(s.listener);
    sl_scoreboard_close(&board);
    assert_int_equal(count_descriptors(), s.open_before);
}

/* A reload: others accept from the same socket. */
static void
test_a_queue_that_others_serve_is_left_to_them(void **state)
{
    struct server s, next;
    int busy[4], fds[WAITING];
    begin(&s, state);
    unsigned count = threads_of(state) == 0 ? 1 : 4;
    s.hold = true;
    for (unsigned i = 0; i < count; i++) {
        busy[i] = dial(&s);
        say_text(busy[i], GET("/hold"));
        wait_inside(&s, (int)i + 1);
    }
    sl_engine_stop(s.engine);
    usleep(1000 * 200); /* noticed, unless the only thread is in its handler */
    for (int i = 0; i < WAITING; i++) {
        fds[i] = dial(&s);
        say_text(fds[i], GET("/"));
    }
    s.hold = false;
    for (unsigned i = 0; i < count; i++) {
        expect_connection(busy[i], "held", true);
        close(busy[i]);
    }
    finish(&s);
    server_prepare(&next, threads_of(state));
    next.open_before = s.open_before;
    next.listener = s.listener;
    next.port = s.port;
    next.options.listener_fds = &next.listener;
    next.options.listener_count = 1;
    next.options.ctx = &next;
    server_open(&next);
    for (int i = 0; i < WAITING; i++) {
        expect_connection(fds[i], "hello", false);
        close(fds[i]);
    }
    server_stop(&next);
}

static void
test_a_stop_with_an_empty_queue_is_quick(void **state)
{
    struct server s;
    struct sl_scoreboard board;
    server_prepare(&s, threads_of(state));
    assert_int_equal(sl_scoreboard_open(1, &board), 0);
    s.options.slot = sl_scoreboard_take(&board, 1, -1);
    server_start(&s);
    sl_slot_end_listeners(s.options.slot, 1);
    long start = now_ms();
    sl_engine_stop(s.engine);
    finish(&s);
    assert_in_range(now_ms() - start, 0, 450);
    close(s.listener);
    sl_scoreboard_close(&board);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_before_a_stop_answers_say_close_and_accepting_goes_on(void **state)
{
    struct server s;
    struct sl_scoreboard board;
    server_prepare(&s, threads_of(state));
    assert_int_equal(sl_scoreboard_open(1, &board), 0);
    s.options.slot = sl_scoreboard_take(&board, 1, -1);
    server_start(&s);
    int old = dial(&s);
    say_text(old, GET("/"));
    expect_connection(old, "hello", false);
    sl_slot_announce_stop(s.options.slot);
    int new = dial(&s);
    say_text(new, GET("/") GET("/"));
    expect_connection(new, "hello", false);
    expect_connection(new, "hello", true);
    assert_true(at_end(new));
    say_text(old, GET("/"));
    expect_connection(old, "hello", true);
    assert_true(at_end(old));
    close(old);
    close(new);
    server_stop(&s);
    sl_scoreboard_close(&board);
}

int
main(void)
{
    static unsigned inline_threads = 0, pool_threads = 4;
#define BOTH(test)                                                                                 \
    cmocka_unit_test_prestate(test, &inline_threads), cmocka_unit_test_prestate(test, &pool_threads)
    const struct CMUnitTest tests[] = {
        BOTH(test_only_the_last_of_pipelined_answers_says_close),
        BOTH(test_what_came_behind_a_chunked_body_is_answered),
        BOTH(test_a_request_that_came_while_the_handler_ran_is_answered),
        BOTH(test_a_client_that_never_stops_does_not_hold_up_the_stop),
        BOTH(test_requests_half_arrived_are_finished),
        BOTH(test_a_slow_reader_gets_all_of_its_answer),
        BOTH(test_an_answer_that_is_cut_at_the_end_is_reset),
        BOTH(test_a_stop_does_not_wait_for_idle_connections),
        BOTH(test_a_worker_that_is_replaced_lets_idle_connections_live),
        BOTH(test_the_queue_of_an_own_socket_is_emptied_and_the_socket_shut),
        BOTH(test_the_queue_of_a_server_that_ends_is_emptied),
        BOTH(test_a_queue_that_others_serve_is_left_to_them),
        BOTH(test_a_stop_with_an_empty_queue_is_quick),
        BOTH(test_before_a_stop_answers_say_close_and_accepting_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
