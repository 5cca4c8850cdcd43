/* An engine on a loopback port in a thread of its own, and a client that reads exactly. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <saola/engine.h>

struct server {
    struct sl_engine_options options;
    struct sl_engine *engine;
    int listener;
    uint16_t port;
    pthread_t thread;
    int open_before;
    /* what handlers and callbacks saw */
    atomic_int waits, inside, most_inside, bad_status, limit_calls, aborted_reads;
    atomic_bool give_up; /* the turning thread ends without a drained engine */
    atomic_bool hold;    /* handlers of /hold stay inside while set */
    int file_fd;
};

static inline int
count_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static inline int
path_is(const struct sl_request *req, const char *path)
{
    return req->path.len == strlen(path) && memcmp(req->path.ptr, path, req->path.len) == 0;
}

static inline int
text(struct sl_response *res, const char *body)
{
    sl_response_start(res, "200 OK", 6);
    sl_response_write(res, body, strlen(body), SL_WRITE_LAST);
    return 0;
}

/* Reads the whole body; -1 if it breaks off. */
static inline long
read_all(struct server *s, struct sl_request *req, char **ret_data)
{
    char *all = NULL;
    size_t len = 0, n;
    const char *data;
    while (!sl_request_body_done(req)) {
        while ((n = sl_request_body(req, &data)) > 0) {
            all = realloc(all, len + n);
            memcpy(all + len, data, n);
            len += n;
            sl_request_consume(req, n);
        }
        if (sl_request_body_done(req))
            break;
        s->waits++;
        if (sl_request_wait(req) < 0) {
            s->aborted_reads++;
            free(all);
            return -1;
        }
    }
    *ret_data = all;
    return (long)len;
}

static inline int
echo(struct server *s, struct sl_request *req, struct sl_response *res)
{
    char *data = NULL;
    const struct sl_header *trailers;
    long len = read_all(s, req, &data);
    if (len < 0)
        return -1;
    sl_response_start(res, "200 OK", 6);
    if (sl_request_trailers(req, &trailers) > 0)
        sl_response_header(res, "X-Trailer", 9, trailers[0].value.ptr, trailers[0].value.len);
    sl_response_write(res, data, (size_t)len, SL_WRITE_LAST);
    free(data);
    return 0;
}

static inline int
stream(struct sl_response *res, int blocks)
{
    char block[40000]; /* of this call: handlers run in several threads */
    memset(block, 'x', sizeof block);
    sl_response_start(res, "200 OK", 6);
    for (int i = 0; i < blocks; i++) {
        int rc = sl_response_write(res, block, sizeof block, SL_WRITE_FLUSH);
        if (rc == SL_EFULL)
            rc = sl_response_wait(res);
        if (rc < 0)
            break;
    }
    return 0;
}

static inline int
test_handler(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct server *s = ctx;
    if (path_is(req, "/echo"))
        return echo(s, req, res);
    if (path_is(req, "/hold")) {
        int now = ++s->inside, most = s->most_inside;
        while (now > most && !atomic_compare_exchange_weak(&s->most_inside, &most, now))
            ;
        while (s->hold)
            usleep(1000);
        s->inside--;
        return text(res, "held");
    }
    if (path_is(req, "/stream"))
        return stream(res, 10);
    if (path_is(req, "/big")) {
        static char body[4 << 20];
        sl_response_start(res, "200 OK", 6);
        sl_response_write(res, body, sizeof body, SL_WRITE_LAST);
        return 0;
    }
    if (path_is(req, "/file")) {
        char *data = NULL;
        read_all(s, req, &data);
        free(data);
        sl_response_start(res, "200 OK", 6);
        sl_response_sendfile(res, s->file_fd, 1, 100000);
        return 0;
    }
    if (path_is(req, "/short")) {
        sl_response_start(res, "200 OK", 6);
        sl_response_header(res, "Content-Length", 14, "10", 2);
        sl_response_write(res, "12345", 5, 0);
        return 0;
    }
    if (path_is(req, "/204")) {
        sl_response_start(res, "204 No Content", 14);
        sl_response_write(res, "body", 4, SL_WRITE_LAST);
        return 0;
    }
    if (path_is(req, "/bare")) {
        sl_response_start(res, "200", 3);
        sl_response_write(res, "x", 1, SL_WRITE_LAST);
        return 0;
    }
    if (path_is(req, "/late")) { /* everything is said, the handler goes on */
        sl_response_start(res, "200 OK", 6);
        sl_response_header(res, "Content-Length", 14, "4", 1);
        sl_response_write(res, "late", 4, SL_WRITE_FLUSH);
        while (s->hold)
            usleep(1000);
        return 0;
    }
    if (path_is(req, "/fail"))
        return -1;
    return text(res, "hello");
}

static inline void
note_bad(void *ctx, const struct sl_request *req, const struct sl_peer *peer, int status,
         const char *sentence)
{
    (void)req;
    (void)peer;
    (void)sentence;
    ((struct server *)ctx)->bad_status = status;
}

