/* Entries of syslog as a daemon gets them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <host_c/host_c.h>

static struct sl_config *config;
static struct sl_error err;

static void
set(const char *name, const char *text)
{
    assert_int_equal(sl_config_set(config, name, text, NULL, &err), SL_OK);
}

static int
set_up(void **state)
{
    (void)state;
    config = sl_config_new();
    set("syslog", "true");
    return config != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    sl_config_free(config);
    return 0;
}

static void
assert_entry(const char *got, size_t len, const char *format)
{
    char expected[200];
    snprintf(expected, sizeof expected, format, (int)getpid());
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(got, expected, len);
}

/* A socket on the loopback address; its address as the setting wants it in text. */
static int
listen_on(int type, char *text, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(text, size, "%s://127.0.0.1:%d", type == SOCK_STREAM ? "tcp" : "udp",
             ntohs(address.sin_port));
    return fd;
}

static void
test_an_entry_over_udp_has_gunicorns_form(void **state)
{
    (void)state;
    char text[80], got[500];
    struct sl_syslog *syslog;
    int fd = listen_on(SOCK_DGRAM, text, sizeof text);
    set("syslog_addr", text);
    set("syslog_facility", "LOCAL3");
    assert_int_equal(sl_syslog_open(config, "shop:app", true, &syslog, &err), SL_OK);
    sl_syslog_write(syslog, "error", SL_LOG_WARNING, "slow", 4);
    assert_entry(got, (size_t)recv(fd, got, sizeof got, 0),
                 "<156>gunicorn.shop.app.error: [%d] slow");
    sl_syslog_close(syslog);
    set("syslog_prefix", "a:b");
    assert_int_equal(sl_syslog_open(config, "shop:app", true, &syslog, &err), SL_OK);
    sl_syslog_write(syslog, "access", SL_LOG_INFO, "GET", 3);
    assert_entry(got, (size_t)recv(fd, got, sizeof got, 0), "<158>gunicorn.a:b.access: [%d] GET");
    sl_syslog_close(syslog);
    close(fd);
}

static size_t
receive_all(int fd, char *got, size_t size)
{
    size_t len = 0;
    for (ssize_t n; len < size && (n = read(fd, got + len, size - len)) > 0;)
        len += (size_t)n;
    return len;
}

static void
test_entries_over_tcp_end_with_a_line_and_a_lost_connection_is_made_anew(void **state)
{
    (void)state;
    char text[80], got[500];
    struct sl_syslog *syslog;
    int fd = listen_on(SOCK_STREAM, text, sizeof text);
    set("syslog_addr", text);
    assert_int_equal(sl_syslog_open(config, "x", true, &syslog, &err), SL_OK);
    int daemon = accept(fd, NULL, NULL);
    sl_syslog_write(syslog, "error", SL_LOG_ERROR, "one", 3);
    assert_entry(got, (size_t)read(daemon, got, sizeof got), "<11>gunicorn.x.error: [%d] one\n");
    close(daemon);
    struct pollfd anew = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 3000 && poll(&anew, 1, 10) == 0; i++) /* after a second or so */
        sl_syslog_write(syslog, "error", SL_LOG_ERROR, "lost", 4);
    daemon = accept(fd, NULL, NULL);
    sl_syslog_write(syslog, "error", SL_LOG_ERROR, "two", 3);
    sl_syslog_close(syslog);
    size_t len = receive_all(daemon, got, sizeof got - 1);
    got[len] = '\0';
    assert_non_null(strstr(got, "] two\n"));
    close(daemon);
    close(fd);
}

static void
test_a_local_socket_of_either_kind(void **state)
{
    (void)state;
    char directory[] = "/tmp/saola-syslog-XXXXXX", path[64], text[80], got[500];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/log", directory);
    snprintf(text, sizeof text, "unix://%s", path);
    set("syslog_addr", text);
    struct sl_syslog *syslog;
    assert_int_equal(sl_syslog_open(config, "x", true, &syslog, &err), SL_ESYS); /* nobody there */
    assert_non_null(strstr(err.text, "cannot be reached"));
    for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type += SOCK_DGRAM - SOCK_STREAM) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, path, strlen(path));
        int fd = socket(AF_UNIX, type, 0), end = fd;
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        if (type == SOCK_STREAM)
            assert_int_equal(listen(fd, 8), 0);
        assert_int_equal(sl_syslog_open(config, "x", true, &syslog, &err), SL_OK);
        if (type == SOCK_STREAM)
            end = accept(fd, NULL, NULL);
        sl_syslog_write(syslog, "error", SL_LOG_CRITICAL, "end", 3);
        assert_entry(got, (size_t)read(end, got, sizeof got),
                     type == SOCK_STREAM ? "<10>gunicorn.x.error: [%d] end\n"
                                         : "<10>gunicorn.x.error: [%d] end");
        sl_syslog_close(syslog);
        if (end != fd)
            close(end);
        close(fd);
        unlink(path);
    }
    rmdir(directory);
}

static void
test_what_cannot_be_read_is_named(void **state)
{
    (void)state;
    static const char *const wrong[] = {"http://x", "udp://h:port", "udp://h:70000",
                                        "unix://#dgram", "unix:///dev/log#fast"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        set("syslog_addr", wrong[i]);
        assert_int_equal(sl_syslog_check(config, &err), SL_EINVAL);
        assert_int_equal(strncmp(err.text, "syslog_addr: ", 13), 0);
    }
    set("syslog_addr", "udp://[::1]:514");
    assert_int_equal(sl_syslog_check(config, &err), SL_OK);
    set("syslog_facility", "kitchen");
    assert_int_equal(sl_syslog_check(config, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "kitchen"));
    set("syslog", "false");
    assert_int_equal(sl_syslog_check(config, &err), SL_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_entry_over_udp_has_gunicorns_form, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_entries_over_tcp_end_with_a_line_and_a_lost_connection_is_made_anew, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_a_local_socket_of_either_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
