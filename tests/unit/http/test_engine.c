/* The engine from outside, over sockets; every test runs inline and with threads. */
#include "engine_fixture.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <saola/access_log.h>

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
test_pipelined_requests_are_answered_in_order(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/") "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" GET(
                     "/stream") GET("/204") GET("/"));
    expect(fd, 200, "hello");
    expect(fd, 200, "abc");
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.len, 400000);
    assert_false(a.cut);
    free(a.body);
    expect(fd, 204, NULL);
    expect(fd, 200, "hello");
    close(fd);
    server_stop(&s);
}

static void
test_a_request_may_come_byte_by_byte(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s), one = 1;
    setsockopt(fd, 6, 1, &one, sizeof one); /* TCP_NODELAY */
    static const char request[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: v\r\n\r\n" GET("/");
    for (size_t i = 0; i < sizeof request - 1; i++)
        say(fd, request + i, 1);
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.len, 5);
    assert_memory_equal(a.body, "abcde", 5);
    assert_non_null(strstr(a.head, "X-Trailer: v\r\n"));
    free(a.body);
    expect(fd, 200, "hello");
    assert_int_equal(s.waits, 0); /* a small body is complete before the handler runs */
    close(fd);
    server_stop(&s);
}

static void
test_a_trailer_that_ends_in_a_bare_lf_is_refused_when_it_is_here(void **state)
{
    static const char *const sections[] = {"\n", "X: a\n", "X: a\r\nY: b\n"};
    struct server s;
    begin(&s, state);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        int fd = dial(&s);
        say_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        say_text(fd, sections[i]);
        expect(fd, 500, NULL); /* what this handler makes of a body that breaks off */
        assert_int_equal(s.aborted_reads, i + 1);
        close(fd);
    }
    server_stop(&s);
}

static void
send_big_body(const struct server *s, bool chunked)
{
    enum { SIZE = 3 << 20 };
    char head[128], *body = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)(i * 7 + i / 1000);
    int fd = dial(s), n;
    if (chunked)
        n = snprintf(head, sizeof head,
                     "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    else
        n = snprintf(head, sizeof head,
                     "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", SIZE);
    say(fd, head, (size_t)n);
    for (size_t at = 0; at < SIZE; at += 65536) {
        if (chunked)
            say_text(fd, "10000\r\n");
        say(fd, body + at, 65536);
        if (chunked)
            say_text(fd, "\r\n");
    }
    say_text(fd, chunked ? "0\r\n\r\n" GET("/") : GET("/"));
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.len, SIZE);
    assert_memory_equal(a.body, body, SIZE);
    free(a.body);
    free(body);
    expect(fd, 200, "hello");
    close(fd);
}

static void
test_large_bodies_stream_through_the_handler(void **state)
{
    struct server s;
    begin(&s, state);
    send_big_body(&s, false);
    send_big_body(&s, true);
    assert_true(s.waits > 0);
    server_stop(&s);
}

static void
test_a_body_nobody_reads_does_not_disturb_the_next_request(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /" GET("/204"));
    expect(fd, 200, "hello");
    expect(fd, 204, NULL);
    /* larger than what is buffered, and still on its way when the answer goes out */
    char *half = calloc(1, 40000);
    say_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 80000\r\n\r\n");
    say(fd, half, 40000);
    expect(fd, 200, "hello");
    say(fd, half, 40000);
    say_text(fd, GET("/204"));
    expect(fd, 204, NULL);
    free(half);
    close(fd);
    server_stop(&s);
}

static void
test_expect_continue_is_answered_before_the_body_is_read(void **state)
{
    struct server s;
    begin(&s, state);
    static const char *const lengths[] = {"5", "100000"};
    for (int i = 0; i < 2; i++) {
        int fd = dial(&s);
        char head[200];
        size_t len = strtoul(lengths[i], NULL, 10);
        snprintf(head, sizeof head,
                 "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n"
                 "Expect: 100-continue\r\n\r\n",
                 lengths[i]);
        say_text(fd, head);
        expect(fd, 100, NULL);
        char *body = malloc(len + 1);
        memset(body, 'b', len);
        body[len] = '\0';
        say(fd, body, len);
        expect(fd, 200, body);
        free(body);
        close(fd);
    }
    server_stop(&s);
}