static inline void *
turn_engine(void *arg)
{
    struct server *s = arg;
    while (!s->give_up && sl_engine_turn(s->engine, 1000) != SL_ECLOSED)
        ;
    return NULL;
}

static inline void
server_prepare(struct server *s, unsigned threads)
{
    memset(s, 0, sizeof *s);
    s->open_before = count_descriptors();
    s->options = (struct sl_engine_options){
        .limits = {.request_line = 4094, .fields = 100, .field_size = 8190},
        .keepalive_ms = 20000,
        .header_timeout_ms = 20000,
        .body_timeout_ms = 20000,
        .server_name = "test",
        .threads = threads,
        .handle = test_handler,
        .on_bad_request = note_bad,
    };
    s->file_fd = -1;
}

static inline void
server_listen(struct server *s)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(s->listener, 512), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
    s->port = ntohs(sa.sin_port);
    s->options.listener_fds = &s->listener;
    s->options.listener_count = 1;
    s->options.ctx = s;
}

static inline void
server_open(struct server *s)
{
    struct sl_error err;
    assert_int_equal(sl_engine_open(&s->options, &s->engine, &err), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, turn_engine, s), 0);
}

/* A file of letters in a row for /file. */
static inline void
server_make_file(struct server *s, int size)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    for (int i = 0; i < size; i++)
        putc('a' + i % 26, f);
    fflush(f);
    s->file_fd = dup(fileno(f));
    fclose(f);
}

static inline void
server_start(struct server *s)
{
    server_listen(s);
    server_open(s);
}

/* Stops gracefully and checks that no descriptor is left. Clients must have closed theirs. */
static inline void
server_stop(struct server *s)
{
    sl_engine_stop(s->engine);
    pthread_join(s->thread, NULL);
    assert_int_equal(sl_engine_close(s->engine, 5000), 0);
    close(s->listener);
    if (s->file_fd >= 0)
        close(s->file_fd);
    assert_int_equal(count_descriptors(), s->open_before);
}

/* ---- client ---------------------------------------------------------------------------------- */

static inline int
dial(const struct server *s)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static inline void
say(int fd, const char *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void
say_text(int fd, const char *bytes)
{
    say(fd, bytes, strlen(bytes));
}

struct answer {
    int status;
    char head[4096];
    char *body;
    size_t len;
    bool cut; /* the connection ended before the response did */
};

static inline bool
get_byte(int fd, char *to)
{
    return recv(fd, to, 1, 0) == 1;
}

static inline size_t
get_bytes(int fd, char *to, size_t want)
{
    size_t got = 0;
    while (got < want) {
        ssize_t n = recv(fd, to + got, want - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

static inline void
get_chunks(int fd, struct answer *a)
{
    for (;;) {
        char line[32] = "";
        size_t n = 0, size;
        while (n < sizeof line - 1 && get_byte(fd, &line[n]) && line[n] != '\n')
            n++;
        if (n < 2 || sscanf(line, "%zx", &size) != 1) {
            a->cut = true;
            return;
        }
        a->body = realloc(a->body, a->len + size + 2);
        if (get_bytes(fd, a->body + a->len, size + 2) < size + 2) {
            a->cut = true;
            return;
        }
        a->len += size;
        if (size == 0)
            return;
    }
}

/* Reads one response. head_only: of a HEAD request. status 0: the connection ended before any byte.
 */
static inline void
hear(int fd, struct answer *a, bool head_only)
{
    size_t n = 0;
    memset(a, 0, sizeof *a);
    while (n < sizeof a->head - 1 && strstr(a->head, "\r\n\r\n") == NULL &&
           get_byte(fd, &a->head[n]))
        n++;
    if (n == 0)
        return;
    assert_non_null(strstr(a->head, "\r\n\r\n"));
    assert_int_equal(sscanf(a->head, "HTTP/1.%*d %d", &a->status), 1);
    const char *length = strstr(a->head, "Content-Length: ");
    if (head_only || a->status < 200 || a->status == 204 || a->status == 304)
        return;
    if (strstr(a->head, "Transfer-Encoding: chunked") != NULL) {
        get_chunks(fd, a);
        return;
    }
    size_t want = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    a->body = calloc(1, want + 1);
    a->len = get_bytes(fd, a->body, want);
    a->cut = a->len < want;
}

static inline void
expect(int fd, int status, const char *body)
{
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.status, status);
    if (body != NULL) {
        assert_int_equal(a.len, strlen(body));
        assert_memory_equal(a.body, body, a.len);
    }
    free(a.body);
}

/* The answer to /file. */
static inline void
expect_file(int fd)
{
    struct answer a;
    hear(fd, &a, false);
    assert_int_equal(a.len, 100000);
    for (size_t i = 0; i < a.len; i++)
        assert_int_equal(a.body[i], 'a' + (int)(i + 1) % 26);
    free(a.body);
}

static inline bool
at_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static inline bool
quiet(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 0;
}

#endif
