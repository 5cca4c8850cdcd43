/* The floor of the benchmark: the least that a server on epoll can do for a request.
 *
 *   raw_epoll PORT BODY_BYTES
 *
 * Edge-triggered epoll, accept4(), one recv() and one send() per wake-up. The end of each head is
 * found by looking for CR LF CR LF, nothing else is parsed but Content-Length of a request that
 * begins with "POST", whose body is skipped; each request is answered by the same canned response,
 * pipelined ones in one send. It holds no more than such a loop needs and is no server. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, SCRATCH = 65536, EVENTS = 256, MAX_BATCH = 64 };

struct conn {
    char *rest; /* an unfinished head */
    size_t rest_len;
    uint64_t skip; /* body bytes still to come */
};

struct loop {
    int epoll, listener;
    struct conn conns[MAX_FDS];
    char in[2 * SCRATCH];
    char *out; /* MAX_BATCH responses in a row */
    size_t response_len;
};

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static void
hang_up(struct loop *loop, int fd)
{
    free(loop->conns[fd].rest);
    loop->conns[fd] = (struct conn){0};
    close(fd);
}

static void
accept_all(struct loop *loop)
{
    for (;;) {
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            close(fd);
    }
}

/* last: the last byte of the head, an LF. */
static uint64_t
content_length(char *head, char *last)
{
    if (memcmp(head, "POST", 4) != 0)
        return 0;
    *last = '\0';
    char *field = strcasestr(head, "\r\nContent-Length:");
    *last = '\n';
    return field != NULL ? strtoull(field + 17, NULL, 10) : 0;
}

/* The clients of this benchmark read all the time: a full socket is a matter of moments. */
static bool
send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool
answer(struct loop *loop, int fd, size_t count)
{
    while (count > 0) {
        size_t n = count < MAX_BATCH ? count : MAX_BATCH;
        if (!send_all(fd, loop->out, n * loop->response_len))
            return false;
        count -= n;
    }
    return true;
}

static bool
keep(struct conn *conn, const char *p, size_t len)
{
    char *rest = len < SCRATCH ? malloc(len) : NULL;
    if (rest == NULL)
        return false;
    memcpy(rest, p, len);
    conn->rest = rest;
    conn->rest_len = len;
    return true;
}

/* Answers the requests that end in [p, end), all in one send; keeps what is unfinished. */
static bool
serve(struct loop *loop, int fd, char *p, char *end)
{
    struct conn *conn = &loop->conns[fd];
    size_t count = 0;
    while (p < end) {
        uint64_t left = (uint64_t)(end - p);
        if (conn->skip > 0) {
            uint64_t n = left < conn->skip ? left : conn->skip;
            conn->skip -= n;
            p += n;
            count += conn->skip == 0;
            continue;
        }
        char *blank = memmem(p, left, "\r\n\r\n", 4);
        if (blank == NULL) {
            if (!keep(conn, p, left))
                return false;
            break;
        }
        conn->skip = content_length(p, blank + 3);
        p = blank + 4;
        count += conn->skip == 0;
    }
    return answer(loop, fd, count);
}

static bool
receive(struct loop *loop, int fd)
{
    struct conn *conn = &loop->conns[fd];
    for (;;) {
        ssize_t n = recv(fd, loop->in + conn->rest_len, SCRATCH, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        size_t len = conn->rest_len + (size_t)n;
        if (conn->rest != NULL) {
            memcpy(loop->in, conn->rest, conn->rest_len);
            free(conn->rest);
            conn->rest = NULL;
            conn->rest_len = 0;
        }
        if (!serve(loop, fd, loop->in, loop->in + len))
            return false;
        if (n < SCRATCH)
            return true; /* a short read: the next byte makes a new edge */
    }
}

static void
prepare(struct loop *loop, size_t body)
{
    char head[256];
    int len = snprintf(head, sizeof head,
                       "HTTP/1.1 200 OK\r\nServer: raw\r\n"
                       "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: keep-alive\r\n"
                       "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                       body);
    loop->response_len = (size_t)len + body;
    loop->out = malloc(MAX_BATCH * loop->response_len);
    if (loop->out == NULL)
        die("malloc");
    for (size_t i = 0; i < MAX_BATCH; i++) {
        char *p = loop->out + i * loop->response_len;
        memcpy(p, head, (size_t)len);
        memset(p + len, 'x', body);
    }
}

static int
listen_on(const char *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)atoi(port))};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 2048) < 0)
        die("listen");
    return fd;
}

static void
run(struct loop *loop)
{
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(loop->epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == loop->listener)
                accept_all(loop);
            else if (!receive(loop, fd))
                hang_up(loop, fd);
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: raw_epoll PORT BODY_BYTES\n");
        return 2;
    }
    static struct loop loop;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    prepare(&loop, strtoul(argv[2], NULL, 10));
    loop.listener = listen_on(argv[1]);
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = loop.listener};
    if (loop.epoll < 0 || epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.listener, &event) < 0)
        die("epoll");
    run(&loop);
}