static void
test_bodiless_answers_have_no_body(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "HEAD /big HTTP/1.1\r\nHost: x\r\n\r\n" GET("/204") GET("/"));
    hear(fd, &a, true);
    assert_int_equal(a.status, 200);
    hear(fd, &a, false);
    assert_int_equal(a.status, 204);
    assert_null(strstr(a.head, "Content-Length"));
    expect(fd, 200, "hello");
    close(fd);
    server_stop(&s);
}

static void
test_a_short_body_closes_the_connection(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/short") GET("/"));
    hear(fd, &a, false);
    assert_int_equal(a.len, 5);
    assert_true(a.cut);
    free(a.body);
    close(fd);
    server_stop(&s);
}

static void
test_a_status_without_reason_keeps_its_space(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/bare"));
    hear(fd, &a, false);
    assert_ptr_equal(strstr(a.head, "HTTP/1.1 200 \r\n"), a.head);
    free(a.body);
    close(fd);
    server_stop(&s);
}

static void
test_a_flushed_block_is_sent_before_the_handler_goes_on(void **state)
{
    struct server s;
    begin(&s, state);
    s.hold = true;
    int fd = dial(&s);
    say_text(fd, GET("/late"));
    expect(fd, 200, "late");
    assert_true(s.hold);
    s.hold = false;
    close(fd);
    server_stop(&s);
}

static void
test_a_handler_that_fails_is_a_500(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/fail"));
    expect(fd, 500, NULL);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void
test_after_a_bad_request_nothing_more_is_parsed(void **state)
{
    struct server s;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, GET("/") "GET / HTTP/1.1\r\nHost : x\r\n\r\n" GET("/"));
    expect(fd, 200, "hello");
    expect(fd, 400, NULL);
    assert_true(at_end(fd));
    assert_int_equal(s.bad_status, 400);
    assert_int_equal(sl_engine_requests(s.engine), 1);
    close(fd);
    server_stop(&s);
}

