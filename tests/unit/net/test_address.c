/* Every form of gunicorn's bind, the sentences for what is none, look-up and printing. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <net/address.h>

static void
test_every_form_of_bind_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
    } rows[] = {
        {"", "0.0.0.0:8000"},
        {"tcp://", "0.0.0.0:8000"},
        {"127.0.0.1", "127.0.0.1:8000"},
        {"127.0.0.1:9000", "127.0.0.1:9000"},
        {"tcp://127.0.0.1:9000", "127.0.0.1:9000"},
        {":9000", "0.0.0.0:9000"},
        {"LocalHost", "localhost:8000"},
        {"my-host_1.example:0", "my-host_1.example:0"},
        {"[::1]", "[::1]:8000"},
        {"[::1]:65535", "[::1]:65535"},
        {"[FE80::1%eth0]:1", "[fe80::1%eth0]:1"},
        {"tcp://[::]:80", "[::]:80"},
        {"unix:/run/a.sock", "unix:/run/a.sock"},
        {"unix:///run/a.sock", "unix:/run/a.sock"},
        {"unix://///run/a.sock", "unix:/run/a.sock"},
        {"unix://a.sock", "unix:a.sock"},
        {"unix:a b:c", "unix:a b:c"},
        {"unix:@name", "unix:@name"},
        {"fd://0", "fd://0"},
        {"fd://37", "fd://37"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sl_address address;
        struct sl_error err = {0};
        char text[SL_ADDRESS_TEXT];
        if (sl_address_parse(rows[i].text, &address, &err) != SL_OK)
            fail_msg("%s: %s", rows[i].text, err.text);
        sl_address_text(&address, text);
        assert_string_equal(text, rows[i].printed);
    }
}

static void
test_what_is_no_address_gets_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"::1", "'::1' is an IPv6 address; write [::1]:8000"},
        {"127.0.0.1:", "'' is not a valid port number"},
        {"127.0.0.1:http", "'http' is not a valid port number"},
        {"127.0.0.1:65536", "'65536' is not a valid port number"},
        {"127.0.0.1:-1", "'-1' is not a valid port number"},
        {"127.0.0.1: 80", "' 80' is not a valid port number"},
        {"127.0.0.1:+80", "'+80' is not a valid port number"},
        {"a:1:2", "'1:2' is not a valid port number"},
        {"localhost:99999999999999999999", "'99999999999999999999' is not a valid port number"},
        {"[::1", "'[::1' is not a valid address; write [ADDRESS]:PORT"},
        {"[::1]8000", "'[::1]8000' is not a valid address; write [ADDRESS]:PORT"},
        {"[localhost]:80", "'localhost' is not an IPv6 address"},
        {"[]:80", "'' is not an IPv6 address"},
        {"[::1]:", "'' is not a valid port number"},
        {"http://x:80", "'http://x:80': unknown scheme; write HOST:PORT, unix:PATH or fd://N"},
        {"/run/a.sock", "'/run/a.sock' is not a host name; write HOST:PORT, unix:PATH or fd://N"},
        {"a b:80", "'a b' is not a host name; write HOST:PORT, unix:PATH or fd://N"},
        {"unix:", "unix: needs a path, for example unix:/run/app.sock"},
        {"unix://", "unix: needs a path, for example unix:/run/app.sock"},
        {"unix:@", "unix: needs a path, for example unix:/run/app.sock"},
        {"fd://", "'' is not a valid file descriptor"},
        {"fd://-1", "'-1' is not a valid file descriptor"},
        {"fd://3x", "'3x' is not a valid file descriptor"},
        {"fd://99999999999", "'99999999999' is not a valid file descriptor"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sl_address address = {.fd = 77};
        struct sl_error err = {0};
        assert_int_equal(sl_address_parse(rows[i].text, &address, &err), SL_EINVAL);
        assert_int_equal(err.code, SL_EINVAL);
        assert_string_equal(err.text, rows[i].sentence);
        assert_int_equal(address.fd, 77); /* untouched */
        assert_int_equal(sl_address_parse(rows[i].text, &address, NULL), SL_EINVAL);
    }
}

