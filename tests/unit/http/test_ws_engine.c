/* WebSocket on connections of the engine: an echo server whose handler answers later, and clients
 * on real sockets. With the argument "serve" it prints its port and echoes until its input ends,
 * for a client of one's choice. */
#include "engine_fixture.h"

#include <saola/websocket.h>

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define SOUND                                                                                      \
    "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"               \
    "Sec-WebSocket-Version: 13\r\n" KEY

/* A connection of the host. */
struct echo {
    struct sl_request *req;
    struct sl_response *res;
    struct sl_ws *ws;
    bool over, full,
        closed; /* the request is to be finished; output waits; the engine dropped it */
    struct echo *next;
};

static struct server s;
static struct sl_ws_options ws_options;
static struct echo *echoes;
static unsigned messages;
static int upgrade_result;

static void
pump(struct echo *e)
{
    struct sl_ws_event event;
    while (!e->over && !e->full) {
        int rc = sl_ws_receive(e->ws, e->req, 0, &event);
        if (rc != SL_OK) {
            e->over = rc != SL_EAGAIN;
            return;
        }
        if (event.kind == SL_WS_TEXT || event.kind == SL_WS_BINARY) {
            messages++;
            assert_int_equal(sl_ws_send(e->ws, event.kind, event.data, event.len, true), SL_OK);
        }
        rc = sl_ws_flush(e->ws, e->res);
        e->full = rc == SL_EFULL;
        e->over = rc == SL_ECLOSED || sl_ws_state(e->ws) == SL_WS_CLOSED;
    }
}

static int
handle(void *ctx, struct sl_request *req, struct sl_response *res)
{
    (void)ctx;
    struct sl_ws_handshake handshake;
    const char *sentence;
    const struct sl_header headers[] = {{{"X-A", 3}, {"b", 1}},
                                        {{"connection", 10}, {"close", 5}},
                                        {{"Sec-WebSocket-Accept", 20}, {"x", 1}},
                                        {{"Content-Length", 14}, {"3", 1}}};
    const struct sl_header bad = {{"X-A", 3}, {"a\r\nX-B: b", 9}};
    static const char *const protocols[] = {"v2", "v1", NULL};
    if (!sl_ws_is_upgrade(req))
        return text(res, "plain");
    int status = sl_ws_handshake(req, &ws_options, &handshake, &sentence);
    if (status != 0)
        return sl_ws_refuse(res, status, sentence);
    if (path_is(req, "/no"))
        return text(res, "denied");
    assert_int_equal(sl_ws_upgrade(res, &handshake, NULL, &bad, 1), SL_EINVAL);
    assert_int_equal(sl_ws_upgrade(res, &handshake, "v3", NULL, 0), SL_EINVAL);
    upgrade_result =
        sl_ws_upgrade(res, &handshake, sl_ws_choose_protocol(&handshake, protocols), headers, 4);
    struct echo *e = calloc(1, sizeof *e);
    *e = (struct echo){req, res, sl_ws_new(&ws_options, &handshake), .next = echoes};
    req->host_data = echoes = e;
    pump(e);
    return SL_PENDING;
}

static void
on_event(void *ctx, struct sl_request *req, unsigned what)
{
    (void)ctx;
    struct echo *e = req->host_data;
    if (what & SL_ON_CLOSED) {
        e->closed = true;
        return;
    }
    if (what & SL_ON_ROOM)
        e->full = false;
    pump(e);
}

static void
finish_what_is_over(void)
{
    for (struct echo **p = &echoes; *p != NULL;) {
        struct echo *e = *p;
        if (!e->over && !e->closed) {
            p = &e->next;
            continue;
        }
        *p = e->next;
        if (!e->closed)
            sl_request_finish(e->req);
        sl_ws_free(e->ws);
        free(e);
    }
}

static void
turn(void)
{
    assert_true(sl_engine_turn(s.engine, 10) <= SL_OK);
    finish_what_is_over();
}

#define TURN_UNTIL(condition)                                                                      \
    for (int turns = 0; !(condition); turns++) {                                                   \
        assert_true(turns < 2000);                                                                 \
        turn();                                                                                    \
    }

