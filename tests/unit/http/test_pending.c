/* Requests that a host answers later, and foreign descriptors: one thread turns the engine, plays
 * the host and the client. */
#include "engine_fixture.h"

#include <fcntl.h>
#include <poll.h>

#include "http/engine_state.h"

static struct server s;
static struct sl_request *req;
static struct sl_response *res;
static unsigned told; /* enum sl_on since the last look */
static int calls;
static unsigned ready_flags;
static int ready_fd;

static int
handle_later(void *ctx, struct sl_request *request, struct sl_response *response)
{
    (void)ctx;
    calls++;
    if (path_is(request, "/now"))
        return text(response, "now");
    req = request;
    res = response;
    return SL_PENDING;
}

static int (*handler)(void *ctx, struct sl_request *req, struct sl_response *res) = handle_later;

static void
on_event(void *ctx, struct sl_request *request, unsigned what)
{
    (void)ctx;
    assert_ptr_equal(request, req);
    told |= what;
    if (what & SL_ON_CLOSED)
        req = NULL;
}

static void
on_ready(void *ctx, int fd, unsigned flags)
{
    (void)ctx;
    ready_fd = fd;
    ready_flags |= flags;
}

static void
open_engine(uint32_t body_timeout_ms)
{
    struct sl_error err;
    server_prepare(&s, 0);
    server_listen(&s);
    s.options.handle = handler;
    s.options.on_event = on_event;
    s.options.on_ready = on_ready;
    s.options.body_timeout_ms = body_timeout_ms;
    s.options.lent = true;
    assert_int_equal(sl_engine_open(&s.options, &s.engine, &err), 0);
    req = NULL;
    told = 0;
    calls = 0;
    ready_flags = 0;
}

