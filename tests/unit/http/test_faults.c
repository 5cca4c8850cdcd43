/* Memory and system calls that fail, one after the other: the engine may refuse and close, never
 * crash, hang or leak. The linker puts the wrappers below in front of the real calls (meson.build).
 */
#include "engine_fixture.h"
#include "counted_heap.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum call { MEMORY, ACCEPT, RECV, SEND, SENDMSG, SENDFILE, EPOLL_CTL, SHUTDOWN, EVENTFD, THREAD };

/* The call that fails: the count-th one of its kind on a thread that is not exempt. */
static struct {
    atomic_int call, countdown, error;
} fault = {.call = -1};
static _Thread_local bool exempt;

static bool
strikes(enum call call)
{
    if (exempt || fault.call != (int)call || atomic_fetch_sub(&fault.countdown, 1) != 1)
        return false;
    errno = fault.error;
    return true;
}

static void
arm(enum call call, int count, int error)
{
    fault.countdown = count;
    fault.error = error;
    fault.call = (int)call;
}

/* True if the fault has struck. */
static bool
disarm(void)
{
    fault.call = -1;
    return fault.countdown <= 0;
}

static bool
memory_strikes(void)
{
    return strikes(MEMORY);
}

#define WRAP(result, call, name, parameters, arguments)                                            \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        return strikes(call) ? -1 : __real_##name arguments;                                       \
    }

WRAP(int, ACCEPT, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int flags),
     (fd, sa, len, flags))
WRAP(ssize_t, RECV, sl_io_recv, (int fd, void *to, size_t len, int flags), (fd, to, len, flags))
WRAP(ssize_t, SEND, sl_io_send, (int fd, const void *from, size_t len, int flags),
     (fd, from, len, flags))
WRAP(ssize_t, SENDMSG, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
/* The build has 64-bit file offsets: this is sendfile(). */
WRAP(ssize_t, SENDFILE, sendfile64, (int out, int in, off64_t *at, size_t len), (out, in, at, len))
WRAP(int, EPOLL_CTL, epoll_ctl, (int set, int op, int fd, struct epoll_event *e), (set, op, fd, e))
WRAP(int, SHUTDOWN, shutdown, (int fd, int how), (fd, how))
WRAP(int, EVENTFD, eventfd, (unsigned value, int flags), (value, flags))

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                          void *arg);

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                      void *arg)
{
    return strikes(THREAD) ? fault.error : __real_pthread_create(thread, attr, main, arg);
}

/* What handlers allocate is not the engine's. */
static int
exempt_handler(void *ctx, struct sl_request *req, struct sl_response *res)
{
    static const char block[100000];
    struct server *s = ctx;
    const char *data;
    size_t n, len = 0;
    if (!path_is(req, "/count"))
        return test_handler(s, req, res);
    while (!sl_request_body_done(req)) {
        while ((n = sl_request_body(req, &data)) > 0) {
            sl_request_consume(req, n);
            len += n;
        }
        if (!sl_request_body_done(req) && sl_request_wait(req) < 0)
            return -1;
    }
    sl_response_start(res, "200 OK", 6);
    sl_response_header(res, "X-Long", 6, block, 0);
    sl_response_write(res, block, len < sizeof block ? len : sizeof block, SL_WRITE_LAST);
    return 0;
}

