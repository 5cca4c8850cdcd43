/* Socket activation and notification, with this test as systemd. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/systemd.h>

static int
setup(void **state)
{
    (void)state;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

static void
promise(const char *pid, const char *count, const char *names)
{
    char own[32];
    snprintf(own, sizeof own, "%d", (int)getpid());
    setenv("LISTEN_PID", pid != NULL ? pid : own, 1);
    setenv("LISTEN_FDS", count, 1);
    if (names != NULL)
        setenv("LISTEN_FDNAMES", names, 1);
}

/* As a child, where descriptors 3 and 4 may be overwritten. */
static int
take_two(void)
{
    struct sl_systemd_sockets sockets;
    char name[32];
    int fd = open("/dev/null", O_RDONLY);
    if (dup2(fd, 3) != 3 || dup2(fd, 4) != 4)
        return 1;
    promise(NULL, "2", "web:admin");
    if (sl_systemd_sockets_take(false, &sockets, NULL) != SL_OK || sockets.count != 2)
        return 2;
    if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || !(fcntl(4, F_GETFD) & FD_CLOEXEC))
        return 3;
    sl_systemd_sockets_name(&sockets, 0, name, sizeof name);
    if (strcmp(name, "web") != 0)
        return 4;
    sl_systemd_sockets_name(&sockets, 1, name, sizeof name);
    if (strcmp(name, "admin") != 0)
        return 5;
    sl_systemd_sockets_name(&sockets, 2, name, sizeof name);
    if (strcmp(name, "unknown") != 0)
        return 6;
    sl_systemd_sockets_release(&sockets);
    if (getenv("LISTEN_FDS") == NULL)
        return 7;
    if (sl_systemd_sockets_take(true, &sockets, NULL) != SL_OK || sockets.count != 2)
        return 8;
    sl_systemd_sockets_release(&sockets);
    if (getenv("LISTEN_FDS") != NULL || getenv("LISTEN_PID") != NULL ||
        getenv("LISTEN_FDNAMES") != NULL)
        return 9;
    close(4);
    promise(NULL, "2", NULL);
    struct sl_error err;
    if (sl_systemd_sockets_take(true, &sockets, &err) != SL_ESYS)
        return 10;
    return strcmp(err.text, "descriptor 4 promised by LISTEN_FDS: Bad file descriptor") == 0 ? 0
                                                                                             : 11;
}

static void
test_promised_sockets_are_taken(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(take_two());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void
test_sockets_of_others_are_left_alone(void **state)
{
    (void)state;
    struct sl_systemd_sockets sockets = {.count = 9};
    assert_int_equal(sl_systemd_sockets_take(true, &sockets, NULL), SL_OK);
    assert_int_equal(sockets.count, 0);
    promise("1", "2", "a");
    assert_int_equal(sl_systemd_sockets_take(true, &sockets, NULL), SL_OK);
    assert_int_equal(sockets.count, 0);
    assert_null(getenv("LISTEN_PID"));
    sl_systemd_sockets_release(&sockets);
    sl_systemd_sockets_release(NULL);
}

static void
test_numbers_that_are_none_are_errors(void **state)
{
    (void)state;
    struct sl_systemd_sockets sockets = {.count = 9};
    struct sl_error err;
    static const char *const counts[] = {"", "-1", "two", "99999999999", "2 "};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        promise(NULL, counts[i], "a");
        assert_int_equal(sl_systemd_sockets_take(true, &sockets, &err), SL_EINVAL);
        assert_non_null(strstr(err.text, "is not a number of sockets"));
    }
    promise("me", "1", NULL);
    assert_int_equal(sl_systemd_sockets_take(true, &sockets, &err), SL_EINVAL);
    assert_string_equal(err.text, "LISTEN_PID='me' is not a process id");
    assert_int_equal(sockets.count, 9);
}

static int
bind_receiver(const char *address, const char *target)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(address);
    memcpy(un.sun_path, address, len);
    if (address[0] == '@')
        un.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
        0);
    setenv("NOTIFY_SOCKET", target, 1);
    return fd;
}

static void
assert_notified(int fd)
{
    char text[64] = "";
    assert_int_equal(sl_systemd_notify("READY=1\nSTATUS=up"), SL_OK);
    assert_int_equal(recv(fd, text, sizeof text - 1, 0), 17);
    assert_string_equal(text, "READY=1\nSTATUS=up");
}

static void
test_notifications_arrive_at_paths_and_abstract_names(void **state)
{
    (void)state;
    char dir[] = "/tmp/saola-notify-XXXXXX", path[64], name[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/n", dir);
    int fd = bind_receiver(path, path);
    assert_notified(fd);
    close(fd);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_ESYS);
    assert_int_equal(errno, ECONNREFUSED);
    unlink(path);
    rmdir(dir);
    snprintf(name, sizeof name, "@saola-notify-%d", (int)getpid());
    fd = bind_receiver(name, name);
    assert_notified(fd);
    close(fd);
}

static void
test_without_a_supervisor_nothing_is_sent(void **state)
{
    (void)state;
    char longest[200];
    assert_int_equal(sl_systemd_notify("READY=1"), SL_ENOENT);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_ENOENT);
    setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_EUNAVAILABLE);
    setenv("NOTIFY_SOCKET", "@", 1);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_EINVAL);
    memset(longest, '/', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    setenv("NOTIFY_SOCKET", longest, 1);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_EINVAL);
    setenv("NOTIFY_SOCKET", "/tmp/saola-no-such-socket", 1);
    assert_int_equal(sl_systemd_notify("READY=1"), SL_ESYS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_promised_sockets_are_taken, setup),
        cmocka_unit_test_setup(test_sockets_of_others_are_left_alone, setup),
        cmocka_unit_test_setup(test_numbers_that_are_none_are_errors, setup),
        cmocka_unit_test_setup(test_notifications_arrive_at_paths_and_abstract_names, setup),
        cmocka_unit_test_setup(test_without_a_supervisor_nothing_is_sent, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
