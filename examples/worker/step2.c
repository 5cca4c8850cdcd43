/* The smallest worker class that serves: one fixed answer. See docs/writing-a-worker.md.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) step2.c -o step2.so
 *     saola -k ./step2.so:my_worker
 */
#include <sys/socket.h>
#include <unistd.h>
#include <saola/app.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

static void
take(void *arg, int listener, unsigned flags)
{
    char buf[65536];
    struct timeval patience = {.tv_sec = 5};
    int fd = accept(listener, NULL, NULL);
    (void)arg;
    (void)flags;
    if (fd < 0)
        return; /* another worker was faster */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (recv(fd, buf, sizeof buf, 0) > 0)
        (void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    close(fd);
}

static int
run(struct sl_worker *worker, void *state)
{
    size_t count;
    const int *listeners = sl_worker_listeners(worker, &count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (sl_worker_poll(worker, listeners[i], SL_WATCH_READ, take, NULL) != SL_OK)
            return 1;
    }
    while (sl_worker_turn(worker, -1) != SL_ECLOSED) /* beats, and notices TERM */
        ;
    return 0;
}

SL_WORKER_CLASS(my_worker) = {.abi = SL_WORKER_CLASS_ABI, .name = "my_worker", .run = run};
