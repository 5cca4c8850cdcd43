/* Values: what is accepted, what is refused and in which words, what a copy shares. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "config/config.h"

static int
setup(void **state)
{
    *state = sl_config_new();
    return *state == NULL;
}

static int
teardown(void **state)
{
    sl_config_free(*state);
    return 0;
}

static void
accepts(struct sl_config *config, const char *name, const char *text)
{
    struct sl_error err = {.code = 0, .text = ""};
    int rc = sl_config_set(config, name, text, "test", &err);
    if (rc != SL_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, SL_OK);
}

static void
refuses(struct sl_config *config, const char *name, const char *text, int code,
        const char *sentence)
{
    struct sl_error err = {.code = 0, .text = ""};
    assert_int_equal(sl_config_set(config, name, text, "test", &err), code);
    assert_int_equal(err.code, code);
    assert_string_equal(err.text, sentence);
}

static void
test_defaults_are_those_of_the_table(void **state)
{
    struct sl_config *config = *state;
    assert_int_equal(config->workers, 1);
    assert_int_equal(config->timeout, 30);
    assert_int_equal(config->keepalive, 2);
    assert_int_equal(config->limit_request_line, 4094);
    assert_int_equal(config->umask, 0);
    assert_int_equal(config->control_socket_mode, 0600);
    assert_true(config->sendfile);
    assert_false(config->daemon);
    assert_null(config->accesslog);
    assert_string_equal(config->errorlog, "-");
    assert_int_equal(config->bind.count, 1);
    assert_string_equal(config->bind.items[0], "127.0.0.1:8000");
    assert_null(config->bind.items[1]);
    assert_int_equal(config->raw_env.count, 0);
    assert_null(config->raw_env.items[0]);
    assert_int_equal(config->forwarded_allow_ips.count, 2);
    assert_string_equal(config->forwarded_allow_ips.items[1], "::1");
    assert_int_equal(config->hand_over, SL_HAND_OVER_OVERLAP);
    assert_null(sl_config_source(config, "workers"));
    assert_string_equal(sl_config_text(config, "workers"), "1");
    assert_null(sl_config_text(config, "accesslog"));
    assert_null(sl_config_text(config, "worker_class"));
}

static void
test_every_default_can_be_given_again(void **state)
{
    struct sl_config *config = *state;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        if (row->type <= SL_SETTING_CHOICE)
            accepts(config, row->name, row->default_text);
    }
}

static void
test_numbers_come_in_several_bases(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "timeout", " 90 ");
    assert_int_equal(config->timeout, 90);
    accepts(config, "timeout", "0x10");
    assert_int_equal(config->timeout, 16);
    accepts(config, "timeout", "0b11");
    assert_int_equal(config->timeout, 3);
    accepts(config, "timeout", "010");
    assert_int_equal(config->timeout, 10);
    accepts(config, "umask", "0022");
    assert_int_equal(config->umask, 022);
    assert_string_equal(sl_config_text(config, "umask"), "022");
    accepts(config, "umask", "0o27");
    assert_int_equal(config->umask, 027);
    accepts(config, "umask", "18");
    assert_int_equal(config->umask, 022);
}

static void
test_a_bad_number_is_refused_in_one_line(void **state)
{
    struct sl_config *config = *state;
    refuses(config, "workers", "abc", SL_EINVAL, "workers: \"abc\" is not a whole number");
    refuses(config, "workers", "", SL_EINVAL, "workers: \"\" is not a whole number");
    refuses(config, "workers", "1.5", SL_EINVAL, "workers: \"1.5\" is not a whole number");
    refuses(config, "workers", "0x", SL_EINVAL, "workers: \"0x\" is not a whole number");
    refuses(config, "workers", "-", SL_EINVAL, "workers: \"-\" is not a whole number");
    refuses(config, "umask", "08", SL_EINVAL, "umask: \"08\" is not a whole number");
    refuses(config, "workers", "-1", SL_ERANGE, "workers: -1 is out of bounds: 0 to 4096");
    refuses(config, "workers", "99999999999999999999999", SL_ERANGE,
            "workers: 99999999999999999999999 is out of bounds: 0 to 4096");
    refuses(config, "umask", "01777", SL_ERANGE, "umask: 01777 is out of bounds: 0 to 0777");
    refuses(config, "timeout", "-2", SL_ERANGE, "timeout: -2 is out of bounds: 0 or more");
    refuses(config, "timeout", "2147483648", SL_ERANGE,
            "timeout: 2147483648 is out of bounds: 0 to 2147483647");
    refuses(config, "workers", NULL, SL_EINVAL, "workers: needs a value");
    assert_int_equal(config->workers, 1);
    assert_null(sl_config_source(config, "workers"));
}

static void
test_words_are_checked_and_helped(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "loglevel", "WARNING");
    assert_int_equal(config->loglevel, 2);
    assert_string_equal(sl_config_text(config, "loglevel"), "warning");
    accepts(config, "proxy_protocol", "auto");
    assert_int_equal(config->proxy_protocol, SL_PROXY_AUTO);
    refuses(config, "loglevel", "warn", SL_EINVAL,
            "loglevel: \"warn\" is not one of debug, info, warning, error, critical");
    refuses(config, "loglevel", "eror", SL_EINVAL,
            "loglevel: \"eror\" is not one of debug, info, warning, error, critical; did you mean "
            "error?");
    refuses(config, "daemon", "yes", SL_EINVAL, "daemon: \"yes\" is neither true nor false");
    accepts(config, "daemon", "True");
    assert_true(config->daemon);
}

static void
test_an_unknown_name_gets_its_nearest(void **state)
{
    refuses(*state, "worker_clas", "sync", SL_ENOENT,
            "worker_clas: no such setting; did you mean worker_class?");
    refuses(*state, "qqqqqq", "1", SL_ENOENT, "qqqqqq: no such setting");
    refuses(*state, "worker_class", "sync", SL_EINVAL,
            "worker_class: is not a setting of the core");
}

static void
test_lists_grow_until_cleared(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "bind", "[::1]:80");
    accepts(config, "bind", "unix:/tmp/a,b");
    assert_int_equal(config->bind.count, 2);
    assert_string_equal(config->bind.items[0], "[::1]:80");
    assert_string_equal(config->bind.items[1], "unix:/tmp/a,b");
    assert_null(config->bind.items[2]);
    assert_int_equal(sl_config_clear(config, "bind"), SL_OK);
    assert_int_equal(config->bind.count, 0);
    accepts(config, "bind", "");
    assert_int_equal(config->bind.count, 1);
    assert_string_equal(config->bind.items[0], "");
    assert_int_equal(sl_config_clear(config, "workers"), SL_EINVAL);
    assert_int_equal(sl_config_clear(config, "wokers"), SL_ENOENT);
}

static void
test_addresses_are_checked(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "forwarded_allow_ips", "10.0.0.0/8, ::1,,fd00::/8,*");
    assert_int_equal(config->forwarded_allow_ips.count, 4);
    assert_string_equal(sl_config_text(config, "forwarded_allow_ips"), "10.0.0.0/8,::1,fd00::/8,*");
    accepts(config, "forwarded_allow_ips", "192.168.1.128/25,0.0.0.0/0");
    accepts(config, "forwarded_allow_ips", "");
    assert_int_equal(config->forwarded_allow_ips.count, 0);
    refuses(config, "proxy_allow_ips", "192.168.1.1/24", SL_EINVAL,
            "proxy_allow_ips: \"192.168.1.1/24\" has bits set beyond its network part");
    refuses(config, "proxy_allow_ips", "10.128.0.0/8", SL_EINVAL,
            "proxy_allow_ips: \"10.128.0.0/8\" has bits set beyond its network part");
    const char *const wrong[] = {
        "localhost", "1.2.3", "1.2.3.4/33", "1.2.3.4/",
        "::1/129",   "/8",    "1.2.3.4/-1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(sl_config_set(config, "proxy_allow_ips", wrong[i], NULL, NULL), SL_EINVAL);
    assert_string_equal(sl_config_text(config, "proxy_allow_ips"), "127.0.0.1,::1");
}

static void
test_what_is_not_built_takes_its_default_only(void **state)
{
    struct sl_config *config = *state;
    refuses(config, "certfile", "cert.pem", SL_EUNAVAILABLE,
            "certfile: is not available yet (TLS): put a proxy in front that speaks TLS");
    refuses(
        config, "http_protocols", "h2,h1", SL_EUNAVAILABLE,
        "http_protocols: is not available yet (HTTP/2): put a proxy in front that speaks HTTP/2");
    refuses(config, "http_protocols", "h4", SL_EINVAL,
            "http_protocols: \"h4\" is not one of h1, h2, h3; did you mean h1?");
    refuses(config, "dirty_apps", "a:B", SL_EUNAVAILABLE,
            "dirty_apps: is not available yet (dirty arbiters): leave it out");
    accepts(config, "certfile", NULL);
    accepts(config, "http_protocols", " h1 ");
    accepts(config, "control_socket_disable", "true");
}

static void
test_sources_are_remembered(void **state)
{
    struct sl_config *config = *state;
    char source[] = "command line";
    assert_int_equal(sl_config_set(config, "workers", "3", source, NULL), SL_OK);
    source[0] = 'X';
    assert_string_equal(sl_config_source(config, "workers"), "command line");
    assert_null(sl_config_source(config, "timeout"));
}

static void
test_a_copy_of_defaults_still_gives_them_up_for_the_first_value(void **state)
{
    struct sl_config *copy = sl_config_copy(*state);
    assert_non_null(copy);
    accepts(copy, "bind", ":4");
    assert_int_equal(copy->bind.count, 1);
    assert_string_equal(copy->bind.items[0], ":4");
    sl_config_free(copy);
}

static void
test_a_copy_shares_nothing(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "bind", ":1");
    accepts(config, "bind", ":2");
    accepts(config, "accesslog", "-");
    accepts(config, "proxy_allow_ips", "10.0.0.0/8,*");
    accepts(config, "hand_over", "exclusive");
    struct sl_config *copy = sl_config_copy(config);
    assert_non_null(copy);
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const char *name = sl_settings_at(i)->name;
        const char *a = sl_config_text(config, name), *b = sl_config_text(copy, name);
        assert_true((a == NULL) == (b == NULL));
        assert_true(a == NULL || (a != b && strcmp(a, b) == 0));
    }
    assert_string_equal(sl_config_source(copy, "bind"), "test");
    assert_null(sl_config_source(copy, "workers"));
    accepts(config, "bind", ":3");
    assert_int_equal(copy->bind.count, 2);
    accepts(copy, "bind", ":4");
    assert_int_equal(copy->bind.count, 3);
    accepts(copy, "raw_env", "A=1");
    accepts(copy, "raw_env", "B=1");
    assert_int_equal(copy->raw_env.count, 2);
    assert_int_equal(copy->hand_over, SL_HAND_OVER_EXCLUSIVE);
    sl_config_free(copy);
    sl_config_free(NULL);
}

static void
refuses_together(struct sl_config *config, const char *name, const char *text)
{
    struct sl_error err;
    assert_int_equal(sl_config_check(config, &err), SL_OK);
    accepts(config, name, text);
    assert_int_equal(sl_config_check(config, &err), SL_EINVAL);
    assert_memory_equal(err.text, name, strlen(name));
    assert_non_null(strstr(err.text, "hand_over = 'exclusive'"));
    accepts(config, "hand_over", "overlap");
    assert_int_equal(sl_config_check(config, &err), SL_OK);
    accepts(config, "hand_over", "exclusive");
}

static void
test_an_exclusive_worker_is_one_and_loads_for_itself(void **state)
{
    struct sl_config *config = *state;
    accepts(config, "hand_over", "exclusive");
    accepts(config, "workers", "1");
    refuses_together(config, "workers", "2");
    accepts(config, "workers", "1");
    refuses_together(config, "preload_app", "true");
    accepts(config, "preload_app", "false");
    refuses_together(config, "reuse_port", "true");
}

static void
test_sizes_have_units(void **state)
{
    struct sl_config *config = *state;
    static const struct {
        const char *given, *shown;
        long long bytes;
    } good[] = {{"0", "0", 0},
                {"512M", "512M", 512LL << 20},
                {"1g", "1G", 1LL << 30},
                {"1048576", "1M", 1 << 20},
                {"1500", "1500", 1500},
                {"0K", "0", 0},
                {"1024T", "1024T", 1LL << 50}};
    static const char *const bad[] = {"", "M", "1.5G", "512MB", "1 G", "0x10", "12Q", "1GiB", "+1"};
    static const char *const far[] = {"-1", "1025T", "99999999999999999999",
                                      "9223372036854775807K"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        accepts(config, "max_worker_memory", good[i].given);
        assert_int_equal(config->max_worker_memory, good[i].bytes);
        assert_string_equal(sl_config_text(config, "max_worker_memory"), good[i].shown);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text,
                 "max_worker_memory: \"%s\" is not a size: a whole number with K, M, G or T behind "
                 "it, as in 512M",
                 bad[i]);
        refuses(config, "max_worker_memory", bad[i], SL_EINVAL, text);
    }
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
        snprintf(text, sizeof text, "max_worker_memory: %s is out of bounds: 0 to 1024T", far[i]);
        refuses(config, "max_worker_memory", far[i], SL_ERANGE, text);
    }
}

static void
test_limits_of_memory_that_make_no_sense(void **state)
{
    struct sl_config *config = *state;
    struct sl_error err;
    accepts(config, "max_worker_memory", "512");
    assert_int_equal(sl_config_check(config, &err), SL_EINVAL);
    assert_string_equal(err.text, "max_worker_memory: 512 is less than any worker needs (16 MiB); "
                                  "write 512M for 512 MiB");
    accepts(config, "max_worker_memory", "512M");
    assert_int_equal(sl_config_check(config, &err), SL_OK);
    accepts(config, "max_worker_memory_jitter", "64M");
    accepts(config, "max_worker_memory_hard", "576M");
    assert_int_equal(sl_config_check(config, &err), SL_EINVAL);
    assert_string_equal(err.text, "max_worker_memory_hard: 576M must be more than "
                                  "max_worker_memory and its jitter together; raise it, or leave "
                                  "one of the two out");
    accepts(config, "max_worker_memory_hard", "577M");
    assert_int_equal(sl_config_check(config, &err), SL_OK);
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults_are_those_of_the_table),
        TEST(test_every_default_can_be_given_again),
        TEST(test_numbers_come_in_several_bases),
        TEST(test_a_bad_number_is_refused_in_one_line),
        TEST(test_words_are_checked_and_helped),
        TEST(test_an_unknown_name_gets_its_nearest),
        TEST(test_lists_grow_until_cleared),
        TEST(test_addresses_are_checked),
        TEST(test_what_is_not_built_takes_its_default_only),
        TEST(test_sources_are_remembered),
        TEST(test_a_copy_of_defaults_still_gives_them_up_for_the_first_value),
        TEST(test_a_copy_shares_nothing),
        TEST(test_sizes_have_units),
        TEST(test_limits_of_memory_that_make_no_sense),
        TEST(test_an_exclusive_worker_is_one_and_loads_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
