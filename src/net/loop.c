/* The loop on epoll and eventfd. The wake descriptor is edge-triggered and never read: every write
 * is a new edge, its counter cannot overflow in a life time, and one system call per wake is
 * saved. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <net/io.h>
#include <net/loop.h>
#include <saola/status.h>

enum { BATCH = 256 };

struct sl_loop {
    int epoll_fd;
    int wake_fd;
};

int
sl_loop_open(struct sl_loop **ret_loop)
{
    int saved;
    struct sl_loop *loop = malloc(sizeof *loop);
    if (loop == NULL)
        return SL_ENOMEM;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        goto fail_epoll;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        goto fail_wake;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = loop};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0)
        goto fail_add;
    *ret_loop = loop;
    return SL_OK;

fail_add:
    saved = errno;
    close(loop->wake_fd);
    errno = saved;
fail_wake:
    saved = errno;
    close(loop->epoll_fd);
    errno = saved;
fail_epoll:
    free(loop);
    return SL_ESYS;
}

void
sl_loop_close(struct sl_loop *loop)
{
    if (loop == NULL)
        return;
    close(loop->wake_fd);
    close(loop->epoll_fd);
    free(loop);
}

int
sl_loop_fd(const struct sl_loop *loop)
{
    return loop->epoll_fd;
}

static uint32_t
epoll_mask(unsigned flags)
{
    if (flags & SL_LOOP_LISTEN) /* EPOLLEXCLUSIVE tolerates no EPOLLRDHUP */
        return EPOLLIN | EPOLLEXCLUSIVE;
    uint32_t mask = flags & SL_LOOP_FOREIGN ? 0 : EPOLLRDHUP;
    if (flags & SL_LOOP_READ)
        mask |= EPOLLIN;
    if (flags & SL_LOOP_WRITE)
        mask |= EPOLLOUT;
    if (!(flags & (SL_LOOP_LEVEL | SL_LOOP_FOREIGN)))
        mask |= EPOLLET;
    return mask;
}

static int
control(struct sl_loop *loop, int operation, int fd, unsigned flags, void *data)
{
    struct epoll_event event = {.events = epoll_mask(flags), .data.ptr = data};
    if (epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0)
        return SL_OK;
    switch (errno) {
    case EEXIST:
        return SL_EBUSY;
    case ENOENT:
        return SL_ENOENT;
    case ENOMEM:
        return SL_ENOMEM;
    case EINVAL:
    case EPERM:
        return SL_EINVAL; /* a regular file or a directory */
    default:
        return SL_ESYS;
    }
}

int
sl_loop_add(struct sl_loop *loop, int fd, unsigned flags, void *data)
{
    if ((flags & SL_LOOP_LISTEN) && (flags & (SL_LOOP_WRITE | SL_LOOP_LEVEL)))
        return SL_EINVAL;
    return control(loop, EPOLL_CTL_ADD, fd, flags, data);
}

int
sl_loop_mod(struct sl_loop *loop, int fd, unsigned flags, void *data)
{
    if (flags & SL_LOOP_LISTEN)
        return SL_EINVAL;
    return control(loop, EPOLL_CTL_MOD, fd, flags, data);
}

int
sl_loop_del(struct sl_loop *loop, int fd)
{
    return control(loop, EPOLL_CTL_DEL, fd, 0, NULL);
}

static unsigned
event_flags(uint32_t mask)
{
    unsigned flags = 0;
    if (mask & EPOLLIN)
        flags |= SL_LOOP_READ;
    if (mask & EPOLLOUT)
        flags |= SL_LOOP_WRITE;
    if (mask & EPOLLRDHUP)
        flags |= SL_LOOP_HANGUP;
    if (mask & (EPOLLHUP | EPOLLERR))
        flags |= SL_LOOP_HANGUP | SL_LOOP_BROKEN;
    return flags;
}

int
sl_loop_wait(struct sl_loop *loop, struct sl_loop_event *events, int max, int timeout_ms)
{
    struct epoll_event raw[BATCH];
    int n = sl_io_epoll_wait(loop->epoll_fd, raw, max < BATCH ? max : BATCH, timeout_ms);
    if (n < 0)
        return errno == EINTR ? SL_EAGAIN : SL_ESYS;
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (raw[i].data.ptr == loop) /* the wake-up itself is not the caller's event */
            continue;
        events[count].data = raw[i].data.ptr;
        events[count].flags = event_flags(raw[i].events);
        count++;
    }
    return count;
}

void
sl_loop_wake(struct sl_loop *loop)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof one);
    (void)
        n; /* EAGAIN would mean 2^64 wake-ups; there is nothing to do in a signal handler anyway */
    errno = saved;
}
