/* One client connection: opens, sends, reads answers, and names what went wrong. */
#include "ledger.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUT_ROOM = UPLOAD_BYTES + 4096, IN_ROOM = 65536 };

static const uint64_t ending_ns = 5000000000, again_ns = 1000000, after_failure_ns = 5000000;

static bool
is_busy(const struct conn *conn)
{
    return conn->state == CONN_CONNECTING || conn->state == CONN_BUSY;
}

/* A few pauses are longer than a server lingers, most are short, half of the clients make none. */
static uint64_t
pause_ns(struct ledger *ledger, const struct conn *conn)
{
    if (conn->hasty || conn->kind == K_UPLOAD)
        return 0;
    uint64_t dice = random_below(ledger, 10);
    uint64_t limit_us = dice < 5 ? 5000 : dice < 9 || conn->kind == K_CLOSE ? 50000 : 2000000;
    return random_below(ledger, limit_us) * 1000;
}

static void
leave(struct ledger *ledger, struct conn *conn, uint64_t pause)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->state = CONN_CLOSED;
    conn->count = 0;
    conn->due_ns = ledger->now_ns + pause;
}

/* The oldest request in flight has failed. */
static void
fail(struct ledger *ledger, struct conn *conn, enum verdict verdict, const char *why, int err)
{
    const struct request *request = &conn->queue[conn->first];
    size_t sent = conn->written < request->start ? 0 : conn->written - request->start;
    tally_failed(&ledger->tally, &(struct failure){.verdict = verdict,
                                                   .kind = conn->kind,
                                                   .via = conn->target->via,
                                                   .conn = conn->id,
                                                   .seq = request->seq,
                                                   .opened_ns = conn->opened_ns,
                                                   .sent_ns = request->sent_ns,
                                                   .now_ns = ledger->now_ns,
                                                   .sent = sent < request->end - request->start
                                                               ? sent
                                                               : request->end - request->start,
                                                   .local = conn->local,
                                                   .inode = conn->inode,
                                                   .pid = conn->pid,
                                                   .why = why,
                                                   .err = err});
    conn->first = (conn->first + 1) % DEPTH;
    conn->count--;
}

static void
fail_all(struct ledger *ledger, struct conn *conn, enum verdict verdict, const char *why, int err)
{
    while (conn->count > 0)
        fail(ledger, conn, verdict, why, err);
    leave(ledger, conn, after_failure_ns);
}

/* The server has ended the connection, by a reset if err is not 0. */
static void
ended(struct ledger *ledger, struct conn *conn, int err)
{
    uint64_t *remarks = ledger->tally.remarks;
    if (conn->state == CONN_ENDING) {
        remarks[R_RESET_AFTER] += err != 0;
        leave(ledger, conn, pause_ns(ledger, conn));
    } else if (conn->count == 0) {
        remarks[err != 0 ? R_RESET_IDLE : R_CLOSED_IDLE]++;
        leave(ledger, conn, 0);
    } else {
        if (conn->in_len > 0 || conn->answer.in_body)
            fail(ledger, conn, V_TRUNCATED, "", err);
        fail_all(ledger, conn, err != 0 ? V_RESET : V_EOF, "", err);
    }
}

static void
wait_for_end(struct ledger *ledger, struct conn *conn)
{
    while (conn->count > 0)
        fail(ledger, conn, V_UNANSWERED, "", 0);
    conn->state = CONN_ENDING;
    conn->body_left = 0;
    conn->out_len = conn->out_sent = 0;
    conn->due_ns = never_ns;
    conn->limit_ns = ledger->now_ns + ending_ns;
}

/* A whole answer stands in conn->answer. False when the connection has been left. */
static bool
answered(struct ledger *ledger, struct conn *conn)
{
    struct request *request = &conn->queue[conn->first];
    unsigned pid = 0;
    const char *why = request_check(ledger, conn, request, &pid);
    if (why != NULL) {
        fail(ledger, conn, V_WRONG, why, 0);
        fail_all(ledger, conn, V_WRONG, "stood behind a wrong answer", 0);
        return false;
    }
    conn->pid = pid;
    tally_ok(&ledger->tally, conn->kind, conn->target->via, request->sent_ns, ledger->now_ns, pid);
    conn->first = (conn->first + 1) % DEPTH;
    conn->count--;
    bool closes = conn->answer.closes || conn->kind == K_CLOSE;
    conn->answer = (struct answer){0};
    if (closes)
        wait_for_end(ledger, conn);
    return true;
}

