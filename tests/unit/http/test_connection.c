/* The life of a connection beside its requests, from outside: clocks, closing, lingering, fairness;
 * every test runs inline and with threads. */
#include "engine_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "http/engine_state.h"

static unsigned
threads_of(void **state)
{
    return *(unsigned *)*state;
}

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

/* Waits until the engine has closed all connections; false if that takes longer. */
static bool
all_gone(const struct server *s, int ms)
{
    for (; sl_engine_connections(s->engine) > 0; ms--) {
        if (ms == 0)
            return false;
        usleep(1000);
    }
    return true;
}

static void
test_lingering_ends_with_the_client(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "nonsense\r\n\r\n");
    shutdown(fd, SHUT_WR); /* its end may be seen together with the request */
    expect(fd, 400, NULL);
    assert_true(all_gone(&s, 500));
    close(fd);
    fd = dial(&s);
    say_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    expect(fd, 500, NULL);
    assert_true(all_gone(&s, 500));
    close(fd);
    server_stop(&s);
}

static void
test_an_answer_is_not_reset_by_what_the_client_sent_ahead(void **state)
{
    struct server s;
    begin(&s, state);
    char *ahead = calloc(1, 300000);
    for (int i = 0; i < 20; i++) {
        int fd = dial(&s);
        say_text(fd, i % 2 ? GET("/") GET("/fail") GET("/")
                           : "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n");
        if (i % 4 < 2)
            usleep(2000); /* the answers may be out already */
        say(fd, ahead, 300000);
        expect(fd, 200, "hello");
        expect(fd, i % 2 ? 500 : 200, NULL);
        char byte;
        assert_int_equal(recv(fd, &byte, 1, 0), 0);
        close(fd);
    }
    free(ahead);
    server_stop(&s);
}

struct flood {
    struct server *server;
    const char *opening, *more;
    atomic_bool enough;
};