/* Sends in pieces, reads until the server closes. It may do so early, but it must. */
static void
converse(const struct server *s, const char *const *pieces)
{
    static char sink[65536];
    int fd = dial(s);
    ssize_t n;
    for (int i = 0; pieces[i] != NULL; i++) {
        if (send(fd, pieces[i], strlen(pieces[i]), MSG_NOSIGNAL) < 0)
            break;
        usleep(300);
    }
    while ((n = recv(fd, sink, sizeof sink, 0)) > 0)
        ;
    assert_true(n == 0 || errno != EAGAIN);
    close(fd);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void
visit(const struct server *s)
{
    static char large[200001];
    memset(large, 'x', sizeof large - 1);
    static const char *const talks[][5] = {
        {GET("/") GET("/204") GET("/"), LAST},
        {"GET / HT", "TP/1.1\r\nHost: x\r\n", "\r\n", LAST},
        {"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n",
         "abc\r\n0\r\n", "A: b\r\n\r\n" LAST},
        {"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\nExpect: "
         "100-continue\r\n\r\n",
         large, LAST},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", large, LAST},
        {GET("/file") GET("/big") GET("/stream") LAST},
        {GET("/file"), GET("/fail"), LAST},
        {"GET / HTTP/1.1\r\n", "nonsense\r\n", large},
        {GET("/short")},
    };
    for (size_t i = 0; i < sizeof talks / sizeof talks[0]; i++)
        converse(s, talks[i]);
}

/* Opens, visits and stops with one fault. False: there are not so many calls of that kind. */
static bool
serve_with_fault(unsigned threads, enum call call, int count, int error)
{
    struct server s;
    long before = heap_blocks;
    server_prepare(&s, threads);
    s.options.handle = exempt_handler;
    /* No clock rescues a connection that the engine forgot: the client's own limit fails the test.
     */
    s.options.header_timeout_ms = s.options.body_timeout_ms = 0;
    server_make_file(&s, 200000);
    server_listen(&s);
    exempt = true;
    server_open(&s);
    arm(call, count, error);
    visit(&s);
    bool struck = disarm();
    converse(&s, (const char *const[]){LAST, NULL}); /* it goes on */
    server_stop(&s);
    exempt = false;
    assert_int_equal(heap_blocks, before);
    return struck;
}

static void
test_any_call_may_fail_while_serving(void **state)
{
    static const struct {
        enum call call;
        int errors[8];
    } cases[] = {
        {MEMORY, {ENOMEM}},
        {ACCEPT, {EINTR, ECONNABORTED, EMFILE, ENOBUFS, EPERM}},
        {RECV, {EINTR, ECONNRESET, ETIMEDOUT}},
        {SEND, {EINTR, EAGAIN, EPIPE, ENOBUFS}},
        {SENDMSG, {EINTR, EAGAIN, ECONNRESET, ENOBUFS}},
        {SENDFILE, {EINTR, EAGAIN, EIO, ENOMEM}},
        {EPOLL_CTL, {ENOMEM, ENOSPC}},
        {SHUTDOWN, {ENOTCONN}},
    };
    unsigned threads = *(unsigned *)*state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (const int *error = cases[i].errors; *error != 0; error++) {
            int count = 1;
            while (count < 200 && serve_with_fault(threads, cases[i].call, count, *error))
                count += 1 + (cases[i].call == MEMORY ? 0 : count / 3); /* all, or samples */
            assert_in_range(count, 2, 199);
        }
}

static void
test_an_engine_that_cannot_open_leaves_nothing(void **state)
{
    static const struct {
        enum call call;
        int error;
    } cases[] = {{MEMORY, ENOMEM}, {EPOLL_CTL, ENOSPC}, {EVENTFD, EMFILE}, {THREAD, EAGAIN}};
    unsigned threads = *(unsigned *)*state;
    static const char *const networks[] = {"127.0.0.1", "10.0.0.0/8", NULL};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int count = 0, rc;
        do {
            struct server s;
            struct sl_error err = {0, ""};
            long before = heap_blocks;
            server_prepare(&s, threads);
            s.options.forwarded_allow = s.options.proxy_allow = networks;
            server_listen(&s);
            arm(cases[i].call, ++count, cases[i].error);
            rc = sl_engine_open(&s.options, &s.engine, &err);
            bool struck = disarm();
            assert_int_equal(rc < 0, struck);
            if (struck) {
                assert_int_equal(err.code, rc);
                assert_true(err.text[0] != '\0');
            } else {
                assert_int_equal(sl_engine_close(s.engine, 5000), 0);
            }
            close(s.listener);
            assert_int_equal(count_descriptors(), s.open_before);
            assert_int_equal(heap_blocks, before);
        } while (rc < 0);
        assert_true(count > 1 || cases[i].call == THREAD);
    }
}

int
main(void)
{
    static unsigned inline_threads = 0, pool_threads = 2;
#define BOTH(test)                                                                                 \
    cmocka_unit_test_prestate(test, &inline_threads), cmocka_unit_test_prestate(test, &pool_threads)
    const struct CMUnitTest tests[] = {
        BOTH(test_an_engine_that_cannot_open_leaves_nothing),
        BOTH(test_any_call_may_fail_while_serving),
    };
    heap_fails = memory_strikes;
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
