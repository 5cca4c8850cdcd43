/* sl_loop: triggering, hang-ups, wake-ups from elsewhere and failures of the kernel. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>
#include <net/loop.h>
#include <saola/status.h>

static int fail_epoll_ctl, fail_eventfd;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags);

int
__wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if (fail_epoll_ctl == 0)
        return __real_epoll_ctl(epfd, op, fd, event);
    errno = fail_epoll_ctl;
    return -1;
}

int
__wrap_eventfd(unsigned value, int flags)
{
    if (fail_eventfd == 0)
        return __real_eventfd(value, flags);
    errno = fail_eventfd;
    return -1;
}

struct fixture {
    struct sl_loop *loop;
    int pair[2];
};

static int
setup(void **state)
{
    static struct fixture f;
    assert_int_equal(sl_loop_open(&f.loop), SL_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, f.pair), 0);
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++)
        if (f->pair[i] >= 0)
            close(f->pair[i]);
    sl_loop_close(f->loop);
    return 0;
}

static void
test_an_edge_is_reported_once_until_mod_asks_again(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[4];
    int mark;
    assert_int_equal(sl_loop_add(f->loop, f->pair[0], SL_LOOP_READ, &mark), SL_OK);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 0), 0);
    assert_int_equal(write(f->pair[1], "x", 1), 1);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    assert_ptr_equal(events[0].data, &mark);
    assert_int_equal(events[0].flags, SL_LOOP_READ);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 0), 0);
    assert_int_equal(sl_loop_mod(f->loop, f->pair[0], SL_LOOP_READ | SL_LOOP_WRITE, f), SL_OK);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    assert_int_equal(events[0].flags, SL_LOOP_READ | SL_LOOP_WRITE);
    assert_ptr_equal(events[0].data, f);
}

static void
test_level_is_reported_until_it_is_read(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[4];
    assert_int_equal(sl_loop_add(f->loop, f->pair[0], SL_LOOP_READ | SL_LOOP_LEVEL, NULL), SL_OK);
    assert_int_equal(write(f->pair[1], "x", 1), 1);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    char byte;
    assert_int_equal(read(f->pair[0], &byte, 1), 1);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 0), 0);
}

static void
test_a_half_closed_peer_is_a_hangup_and_a_closed_one_is_broken(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[4];
    assert_int_equal(sl_loop_add(f->loop, f->pair[0], SL_LOOP_READ, NULL), SL_OK);
    assert_int_equal(shutdown(f->pair[1], SHUT_WR), 0);
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    assert_int_equal(events[0].flags, SL_LOOP_READ | SL_LOOP_HANGUP);
    close(f->pair[1]);
    f->pair[1] = -1;
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
    assert_int_equal(events[0].flags, SL_LOOP_READ | SL_LOOP_HANGUP | SL_LOOP_BROKEN);
}

static void
test_a_listener_reports_until_its_queue_is_empty(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[4];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof un;
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(sa_family_t)), 0); /* autobind */
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&un, &len), 0);
    assert_int_equal(sl_loop_add(f->loop, fd, SL_LOOP_LISTEN | SL_LOOP_WRITE, f), SL_EINVAL);
    assert_int_equal(sl_loop_add(f->loop, fd, SL_LOOP_LISTEN, f), SL_OK);
    assert_int_equal(sl_loop_mod(f->loop, fd, SL_LOOP_LISTEN, f), SL_EINVAL);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&un, len), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sl_loop_wait(f->loop, events, 4, 1000), 1);
        assert_int_equal(events[0].flags, SL_LOOP_READ);
    }
    close(accept(fd, NULL, NULL));
    assert_int_equal(sl_loop_wait(f->loop, events, 4, 0), 0);
    assert_int_equal(sl_loop_del(f->loop, fd), SL_OK);
    close(client);
    close(fd);
}

static void *
wake_later(void *arg)
{
    sl_loop_wake(arg);
    return NULL;
}

static void
test_wake_ends_a_wait_from_another_thread_and_before_it(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[1];
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_later, f->loop), 0);
        assert_int_equal(sl_loop_wait(f->loop, events, 1, -1), 0);
        pthread_join(thread, NULL);
    }
    errno = 77;
    sl_loop_wake(f->loop);
    assert_int_equal(errno, 77);
    struct pollfd poller = {.fd = sl_loop_fd(f->loop), .events = POLLIN};
    assert_int_equal(poll(&poller, 1, 1000), 1);
    assert_int_equal(sl_loop_wait(f->loop, events, 1, -1), 0);
    assert_int_equal(poll(&poller, 1, 0), 0); /* one wake, one return */
}

static void
ignore(int signal_number)
{
    (void)signal_number;
}

static void
test_a_signal_interrupts_the_wait(void **state)
{
    struct fixture *f = *state;
    struct sl_loop_event events[1];
    struct sigaction action = {.sa_handler = ignore}, old;
    sigaction(SIGALRM, &action, &old);
    /* repeating, so that one that fires before epoll_wait() does no harm */
    struct sigevent notify = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    timer_t timer;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &notify, &timer), 0);
    struct itimerspec soon = {{0, 5000000}, {0, 5000000}};
    assert_int_equal(timer_settime(timer, 0, &soon, NULL), 0);
    assert_int_equal(sl_loop_wait(f->loop, events, 1, -1), SL_EAGAIN);
    timer_delete(timer);
    sigaction(SIGALRM, &old, NULL);
}

static void
test_misuse_is_told_apart(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sl_loop_add(f->loop, f->pair[0], SL_LOOP_READ, NULL), SL_OK);
    assert_int_equal(sl_loop_add(f->loop, f->pair[0], SL_LOOP_READ, NULL), SL_EBUSY);
    assert_int_equal(sl_loop_del(f->loop, f->pair[0]), SL_OK);
    assert_int_equal(sl_loop_del(f->loop, f->pair[0]), SL_ENOENT);
    assert_int_equal(sl_loop_mod(f->loop, f->pair[0], SL_LOOP_READ, NULL), SL_ENOENT);
    assert_int_equal(sl_loop_add(f->loop, -1, SL_LOOP_READ, NULL), SL_ESYS);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(sl_loop_add(f->loop, file, SL_LOOP_READ, NULL), SL_EINVAL);
    close(file);
}

static void
test_open_leaves_no_descriptor_when_it_fails(void **state)
{
    (void)state;
    struct sl_loop *loop = NULL;
    int before = dup(0);
    close(before);
    fail_eventfd = EMFILE;
    assert_int_equal(sl_loop_open(&loop), SL_ESYS);
    assert_int_equal(errno, EMFILE);
    fail_eventfd = 0;
    fail_epoll_ctl = ENOSPC;
    assert_int_equal(sl_loop_open(&loop), SL_ESYS);
    assert_int_equal(errno, ENOSPC);
    fail_epoll_ctl = 0;
    assert_null(loop);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
    sl_loop_close(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_edge_is_reported_once_until_mod_asks_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_level_is_reported_until_it_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_half_closed_peer_is_a_hangup_and_a_closed_one_is_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_listener_reports_until_its_queue_is_empty, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_wake_ends_a_wait_from_another_thread_and_before_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_signal_interrupts_the_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_misuse_is_told_apart, setup, teardown),
        cmocka_unit_test(test_open_leaves_no_descriptor_when_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
