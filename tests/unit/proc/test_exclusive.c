/* The lock of an exclusive worker: who holds it, for how long, and what is no lock. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <proc/exclusive.h>

static char directory[] = "/tmp/saola-test-XXXXXX";
static char path[64];

static int
set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/saola-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/x.lock", directory);
    return 0;
}

/* Fails when a file is left. */
static int
tear_down(void **state)
{
    (void)state;
    return rmdir(directory);
}

static void
test_the_lock_lives_as_long_as_the_child_that_inherited_it(void **state)
{
    (void)state;
    struct sl_error err;
    int fd, other, pipes[2];
    char byte;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(sl_exclusive_take(path, &fd, &err), SL_OK);
    pid_t child = fork();
    if (child == 0) {
        sl_exclusive_sign(fd);
        byte = (char)write(pipes[1], "", 1);
        pause();
    }
    close(fd); /* as the arbiter does */
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    char expected[128];
    snprintf(expected, sizeof expected, "pid %d holds the lock '%s'.", (int)child, path);
    assert_int_equal(sl_exclusive_take(path, &other, &err), SL_EBUSY);
    assert_string_equal(err.text, expected);
    sl_exclusive_remove(path);
    assert_int_equal(access(path, F_OK), 0); /* not while it is held */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(sl_exclusive_take(path, &other, &err), SL_OK);
    close(other);
    sl_exclusive_remove(path);
    close(pipes[0]);
    close(pipes[1]);
}

static void
test_links_and_missing_directories_are_refused(void **state)
{
    (void)state;
    struct sl_error err;
    char target[80];
    int fd;
    snprintf(target, sizeof target, "%s/target", directory);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(sl_exclusive_take(path, &fd, &err), SL_ESYS);
    assert_int_equal(access(target, F_OK), -1);
    unlink(path);
    assert_int_equal(sl_exclusive_take("/nonexistent/x.lock", &fd, &err), SL_ENOENT);
    assert_string_equal(err.text, "lock file '/nonexistent/x.lock': No such file or directory");
}

static void
expect_path(struct sl_config *config, const char *expected)
{
    char *found = sl_exclusive_path(config);
    assert_non_null(found);
    assert_string_equal(found, expected);
    free(found);
}

static char *
derived(struct sl_config *config)
{
    char *found = sl_exclusive_path(config);
    assert_non_null(found);
    return found;
}

static void
test_the_place_is_what_the_user_named_or_follows_from_it(void **state)
{
    (void)state;
    struct sl_config *config = sl_config_new();
    char beginning[96];
    setenv("XDG_RUNTIME_DIR", directory, 1);
    char *one = derived(config), *again = derived(config);
    snprintf(beginning, sizeof beginning, "%s/saola-%u-", directory, (unsigned)geteuid());
    assert_memory_equal(one, beginning, strlen(beginning));
    assert_string_equal(one, again);
    sl_config_set(config, "bind", "127.0.0.1:8001", NULL, NULL);
    char *other_address = derived(config);
    assert_string_not_equal(one, other_address);
    assert_int_equal(chdir("/"), 0);
    char *other_directory = derived(config);
    assert_string_not_equal(other_address, other_directory);
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    char *elsewhere = derived(config);
    assert_memory_equal(elsewhere, "/tmp/saola-", 11);
    sl_config_set(config, "pidfile", "/run/x.pid", NULL, NULL);
    expect_path(config, "/run/x.pid.lock");
    sl_config_set(config, "exclusive_lock", "/var/lib/x/lock", NULL, NULL);
    expect_path(config, "/var/lib/x/lock");
    free(one);
    free(again);
    free(other_address);
    free(other_directory);
    free(elsewhere);
    sl_config_free(config);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_lock_lives_as_long_as_the_child_that_inherited_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_and_missing_directories_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_place_is_what_the_user_named_or_follows_from_it,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
