/* The pid file: conflicts, stale files, promotion, and other people's files. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/pidfile.h>

static int fail_link, fail_fchmod;
static char dir[] = "/tmp/saola-pidfile-XXXXXX";
static char path[64], second[64];

int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);

int
__wrap_link(const char *from, const char *to)
{
    if (fail_link == 0)
        return __real_link(from, to);
    errno = fail_link;
    return -1;
}

int
__wrap_fchmod(int fd, mode_t mode)
{
    if (fail_fchmod == 0)
        return __real_fchmod(fd, mode);
    errno = fail_fchmod;
    return -1;
}

static int
setup(void **state)
{
    (void)state;
    fail_link = fail_fchmod = 0;
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/app.pid", dir);
    snprintf(second, sizeof second, "%s/app.pid.2", dir);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    assert_int_equal(rmdir(dir), 0); /* neither pid nor temporary file is left */
    return 0;
}

static void
assert_contains(const char *file, const char *expected)
{
    char text[64] = "";
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, expected);
}

static void
write_text(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static const char *
own_line(void)
{
    static char line[32];
    snprintf(line, sizeof line, "%d\n", (int)getpid());
    return line;
}

static void
test_the_file_holds_the_pid_and_goes_with_its_owner(void **state)
{
    (void)state;
    struct sl_pidfile file;
    struct stat st;
    mode_t old = umask(077);
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    umask(old);
    assert_contains(path, own_line());
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(st.st_nlink, 1);
    assert_true(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(sl_pidfile_close(&file));
    assert_false(sl_pidfile_close(&file));
    assert_false(sl_pidfile_close(NULL));
    assert_int_equal(stat(path, &st), -1);
}

static void
test_a_second_arbiter_is_told_who_runs(void **state)
{
    (void)state;
    struct sl_pidfile file, other;
    struct sl_error err;
    char expected[200];
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    snprintf(expected, sizeof expected, "Already running on PID %d (or pid file '%s' is stale)",
             (int)getpid(), path);
    assert_int_equal(sl_pidfile_open(path, &other, &err), SL_EBUSY);
    assert_string_equal(err.text, expected);
    assert_contains(path, own_line());
    assert_true(sl_pidfile_close(&file));
}

static void
test_an_old_file_is_no_alarm_even_if_its_pid_lives_again(void **state)
{
    (void)state;
    static const char *const contents[] = {"1\n", "", "garbage", "99999999999999999999\n"};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        struct sl_pidfile file;
        write_text(path, contents[i]);
        assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
        assert_contains(path, own_line());
        assert_true(sl_pidfile_close(&file));
    }
}

static void
test_an_arbiter_that_was_killed_leaves_the_place_free(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sl_pidfile file;
        int rc = sl_pidfile_open(path, &file, NULL);
        if (write(ready[1], rc == SL_OK ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    char answer;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    struct sl_pidfile file;
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_EBUSY);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    assert_true(sl_pidfile_close(&file));
    close(ready[0]);
    close(ready[1]);
}

static void
test_a_worker_that_forgot_the_file_does_not_hold_it(void **state)
{
    (void)state;
    struct sl_pidfile file, next;
    int forgotten[2], end[2];
    assert_int_equal(pipe(forgotten), 0);
    assert_int_equal(pipe(end), 0);
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;
        close(end[1]);
        sl_pidfile_forget(&file);
        sl_pidfile_forget(&file);
        (void)!write(forgotten[1], "x", 1);
        (void)!read(end[0], &byte, 1);
        _exit(0);
    }
    char byte;
    assert_int_equal(read(forgotten[0], &byte, 1), 1);
    assert_contains(path, own_line()); /* forgetting does not remove it */
    assert_int_equal(sl_pidfile_open(path, &next, NULL), SL_EBUSY);
    close(file.fd); /* the arbiter dies without cleaning up; its worker lives on */
    free(file.path);
    assert_int_equal(sl_pidfile_open(path, &next, NULL), SL_OK);
    assert_true(sl_pidfile_close(&next));
    close(end[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(end[0]);
    close(forgotten[0]);
    close(forgotten[1]);
}

static void
test_promotion_moves_the_file_over_the_old_ones_place(void **state)
{
    (void)state;
    struct sl_pidfile old, promoted;
    struct sl_error err;
    struct stat st;
    assert_int_equal(sl_pidfile_open(path, &old, NULL), SL_OK);
    assert_int_equal(sl_pidfile_open(second, &promoted, NULL), SL_OK);
    assert_int_equal(sl_pidfile_rename(&promoted, path, &err), SL_EBUSY); /* the old one lives */
    assert_contains(second, own_line());
    assert_true(sl_pidfile_close(&old));
    assert_int_equal(sl_pidfile_rename(&promoted, path, &err), SL_OK);
    assert_string_equal(promoted.path, path);
    assert_int_equal(stat(second, &st), -1);
    assert_contains(path, own_line());
    assert_int_equal(sl_pidfile_open(path, &old, NULL), SL_EBUSY);     /* still locked */
    assert_int_equal(sl_pidfile_rename(&promoted, path, &err), SL_OK); /* to where it is */
    write_text(second, "1\n");
    assert_int_equal(sl_pidfile_rename(&promoted, second, &err), SL_OK); /* over a stale one */
    assert_int_equal(unlink(second), 0);
    assert_int_equal(sl_pidfile_rename(&promoted, path, &err), SL_ENOENT);
    assert_false(sl_pidfile_close(&promoted));
}

static void
test_a_file_that_somebody_else_wrote_is_not_removed(void **state)
{
    (void)state;
    struct sl_pidfile file;
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    assert_int_equal(unlink(path), 0);
    write_text(path, own_line()); /* even with the same content */
    assert_false(sl_pidfile_close(&file));
    assert_int_equal(unlink(path), 0);
}

static void
test_what_is_no_pid_file_is_refused(void **state)
{
    (void)state;
    struct sl_pidfile file;
    struct sl_error err;
    char expected[200];
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(expected, sizeof expected, "pid file '%s' is not a regular file", path);
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_EINVAL);
    assert_string_equal(err.text, expected);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_EINVAL);
    assert_int_equal(unlink(path), 0);
    write_text(second, "1\n"); /* a link to a stale file is not followed either */
    assert_int_equal(symlink(second, path), 0);
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_EINVAL);
    assert_contains(second, "1\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(second), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_EINVAL);
    assert_int_equal(unlink(path), 0);
    snprintf(second, sizeof second, "%s/no/app.pid", dir);
    snprintf(expected, sizeof expected, "the directory of pid file '%s' does not exist", second);
    assert_int_equal(sl_pidfile_open(second, &file, &err), SL_ENOENT);
    assert_string_equal(err.text, expected);
}

static void
test_failures_leave_no_temporary_file(void **state)
{
    (void)state;
    struct sl_pidfile file;
    struct sl_error err;
    fail_fchmod = EIO;
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_ESYS);
    fail_fchmod = 0;
    fail_link = EIO;
    assert_int_equal(sl_pidfile_open(path, &file, &err), SL_ESYS);
    assert_non_null(strstr(err.text, "Input/output error"));
}