static void
test_lengths_are_bounded(void **state)
{
    (void)state;
    struct sl_address address;
    struct sl_error err;
    char text[400] = "unix:";
    memset(text + 5, 'p', 107);
    text[5 + 107] = '\0';
    assert_int_equal(sl_address_parse(text, &address, &err), SL_OK);
    struct sl_resolved resolved;
    assert_int_equal(sl_address_resolve(&address, &resolved, &err), SL_OK);
    assert_int_equal(resolved.at[0].len, sizeof(struct sockaddr_un));
    text[5 + 107] = 'p';
    text[5 + 108] = '\0';
    assert_int_equal(sl_address_parse(text, &address, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "at most 107 bytes, this has 108"));
    memset(text, 'h', 255);
    text[255] = '\0';
    assert_int_equal(sl_address_parse(text, &address, &err), SL_OK);
    text[255] = 'h';
    text[256] = '\0';
    assert_int_equal(sl_address_parse(text, &address, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "too long for a host name"));
}

static void
assert_resolves(const char *text, const char *printed)
{
    struct sl_address address;
    struct sl_resolved resolved;
    struct sl_error err;
    char out[SL_ADDRESS_TEXT];
    assert_int_equal(sl_address_parse(text, &address, &err), SL_OK);
    if (sl_address_resolve(&address, &resolved, &err) != SL_OK)
        fail_msg("%s: %s", text, err.text);
    sl_address_print((struct sockaddr *)&resolved.at[0].storage, resolved.at[0].len, out,
                     sizeof out);
    assert_string_equal(out, printed);
}

static void
test_addresses_resolve_and_print(void **state)
{
    (void)state;
    assert_resolves("", "0.0.0.0:8000");
    assert_resolves(":81", "0.0.0.0:81");
    assert_resolves("[::1]:82", "[::1]:82");
    assert_resolves("localhost:83", "127.0.0.1:83"); /* IPv4 first */
    assert_resolves("unix:/tmp/x", "unix:/tmp/x");
    assert_resolves("unix:@x", "unix:@x");
    struct sl_address address;
    struct sl_resolved resolved;
    struct sl_error err;
    assert_int_equal(sl_address_parse("fd://3", &address, &err), SL_OK);
    assert_int_equal(sl_address_resolve(&address, &resolved, &err), SL_EINVAL);
    assert_int_equal(sl_address_parse("no-such-host.invalid", &address, &err), SL_OK);
    assert_int_equal(sl_address_resolve(&address, &resolved, &err), SL_ENOENT);
    assert_non_null(strstr(err.text, "the host name 'no-such-host.invalid' cannot be resolved: "));
}

static void
test_odd_socket_addresses_print_too(void **state)
{
    (void)state;
    char out[SL_ADDRESS_TEXT];
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    sl_address_print((struct sockaddr *)&un, sizeof(sa_family_t), out, sizeof out);
    assert_string_equal(out, "unix:");
    memset(un.sun_path, 'p', sizeof un.sun_path); /* no NUL at the end */
    sl_address_print((struct sockaddr *)&un, sizeof un, out, sizeof out);
    assert_int_equal(strlen(out), 5 + sizeof un.sun_path);
    struct sockaddr other = {.sa_family = 123};
    sl_address_print(&other, sizeof other, out, sizeof out);
    assert_string_equal(out, "address family 123");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_of_bind_is_understood),
        cmocka_unit_test(test_what_is_no_address_gets_a_sentence),
        cmocka_unit_test(test_lengths_are_bounded),
        cmocka_unit_test(test_addresses_resolve_and_print),
        cmocka_unit_test(test_odd_socket_addresses_print_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