/* Sends without end, and reads what comes. */
static void *
pour(void *arg)
{
    struct flood *flood = arg;
    int fd = dial(flood->server);
    size_t len = strlen(flood->more), size = 0;
    char *block = malloc(1 << 20), *waste = malloc(1 << 20);
    while (size + len <= 1 << 20) {
        memcpy(block + size, flood->more, len);
        size += len;
    }
    say_text(fd, flood->opening);
    size_t at = 0;
    while (!flood->enough) {
        ssize_t n = send(fd, block + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            at = (at + (size_t)n) % size;
        ssize_t got = recv(fd, waste, 1 << 20, MSG_DONTWAIT);
        if (n < 0 && got < 0)
            usleep(100);
    }
    close(fd);
    free(block);
    free(waste);
    return NULL;
}

static void
test_a_client_that_sends_without_end_holds_nobody_up(void **state)
{
    static const char *const openings[][2] = {
        {"nonsense\r\n\r\n", "more of it"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "hello"},
        {GET("/"), GET("/")},
    };
    struct server s;
    begin(&s, state);
    for (int i = 0; i < 4; i++) {
        struct flood flood = {&s, openings[i][0], openings[i][1], false};
        pthread_t thread;
        pthread_create(&thread, NULL, pour, &flood);
        for (int k = 0; k < 50; k++) {
            int fd = dial(&s);
            say_text(fd, GET("/"));
            expect(fd, 200, "hello");
            close(fd);
            usleep(1000);
        }
        flood.enough = true;
        pthread_join(thread, NULL);
    }
    server_stop(&s);
}

static void
test_a_body_without_end_is_not_read_for_ever(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    size_t sent = 0;
    char chunk[4096 + 8] = "1000\r\n";
    memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    while (poll(&p, 1, 0) == 0 && sent < 64 << 20) {
        say(fd, chunk, sizeof chunk);
        sent += sizeof chunk;
    }
    assert_in_range(sent, SL_DRAIN_MAX, (64 << 20) - 1);
    expect(fd, 200, "hello");
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void
test_a_client_may_send_all_before_it_reads(void **state)
{
    static const int sizes[] = {200000, 6 << 20};
    struct server s;
    begin(&s, state);
    for (int i = 0; i < 2; i++) {
        char head[100];
        int fd = dial(&s), small = 65536;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        snprintf(head, sizeof head, "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                 sizes[i]);
        say_text(fd, head);
        char *body = calloc(1, (size_t)sizes[i]);
        say(fd, body, (size_t)sizes[i]);
        free(body);
        struct answer a;
        hear(fd, &a, false);
        assert_int_equal(a.len, 4 << 20);
        assert_false(a.cut);
        free(a.body);
        if (i == 0) {
            say_text(fd, GET("/"));
            expect(fd, 200, "hello");
        }
        close(fd);
    }
    server_stop(&s);
}

/* Says a lot before it reads the body, and the client reads it all before it sends that. */
static int
talk_first(void *ctx, struct sl_request *req, struct sl_response *res)
{
    static const char block[32768];
    struct server *s = ctx;
    char *data = NULL;
    sl_response_start(res, "200 OK", 6);
    for (int i = 0; i < 300; i++)
        sl_response_write(res, block, sizeof block, 0);
    if (read_all(s, req, &data) < 0)
        return -1;
    free(data);
    return 0;
}

static void
test_output_goes_out_while_a_body_is_awaited(void **state)
{
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.handle = talk_first;
    s.options.body_timeout_ms = 5000;
    server_start(&s);
    int fd = dial(&s);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    while (s.waits == 0)
        usleep(1000);
    usleep(20000);
    static char sink[300 * 32768];
    assert_int_equal(get_bytes(fd, sink, sizeof sink), sizeof sink);
    say(fd, sink, 100000);
    size_t len = 0;
    while (memmem(sink, len, "\r\n0\r\n\r\n", 7) == NULL && get_byte(fd, sink + len))
        len++;
    assert_int_equal(s.aborted_reads, 0);
    close(fd);
    server_stop(&s);
}

static int
judge(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct server *s = ctx;
    if (path_is(req, "/100")) {
        sl_response_start(res, "100 Continue", 12);
        return 0;
    }
    if (path_is(req, "/restart")) {
        assert_int_equal(sl_response_start(res, "201 Created", 11), SL_OK);
        assert_int_equal(sl_response_start(res, "099 Low", 7), SL_EINVAL);
        sl_response_write(res, "x", 1, SL_WRITE_LAST);
        return 0;
    }
    if (path_is(req, "/long")) {
        char *sentence = malloc(5001);
        memset(sentence, '<', 5000);
        sentence[5000] = '\0';
        sl_response_fail(res, 503, sentence);
        free(sentence);
        return 0;
    }
    if (path_is(req, "/after204")) {
        sl_response_start(res, "204 No Content", 14);
        sl_response_write(res, "", 0, SL_WRITE_LAST);
        return -1;
    }
    return test_handler(s, req, res);
}

static void
test_odd_answers_keep_their_framing(void **state)
{
    struct server s;
    struct answer a;
    server_prepare(&s, threads_of(state));
    s.options.handle = judge;
    server_start(&s);
    int fd = dial(&s);
    say_text(fd, GET("/restart"));
    hear(fd, &a, false);
    assert_int_equal(a.status, 201);
    assert_non_null(strstr(a.head, "201 Created\r\n"));
    free(a.body);
    say_text(fd, GET("/100")); /* the client would wait for ever */
    expect(fd, 100, NULL);
    assert_true(at_end(fd));
    close(fd);
    fd = dial(&s);
    say_text(fd, GET("/long"));
    expect(fd, 503, NULL);
    assert_true(at_end(fd));
    close(fd);
    fd = dial(&s);
    say_text(fd, GET("/after204"));
    expect(fd, 204, NULL);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0); /* no reset */
    close(fd);
    fd = dial(&s); /* more than anybody would skip: said before, not only done */
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc");
    hear(fd, &a, false);
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    free(a.body);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

/* Descriptors that epoll sets of this process watch. */
static int
count_watched(void)
{
    int count = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        FILE *f = fopen(path, "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL)
            count += strncmp(line, "tfd:", 4) == 0;
        if (f != NULL)
            fclose(f);
    }
    return count;
}

static void
test_a_forked_child_keeps_no_closed_connection_alive(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/"));
    expect(fd, 200, "hello");
    int before = count_watched();
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    say_text(fd, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    hear(fd, &a, false);
    free(a.body);
    assert_true(all_gone(&s, 5000));
    assert_int_equal(count_watched(), before - 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(fd);
    server_stop(&s);
}

/* The handler answers without having read the body, which was too large to be awaited. */
static int
post_unread(const struct server *s)
{
    static const char zeros[0x14000];
    int fd = dial(s);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n14000\r\n");
    say(fd, zeros, sizeof zeros);
    return fd;
}

static void
test_trailers_that_nobody_reads_end_with_the_body(void **state)
{
    static const char tail[] = "\r\n0\r\nX-A: b c\r\nY:\r\n\r\n" GET("/");
    static const char *const malformed[] = {
        "X: a\n\r\n", "X : a\r\n\r\n", ": a\r\n\r\n",    "\n",
        "X: a\r\n\n", "X: \1\r\n\r\n", "\rX: a\r\n\r\n", "X: a\r\n b\r\n\r\n"};
    struct server s;
    begin(&s, state);
    for (size_t cut = 0; cut < sizeof tail; cut++) {
        int fd = post_unread(&s);
        say(fd, tail, cut);
        expect(fd, 200, "hello");
        say(fd, tail + cut, sizeof tail - 1 - cut);
        expect(fd, 200, "hello");
        close(fd);
    }
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        int fd = post_unread(&s);
        expect(fd, 200, "hello");
        say_text(fd, "\r\n0\r\n");
        say_text(fd, malformed[i]);
        (void)send(fd, GET("/"), strlen(GET("/")), MSG_NOSIGNAL);
        assert_true(at_end(fd));
        close(fd);
    }
    server_stop(&s);
}

static void
test_a_body_that_came_unasked_does_not_end_the_connection(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
                 "ab" GET("/"));
    expect(fd, 200, "hello");
    expect(fd, 200, "hello");
    close(fd);
    server_stop(&s);
}

int
main(void)
{
    static unsigned inline_threads = 0, pool_threads = 3;
#define BOTH(test)                                                                                 \
    cmocka_unit_test_prestate(test, &inline_threads), cmocka_unit_test_prestate(test, &pool_threads)
    const struct CMUnitTest tests[] = {
        BOTH(test_the_time_that_handlers_take_is_not_the_clients),
        BOTH(test_lingering_ends_with_the_client),
        BOTH(test_an_answer_is_not_reset_by_what_the_client_sent_ahead),
        BOTH(test_a_client_that_sends_without_end_holds_nobody_up),
        BOTH(test_a_body_without_end_is_not_read_for_ever),
        BOTH(test_a_client_may_send_all_before_it_reads),
        BOTH(test_output_goes_out_while_a_body_is_awaited),
        BOTH(test_odd_answers_keep_their_framing),
        BOTH(test_trailers_that_nobody_reads_end_with_the_body),
        BOTH(test_a_body_that_came_unasked_does_not_end_the_connection),
        BOTH(test_a_forked_child_keeps_no_closed_connection_alive),
    };
    return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