static void
test_http_1_0_and_connection_close(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int fd = dial(&s);
    say_text(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    hear(fd, &a, false);
    assert_non_null(strstr(a.head, "HTTP/1.0 200 OK"));
    assert_non_null(strstr(a.head, "Connection: keep-alive"));
    free(a.body);
    say_text(fd, "GET / HTTP/1.0\r\n\r\n");
    expect(fd, 200, "hello");
    assert_true(at_end(fd));
    close(fd);
    fd = dial(&s);
    say_text(fd, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    hear(fd, &a, false);
    assert_non_null(strstr(a.head, "Connection: close"));
    free(a.body);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void
test_a_slow_reader_holds_nobody_up(void **state)
{
    struct server s;
    begin(&s, state);
    int slow = dial(&s), fast = dial(&s);
    say_text(slow, GET("/big") GET("/"));
    assert_false(quiet(slow, 5000)); /* its answer has begun, most of it waits */
    say_text(fast, GET("/"));
    expect(fast, 200, "hello");
    struct answer a;
    hear(slow, &a, false);
    assert_int_equal(a.len, 4 << 20);
    free(a.body);
    expect(slow, 200, "hello");
    close(slow);
    close(fast);
    server_stop(&s);
}

static void
test_a_file_is_sent_from_its_offset(void **state)
{
    struct server s;
    begin(&s, state);
    server_make_file(&s, 200000);
    int fd = dial(&s);
    say_text(fd, GET("/file") GET("/"));
    expect_file(fd);
    expect(fd, 200, "hello");
    /* behind a body that was received inside the handler */
    static const char more[] = GET("/file") GET("/");
    char *body = calloc(1, 200000 + sizeof more);
    memcpy(body + 200000, more, sizeof more);
    say_text(fd, "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    say(fd, body, 200000 + sizeof more - 1);
    free(body);
    expect_file(fd);
    expect_file(fd);
    expect(fd, 200, "hello");
    close(fd);
    server_stop(&s);
}

static void
test_clients_that_vanish_leave_nothing(void **state)
{
    struct server s;
    begin(&s, state);
    static const char *const parts[] = {
        "",
        "GE",
        GET("/big"),
        GET("/stream"),
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc",
    };
    struct linger reset = {1, 0};
    for (int i = 0; i < 50; i++) {
        int fd = dial(&s);
        say_text(fd, parts[i % 5]);
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    int fd = dial(&s);
    say_text(fd, GET("/"));
    expect(fd, 200, "hello");
    close(fd);
    server_stop(&s); /* checks descriptors */
}

static void
test_stop_answers_what_is_in_progress_and_says_close(void **state)
{
    struct server s;
    struct answer a;
    begin(&s, state);
    int idle = dial(&s), busy = dial(&s);
    say_text(idle, GET("/"));
    expect(idle, 200, "hello");
    s.hold = true;
    say_text(busy, GET("/hold"));
    while (s.inside == 0)
        usleep(1000);
    sl_engine_stop(s.engine);
    /* an idle connection may still bring one request while it lingers */
    say_text(idle, GET("/"));
    if (s.options.threads == 0)
        s.hold = false;
    hear(idle, &a, false);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Connection: close"));
    free(a.body);
    s.hold = false;
    hear(busy, &a, false);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Connection: close"));
    free(a.body);
    assert_true(at_end(idle));
    assert_true(at_end(busy));
    close(idle);
    close(busy);
    server_stop(&s);
}

static void
test_time_outs_end_idle_and_half_sent_requests(void **state)
{
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.keepalive_ms = 50;
    s.options.header_timeout_ms = 100;
    s.options.body_timeout_ms = 100;
    server_start(&s);
    int idle = dial(&s), half = dial(&s), body = dial(&s), silent = dial(&s);
    say_text(idle, GET("/"));
    expect(idle, 200, "hello");
    say_text(half, "GET / HTTP/1.1\r\n");
    say_text(body, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    assert_true(at_end(idle));
    expect(half, 408, NULL);
    expect(body, 408, NULL);
    assert_true(at_end(silent));
    close(idle);
    close(half);
    close(body);
    close(silent);
    server_stop(&s);
}

static void
test_a_request_that_came_while_all_were_busy_is_not_timed_out(void **state)
{
    struct server s;
    if (threads_of(state) > 0)
        return; /* there nobody is ever that busy */
    server_prepare(&s, 0);
    s.options.keepalive_ms = 50;
    server_start(&s);
    s.hold = true;
    int idle = dial(&s), busy = dial(&s);
    say_text(idle, GET("/"));
    expect(idle, 200, "hello");
    say_text(busy, GET("/hold"));
    while (s.inside == 0)
        usleep(1000);
    say_text(idle, GET("/"));
    usleep(1500000); /* the clock is looked at once a second: it is overdue now */
    s.hold = false;
    expect(idle, 200, "hello");
    expect(busy, 200, "held");
    close(idle);
    close(busy);
    server_stop(&s);
}

static void
note_limit(void *ctx)
{
    struct server *s = ctx;
    s->limit_calls++;
    sl_engine_stop(s->engine);
}

static void
test_the_request_limit_is_told_once_and_ends_with_close(void **state)
{
    struct server s;
    struct answer a;
    server_prepare(&s, threads_of(state));
    s.options.max_requests = 3;
    s.options.on_limit = note_limit;
    server_start(&s);
    int fd = dial(&s);
    say_text(fd, GET("/") GET("/") GET("/"));
    expect(fd, 200, "hello");
    expect(fd, 200, "hello");
    hear(fd, &a, false);
    assert_non_null(strstr(a.head, "Connection: close"));
    free(a.body);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
    assert_int_equal(s.limit_calls, 1);
}

static void
test_connections_over_the_limit_wait_in_the_backlog(void **state)
{
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.max_connections = 2;
    server_start(&s);
    int a = dial(&s), b = dial(&s);
    say_text(a, GET("/"));
    expect(a, 200, "hello");
    say_text(b, GET("/"));
    expect(b, 200, "hello");
    int c = dial(&s);
    say_text(c, GET("/"));
    assert_true(quiet(c, 300));
    close(a);
    expect(c, 200, "hello");
    close(b);
    close(c);
    server_stop(&s);
}

static void
test_running_out_of_descriptors_passes(void **state)
{
    struct server s;
    struct rlimit old, low;
    begin(&s, state);
    int a = dial(&s), b = dial(&s);
    say_text(a, GET("/"));
    expect(a, 200, "hello");
    say_text(b, GET("/"));
    expect(b, 200, "hello");
    int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)c + 1; /* c exists; the server cannot have another */
    setrlimit(RLIMIT_NOFILE, &low);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(s.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(c, (struct sockaddr *)&sa, sizeof sa), 0);
    say_text(c, GET("/"));
    assert_true(quiet(c, 300));
    say_text(a, GET("/")); /* others are served meanwhile */
    expect(a, 200, "hello");
    setrlimit(RLIMIT_NOFILE, &old);
    expect(c, 200, "hello");
    close(a);
    close(b);
    close(c);
    server_stop(&s);
}

static int
tell_peer(void *ctx, struct sl_request *req, struct sl_response *res)
{
    char line[200];
    const struct sl_peer *p = req->peer;
    (void)ctx;
    snprintf(line, sizeof line, "%s %u %d %s %s %u", p->addr, p->port, p->proxied, p->proxy_addr,
             p->dest_addr, p->dest_port);
    return text(res, line);
}

static int
lines_in(int file)
{
    struct stat st;
    assert_int_equal(fstat(file, &st), 0);
    assert_int_equal(st.st_size % 6, 0);
    return (int)(st.st_size / 6); /* "/ 200" and LF */
}

/* Lines are gathered while the engine is busy: neither its sleep nor its end keeps one back. */
static void
test_no_line_of_the_access_log_stays_with_the_engine(void **state)
{
    enum { REQUESTS = 200 };
    struct server s;
    struct sl_access_log_options log_options = {.format = "%(U)s %(s)s"};
    struct sl_access_log *log;
    server_prepare(&s, threads_of(state));
    log_options.fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(sl_access_log_open(&log_options, &log, NULL), SL_OK);
    s.options.access_log = log;
    server_start(&s);
    int fd = dial(&s);
    for (int i = 1; i <= 2; i++) {
        say_text(fd, GET("/"));
        expect(fd, 200, "hello");
        for (int ms = 0; lines_in(log_options.fd) < i; ms++) {
            assert_true(ms < 10000);
            usleep(1000);
        }
    }
    s.give_up = true;
    sl_engine_wake(s.engine);
    pthread_join(s.thread, NULL);
    for (int i = 0; i < REQUESTS; i++) {
        say_text(fd, GET("/"));
        while (quiet(fd, 0))
            (void)sl_engine_turn(s.engine, 10);
        expect(fd, 200, "hello");
    }
    close(fd);
    assert_int_equal(sl_engine_close(s.engine, 5000), SL_OK);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    assert_int_equal(lines_in(log_options.fd), 2 + REQUESTS);
    close(log_options.fd);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static int
answer_slowly(void *ctx, struct sl_request *req, struct sl_response *res)
{
    usleep(20000);
    return test_handler(ctx, req, res);
}

/* A handler may hang or end the process: what was answered before is in the file by then. */
static void
test_no_line_of_the_access_log_waits_for_the_next_handler(void **state)
{
    struct server s;
    struct sl_access_log_options log_options = {.format = "%(U)s %(s)s"};
    struct sl_access_log *log;
    log_options.fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(sl_access_log_open(&log_options, &log, NULL), SL_OK);
    assert_int_equal(sl_access_log_flush(log), SL_OK); /* it has all its descriptors by now */
    server_prepare(&s, threads_of(state));
    s.options.access_log = log;
    s.options.handle = answer_slowly;
    s.hold = true;
    server_start(&s);
    int fd = dial(&s);
    say_text(fd, GET("/") GET("/hold"));
    for (int ms = 0; lines_in(log_options.fd) < 1; ms++) {
        assert_true(ms < 10000);
        usleep(1000);
    }
    s.hold = false;
    expect(fd, 200, "hello");
    expect(fd, 200, "held");
    close(fd);
    server_stop(&s);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(log_options.fd);
}

/* Two clients that always have the next request ready. */
static struct busy {
    struct server *server;
    int clients[2];
    int requests, wake_at, pause_us;
} busy;

static int
keep_busy(void *ctx, struct sl_request *req, struct sl_response *res)
{
    (void)ctx;
    if (busy.requests++ == busy.wake_at)
        sl_engine_wake(busy.server->engine);
    usleep((useconds_t)busy.pause_us);
    for (int i = 0; i < 2; i++) /* both, or there would be one event at a time */
        if (path_is(req, i == 0 ? "/0" : "/1"))
            say_text(busy.clients[i], i == 0 ? GET("/0") : GET("/1"));
    return text(res, "busy");
}

/* How many requests one turn serves. */
static int
serve_busily(int wake_at, int pause_us)
{
    busy.requests = 0;
    busy.wake_at = wake_at;
    busy.pause_us = pause_us;
    assert_int_equal(sl_engine_turn(busy.server->engine, 1000), SL_OK);
    return busy.requests;
}

/* It goes on with what has come meanwhile, but not for ever, not when somebody wants something
 * else of its thread, and not when the time has moved. */
static void
test_a_busy_engine_comes_back(void **state)
{
    (void)state;
    struct server s;
    server_prepare(&s, 0);
    s.options.handle = keep_busy;
    busy.server = &s;
    server_start(&s);
    s.give_up = true;
    sl_engine_wake(s.engine);
    pthread_join(s.thread, NULL);
    for (int i = 0; i < 2; i++)
        busy.clients[i] = dial(&s);
    while (sl_engine_connections(s.engine) < 2)
        (void)sl_engine_turn(s.engine, 10);
    say_text(busy.clients[0], GET("/0"));
    say_text(busy.clients[1], GET("/1"));
    int most = 0;
    for (int i = 0; i < 20; i++) {
        int requests = serve_busily(-1, 0);
        assert_in_range(requests, 2, 40);
        most = requests > most ? requests : most;
    }
    assert_in_range(most, 8, 40); /* less only where the clock moved just then */
    assert_in_range(serve_busily(-1, 20000), 2, 4);
    assert_in_range(serve_busily(1, 0), 2, 4);
    for (int i = 0; i < 2; i++)
        close(busy.clients[i]);
    assert_int_equal(sl_engine_close(s.engine, 5000), SL_OK);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

static void
test_a_proxy_header_counts_for_the_whole_connection(void **state)
{
    static const char *const from_anywhere[] = {"*", NULL}, *const from_nowhere[] = {"10.0.0.1",
                                                                                     NULL};
    struct server s;
    server_prepare(&s, threads_of(state));
    s.options.proxy_protocol = 3;
    s.options.proxy_allow = from_anywhere;
    s.options.handle = tell_peer;
    server_start(&s);
    int fd = dial(&s);
    static const char header[] = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    for (size_t i = 0; i < sizeof header - 1; i++)
        say(fd, header + i, 1);
    say_text(fd, GET("/") GET("/"));
    expect(fd, 200, "192.0.2.7 4711 1 127.0.0.1 198.51.100.1 443");
    expect(fd, 200, "192.0.2.7 4711 1 127.0.0.1 198.51.100.1 443");
    say_text(fd, header); /* only once */
    expect(fd, 400, NULL);
    close(fd);
    fd = dial(&s);
    say_text(fd, "PROXY TCP4 999.0.2.7 198.51.100.1 4711 443\r\n" GET("/"));
    expect(fd, 400, NULL);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);

    server_prepare(&s, threads_of(state));
    s.options.proxy_protocol = 3;
    s.options.proxy_allow = from_nowhere;
    server_start(&s);
    fd = dial(&s);
    say_text(fd, header);
    expect(fd, 403, NULL);
    close(fd);
    fd = dial(&s);
    say_text(fd, GET("/")); /* no header: an ordinary client */
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
        BOTH(test_pipelined_requests_are_answered_in_order),
        BOTH(test_a_request_may_come_byte_by_byte),
        BOTH(test_a_trailer_that_ends_in_a_bare_lf_is_refused_when_it_is_here),
        BOTH(test_large_bodies_stream_through_the_handler),
        BOTH(test_a_body_nobody_reads_does_not_disturb_the_next_request),
        BOTH(test_expect_continue_is_answered_before_the_body_is_read),
        BOTH(test_bodiless_answers_have_no_body),
        BOTH(test_a_short_body_closes_the_connection),
        BOTH(test_a_status_without_reason_keeps_its_space),
        BOTH(test_a_flushed_block_is_sent_before_the_handler_goes_on),
        BOTH(test_a_handler_that_fails_is_a_500),
        BOTH(test_after_a_bad_request_nothing_more_is_parsed),
        BOTH(test_http_1_0_and_connection_close),
        BOTH(test_a_slow_reader_holds_nobody_up),
        BOTH(test_a_file_is_sent_from_its_offset),
        BOTH(test_clients_that_vanish_leave_nothing),
        BOTH(test_stop_answers_what_is_in_progress_and_says_close),
        BOTH(test_time_outs_end_idle_and_half_sent_requests),
        BOTH(test_a_request_that_came_while_all_were_busy_is_not_timed_out),
        BOTH(test_the_request_limit_is_told_once_and_ends_with_close),
        BOTH(test_connections_over_the_limit_wait_in_the_backlog),
        BOTH(test_no_line_of_the_access_log_stays_with_the_engine),
        BOTH(test_no_line_of_the_access_log_waits_for_the_next_handler),
        cmocka_unit_test(test_a_busy_engine_comes_back),
        BOTH(test_a_proxy_header_counts_for_the_whole_connection),
        BOTH(test_running_out_of_descriptors_passes),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
