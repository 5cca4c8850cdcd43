/* Process titles, read back the way ps does. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <saola/host.h>
#include <saola/status.h>

static struct sl_title title;

static void
read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    memset(out, 0, size);
    assert_true(read(fd, out, size - 1) >= 0);
    close(fd);
}

static void
test_ps_shows_the_title(void **state)
{
    (void)state;
    char text[8192];
    sl_title_set(&title, "saola: master [app]");
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_string_equal(text, "saola: master [app]");
    read_file("/proc/self/comm", text, sizeof text);
    assert_string_equal(text, "saola: master\n");
    sl_title_set(&title, "x");
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_string_equal(text, "x");
    sl_title_set(&title, "");
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_string_equal(text, "");
}

static void
test_a_title_may_be_longer_than_the_command_line_was(void **state)
{
    (void)state;
    char text[65536], longest[65536];
    memset(longest, 'L', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest, "saola: ", 7);
    char medium[301];
    memcpy(medium, longest, 300);
    medium[300] = '\0';
    assert_true(title.size > 600); /* main() made sure of a big environment */
    sl_title_set(&title, medium);
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_string_equal(text, medium);
    sl_title_set(&title, longest); /* cut, and nothing behind the area is touched */
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_memory_equal(text, longest, 600);
    assert_true(strlen(text) < title.size);
}

static void
test_the_environment_survives(void **state)
{
    (void)state;
    assert_string_equal(getenv("SAOLA_TITLE_TEST"), "still here");
    assert_int_equal(strlen(getenv("SAOLA_TITLE_PADDING")), 1000);
    assert_int_equal(setenv("SAOLA_TITLE_TEST", "changed", 1), 0);
    assert_string_equal(getenv("SAOLA_TITLE_TEST"), "changed");
    assert_non_null(strstr(program_invocation_name, "proc-title"));
    assert_string_equal(program_invocation_short_name, "proc-title");
}

static void
test_a_child_sets_its_own(void **state)
{
    (void)state;
    char text[256], path[64];
    int go[2];
    sl_title_set(&title, "saola: master");
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sl_title_set(&title, "saola: worker");
        (void)!write(go[1], "x", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(go[0], text, 1), 1);
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    read_file(path, text, sizeof text);
    assert_string_equal(text, "saola: worker");
    read_file("/proc/self/cmdline", text, sizeof text);
    assert_string_equal(text, "saola: master");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(go[0]);
    close(go[1]);
}

static void
test_where_it_is_not_possible_only_the_short_name_is_set(void **state)
{
    (void)state;
    struct sl_title none;
    char text[64];
    /* the area is known by argv[0], which is elsewhere since the first init */
    assert_int_equal(sl_title_init(&none), SL_EUNAVAILABLE);
    assert_null(none.area);
    sl_title_set(&none, "short");
    read_file("/proc/self/comm", text, sizeof text);
    assert_string_equal(text, "short\n");
}

int
main(int argc, char **argv)
{
    (void)argc;
    if (getenv("SAOLA_TITLE_PADDING") == NULL) {
        /* start over with an environment whose size is known */
        char padding[1001];
        memset(padding, 'p', 1000);
        padding[1000] = '\0';
        setenv("SAOLA_TITLE_PADDING", padding, 1);
        setenv("SAOLA_TITLE_TEST", "still here", 1);
        execv("/proc/self/exe", argv);
        return 99;
    }
    if (sl_title_init(&title) != SL_OK)
        return 98;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ps_shows_the_title),
        cmocka_unit_test(test_a_title_may_be_longer_than_the_command_line_was),
        cmocka_unit_test(test_the_environment_survives),
        cmocka_unit_test(test_a_child_sets_its_own),
        cmocka_unit_test(test_where_it_is_not_possible_only_the_short_name_is_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
