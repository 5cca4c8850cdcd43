/* Files inside a directory and none outside, with openat2(2) and by steps. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/open.h"

static char top[64];
static int top_fd;

static void
make_file(const char *name)
{
    int fd = openat(top_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

/* in/ is the directory that is served: file, sub/file, a FIFO, links inside and outside. */
static int
make(void **state)
{
    snprintf(top, sizeof top, "/tmp/saola-open-XXXXXX");
    assert_non_null(mkdtemp(top));
    top_fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(top_fd >= 0);
    assert_int_equal(mkdirat(top_fd, "in", 0755), 0);
    assert_int_equal(mkdirat(top_fd, "in/sub", 0755), 0);
    make_file("secret");
    make_file("in/file");
    make_file("in/sub/file");
    assert_int_equal(mkfifoat(top_fd, "in/fifo", 0644), 0);
    assert_int_equal(symlinkat("file", top_fd, "in/link"), 0);
    assert_int_equal(symlinkat("sub", top_fd, "in/sublink"), 0);
    assert_int_equal(symlinkat("../secret", top_fd, "in/out"), 0);
    assert_int_equal(symlinkat("/etc", top_fd, "in/etc"), 0);
    assert_int_equal(symlinkat("/proc/self/root", top_fd, "in/magic"), 0);
    assert_int_equal(symlinkat("loop", top_fd, "in/loop"), 0);
    int in = openat(top_fd, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(in >= 0);
    *state = (void *)(intptr_t)in;
    return 0;
}

static int
clean(void **state)
{
    static const char *const names[] = {"secret",   "in/file",    "in/sub/file", "in/fifo",
                                        "in/link",  "in/sublink", "in/out",      "in/etc",
                                        "in/magic", "in/loop"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlinkat(top_fd, names[i], 0);
    unlinkat(top_fd, "in/sub", AT_REMOVEDIR);
    unlinkat(top_fd, "in", AT_REMOVEDIR);
    close((int)(intptr_t)*state);
    close(top_fd);
    return rmdir(top);
}

static void
test_files_inside_are_opened(void **state)
{
    int in = (int)(intptr_t)*state;
    static const char *const names[] = {"file", "sub/file", "", "sub", "link", "sublink/file"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat status;
        int fd = sl_file_open_beneath(in, names[i], &status);
        if (fd < 0)
            fail_msg("%s: %s", names[i], strerror(errno));
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
    }
}

static void
test_links_that_lead_outside_are_not(void **state)
{
    int in = (int)(intptr_t)*state;
    static const char *const names[] = {"out", "etc", "etc/passwd", "magic/etc/passwd", "loop"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat status;
        assert_int_equal(sl_file_open_beneath(in, names[i], &status), -1);
        if (errno != EXDEV && errno != ELOOP && errno != ENOTDIR)
            fail_msg("%s: %s", names[i], strerror(errno));
    }
}

static void
test_a_fifo_does_not_block(void **state)
{
    struct stat status;
    int fd = sl_file_open_beneath((int)(intptr_t)*state, "fifo", &status);
    assert_true(fd >= 0 && S_ISFIFO(status.st_mode));
    close(fd);
}

static void
test_by_steps_no_link_is_followed(void **state)
{
    int in = (int)(intptr_t)*state;
    static const char *const there[] = {"file", "sub/file", "", "sub"};
    static const char *const absent[] = {"link",       "sublink/file",     "out",
                                         "etc/passwd", "magic/etc/passwd", "nothing/file",
                                         "file/file",  "sub//file",        "/file"};
    char long_name[NAME_MAX + 10];
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        int fd = sl_file_open_by_steps(in, there[i]);
        if (fd < 0)
            fail_msg("%s: %s", there[i], strerror(errno));
        close(fd);
    }
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (sl_file_open_by_steps(in, absent[i]) >= 0)
            fail_msg("%s was opened", absent[i]);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(sl_file_open_by_steps(in, long_name), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

/* Nothing stays open: the lowest free descriptor is the same afterwards. */
static void
test_no_descriptor_is_left(void **state)
{
    int in = (int)(intptr_t)*state;
    int before = dup(0);
    close(before);
    struct stat status;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sl_file_open_beneath(in, "nothing", &status), -1);
        assert_int_equal(sl_file_open_by_steps(in, "sub/nothing"), -1);
        close(sl_file_open_by_steps(in, "sub/file"));
    }
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_inside_are_opened),
        cmocka_unit_test(test_links_that_lead_outside_are_not),
        cmocka_unit_test(test_a_fifo_does_not_block),
        cmocka_unit_test(test_by_steps_no_link_is_followed),
        cmocka_unit_test(test_no_descriptor_is_left),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
