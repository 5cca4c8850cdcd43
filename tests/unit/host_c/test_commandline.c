/* Flags and environment to a configuration. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <host_c/host_c.h>

static struct sl_commandline line;
static struct sl_error err;
static int exit_status;

static int
read_words(const char *a, const char *b, const char *c, const char *d)
{
    const char *argv[] = {"saola", a, b, c, d, NULL};
    struct sl_run_options options = {.argc = 1, .argv = (char **)(uintptr_t)argv};
    while (argv[options.argc] != NULL)
        options.argc++;
    sl_commandline_release(&line);
    err.text[0] = '\0';
    return sl_commandline_read(&options, &line, &exit_status, &err);
}

static void
test_each_way_to_write_a_flag(void **state)
{
    (void)state;
    assert_int_equal(read_words("-w", "3", "--timeout=7", "./a.so"), SL_OK);
    assert_int_equal(sl_config_number(line.config, "workers"), 3);
    assert_int_equal(sl_config_number(line.config, "timeout"), 7);
    assert_string_equal(line.app, "./a.so");
    assert_int_equal(read_words("-w4", "--reuse-port", "--no-sendfile", NULL), SL_OK);
    assert_int_equal(sl_config_number(line.config, "workers"), 4);
    assert_int_equal(sl_config_number(line.config, "reuse_port"), 1);
    assert_int_equal(sl_config_number(line.config, "sendfile"), 0);
    assert_int_equal(read_words("-b", "127.0.0.1:1", "-b", "127.0.0.1:2"), SL_OK);
    assert_string_equal(sl_config_list(line.config, "bind")[1], "127.0.0.1:2");
    assert_null(sl_config_list(line.config, "bind")[2]);
    assert_int_equal(read_words("-k", "./c.so:x", "--", "-odd.so"), SL_OK);
    assert_string_equal(line.worker_class, "./c.so:x");
    assert_string_equal(line.app, "-odd.so");
}

static void
test_mistakes_name_the_flag(void **state)
{
    (void)state;
    assert_true(read_words("--worker", "3", NULL, NULL) < 0);
    assert_non_null(strstr(err.text, "--workers"));
    assert_int_equal(exit_status, SL_EXIT_USAGE);
    assert_true(read_words("a.so", "b.so", NULL, NULL) < 0);
    assert_non_null(strstr(err.text, "b.so"));
    assert_true(read_words("--bind", NULL, NULL, NULL) < 0);
    assert_non_null(strstr(err.text, "--bind"));
    assert_true(read_words("--reuse-port=1", NULL, NULL, NULL) < 0);
    assert_true(read_words("--log-config", "x", NULL, NULL) == SL_EUNAVAILABLE);
    assert_int_equal(exit_status, SL_EXIT_ERROR);
}

static void
test_the_environment_comes_before_the_command_line(void **state)
{
    (void)state;
    setenv("SAOLA_CMD_ARGS", "-w 5 --timeout 9 --env 'A=b c' --env \"D=\\\"e\\\"\"", 1);
    setenv("PORT", "81", 1);
    assert_int_equal(read_words("-w", "6", NULL, NULL), SL_OK);
    assert_int_equal(sl_config_number(line.config, "workers"), 6);
    assert_int_equal(sl_config_number(line.config, "timeout"), 9);
    assert_string_equal(sl_config_text(line.config, "bind"), "0.0.0.0:81");
    assert_string_equal(sl_config_list(line.config, "raw_env")[0], "A=b c");
    assert_string_equal(sl_config_list(line.config, "raw_env")[1], "D=\"e\"");
    assert_string_equal(sl_config_source(line.config, "timeout"), "environment SAOLA_CMD_ARGS");
    setenv("SAOLA_CMD_ARGS", "-w '5", 1);
    assert_true(read_words(NULL, NULL, NULL, NULL) < 0);
    assert_string_equal(err.text, "SAOLA_CMD_ARGS: No closing quotation");
    unsetenv("SAOLA_CMD_ARGS");
    setenv("PORT", "http", 1);
    assert_true(read_words(NULL, NULL, NULL, NULL) < 0);
    unsetenv("PORT");
    sl_commandline_release(&line);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_way_to_write_a_flag),
        cmocka_unit_test(test_mistakes_name_the_flag),
        cmocka_unit_test(test_the_environment_comes_before_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
