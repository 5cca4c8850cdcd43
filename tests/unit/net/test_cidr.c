/* Lists of trusted addresses. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <cmocka.h>
#include <net/cidr.h>

static bool
matches(const char *rule, const char *address)
{
    struct sl_cidr cidr;
    struct sl_error err;
    if (sl_cidr_parse(rule, &cidr, &err) != SL_OK)
        fail_msg("%s: %s", rule, err.text);
    bool by_text = sl_cidr_match_text(&cidr, 1, address);
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &in.sin_addr) == 1)
        assert_int_equal(sl_cidr_match(&cidr, 1, (struct sockaddr *)&in), by_text);
    else if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1)
        assert_int_equal(sl_cidr_match(&cidr, 1, (struct sockaddr *)&in6), by_text);
    return by_text;
}

static void
test_networks_hold_what_they_should(void **state)
{
    (void)state;
    assert_true(matches("*", "1.2.3.4"));
    assert_true(matches("*", "::1"));
    assert_true(matches(" 127.0.0.1 ", "127.0.0.1"));
    assert_false(matches("127.0.0.1", "127.0.0.2"));
    assert_true(matches("10.0.0.0/8", "10.255.255.255"));
    assert_false(matches("10.0.0.0/8", "11.0.0.0"));
    assert_true(matches("10.0.0.0/255.0.0.0", "10.1.2.3"));
    assert_false(matches("10.0.0.0/255.0.0.0", "11.1.2.3"));
    assert_true(matches("0.0.0.0/0.0.0.0", "11.1.2.3"));
    assert_true(matches("192.168.1.128/25", "192.168.1.200"));
    assert_false(matches("192.168.1.128/25", "192.168.1.127"));
    assert_true(matches("0.0.0.0/0", "8.8.8.8"));
    assert_false(matches("0.0.0.0/0", "::1"));
    assert_true(matches("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(matches("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(matches("::/0", "::1"));
    assert_false(matches("::1", "::2"));
}

static void
test_mapped_addresses_are_their_ipv4_address(void **state)
{
    (void)state;
    assert_true(matches("127.0.0.1", "::ffff:127.0.0.1"));
    assert_true(matches("::ffff:127.0.0.1", "127.0.0.1"));
    assert_true(matches("::ffff:10.0.0.0/104", "10.9.9.9"));
    assert_false(matches("::ffff:10.0.0.0/104", "11.9.9.9"));
    assert_false(matches("::/0", "::ffff:1.2.3.4"));
    assert_true(matches("*", "::ffff:1.2.3.4"));
}

static void
test_peers_without_an_ip_address_match_only_the_star(void **state)
{
    (void)state;
    struct sl_cidr list[2];
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_int_equal(sl_cidr_parse("0.0.0.0/0", &list[0], NULL), SL_OK);
    assert_int_equal(sl_cidr_parse("*", &list[1], NULL), SL_OK);
    assert_false(sl_cidr_match(list, 1, (struct sockaddr *)&un));
    assert_true(sl_cidr_match(list, 2, (struct sockaddr *)&un));
    assert_false(sl_cidr_match(list, 0, (struct sockaddr *)&un));
    assert_false(sl_cidr_match_text(list, 1, ""));
}

static void
test_bad_rules_get_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *sentence;
    } rows[] = {
        {"10.0.0.1/8", "'10.0.0.1/8' has host bits set; write the network's address"},
        {"2001:db8::1/64", "'2001:db8::1/64' has host bits set; write the network's address"},
        {"::ffff:10.0.0.1/104",
         "'::ffff:10.0.0.1/104' has host bits set; write the network's address"},
        {"10.0.0.0/33", "'10.0.0.0/33': the prefix length must be 0 to 32"},
        {"::/129", "'::/129': the prefix length must be 0 to 128"},
        {"10.0.0.0/", "'10.0.0.0/': the prefix length must be 0 to 32"},
        {"10.0.0.0/-1", "'10.0.0.0/-1': the prefix length must be 0 to 32"},
        {"10.0.0.0/8/8", "'10.0.0.0/8/8': the prefix length must be 0 to 32"},
        {"10.0.0.0/255.0.255.0", "'10.0.0.0/255.0.255.0': the prefix length must be 0 to 32"},
        {" localhost ", "'localhost' is not an IP address or network"},
        {"127.0.0.01", "'127.0.0.01' is not an IP address or network"},
        {"", "'' is not an IP address or network"},
        {"  ", "'' is not an IP address or network"},
        {"*/8", "'*/8' is not an IP address or network"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sl_cidr cidr;
        struct sl_error err = {0};
        assert_int_equal(sl_cidr_parse(rows[i].rule, &cidr, &err), SL_EINVAL);
        assert_string_equal(err.text, rows[i].sentence);
    }
    char longest[200];
    struct sl_cidr cidr;
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(sl_cidr_parse(longest, &cidr, NULL), SL_EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks_hold_what_they_should),
        cmocka_unit_test(test_mapped_addresses_are_their_ipv4_address),
        cmocka_unit_test(test_peers_without_an_ip_address_match_only_the_star),
        cmocka_unit_test(test_bad_rules_get_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