static void
close_engine(void)
{
    assert_int_equal(sl_engine_close(s.engine, 0), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

/* Turns until the condition holds; it is looked at often enough for a slow machine. */
#define TURN_UNTIL(condition)                                                                      \
    for (int turns = 0; !(condition); turns++) {                                                   \
        assert_true(turns < 2000);                                                                 \
        assert_true(sl_engine_turn(s.engine, 10) <= SL_OK);                                        \
    }

static int
ask(const char *request)
{
    int fd = dial(&s);
    say_text(fd, request);
    TURN_UNTIL(req != NULL);
    return fd;
}

static void
answer(const char *body)
{
    text(res, body);
    sl_request_finish(req);
    req = NULL;
}

static void
test_an_answer_that_comes_later_arrives_and_the_next_request_waits_for_it(void **state)
{
    (void)state;
    open_engine(20000);
    int fd = dial(&s);
    say_text(fd, "GET /a?x HTTP/1.1\r\nHost: x\r\nName: value\r\n\r\n"
                 "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(req != NULL);
    int other = dial(&s); /* the engine's buffers are used for somebody else meanwhile */
    say_text(other, "GET /now HTTP/1.1\r\nHost: other\r\nAnother: field\r\n\r\n");
    TURN_UNTIL(calls == 2);
    expect(other, 200, "now");
    assert_true(quiet(fd, 0));
    assert_true(path_is(req, "/a"));
    assert_memory_equal(req->query.ptr, "x", 1);
    assert_memory_equal(sl_request_header(req, "name")->value.ptr, "value", 5);
    assert_false(sl_request_gone(req));
    answer("later");
    expect(fd, 200, "later");
    TURN_UNTIL(calls == 3);
    expect(fd, 200, "now");
    say_text(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(calls == 4);
    expect(fd, 200, "now");
    close(fd);
    close(other);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    close_engine();
}

static void
test_what_the_client_sends_meanwhile_is_served_after_the_answer(void **state)
{
    (void)state;
    open_engine(20000);
    int fd = ask("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    say_text(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 5; i++)
        sl_engine_turn(s.engine, 5);
    assert_int_equal(calls, 1);
    answer("a");
    TURN_UNTIL(calls == 2);
    expect(fd, 200, "a");
    expect(fd, 200, "now");
    close(fd);
    close_engine();
}

static size_t
take_body(void)
{
    const char *data;
    size_t total = 0, n;
    while ((n = sl_request_body(req, &data)) > 0) {
        for (size_t i = 0; i < n; i++)
            assert_int_equal(data[i], 'b');
        sl_request_consume(req, n);
        total += n;
    }
    return total;
}

static void
test_a_body_is_received_only_as_the_host_asks(void **state)
{
    (void)state;
    static char part[100000];
    memset(part, 'b', sizeof part);
    open_engine(20000);
    int fd = ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n"
                 "Expect: 100-continue\r\n\r\n");
    assert_int_equal(sl_request_more(req), SL_EAGAIN);
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.status, 100);
    size_t total = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(told, 0);
        say(fd, part, sizeof part);
        TURN_UNTIL(told != 0);
        assert_int_equal(told, SL_ON_BODY);
        while (sl_request_more(req) == SL_OK && !sl_request_body_done(req)) {
            told = 0;
            total += take_body();
        }
        told = 0;
        total += take_body();
    }
    while (!sl_request_body_done(req)) {
        sl_engine_turn(s.engine, 10);
        (void)sl_request_more(req);
        total += take_body();
    }
    assert_int_equal(total, 300000);
    answer("done");
    expect(fd, 200, "done");
    say_text(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(calls == 2);
    expect(fd, 200, "now");
    close(fd);
    close_engine();
}

static char sink[1 << 16];

static void
fill(struct sl_response *response, unsigned flags)
{
    static char block[20000];
    int rc;
    do
        rc = sl_response_write(response, block, sizeof block, flags);
    while (rc == SL_OK);
    assert_int_equal(rc, SL_EFULL);
}

/* The client reads until the host is told that there is room. */
static void
read_until_room(int fd)
{
    for (int turns = 0; !(told & SL_ON_ROOM); turns++) {
        assert_true(turns < 10000);
        (void)recv(fd, sink, sizeof sink, MSG_DONTWAIT);
        sl_engine_turn(s.engine, 0);
    }
}

static void
leave(int fd)
{
    sl_response_end(res);
    sl_request_finish(req);
    close(fd);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    close_engine();
}

static void
test_a_slow_client_is_told_when_there_is_room_again(void **state)
{
    (void)state;
    static const unsigned flags[] = {SL_WRITE_FLUSH, 0};
    for (size_t i = 0; i < 2; i++) {
        open_engine(20000);
        int fd = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        sl_response_start(res, "200 OK", 6);
        fill(res, flags[i]);
        sl_engine_turn(s.engine, 10);
        assert_int_equal(told, 0);
        read_until_room(fd);
        leave(fd);
    }
}

static int quick_fd;

/* Fills the response; before it returns, the client has read all that was sent. */
static int
fill_and_wait(void *ctx, struct sl_request *request, struct sl_response *response)
{
    int rc = handle_later(ctx, request, response);
    sl_response_start(response, "200 OK", 6);
    fill(response, 0);
    struct pollfd client = {.fd = quick_fd, .events = POLLIN};
    while (poll(&client, 1, 50) == 1)
        assert_true(recv(quick_fd, sink, sizeof sink, MSG_DONTWAIT) > 0);
    return rc;
}

/* What the handler left is then sent in one go when it returns. */
static void
test_a_client_that_reads_before_the_handler_returns_leaves_room_at_once(void **state)
{
    (void)state;
    handler = fill_and_wait;
    open_engine(20000);
    handler = handle_later;
    int much = 4 << 20; /* accepted sockets inherit it: all that waits mostly finds room */
    assert_int_equal(setsockopt(s.listener, SOL_SOCKET, SO_SNDBUF, &much, sizeof much), 0);
    quick_fd = dial(&s);
    say_text(quick_fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(req != NULL);
    read_until_room(quick_fd);
    leave(quick_fd);
}

static void
test_a_client_that_leaves_is_told_and_one_that_only_ends_its_side_is_answered(void **state)
{
    (void)state;
    open_engine(20000);
    int fd = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    close(fd);
    TURN_UNTIL(told & SL_ON_GONE);
    assert_true(sl_request_gone(req));
    answer("nobody");
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    told = 0;
    fd = dial(&s);
    say_text(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    TURN_UNTIL(req != NULL && sl_request_gone(req));
    answer("half");
    expect(fd, 200, "half");
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    assert_true(at_end(fd));
    close(fd);
    close_engine();
}

static void
test_an_upgraded_connection_is_the_hosts(void **state)
{
    (void)state;
    const char *data;
    char head[512] = "", echo[8] = "";
    open_engine(20000);
    int fd = ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst");
    assert_int_equal(sl_response_upgrade(res, "echo", 4), SL_EINVAL);
    assert_int_equal(sl_response_start(res, "101 Switching Protocols", 23), SL_OK);
    sl_response_header(res, "X-Field", 7, "y", 1);
    assert_int_equal(sl_response_upgrade(res, "echo", 4), SL_OK);
    ssize_t n = recv(fd, head, sizeof head - 1, 0);
    assert_true(n > 0);
    assert_non_null(strstr(head, "Connection: Upgrade\r\n"));
    assert_non_null(strstr(head, "Upgrade: echo\r\n\r\n"));
    assert_non_null(strstr(head, "X-Field: y\r\n"));
    assert_null(strstr(head, "Content-Length"));
    assert_int_equal(sl_request_body(req, &data), 5);
    assert_memory_equal(data, "first", 5);
    sl_request_consume(req, 5);
    assert_int_equal(sl_request_more(req), SL_EAGAIN);
    say_text(fd, "GET / H");
    TURN_UNTIL(told & SL_ON_BODY);
    assert_int_equal(sl_request_more(req), SL_OK);
    size_t len = sl_request_body(req, &data);
    assert_int_equal(len, 7);
    assert_int_equal(sl_response_write(res, data, len, SL_WRITE_FLUSH), SL_OK);
    assert_int_equal(get_bytes(fd, echo, 7), 7);
    assert_string_equal(echo, "GET / H");
    sl_response_write(res, "bye", 3, 0);
    sl_request_finish(req);
    assert_int_equal(get_bytes(fd, echo, 3), 3);
    assert_true(at_end(fd));
    close(fd);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    close_engine();
}

static void
test_trailers_and_a_head_without_bytes(void **state)
{
    (void)state;
    char bytes[1024] = "";
    struct sl_header trailer = {{"Sum", 3}, {"42", 2}}, bad = {{"a b", 3}, {"42", 2}};
    static const char *const early[] = {"content-length", "Transfer-Encoding", "Location",
                                        "Set-Cookie",     "Content-Type",      "x-forwarded-ssl"};
    open_engine(20000);
    int fd = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    sl_response_start(res, "200 OK", 6);
    sl_response_write(res, "", 0, SL_WRITE_HEAD | SL_WRITE_FLUSH);
    assert_false(quiet(fd, 10000));
    sl_response_write(res, "x", 1, 0);
    assert_int_equal(sl_response_end_trailers(res, &bad, 1), SL_EINVAL);
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++) {
        struct sl_header pair[2] = {trailer, {{early[i], strlen(early[i])}, {"1", 1}}};
        assert_int_equal(sl_response_end_trailers(res, pair, 2), SL_EINVAL);
    }
    assert_int_equal(sl_response_end_trailers(res, &trailer, 1), SL_OK);
    sl_response_close(res);
    sl_request_finish(req);
    size_t n = get_bytes(fd, bytes, sizeof bytes - 1 < 200 ? 0 : 1);
    while (strstr(bytes, "Sum: 42\r\n\r\n") == NULL && n < sizeof bytes - 1)
        n += get_bytes(fd, bytes + n, 1);
    assert_non_null(strstr(bytes, "\r\n\r\n1\r\nx\r\n0\r\nSum: 42\r\n\r\n"));
    close(fd);
    close_engine();
}

static void
test_a_stop_waits_for_the_answer_and_the_turns_go_on_for_foreign_descriptors(void **state)
{
    (void)state;
    int pipe_fds[2];
    struct answer a;
    open_engine(20000);
    int fd = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    sl_engine_stop(s.engine);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sl_engine_turn(s.engine, 5), SL_OK);
    answer("last");
    hear(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Connection: close"));
    free(a.body);
    close(fd);
    int rc = SL_OK;
    for (int turns = 0; rc != SL_ECLOSED; turns++) {
        assert_true(turns < 2000);
        rc = sl_engine_turn(s.engine, 10);
    }
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(sl_engine_watch(s.engine, pipe_fds[0], SL_WATCH_READ), SL_OK);
    assert_int_equal(sl_engine_turn(s.engine, 0), SL_ECLOSED);
    assert_int_equal(ready_flags, 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    assert_int_equal(sl_engine_turn(s.engine, 10000), SL_ECLOSED);
    assert_int_equal(ready_flags, SL_WATCH_READ);
    assert_int_equal(ready_fd, pipe_fds[0]);
    ready_flags = 0; /* level-triggered */
    sl_engine_turn(s.engine, 0);
    assert_int_equal(ready_flags, SL_WATCH_READ);
    assert_int_equal(sl_engine_watch(s.engine, pipe_fds[0], 0), SL_OK);
    assert_int_equal(sl_engine_watch(s.engine, pipe_fds[0], 0), SL_ENOENT);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close_engine();
}

static void
test_a_closed_engine_takes_its_requests_back(void **state)
{
    (void)state;
    open_engine(20000);
    int fd = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(sl_engine_close(s.engine, 0), 0);
    assert_int_equal(told, SL_ON_CLOSED);
    assert_null(req);
    assert_true(at_end(fd));
    close(fd);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_a_client_that_sends_no_more_of_its_body_runs_out_of_time(void **state)
{
    (void)state;
    open_engine(100);
    int fd = ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
    assert_int_equal(sl_request_more(req), SL_EAGAIN);
    TURN_UNTIL(told & SL_ON_BODY);
    assert_int_equal(sl_request_more(req), SL_ETIMEOUT);
    sl_response_fail(res, 408, NULL);
    sl_request_finish(req);
    expect(fd, 408, NULL);
    close(fd);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    close_engine();
}

enum { MANY = 100 };
static struct sl_request *many[MANY];
static int many_count;

static int
handle_many(void *ctx, struct sl_request *request, struct sl_response *response)
{
    (void)ctx;
    text(response, "later");
    many[many_count++] = request;
    return SL_PENDING;
}

static void
test_as_many_requests_as_have_waited_wait_again_without_new_workspaces(void **state)
{
    (void)state;
    int fds[MANY];
    open_engine(20000);
    s.engine->opt.handle = handle_many;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            if (round == 0)
                fds[i] = dial(&s);
            say_text(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        many_count = 0;
        TURN_UNTIL(many_count == MANY);
        assert_int_equal(s.engine->waiting, MANY);
        assert_int_equal(s.engine->spare_ws_count, 0);
        for (int i = 0; i < MANY; i++) {
            sl_request_finish(many[i]);
            expect(fds[i], 200, "later");
        }
        assert_int_equal(s.engine->spare_ws_count, MANY);
    }
    sl_pending_trim(s.engine); /* of the second in which they waited */
    assert_int_equal(s.engine->spare_ws_count, MANY);
    sl_pending_trim(s.engine);
    assert_in_range(s.engine->spare_ws_count, 1, MANY - 1);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    close_engine();
}

static void
test_nothing_is_accepted_before_it_is_asked_for(void **state)
{
    (void)state;
    struct sl_error err;
    server_prepare(&s, 0);
    server_listen(&s);
    s.options.handle = handler;
    s.options.accept_later = true;
    assert_int_equal(sl_engine_open(&s.options, &s.engine, &err), 0);
    calls = 0;
    int fd = dial(&s);
    say_text(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 5; i++)
        sl_engine_turn(s.engine, 5);
    assert_int_equal(sl_engine_connections(s.engine), 0);
    sl_engine_accept(s.engine);
    TURN_UNTIL(calls == 1);
    expect(fd, 200, "now");
    close(fd);
    close_engine();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_that_comes_later_arrives_and_the_next_request_waits_for_it),
        cmocka_unit_test(test_what_the_client_sends_meanwhile_is_served_after_the_answer),
        cmocka_unit_test(test_a_body_is_received_only_as_the_host_asks),
        cmocka_unit_test(test_a_slow_client_is_told_when_there_is_room_again),
        cmocka_unit_test(test_a_client_that_reads_before_the_handler_returns_leaves_room_at_once),
        cmocka_unit_test(
            test_a_client_that_leaves_is_told_and_one_that_only_ends_its_side_is_answered),
        cmocka_unit_test(test_an_upgraded_connection_is_the_hosts),
        cmocka_unit_test(test_trailers_and_a_head_without_bytes),
        cmocka_unit_test(
            test_a_stop_waits_for_the_answer_and_the_turns_go_on_for_foreign_descriptors),
        cmocka_unit_test(test_a_closed_engine_takes_its_requests_back),
        cmocka_unit_test(test_a_client_that_sends_no_more_of_its_body_runs_out_of_time),
        cmocka_unit_test(test_as_many_requests_as_have_waited_wait_again_without_new_workspaces),
        cmocka_unit_test(test_nothing_is_accepted_before_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
