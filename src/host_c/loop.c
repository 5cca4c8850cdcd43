/* The worker's loop: timers, descriptors and posts, in an epoll set of its own.
 *
 * In class sync the engine watches that set as one foreign descriptor; in class gthread and in a
 * worker class of the user's the main thread waits in it. So both ways callbacks run on the main
 * thread, and the engine's own wait pays nothing for them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "host_c.h"

enum { EVENTS = 64 };

struct post {
    struct post *next;
    sl_post_fn fn;
    void *arg;
};

struct sl_timer {
    struct sl_timer *next; /* by due_ns */
    struct sl_loop_c *loop;
    uint64_t due_ns, every_ns;
    sl_post_fn fn;
    void *arg;
    bool queued;
    bool cancelled;
    bool running;
};

struct watch {
    struct watch *next;
    int fd; /* -1: ended, freed when the turn is over */
    sl_poll_fn fn;
    void *arg;
};

struct sl_loop_c {
    int epoll_fd, wake_fd, timer_fd;
    pthread_mutex_t lock; /* of posts */
    struct post *posts, **posts_end;
    struct sl_timer *timers;
    uint64_t armed_ns; /* what timer_fd is set to; 0: nothing */
    struct watch *watches;
    bool turning;
};

/* ---- life -------------------------------------------------------------------------------------
 */

static int
add_own(struct sl_loop_c *loop, int fd, void *mark)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = mark};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int
sl_loop_c_open(struct sl_loop_c **ret_loop)
{
    struct sl_loop_c *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return SL_ENOMEM;
    pthread_mutex_init(&loop->lock, NULL);
    loop->posts_end = &loop->posts;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 || loop->timer_fd < 0 ||
        add_own(loop, loop->wake_fd, &loop->wake_fd) < 0 ||
        add_own(loop, loop->timer_fd, &loop->timer_fd) < 0) {
        sl_loop_c_close(loop);
        return SL_ESYS;
    }
    *ret_loop = loop;
    return SL_OK;
}

int
sl_loop_c_fd(const struct sl_loop_c *loop)
{
    return loop->epoll_fd;
}

void
sl_loop_c_wake(struct sl_loop_c *loop)
{
    int saved = errno;
    (void)!write(loop->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    errno = saved;
}

static void
free_ended(struct sl_loop_c *loop)
{
    for (struct watch **at = &loop->watches; *at != NULL;) {
        struct watch *watch = *at;
        if (watch->fd >= 0) {
            at = &watch->next;
        } else {
            *at = watch->next;
            free(watch);
        }
    }
}

void
sl_loop_c_close(struct sl_loop_c *loop)
{
    if (loop == NULL)
        return;
    while (loop->timers != NULL) {
        struct sl_timer *timer = loop->timers;
        loop->timers = timer->next;
        free(timer);
    }
    for (struct watch *watch = loop->watches; watch != NULL; watch = watch->next)
        watch->fd = -1;
    free_ended(loop);
    while (loop->posts != NULL) {
        struct post *post = loop->posts;
        loop->posts = post->next;
        free(post);
    }
    const int fds[] = {loop->epoll_fd, loop->wake_fd, loop->timer_fd};
    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

/* ---- posts ------------------------------------------------------------------------------------
 */

int
sl_worker_post(struct sl_worker *worker, sl_post_fn fn, void *arg)
{
    struct sl_loop_c *loop = worker->loop;
    if (loop == NULL)
        return SL_EUNAVAILABLE;
    struct post *post = malloc(sizeof *post);
    if (post == NULL)
        return SL_ENOMEM;
    *post = (struct post){.fn = fn, .arg = arg};
    pthread_mutex_lock(&loop->lock);
    bool first = loop->posts == NULL;
    *loop->posts_end = post;
    loop->posts_end = &post->next;
    pthread_mutex_unlock(&loop->lock);
    if (first)
        sl_loop_c_wake(loop);
    return SL_OK;
}

/* Those that are there now; what they post comes in the next turn. */
static void
run_posts(struct sl_loop_c *loop)
{
    uint64_t count;
    (void)!read(loop->wake_fd, &count, sizeof count);
    pthread_mutex_lock(&loop->lock);
    struct post *post = loop->posts;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    pthread_mutex_unlock(&loop->lock);
    while (post != NULL) {
        struct post *next = post->next;
        post->fn(post->arg);
        free(post);
        post = next;
    }
}

/* ---- timers -----------------------------------------------------------------------------------
 */

static void
arm(struct sl_loop_c *loop)
{
    uint64_t due = loop->timers != NULL ? loop->timers->due_ns : 0;
    if (due == loop->armed_ns)
        return;
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000U), .tv_nsec = (long)(due % 1000000000U)}};
    (void)timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    loop->armed_ns = due;
}

static void
enqueue(struct sl_loop_c *loop, struct sl_timer *timer)
{
    struct sl_timer **at = &loop->timers;
    while (*at != NULL && (*at)->due_ns <= timer->due_ns)
        at = &(*at)->next;
    timer->next = *at;
    timer->queued = true;
    *at = timer;
}

