/* The notice, read back the way another process does. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/notice.h>

static void
read_page(const struct sl_notice *notice, char page[SL_NOTICE_SIZE + 1])
{
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", notice->fd);
    assert_true(readlink(path, target, sizeof target - 1) > 0);
    assert_int_equal(strncmp(target, "/memfd:saola-arbiter", 20), 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    memset(page, 0, SL_NOTICE_SIZE + 1);
    assert_int_equal(pread(fd, page, SL_NOTICE_SIZE, 0), SL_NOTICE_SIZE);
    close(fd);
}

static void
test_a_page_stands_between_two_equal_numbers(void **state)
{
    (void)state;
    struct sl_notice notice;
    char page[SL_NOTICE_SIZE + 1];
    assert_true(sl_notice_open(&notice));
    assert_true(fcntl(notice.fd, F_GETFD) & FD_CLOEXEC);
    sl_notice_put(&notice, "state starting\n");
    read_page(&notice, page);
    assert_string_equal(page, "saola 1\nstate starting\n\nend 1\n");
    sl_notice_put(&notice, "state serving\n");
    sl_notice_put(&notice, "state serving\n"); /* no news */
    read_page(&notice, page);
    assert_string_equal(page, "saola 2\nstate serving\n\nend 2\n"); /* nothing of the longer one */
    sl_notice_close(&notice);
    sl_notice_close(&notice);
    sl_notice_put(&notice, "state stopped\n"); /* nobody is told, nothing happens */
}

static void
test_what_does_not_fit_is_cut_and_the_page_stays_whole(void **state)
{
    (void)state;
    static char lines[3 * SL_NOTICE_SIZE];
    struct sl_notice notice;
    char page[SL_NOTICE_SIZE + 1];
    memset(lines, 'x', sizeof lines - 1);
    assert_true(sl_notice_open(&notice));
    for (int i = 0; i < 3; i++) {
        lines[0] = (char)('a' + i);
        sl_notice_put(&notice, lines);
    }
    read_page(&notice, page);
    assert_int_equal(strncmp(page, "saola 3\ncxx", 11), 0);
    assert_string_equal(page + strlen(page) - 7, "\nend 3\n");
    sl_notice_close(&notice);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_stands_between_two_equal_numbers),
        cmocka_unit_test(test_what_does_not_fit_is_cut_and_the_page_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
