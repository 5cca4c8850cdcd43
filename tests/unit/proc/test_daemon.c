/* Daemons, seen from outside: this process is the subreaper that adopts them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/daemon.h>

struct facts {
    int rc;
    pid_t pid, session, group;
    mode_t umask;
    bool null[3];
};

static bool
is_null(int fd)
{
    struct stat st, null;
    return fstat(fd, &st) == 0 && stat("/dev/null", &null) == 0 && st.st_rdev == null.st_rdev &&
           S_ISCHR(st.st_mode) && !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static pid_t
failing_fork(void *ctx)
{
    int *calls = ctx;
    if ((*calls)-- > 0)
        return fork();
    errno = EAGAIN;
    return -1;
}

/* Runs sl_daemonize() in a child whose stdin and stdout are closed or pipes; gives its exit status,
 * and the daemon's view of itself when there was one. */
static int
daemonize_in_child(bool inherit, bool closed, int forks_allowed, struct facts *facts)
{
    int report[2], out[2];
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(out[1], 1);
        dup2(out[1], 2);
        if (closed)
            for (int fd = 0; fd <= 2; fd++)
                close(fd);
        umask(0);
        struct facts f = {0};
        f.rc = sl_daemonize(inherit, forks_allowed < 0 ? NULL : failing_fork, &forks_allowed, NULL);
        f.pid = getpid();
        f.session = getsid(0);
        f.group = getpgrp();
        f.umask = umask(0);
        for (int fd = 0; fd <= 2; fd++)
            f.null[fd] = is_null(fd);
        ssize_t n = write(report[1], &f, sizeof f);
        _exit(n == sizeof f ? 0 : 9);
    }
    close(report[1]);
    close(out[1]);
    close(out[0]);
    memset(facts, 0, sizeof *facts);
    ssize_t n = read(report[0], facts, sizeof *facts);
    close(report[0]);
    assert_true(n == 0 || n == sizeof *facts);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (waitpid(-1, NULL, 0) > 0) /* the daemon, adopted */
        continue;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
test_a_daemon_has_its_own_session_and_no_terminal(void **state)
{
    (void)state;
    struct facts f;
    assert_int_equal(daemonize_in_child(false, false, -1, &f), 0);
    assert_int_equal(f.rc, SL_OK);
    assert_int_not_equal(f.session, getsid(0));
    assert_int_not_equal(f.session, f.pid); /* no session leader: can get no terminal again */
    assert_int_equal(f.group, f.session);
    assert_int_equal(f.umask, 022);
    assert_true(f.null[0] && f.null[1] && f.null[2]);
}

static void
test_output_that_is_no_terminal_may_be_inherited(void **state)
{
    (void)state;
    struct facts f;
    assert_int_equal(daemonize_in_child(true, false, 5, &f), 0);
    assert_int_equal(f.rc, SL_OK);
    assert_true(f.null[0]);
    assert_false(f.null[1] || f.null[2]);
}

static void
test_closed_descriptors_are_opened(void **state)
{
    (void)state;
    struct facts f;
    for (int inherit = 0; inherit <= 1; inherit++) {
        assert_int_equal(daemonize_in_child(inherit, true, -1, &f), 0);
        assert_true(f.null[0] && f.null[1] && f.null[2]);
    }
}

static void
test_a_fork_that_fails_is_seen(void **state)
{
    (void)state;
    struct facts f;
    assert_int_equal(daemonize_in_child(false, false, 0, &f), 0);
    assert_int_equal(f.rc, SL_ESYS); /* still the process that called */
    assert_int_equal(f.session, getsid(0));
    assert_int_equal(daemonize_in_child(false, false, 1, &f), 1);
    assert_int_equal(f.pid, 0); /* there is no daemon */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_daemon_has_its_own_session_and_no_terminal),
        cmocka_unit_test(test_output_that_is_no_terminal_may_be_inherited),
        cmocka_unit_test(test_closed_descriptors_are_opened),
        cmocka_unit_test(test_a_fork_that_fails_is_seen),
    };
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
