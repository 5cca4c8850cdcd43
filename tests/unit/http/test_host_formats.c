/* A host that formats responses itself, and one that takes connections away. */
#include "engine_fixture.h"

#include <fcntl.h>

static struct server s;
static struct sl_request *later;
static int taken_fd;
static char taken[4096];
static size_t taken_len;

static const char HEAD[] = "HTTP/1.1 201 Made\r\nName: value\r\nContent-Length: 5\r\n\r\n";

static int
handle(void *ctx, struct sl_request *req, struct sl_response *res)
{
    const char *data;
    (void)ctx;
    if (path_is(req, "/take")) {
        if (sl_request_detach(req, &taken_fd, &data, &taken_len) < 0)
            return SL_EPROTO;
        memcpy(taken, data, taken_len);
        return 0;
    }
    if (path_is(req, "/now"))
        return text(res, "now");
    if (path_is(req, "/is-last"))
        return text(res, sl_response_is_last(res) ? "last" : "not last");
    assert_int_equal(sl_response_raw(res, 99, HEAD, sizeof HEAD - 1), SL_EINVAL);
    assert_int_equal(sl_response_raw(res, 201, HEAD, sizeof HEAD - 1), SL_OK);
    assert_int_equal(sl_response_raw(res, 201, HEAD, sizeof HEAD - 1), SL_EBUSY);
    assert_int_equal(sl_response_status(res), 201);
    if (path_is(req, "/cut"))
        return SL_EPROTO;
    if (path_is(req, "/last"))
        sl_response_close(res);
    sl_response_write(res, "hel", 3, 0);
    sl_response_write(res, "lo", 2, 0);
    assert_int_equal(sl_response_body_bytes(res), 5);
    if (path_is(req, "/later")) {
        later = req;
        return SL_PENDING;
    }
    return 0;
}

static void
open_engine(void)
{
    struct sl_error err;
    server_prepare(&s, 0);
    server_listen(&s);
    s.options.handle = handle;
    s.options.lent = true;
    s.options.expect_to_host = true;
    taken_fd = -1;
    taken_len = 0;
    later = NULL;
    assert_int_equal(sl_engine_open(&s.options, &s.engine, &err), 0);
}

static void
close_engine(void)
{
    assert_int_equal(sl_engine_close(s.engine, 0), 0);
    close(s.listener);
    assert_int_equal(count_descriptors(), s.open_before);
}

#define TURN_UNTIL(condition)                                                                      \
    for (int turns = 0; !(condition); turns++) {                                                   \
        assert_true(turns < 2000);                                                                 \
        assert_true(sl_engine_turn(s.engine, 10) <= SL_OK);                                        \
    }

static bool
has_come(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static void
expect_bytes(int fd, const char *bytes, size_t len)
{
    char got[512];
    assert_true(len <= sizeof got);
    TURN_UNTIL(has_come(fd));
    get_bytes(fd, got, len);
    assert_memory_equal(got, bytes, len);
}

static void
test_what_the_host_has_formatted_is_sent_as_it_is_and_the_connection_stays(void **state)
{
    static const char whole[] =
        "HTTP/1.1 201 Made\r\nName: value\r\nContent-Length: 5\r\n\r\nhello";
    (void)state;
    open_engine();
    int fd = dial(&s);
    say_text(fd, "GET /raw HTTP/1.1\r\nHost: x\r\n\r\nGET /raw HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_bytes(fd, whole, sizeof whole - 1);
    expect_bytes(fd, whole, sizeof whole - 1);
    say_text(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(later != NULL);
    sl_request_finish(later);
    expect_bytes(fd, whole, sizeof whole - 1);
    say_text(fd, "GET /last HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_bytes(fd, whole, sizeof whole - 1);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    assert_true(at_end(fd));
    close(fd);
    close_engine();
}

static void
test_a_host_that_fails_after_its_head_cuts_the_connection(void **state)
{
    (void)state;
    open_engine();
    int fd = dial(&s);
    char byte;
    say_text(fd, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(sl_engine_connections(s.engine) == 1);
    TURN_UNTIL(sl_engine_connections(s.engine) == 0);
    while (recv(fd, &byte, 1, 0) > 0)
        ;
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    close_engine();
}

static void
test_the_host_learns_when_the_connection_ends_after_the_answer(void **state)
{
    (void)state;
    open_engine();
    int fd = dial(&s);
    say_text(fd, "GET /is-last HTTP/1.1\r\nHost: x\r\n\r\n");
    TURN_UNTIL(has_come(fd));
    expect(fd, 200, "not last");
    say_text(fd, "GET /is-last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    TURN_UNTIL(has_come(fd));
    expect(fd, 200, "last");
    close(fd);
    close_engine();
}

static void
test_a_connection_is_taken_with_all_that_has_arrived(void **state)
{
    static const char first[] = "GET /now HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char rest[] = "POST /take HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                               "Content-Length: 9\r\n\r\nbody";
    (void)state;
    open_engine();
    int fd = dial(&s);
    char both[512];
    memcpy(both, first, sizeof first - 1);
    memcpy(both + sizeof first - 1, rest, sizeof rest);
    say_text(fd, both);
    TURN_UNTIL(taken_fd >= 0);
    expect(fd, 200, "now");
    assert_int_equal(taken_len, sizeof rest - 1);
    assert_memory_equal(taken, rest, taken_len);
    assert_int_equal(sl_engine_connections(s.engine), 0);
    /* The engine does not look at it any more, and it is open. */
    say_text(fd, "more");
    for (int i = 0; i < 3; i++)
        sl_engine_turn(s.engine, 1);
    char got[4];
    get_bytes(taken_fd, got, 4);
    assert_memory_equal(got, "more", 4);
    assert_int_equal(send(taken_fd, "back", 4, 0), 4);
    get_bytes(fd, got, 4);
    assert_memory_equal(got, "back", 4);
    close(taken_fd);
    close(fd);
    close_engine();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_what_the_host_has_formatted_is_sent_as_it_is_and_the_connection_stays),
        cmocka_unit_test(test_a_host_that_fails_after_its_head_cuts_the_connection),
        cmocka_unit_test(test_the_host_learns_when_the_connection_ends_after_the_answer),
        cmocka_unit_test(test_a_connection_is_taken_with_all_that_has_arrived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
