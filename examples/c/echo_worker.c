/* A worker class that speaks no HTTP: echoes lines on its sockets.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) echo_worker.c -o echo_worker.so
 *     saola -k ./echo_worker.so:echo
 *
 * Shows: check, init, run and exit of a class, on the worker's loop; the arbiter does the rest
 * (processes, signals, reload, a worker that hangs).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <saola/app.h>

struct echo {
    struct sl_worker *worker;
    unsigned open;
};

static int
check(const struct sl_config *config, struct sl_error *err)
{
    if (sl_config_number(config, "threads") > 1)
        return sl_error_set(err, SL_EINVAL, "threads: the class echo knows one; leave it out");
    return SL_OK;
}

static void
serve(void *arg, int fd, unsigned flags)
{
    struct echo *echo = arg;
    char buf[4096];
    (void)flags;
    ssize_t len = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len > 0 && send(fd, buf, (size_t)len, MSG_NOSIGNAL) == len)
        return;
    (void)sl_worker_poll(echo->worker, fd, 0, NULL, NULL);
    close(fd);
    echo->open--;
}

static void
take(void *arg, int listener, unsigned flags)
{
    struct echo *echo = arg;
    (void)flags;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    if (sl_worker_poll(echo->worker, fd, SL_WATCH_READ, serve, echo) == SL_OK)
        echo->open++;
    else
        close(fd);
}

static int
init(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    size_t count;
    const int *listeners = sl_worker_listeners(worker, &count);
    struct echo *echo = calloc(1, sizeof *echo);
    if (echo == NULL)
        return SL_ENOMEM;
    echo->worker = worker;
    *ret_state = echo;
    for (size_t i = 0; i < count; i++) {
        if (sl_worker_poll(worker, listeners[i], SL_WATCH_READ, take, echo) != SL_OK)
            return sl_error_set(err, SL_ESYS, "a listening socket cannot be watched");
    }
    return SL_OK;
}

static int
run(struct sl_worker *worker, void *state)
{
    (void)state;
    while (sl_worker_turn(worker, -1) != SL_ECLOSED)
        ;
    return 0;
}

static void
leave(struct sl_worker *worker, void *state)
{
    struct echo *echo = state;
    if (echo != NULL)
        sl_worker_log(worker, SL_LOG_INFO, "echo: %u connections are cut", echo->open);
    free(echo);
}

SL_WORKER_CLASS(echo) = {.abi = SL_WORKER_CLASS_ABI,
                         .name = "echo",
                         .check = check,
                         .init = init,
                         .run = run,
                         .exit = leave};
