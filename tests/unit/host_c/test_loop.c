/* The worker's loop: timers, descriptors, posts from other threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include <host_c/host_c.h>

enum { THREADS = 4, POSTS = 500 };

static struct sl_worker worker;
static char seen[32];
static size_t seen_len;
static struct sl_timer *timer;

static int
set_up(void **state)
{
    (void)state;
    seen_len = 0;
    return sl_loop_c_open(&worker.loop);
}

static int
tear_down(void **state)
{
    (void)state;
    sl_loop_c_close(worker.loop);
    worker.loop = NULL;
    return 0;
}

static void
note(void *arg)
{
    if (seen_len < sizeof seen - 1)
        seen[seen_len++] = *(const char *)arg;
    seen[seen_len] = '\0';
}

static void
turn_until(size_t count)
{
    for (int i = 0; i < 2000 && seen_len < count; i++)
        sl_loop_c_turn(worker.loop, 10);
    assert_true(seen_len >= count);
}

static void
test_timers_run_in_the_order_in_which_they_are_due(void **state)
{
    (void)state;
    sl_worker_timer(&worker, 20, 0, note, "c", NULL);
    sl_worker_timer(&worker, 0, 0, note, "a", NULL);
    sl_worker_timer(&worker, 10, 0, note, "b", NULL);
    sl_worker_timer(&worker, 15, 0, note, "x", &timer);
    sl_timer_cancel(timer);
    turn_until(3);
    assert_string_equal(seen, "abc");
}

static void
note_thrice(void *arg)
{
    note(arg);
    if (seen_len == 3)
        sl_timer_cancel(timer);
}

static void
test_a_timer_repeats_until_it_is_cancelled_inside_itself(void **state)
{
    (void)state;
    sl_worker_timer(&worker, 1, 1, note_thrice, "r", &timer);
    turn_until(3);
    for (int i = 0; i < 5; i++)
        sl_loop_c_turn(worker.loop, 2);
    assert_string_equal(seen, "rrr");
}

static int posted;

static void
count(void *arg)
{
    (void)arg;
    posted++;
}

static void *
post_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < POSTS; i++)
        (void)sl_worker_post(&worker, count, NULL);
    return NULL;
}

static void
test_posts_of_many_threads_all_arrive_on_this_one(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    posted = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, NULL), 0);
    for (int i = 0; i < 5000 && posted < THREADS * POSTS; i++)
        sl_loop_c_turn(worker.loop, 10);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(posted, THREADS * POSTS);
}

static void
on_readable(void *arg, int fd, unsigned flags)
{
    char byte;
    assert_true(flags & SL_WATCH_READ);
    assert_int_equal(read(fd, &byte, 1), 1);
    note(&byte);
    (void)sl_worker_poll(&worker, fd, 0, NULL, NULL);
    (void)arg;
}

static void
test_a_descriptor_is_watched_until_its_callback_ends_that(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(sl_worker_poll(&worker, fds[0], 0, NULL, NULL), SL_ENOENT);
    assert_int_equal(sl_worker_poll(&worker, fds[0], SL_WATCH_READ, on_readable, NULL), SL_OK);
    assert_int_equal(write(fds[1], "zz", 2), 2);
    turn_until(1);
    sl_loop_c_turn(worker.loop, 5);
    assert_string_equal(seen, "z");
    assert_int_equal(sl_worker_poll(&worker, fds[0], 0, NULL, NULL), SL_ENOENT);
    assert_int_equal(sl_worker_poll(&worker, 9999, SL_WATCH_READ, on_readable, NULL), SL_EINVAL);
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timers_run_in_the_order_in_which_they_are_due, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_timer_repeats_until_it_is_cancelled_inside_itself,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_posts_of_many_threads_all_arrive_on_this_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_descriptor_is_watched_until_its_callback_ends_that,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