int
sl_worker_timer(struct sl_worker *worker, unsigned after_ms, unsigned every_ms, sl_post_fn fn,
                void *arg, struct sl_timer **ret_timer)
{
    struct sl_loop_c *loop = worker->loop;
    if (loop == NULL)
        return SL_EUNAVAILABLE;
    struct sl_timer *timer = malloc(sizeof *timer);
    if (timer == NULL)
        return SL_ENOMEM;
    *timer =
        (struct sl_timer){.loop = loop,
                          .due_ns = (uint64_t)sl_clock_ns(CLOCK_MONOTONIC) + after_ms * 1000000ULL,
                          .every_ns = every_ms * 1000000ULL,
                          .fn = fn,
                          .arg = arg};
    enqueue(loop, timer);
    arm(loop);
    if (ret_timer != NULL)
        *ret_timer = timer;
    return SL_OK;
}

void
sl_timer_cancel(struct sl_timer *timer)
{
    if (timer == NULL)
        return;
    if (timer->running) { /* in its own callback: freed behind it */
        timer->cancelled = true;
        return;
    }
    struct sl_timer **at = &timer->loop->timers;
    while (*at != NULL && *at != timer)
        at = &(*at)->next;
    if (*at == timer)
        *at = timer->next;
    arm(timer->loop);
    free(timer);
}

static void
run_timers(struct sl_loop_c *loop)
{
    uint64_t count, now = (uint64_t)sl_clock_ns(CLOCK_MONOTONIC);
    (void)!read(loop->timer_fd, &count, sizeof count);
    loop->armed_ns = 0;
    while (loop->timers != NULL && loop->timers->due_ns <= now) {
        struct sl_timer *timer = loop->timers;
        loop->timers = timer->next;
        timer->queued = false;
        timer->running = true;
        timer->fn(timer->arg);
        timer->running = false;
        if (timer->cancelled || timer->every_ns == 0) {
            free(timer);
            continue;
        }
        timer->due_ns += timer->every_ns;
        if (timer->due_ns <= now) /* late: none is made up for */
            timer->due_ns = now + timer->every_ns;
        enqueue(loop, timer);
    }
    arm(loop);
}

/* ---- descriptors ------------------------------------------------------------------------------
 */

static struct watch *
find_watch(const struct sl_loop_c *loop, int fd)
{
    struct watch *watch = loop->watches;
    while (watch != NULL && watch->fd != fd)
        watch = watch->next;
    return watch;
}

static int
end_watch(struct sl_loop_c *loop, struct watch *watch)
{
    if (watch == NULL)
        return SL_ENOENT;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1; /* events of this turn may still point to it */
    if (!loop->turning)
        free_ended(loop);
    return SL_OK;
}

int
sl_worker_poll(struct sl_worker *worker, int fd, unsigned flags, sl_poll_fn fn, void *arg)
{
    struct sl_loop_c *loop = worker->loop;
    if (loop == NULL)
        return SL_EUNAVAILABLE;
    struct watch *watch = fd >= 0 ? find_watch(loop, fd) : NULL;
    if (flags == 0)
        return end_watch(loop, watch);
    bool fresh = watch == NULL;
    if (fresh) {
        watch = malloc(sizeof *watch);
        if (watch == NULL)
            return SL_ENOMEM;
    }
    struct epoll_event event = {.data.ptr = watch};
    event.events = (flags & SL_WATCH_READ ? (uint32_t)(EPOLLIN | EPOLLRDHUP) : 0) |
                   (flags & SL_WATCH_WRITE ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(loop->epoll_fd, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0) {
        int saved = errno;
        if (fresh)
            free(watch);
        errno = saved;
        return saved == EPERM || saved == EBADF ? SL_EINVAL : saved == ENOMEM ? SL_ENOMEM : SL_ESYS;
    }
    if (fresh) {
        watch->fd = fd;
        watch->next = loop->watches;
        loop->watches = watch;
    }
    watch->fn = fn;
    watch->arg = arg;
    return SL_OK;
}

static void
run_watch(struct watch *watch, uint32_t events)
{
    unsigned flags = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) ? SL_WATCH_READ : 0) |
                     (events & EPOLLOUT ? SL_WATCH_WRITE : 0) |
                     (events & (EPOLLERR | EPOLLHUP) ? SL_WATCH_ERROR : 0);
    if (watch->fd >= 0)
        watch->fn(watch->arg, watch->fd, flags);
}

/* ---- a turn -----------------------------------------------------------------------------------
 */

void
sl_loop_c_turn(struct sl_loop_c *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS, timeout_ms);
    loop->turning = true;
    for (int i = 0; i < count; i++) {
        void *mark = events[i].data.ptr;
        if (mark == &loop->wake_fd)
            run_posts(loop);
        else if (mark == &loop->timer_fd)
            run_timers(loop);
        else
            run_watch(mark, events[i].events);
    }
    loop->turning = false;
    free_ended(loop);
}