static void
test_file_systems_without_links_work_too(void **state)
{
    (void)state;
    struct sl_pidfile file, other;
    fail_link = EPERM;
    assert_int_equal(sl_pidfile_open(path, &file, NULL), SL_OK);
    assert_int_equal(sl_pidfile_open(path, &other, NULL), SL_EBUSY);
    assert_contains(path, own_line());
    assert_true(sl_pidfile_close(&file));
}

static void
test_a_relative_path_survives_chdir(void **state)
{
    (void)state;
    struct sl_pidfile file;
    char *cwd = getcwd(NULL, 0);
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(sl_pidfile_open("app.pid", &file, NULL), SL_OK);
    assert_int_equal(chdir(cwd), 0);
    free(cwd);
    assert_contains(path, own_line());
    assert_true(sl_pidfile_close(&file));
}

static void
write_pid(const char *file, int pid)
{
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    fprintf(out, "%d\n", pid);
    fclose(out);
}

static void
test_what_a_dead_successor_left_is_removed_and_nothing_else(void **state)
{
    (void)state;
    struct sl_pidfile file;
    struct sl_error err;
    sl_pidfile_remove_left(second, 4711); /* nothing there */
    write_pid(second, 4712);
    sl_pidfile_remove_left(second, 4711); /* another's */
    assert_contains(second, "4712\n");
    sl_pidfile_remove_left(second, 4712);
    assert_int_equal(access(second, F_OK), -1);
    assert_int_equal(sl_pidfile_open(second, &file, &err), SL_OK);
    sl_pidfile_remove_left(second, getpid()); /* its writer lives */
    assert_int_equal(access(second, F_OK), 0);
    sl_pidfile_close(&file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_file_holds_the_pid_and_goes_with_its_owner),
        TEST(test_a_second_arbiter_is_told_who_runs),
        TEST(test_an_old_file_is_no_alarm_even_if_its_pid_lives_again),
        TEST(test_an_arbiter_that_was_killed_leaves_the_place_free),
        TEST(test_a_worker_that_forgot_the_file_does_not_hold_it),
        TEST(test_promotion_moves_the_file_over_the_old_ones_place),
        TEST(test_a_file_that_somebody_else_wrote_is_not_removed),
        TEST(test_what_is_no_pid_file_is_refused),
        TEST(test_failures_leave_no_temporary_file),
        TEST(test_file_systems_without_links_work_too),
        TEST(test_a_relative_path_survives_chdir),
        TEST(test_what_a_dead_successor_left_is_removed_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
