/* Listening sockets, and the records of the connections that come from them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/engine_state.h"

enum {
    ACCEPT_BUDGET = 64,      /* connections taken in one go */
    SPARE_CONNECTIONS = 256, /* free records kept */
};

/* ---- listening sockets ---------------------------------------------------------------------- */

static void
describe_point(struct sl_listen_point *point)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    if (getsockname(point->fd, (struct sockaddr *)&sa, &len) < 0)
        return;
    point->family = sa.ss_family;
    if (sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&sa;
        inet_ntop(AF_INET, &in->sin_addr, point->local, sizeof point->local);
        point->port = ntohs(in->sin_port);
    } else if (sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, point->local, sizeof point->local);
        point->port = ntohs(in6->sin6_port);
    } else if (sa.ss_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path)) {
        const struct sockaddr_un *un = (const void *)&sa;
        size_t n = len - offsetof(struct sockaddr_un, sun_path);
        if (n >= sizeof point->local)
            n = sizeof point->local - 1;
        memcpy(point->local, un->sun_path, n);
        if (point->local[0] == '\0') /* abstract */
            point->local[0] = '@';
    }
}

static bool
shares_port(int fd)
{
    int on = 0;
    socklen_t len = sizeof on;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

int
sl_engine_listen_on(struct sl_engine *engine)
{
    for (size_t i = 0; i < engine->opt.listener_count; i++) {
        struct sl_listen_point *point = &engine->points[i];
        if (point->left)
            continue;
        int rc = sl_loop_add(engine->loop, point->fd, SL_LOOP_READ | SL_LOOP_LISTEN, point);
        if (rc < 0 && rc != SL_EBUSY)
            return rc;
    }
    engine->listening = true;
    return SL_OK;
}

void
sl_engine_listen_off(struct sl_engine *engine)
{
    if (!engine->listening)
        return;
    for (size_t i = 0; i < engine->opt.listener_count; i++)
        (void)sl_loop_del(engine->loop, engine->points[i].fd);
    engine->listening = false;
}

int
sl_engine_open_points(struct sl_engine *engine, struct sl_error *err)
{
    size_t count = engine->opt.listener_count;
    engine->points = calloc(count ? count : 1, sizeof *engine->points);
    if (engine->points == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the listening sockets");
    for (size_t i = 0; i < count; i++) {
        int one = 1, unsent = SL_UNSENT_MAX;
        engine->points[i].fd = engine->opt.listener_fds[i];
        describe_point(&engine->points[i]);
        engine->points[i].own = engine->opt.own_listeners && shares_port(engine->points[i].fd);
        if (engine->points[i].family == AF_UNIX)
            continue;
        /* Connections inherit both. */
        (void)setsockopt(engine->points[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(engine->points[i].fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent,
                         sizeof unsent);
    }
    if (!engine->opt.accept_later && sl_engine_listen_on(engine) < 0)
        return sl_error_set(err, SL_ESYS, "cannot watch the listening sockets: %s",
                            strerror(errno));
    return SL_OK;
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct sl_conn *
take_record(struct sl_engine *engine)
{
    struct sl_list *link = sl_list_first(&engine->spare);
    if (link != NULL) {
        sl_list_remove(link);
        engine->spare_count--;
        return SL_LIST_ENTRY(link, struct sl_conn, link);
    }
    return malloc(sizeof(struct sl_conn));
}

void
sl_engine_drop(struct sl_engine *engine, struct sl_conn *conn)
{
    if (conn->pending != NULL)
        sl_pending_drop(conn);
    /* A child that the application forked may hold the socket open: closing alone would leave it in
     * the loop, with a pointer to this record. */
    (void)sl_loop_del(engine->loop, conn->fd);
    close(conn->fd);
    conn->fd = -1;
    sl_buf_release(&conn->in);
    sl_out_release(&conn->out);
    sl_list_remove(&conn->link);
    sl_list_push_front(&engine->spare, &conn->link);
    engine->spare_count++;
    atomic_fetch_sub_explicit(&engine->connections, 1, memory_order_relaxed);
}

void
sl_engine_trim_spare(struct sl_engine *engine)
{
    while (engine->spare_count > SPARE_CONNECTIONS) {
        struct sl_list *link = sl_list_first(&engine->spare);
        sl_list_remove(link);
        engine->spare_count--;
        free(SL_LIST_ENTRY(link, struct sl_conn, link));
    }
}

void
sl_engine_free_spare(struct sl_engine *engine)
{
    SL_LIST_EACH(link, &engine->spare)
    free(SL_LIST_ENTRY(link, struct sl_conn, link));
}

static void
describe_peer(struct sl_engine *engine, struct sl_peer *peer, const struct sl_listen_point *point,
              const struct sockaddr_storage *sa)
{
    memset(peer, 0, sizeof *peer);
    peer->family = point->family;
    peer->local = point->local;
    peer->local_port = point->port;
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, peer->addr, sizeof peer->addr);
        peer->port = ntohs(in->sin_port);
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, peer->addr, sizeof peer->addr);
        peer->port = ntohs(in6->sin6_port);
    }
    peer->trusted =
        point->family == AF_UNIX ||
        sl_cidr_match(engine->forwarded, engine->forwarded_count, (const struct sockaddr *)sa);
}

static void
admit(struct sl_engine *engine, const struct sl_listen_point *point, int fd,
      const struct sockaddr_storage *sa)
{
    struct sl_conn *conn = take_record(engine);
    if (conn == NULL) {
        close(fd);
        return;
    }
    memset(conn, 0, sizeof *conn);
    conn->fd = fd;
    conn->first = true;
    conn->proxy_pending = engine->opt.proxy_protocol != 0;
    conn->active_ms = engine->now_ms;
    sl_out_init(&conn->out);
    describe_peer(engine, &conn->peer, point, sa);
    if (sl_loop_add(engine->loop, fd, SL_LOOP_READ | SL_LOOP_WRITE, conn) < 0) {
        close(fd);
        free(conn);
        return;
    }
    sl_list_push_back(&engine->conns, &conn->link);
    engine->accepted_ms = engine->now_ms;
    atomic_fetch_add_explicit(&engine->connections, 1, memory_order_relaxed);
}

/* ---- accept -------------------------------------------------------------------------------- */

bool
sl_engine_full(const struct sl_engine *engine)
{
    uint32_t limit = engine->opt.max_connections;
    return limit != 0 && sl_engine_connections(engine) >= limit;
}

/* Errors that belong to one connection; the next one may be fine (accept(2)). */
static bool
passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

struct sl_conn *
sl_engine_find_spare(struct sl_engine *engine)
{
    SL_LIST_EACH(link, &engine->conns)
    {
        struct sl_conn *conn = SL_LIST_ENTRY(link, struct sl_conn, link);
        if (sl_conn_is_spare(conn))
            return conn;
    }
    return NULL;
}

void
sl_engine_accept_some(struct sl_engine *engine, const struct sl_listen_point *point)
{
    int budget = engine->opt.multiple_workers ? 1 : ACCEPT_BUDGET;
    while (budget-- > 0 && engine->listening) {
        struct sockaddr_storage sa = {0};
        socklen_t len = sizeof sa;
        /* At the limit one that is idle makes room, but only for somebody who is there. */
        struct sl_conn *spare = sl_engine_full(engine) ? sl_engine_find_spare(engine) : NULL;
        if (spare == NULL && sl_engine_full(engine)) {
            sl_engine_listen_off(engine);
            return;
        }
        int fd = accept4(point->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (spare != NULL)
                sl_engine_drop(engine, spare);
            admit(engine, point, fd, &sa);
            continue;
        }
        if (passing(errno))
            continue;
        if (errno != EAGAIN) { /* no descriptors or memory: let others go first */
            sl_engine_listen_off(engine);
            engine->accept_after_ms = engine->now_ms + SL_ACCEPT_PAUSE_MS;
        }
        return;
    }
}