static void
open_engine(void)
{
    struct sl_error err;
    server_prepare(&s, 0);
    server_listen(&s);
    s.options.handle = handle;
    s.options.on_event = on_event;
    s.options.lent = true;
    assert_int_equal(sl_engine_open(&s.options, &s.engine, &err), 0);
    sl_ws_options_init(&ws_options);
    messages = 0;
}

static void
close_engine(void)
{
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    assert_null(echoes);
    assert_int_equal(sl_engine_close(s.engine, 0), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

/* Reads a response while the engine turns. */
static struct answer
answer_to(int fd, const char *request)
{
    struct answer a;
    say_text(fd, request);
    TURN_UNTIL(!quiet(fd, 0));
    hear(fd, &a, false);
    return a;
}

/* ---- a client ----------------------------------------------------------------------------------
 */

/* A frame with the mask 0, of up to 65535 bytes. */
static void
say_frame(int fd, unsigned first, const char *data, size_t len)
{
    char head[8] = {(char)first};
    bool small = len < 126;
    head[1] = (char)(0x80 | (small ? len : 126));
    head[2] = (char)(small ? 0 : len >> 8);
    head[3] = (char)(small ? 0 : len);
    say(fd, head, small ? 6 : 8);
    say(fd, data, len);
}

static void
expect_bytes(int fd, const char *bytes, size_t len)
{
    char *got = malloc(len);
    size_t have = 0;
    for (int turns = 0; have < len; turns++) {
        assert_true(turns < 20000);
        turn();
        ssize_t n = recv(fd, got + have, len - have, MSG_DONTWAIT);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        have += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(got, bytes, len);
    free(got);
}
#define EXPECT(fd, text) expect_bytes(fd, text, sizeof(text) - 1)

static int
shake_hands(const char *fields)
{
    char request[1024];
    int fd = dial(&s);
    snprintf(request, sizeof request, SOUND "%s\r\n", fields);
    struct answer a = answer_to(fd, request);
    assert_int_equal(a.status, 101);
    assert_int_equal(upgrade_result, SL_OK);
    return fd;
}

/* ---- tests -------------------------------------------------------------------------------------
 */

static void
the_answer_has_what_was_agreed_and_the_headers_of_the_application(void **state)
{
    (void)state;
    open_engine();
    int fd = dial(&s);
    struct answer a = answer_to(fd, SOUND "Sec-WebSocket-Protocol: v1, v2\r\n"
                                          "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    assert_int_equal(a.status, 101);
    assert_non_null(strstr(a.head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_non_null(strstr(a.head, "\r\nSec-WebSocket-Protocol: v2\r\n"));
    assert_non_null(strstr(a.head, "\r\nConnection: Upgrade\r\n"));
    assert_non_null(strstr(a.head, "\r\nUpgrade: websocket\r\n"));
    assert_non_null(strstr(a.head, "\r\nX-A: b\r\n"));
    assert_null(strstr(a.head, "X-B"));
    assert_null(strstr(a.head, "Accept: x"));
    assert_null(strstr(a.head, "Content-Length"));
    assert_null(strstr(a.head, "close"));
    assert_int_equal(strstr(a.head, "permessage-deflate") != NULL, sl_ws_deflate_available());
    close(fd);
    close_engine();
}

static void
requests_that_are_no_upgrade_or_a_wrong_one_are_answered_over_http(void **state)
{
    (void)state;
    open_engine();
    int fd = dial(&s);
    static const struct {
        const char *request, *field;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", 200},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" KEY
         "Sec-WebSocket-Version: 8\r\n\r\n",
         "\r\nSec-WebSocket-Version: 13\r\n", 426},
        {"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Content-Length: 0\r\n\r\n",
         "\r\nAllow: GET\r\n", 405},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\n\r\n",
         "", 400},
        {"GET /no HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\n" KEY "\r\n",
         "", 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a = answer_to(fd, rows[i].request);
        assert_int_equal(a.status, rows[i].status);
        assert_non_null(strstr(a.head, rows[i].field));
        assert_true(a.len > 0);
        free(a.body);
    }
    close(fd);
    close_engine();
}

static void
messages_are_echoed_and_a_close_ends_the_connection(void **state)
{
    (void)state;
    open_engine();
    int fd = shake_hands("");
    say_frame(fd, 0x81, "Hello", 5);
    EXPECT(fd, "\x81\x05Hello");
    say(fd, "\x01\x82", 2); /* in pieces, and a ping between */
    turn();
    say(fd, "\0\0\0\0ab\x89\x81\0\0\0\0p\x80\x81\0\0\0\0", 19);
    EXPECT(fd, "\x8a\x01p");
    say(fd, "c\x82\x80\0\0\0\0", 7);
    EXPECT(fd, "\x81\x03"
               "abc\x82\0");
    assert_int_equal(messages, 3);
    say_frame(fd, 0x88, "\x03\xe8", 2);
    EXPECT(fd, "\x88\x02\x03\xe8");
    TURN_UNTIL(echoes == NULL);
    assert_true(at_end(fd));
    close(fd);
    close_engine();
}

static void
frames_that_came_with_the_handshake_are_answered(void **state)
{
    (void)state;
    open_engine();
    int fd = dial(&s);
    char bytes[1024] = SOUND "\r\n\x81\x82zzzz";
    size_t len = strlen(bytes);
    memcpy(bytes + len, "\x12\x13", 2); /* 'h', 'i' */
    say(fd, bytes, len + 2);
    TURN_UNTIL(!quiet(fd, 0));
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.status, 101);
    EXPECT(fd, "\x81\x02hi");
    close(fd);
    close_engine();
}

static void
a_client_that_breaks_a_rule_is_told_and_gone(void **state)
{
    (void)state;
    static const char close_1002[] = "\x88\x26\x03\xea"
                                     "A frame of the client is not masked.";
    open_engine();
    int fd = shake_hands("");
    say(fd,
        "\x81\x01"
        "a"
        "\x81\x01"
        "b",
        6);
    expect_bytes(fd, close_1002, sizeof close_1002 - 1);
    TURN_UNTIL(echoes == NULL);
    assert_true(at_end(fd));
    close(fd);
    close_engine();
}

static void
clients_that_leave_without_a_close_leave_nothing(void **state)
{
    (void)state;
    open_engine();
    int fds[20];
    for (size_t i = 0; i < 20; i++) {
        fds[i] = shake_hands("");
        say(fds[i], "\x81\x85\0\0", 4);
    }
    turn();
    for (size_t i = 0; i < 20; i++)
        close(fds[i]);
    TURN_UNTIL(echoes == NULL);
    close_engine();
}

static void
a_client_that_does_not_read_is_not_read_from(void **state)
{
    (void)state;
    enum { SIZE = 60000, COUNT = 400 };
    static char data[SIZE], expected[4 + SIZE] = "\x82\x7e\xea\x60";
    open_engine();
    int fd = shake_hands("");
    memset(data, 'x', SIZE);
    memset(expected + 4, 'x', SIZE);
    unsigned said = 0;
    char head[8] = {(char)0x82, (char)0xfe, (char)0xea, 0x60};
    size_t at = 0; /* in the frame that is being said */
    for (unsigned still = 0; said < COUNT && still < 200;) {
        const char *from = at < 8 ? head + at : data + at - 8;
        ssize_t n = send(fd, from, at < 8 ? 8 - at : SIZE + 8 - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        still = n > 0 ? 0 : still + 1;
        at += n > 0 ? (size_t)n : 0;
        if (at == SIZE + 8) {
            said++;
            at = 0;
        }
        turn();
    }
    assert_true(said < COUNT); /* it stopped reading: 24 MB are more than the kernel holds */
    for (unsigned i = 0; i < said; i++)
        expect_bytes(fd, expected, sizeof expected);
    close(fd);
    close_engine();
}

static int
serve(void)
{
    open_engine();
    printf("%u\n", s.port);
    fflush(stdout);
    struct pollfd p = {.fd = 0, .events = POLLIN};
    while (poll(&p, 1, 0) == 0)
        turn();
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_has_what_was_agreed_and_the_headers_of_the_application),
        cmocka_unit_test(requests_that_are_no_upgrade_or_a_wrong_one_are_answered_over_http),
        cmocka_unit_test(messages_are_echoed_and_a_close_ends_the_connection),
        cmocka_unit_test(frames_that_came_with_the_handshake_are_answered),
        cmocka_unit_test(a_client_that_breaks_a_rule_is_told_and_gone),
        cmocka_unit_test(clients_that_leave_without_a_close_leave_nothing),
        cmocka_unit_test(a_client_that_does_not_read_is_not_read_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