/* Takes the answers that are whole out of conn->in. False when the connection has been left. */
static bool
take_answers(struct ledger *ledger, struct conn *conn)
{
    size_t at = 0;
    while (at < conn->in_len) {
        if (conn->count == 0) {
            /* Counted as a request of its own: nobody asked for these bytes. */
            conn->count = 1;
            fail_all(ledger, conn, V_WRONG, "bytes behind the last answer", 0);
            return false;
        }
        size_t used = 0;
        const char *why = "";
        int done = answer_take(&conn->answer, conn->in + at, conn->in_len - at, &used, &why);
        at += used;
        if (done < 0) {
            fail_all(ledger, conn, V_WRONG, why, 0);
            return false;
        }
        if (done > 0 && !answered(ledger, conn))
            return false;
        if (done == 0 && used == 0)
            break;
    }
    conn->in_len -= at;
    memmove(conn->in, conn->in + at, conn->in_len);
    if (conn->in_len == IN_ROOM) {
        fail_all(ledger, conn, V_WRONG, "a head without end", 0);
        return false;
    }
    return true;
}

/* False when the connection has been left. */
static bool
receive(struct ledger *ledger, struct conn *conn)
{
    for (;;) {
        ssize_t n = recv(conn->fd, conn->in + conn->in_len, IN_ROOM - conn->in_len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            ended(ledger, conn, n < 0 ? errno : 0);
            return false;
        }
        conn->in_len += (size_t)n;
        if (!take_answers(ledger, conn))
            return false;
    }
}

/* Sends what waits. An error is left for recv() to find: an answer may stand before it. */
static void
transmit(struct conn *conn)
{
    while (conn->out_sent < conn->out_len) {
        ssize_t n = send(conn->fd, conn->out + conn->out_sent, conn->out_len - conn->out_sent,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        conn->out_sent += (size_t)n;
        conn->written += (size_t)n;
    }
    conn->out_sent = conn->out_len = 0;
}

static void
after_progress(struct ledger *ledger, struct conn *conn)
{
    if (conn->state != CONN_BUSY)
        return;
    if (conn->count == 0 && conn->body_left == 0 && conn->out_len == 0) {
        conn->state = CONN_THINKING;
        conn->due_ns = ledger->now_ns + pause_ns(ledger, conn);
    } else {
        conn->due_ns = conn->body_left > 0 ? conn->piece_ns : never_ns;
    }
}

static void
note_address(struct conn *conn)
{
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    struct stat stat;
    if (conn->target->via == VIA_TCP) {
        if (getsockname(conn->fd, (struct sockaddr *)&in, &len) == 0)
            snprintf(conn->local, sizeof conn->local, "%s:%u", inet_ntoa(in.sin_addr),
                     ntohs(in.sin_port));
    } else if (fstat(conn->fd, &stat) == 0) {
        conn->inode = stat.st_ino;
    }
}

/* Other source addresses have ports of their own, and closed connections keep theirs for a minute.
 */
static int
bind_source(struct ledger *ledger, const struct conn *conn)
{
    int on = 1;
    if (conn->target->via != VIA_TCP)
        return 0;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0)
        return -1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)random_below(ledger, 32));
    return bind(conn->fd, (struct sockaddr *)&source, sizeof source);
}

static void
connected(struct ledger *ledger, struct conn *conn)
{
    conn->state = CONN_BUSY;
    note_address(conn);
    transmit(conn);
    after_progress(ledger, conn);
}

