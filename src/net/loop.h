/* The seam to the kernel's readiness notification: epoll here, one other file for another kernel.
 *
 * Thread: one thread waits at a time; add, mod and del may be called meanwhile from any thread,
 * wake also from a signal handler. Process: open it after fork, a forked copy would share the
 * descriptor set.
 */
#ifndef SL_NET_LOOP_H
#define SL_NET_LOOP_H

struct sl_loop;

enum sl_loop_flags {
    SL_LOOP_READ = 1,     /* interest and event: bytes, or a connection, are there */
    SL_LOOP_WRITE = 2,    /* interest and event: room to send */
    SL_LOOP_HANGUP = 4,   /* event, always reported: the peer closed, at least its sending half
                             (EPOLLRDHUP, EPOLLHUP, EPOLLERR). Read to see what came before */
    SL_LOOP_BROKEN = 8,   /* event, with HANGUP: both halves are gone or the socket has an error
                             (EPOLLHUP, EPOLLERR): an answer cannot arrive any more */
    SL_LOOP_LISTEN = 16,  /* with add: a listening socket. Level-triggered, and one process of those
                             that wait is woken (EPOLLEXCLUSIVE). Reports READ; cannot be changed
                             with mod, only del and add */
    SL_LOOP_FOREIGN = 64, /* with add and mod: as LEVEL, and HANGUP only for both halves */
    SL_LOOP_LEVEL = 32,   /* with add and mod: level-triggered (pipes, timerfd, foreign ones).
                             Without it and LISTEN a descriptor is edge-triggered: after an event
                             read or write until EAGAIN */
};

struct sl_loop_event {
    void *data;     /* as given to add */
    unsigned flags; /* READ, WRITE, HANGUP, BROKEN */
};

/* SL_ENOMEM, SL_ESYS (errno). */
int sl_loop_open(struct sl_loop **ret_loop);

/* Descriptors that were added stay open. NULL is accepted. */
void sl_loop_close(struct sl_loop *loop);

/* Pollable: readable when sl_loop_wait() has an event to return. */
int sl_loop_fd(const struct sl_loop *loop);

/* Watches fd. flags: interest (0 is allowed: HANGUP only), and LISTEN or LEVEL. SL_OK, SL_EBUSY
 * (already added), SL_EINVAL (not a pollable descriptor, or LISTEN with more than READ), SL_ESYS
 * (errno). */
int sl_loop_add(struct sl_loop *loop, int fd, unsigned flags, void *data);

/* Changes interest and data; an edge that is already there is reported again. SL_ENOENT if fd was
 * never added. */
int sl_loop_mod(struct sl_loop *loop, int fd, unsigned flags, void *data);

/* Stops watching. close(fd) does so too unless fd was duplicated or forked. Events of fd that the
 * last wait returned and the caller has not looked at yet are the caller's business. SL_ENOENT. */
int sl_loop_del(struct sl_loop *loop, int fd);

/* Waits at most timeout_ms (0: looks only, -1: for ever). Returns the number of events (<= max; at
 * most 256 at once), 0 when the time is over or sl_loop_wake() was called, SL_EAGAIN when a signal
 * handler ran, SL_ESYS. max must be > 0. */
int sl_loop_wait(struct sl_loop *loop, struct sl_loop_event *events, int max, int timeout_ms);

/* Makes the current wait, or the next one if none is under way, return at once. Async-signal-safe,
 * errno is kept. */
void sl_loop_wake(struct sl_loop *loop);

#endif
