/* sl_descriptor: files on their way through a socket, and a thread with a table of its own. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <base/sanitizers.h>
#include <net/descriptor.h>
#include <saola/status.h>

static int fail_close_range;

int __real_close_range(unsigned first, unsigned last, int flags);
int __wrap_close_range(unsigned first, unsigned last, int flags);

int
__wrap_close_range(unsigned first, unsigned last, int flags)
{
    if (fail_close_range == 0)
        return __real_close_range(first, last, flags);
    errno = fail_close_range;
    return -1;
}

static void
open_pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static void
close_pair(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void
test_files_arrive_in_order(void **state)
{
    (void)state;
    int door[2], first[2], second[2];
    char byte = 0;
    open_pair(door);
    assert_int_equal(pipe(first), 0);
    assert_int_equal(pipe(second), 0);
    assert_int_equal(sl_descriptor_send(door[0], first[1]), SL_OK);
    assert_int_equal(sl_descriptor_send(door[0], second[1]), SL_OK);
    close(first[1]); /* what is on its way needs no descriptor */
    close(second[1]);
    for (int i = 0; i < 2; i++) {
        int fd = sl_descriptor_receive(door[1]);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(write(fd, i == 0 ? "1" : "2", 1), 1);
        close(fd);
    }
    assert_int_equal(read(first[0], &byte, 1), 1);
    assert_int_equal(byte, '1');
    assert_int_equal(read(second[0], &byte, 1), 1);
    assert_int_equal(byte, '2');
    assert_int_equal(read(first[0], &byte, 1), 0); /* nobody has it any more */
    close(first[0]);
    close(second[0]);
    close_pair(door);
}

static void
test_what_cannot_be_passed(void **state)
{
    (void)state;
    int door[2];
    open_pair(door);
    assert_int_equal(sl_descriptor_receive(door[1]), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(sl_descriptor_send(door[0], 9999), SL_ESYS);
    assert_int_equal(errno, EBADF);
    assert_int_equal(sl_descriptor_receive(door[1]), -1);
    assert_int_equal(write(door[0], "x", 1), 1); /* a message without a file */
    assert_int_equal(sl_descriptor_receive(door[1]), -1);
    close_pair(door);
}

static void
test_a_full_table_loses_the_file_and_nothing_else(void **state)
{
    (void)state;
    int door[2];
    struct rlimit before, none;
    open_pair(door);
    assert_int_equal(sl_descriptor_send(door[0], door[0]), SL_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){(rlim_t)door[1] + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fd = sl_descriptor_receive(door[1]), error = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(fd, -1);
    assert_int_equal(error, EMFILE);
    close_pair(door);
}

struct visit {
    int keep, other, lower;
    bool kept, saw_other, saw_lower;
};

static void *
separate(void *arg)
{
    struct visit *visit = arg;
    sl_descriptor_separate(visit->keep);
    visit->kept = fcntl(visit->keep, F_GETFD) >= 0;
    visit->saw_other = fcntl(visit->other, F_GETFD) >= 0;
    visit->saw_lower = fcntl(visit->lower, F_GETFD) >= 0;
    if (!visit->saw_other)
        close(visit->keep); /* ours alone */
    return NULL;
}

static struct visit
visit_separated(void)
{
    pthread_t thread;
    int low[2], pair[2];
    open_pair(low);
    open_pair(pair);
    struct visit visit = {.lower = low[0], .keep = pair[0], .other = pair[1]};
    assert_int_equal(pthread_create(&thread, NULL, separate, &visit), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(write(pair[1], "x", 1), 1); /* here nothing was closed */
    assert_int_equal(write(low[1], "x", 1), 1);
    close_pair(low);
    close_pair(pair);
    return visit;
}

static void
test_a_table_of_its_own(void **state)
{
    (void)state;
#if SL_THREAD_SANITIZER
    skip(); /* ThreadSanitizer knows one table only: there is no other in its builds */
#endif
    struct visit visit = visit_separated();
    assert_true(visit.kept);
    assert_false(visit.saw_other);
    assert_false(visit.saw_lower);
}

static void
test_a_kernel_that_cannot_leaves_all_as_it_was(void **state)
{
    (void)state;
    fail_close_range = ENOSYS;
    struct visit visit = visit_separated();
    fail_close_range = 0;
    assert_true(visit.kept && visit.saw_other && visit.saw_lower);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_arrive_in_order),
        cmocka_unit_test(test_what_cannot_be_passed),
        cmocka_unit_test(test_a_full_table_loses_the_file_and_nothing_else),
        cmocka_unit_test(test_a_table_of_its_own),
        cmocka_unit_test(test_a_kernel_that_cannot_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests_name("descriptor", tests, NULL, NULL);
}