static int
open_socket(struct ledger *ledger, struct conn *conn)
{
    conn->fd =
        socket(conn->target->addr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = conn};
    if (conn->fd < 0 || bind_source(ledger, conn) < 0 ||
        epoll_ctl(ledger->epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        return -1;
    return connect(conn->fd, &conn->target->addr.any, conn->target->len);
}

static void
begin(struct ledger *ledger, struct conn *conn)
{
    size_t depth = conn->kind == K_PIPELINE ? DEPTH : 1;
    while (conn->count < depth)
        request_add(ledger, conn);
    conn->limit_ns = ledger->now_ns + ledger->opt.timeout_ns;
}

static void
open_conn(struct ledger *ledger, struct conn *conn)
{
    int result = open_socket(ledger, conn), err = errno;
    if (result < 0 && (err == EADDRNOTAVAIL || (err == EAGAIN && conn->fd >= 0))) {
        /* Not the server's refusal: connect() would have waited for room in the queue. */
        ledger->tally.remarks[err == EAGAIN ? R_QUEUE_FULL : R_OUT_OF_PORTS]++;
        leave(ledger, conn, again_ns);
        return;
    }
    *conn = (struct conn){.state = CONN_CONNECTING,
                          .kind = conn->kind,
                          .target = conn->target,
                          .hasty = conn->hasty,
                          .fd = conn->fd,
                          .id = ledger->next_id++,
                          .opened_ns = ledger->now_ns,
                          .due_ns = never_ns,
                          .out = conn->out,
                          .in = conn->in};
    begin(ledger, conn);
    ledger->tally.remarks[R_CONNECTIONS]++;
    if (result == 0)
        connected(ledger, conn);
    else if (err != EINPROGRESS)
        fail_all(ledger, conn, V_REFUSED, conn->fd < 0 ? "no socket" : "", err);
}

void
conn_event(struct ledger *ledger, struct conn *conn)
{
    if (conn->fd < 0)
        return;
    if (conn->state == CONN_CONNECTING) {
        int err = 0;
        socklen_t len = sizeof err;
        if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
            err = errno;
        if (err != 0) {
            fail_all(ledger, conn, V_REFUSED, "", err);
            return;
        }
        connected(ledger, conn);
    }
    if (!receive(ledger, conn))
        return;
    transmit(conn);
    after_progress(ledger, conn);
}

/* May another request begin now, or must it wait for the rate, or for nothing as all is over? */
static bool
may_begin(struct ledger *ledger, struct conn *conn)
{
    if (ledger->opt.rate == 0)
        return true;
    double allowed = (double)(ledger->now_ns - ledger->start_ns) / 1e9 * (double)ledger->opt.rate;
    if ((double)ledger->begun < allowed + DEPTH)
        return true;
    conn->due_ns = ledger->now_ns + 1000000 + random_below(ledger, 2000000);
    return false;
}

static void
expired(struct ledger *ledger, struct conn *conn)
{
    if (conn->state == CONN_ENDING) {
        ledger->tally.remarks[R_NOT_ENDED]++;
        leave(ledger, conn, 0);
        return;
    }
    fail_all(ledger, conn, V_TIMEOUT,
             conn->in_len > 0 || conn->answer.in_body ? "inside the answer" : "", 0);
}

static void
due(struct ledger *ledger, struct conn *conn)
{
    switch (conn->state) {
    case CONN_CLOSED:
        if (ledger->stopping)
            conn->due_ns = never_ns;
        else if (may_begin(ledger, conn))
            open_conn(ledger, conn);
        break;
    case CONN_THINKING:
        /* A client that has been told of the end does not write into it. */
        if (!receive(ledger, conn))
            break;
        if (ledger->stopping) {
            leave(ledger, conn, 0);
        } else if (may_begin(ledger, conn)) {
            conn->state = CONN_BUSY;
            begin(ledger, conn);
            transmit(conn);
            after_progress(ledger, conn);
        }
        break;
    case CONN_BUSY:
        request_piece(ledger, conn);
        transmit(conn);
        after_progress(ledger, conn);
        break;
    case CONN_CONNECTING:
    case CONN_ENDING:
        break;
    }
}

uint64_t
conns_due(struct ledger *ledger)
{
    uint64_t next = never_ns;
    for (size_t i = 0; i < ledger->conns_len; i++) {
        struct conn *conn = &ledger->conns[i];
        if (conn->due_ns <= ledger->now_ns)
            due(ledger, conn);
        bool has_limit = is_busy(conn) || conn->state == CONN_ENDING;
        if (has_limit && conn->limit_ns <= ledger->now_ns)
            expired(ledger, conn);
        if (conn->due_ns < next)
            next = conn->due_ns;
        if (has_limit && conn->limit_ns < next)
            next = conn->limit_ns;
    }
    return next;
}

bool
conns_all_closed(const struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->conns_len; i++)
        if (ledger->conns[i].state != CONN_CLOSED)
            return false;
    return true;
}

int
conns_init(struct ledger *ledger)
{
    const struct options *opt = &ledger->opt;
    for (int kind = 0; kind < KINDS; kind++)
        ledger->conns_len += opt->clients[kind];
    ledger->conns = calloc(ledger->conns_len, sizeof *ledger->conns);
    if (ledger->conns == NULL)
        return -1;
    size_t at = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < opt->clients[kind]; i++) {
            struct conn *conn = &ledger->conns[at++];
            conn->kind = (enum kind)kind;
            conn->target = &opt->targets[i % opt->targets_len];
            conn->hasty = i / opt->targets_len % 2 == 0;
            conn->fd = -1;
            conn->in = malloc(IN_ROOM);
            conn->out = malloc(OUT_ROOM);
            if (conn->in == NULL || conn->out == NULL)
                return -1;
        }
    return 0;
}

void
conns_release(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->conns_len; i++) {
        free(ledger->conns[i].in);
        free(ledger->conns[i].out);
    }
    free(ledger->conns);
}
