/* PROXY protocol: every case is also fed byte by byte, and the answer must be the same. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include <net/proxy.h>
#include <saola/status.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal) (literal), sizeof(literal) - 1

/* Parses a growing prefix, each in memory of exactly its size so that the sanitizer sees every byte
 * read too far; returns the final answer. */
static ssize_t
feed(const char *data, size_t len, unsigned versions, struct sl_proxy *proxy, const char **sentence)
{
    ssize_t rc = 0;
    for (size_t n = 0; n <= len && rc == 0; n++) {
        char *copy = malloc(n + (n == 0));
        memcpy(copy, data, n);
        rc = sl_proxy_parse(copy, n, versions, proxy, sentence);
        free(copy);
        if (rc > 0)
            assert_int_equal(rc, n);
    }
    struct sl_proxy whole;
    const char *other;
    if (rc != 0) /* the same answer when everything, and more, is there at once */
        assert_int_equal(sl_proxy_parse(data, len, versions, &whole, &other), rc);
    return rc;
}

static void
assert_v1(const char *line, int family, const char *source, unsigned port)
{
    struct sl_proxy proxy;
    const char *sentence = "?";
    ssize_t rc = feed(line, strlen(line), SL_PROXY_V1, &proxy, &sentence);
    if (rc < 0)
        fail_msg("%s: %s", line, sentence);
    assert_int_equal(proxy.version, 1);
    assert_int_equal(proxy.family, family);
    assert_string_equal(proxy.source, source);
    assert_int_equal(proxy.source_port, port);
    assert_memory_equal(line + rc - 2, "\r\n", 2);
}

static void
test_version_1_lines(void **state)
{
    (void)state;
    assert_v1("PROXY TCP4 192.168.0.1 10.0.0.2 56324 443\r\nGET / HTTP/1.1\r\n", AF_INET,
              "192.168.0.1", 56324);
    assert_v1("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", AF_INET,
              "255.255.255.255", 65535);
    assert_v1("PROXY TCP6 2001:DB8:0:0::1 ::1 0 1\r\n", AF_INET6, "2001:db8::1", 0);
    assert_v1("PROXY UNKNOWN\r\n", AF_UNSPEC, "", 0);
    assert_v1("PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n", AF_UNSPEC, "", 0);
    assert_v1("PROXY UNKNOWN what ever\001\r\n", AF_UNSPEC, "", 0);
    /* the longest line that the specification knows: 107 bytes */
    assert_v1("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
              AF_UNSPEC, "", 0);
    struct sl_proxy proxy;
    const char *sentence;
    assert_true(sl_proxy_parse(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n"), 3, &proxy, &sentence) >
                0);
    assert_string_equal(proxy.dest, "5.6.7.8");
    assert_int_equal(proxy.dest_port, 10);
}

static void
assert_malformed(const char *data, size_t len, const char *expected)
{
    struct sl_proxy proxy = {.version = 99};
    const char *sentence = "?";
    assert_int_equal(feed(data, len, SL_PROXY_V1 | SL_PROXY_V2, &proxy, &sentence), SL_EPROTO);
    assert_string_equal(sentence, expected);
    assert_int_equal(proxy.version, 99);
}

static void
test_malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char address[] = "PROXY header has an invalid address",
                      port[] = "PROXY header has an invalid port",
                      ending[] = "PROXY header does not end with CRLF";
    assert_malformed(BYTES("PROXY \r\n"), "PROXY header names no protocol");
    assert_malformed(BYTES("PROXY  TCP4 1.2.3.4 5.6.7.8 9 10\r\n"),
                     "PROXY header names no protocol");
    assert_malformed(BYTES("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n"),
                     "PROXY header names an unknown protocol");
    assert_malformed(BYTES("PROXY tcp4 1.2.3.4 5.6.7.8 9 10\r\n"),
                     "PROXY header names an unknown protocol");
    assert_malformed(BYTES("PROXY / HTTP/1.1\r\n"), "PROXY header names an unknown protocol");
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 \r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n"),
                     "PROXY header has too many fields");
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n"),
                     "PROXY header has too many fields");
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4  5.6.7.8 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP4 ::1 ::1 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP6 1.2.3.4 5.6.7.8 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.256 5.6.7.8 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4\0x 5.6.7.8 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP4 01.2.3.4 5.6.7.8 9 10\r\n"), address);
    assert_malformed(BYTES("PROXY TCP4\t1.2.3.4 5.6.7.8 9 10\r\n"),
                     "PROXY header names an unknown protocol");
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 65536 10\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 -9 10\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 999999 10\r\n"), port);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n"), ending);
    assert_malformed(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\rX"), ending);
    assert_malformed(BYTES("PROXY UNKNOWN a\nb\r\n"), ending);
    char longest[SL_PROXY_V1_MAX + 20] = "PROXY UNKNOWN ";
    memset(longest + 14, 'x', sizeof longest - 14);
    memcpy(longest + SL_PROXY_V1_MAX - 1, "\r\n", 2); /* 108 bytes */
    assert_malformed(longest, SL_PROXY_V1_MAX + 1, "PROXY header is longer than 107 bytes");
    memset(longest + 14, 'x', sizeof longest - 14);
    assert_malformed(longest, sizeof longest, "PROXY header is longer than 107 bytes");
}

static void
test_without_a_header_the_bytes_are_the_clients(void **state)
{
    (void)state;
    struct sl_proxy proxy;
    const char *sentence;
    static const char v1[] = "PROXY UNKNOWN\r\n", v2[] = SIGNATURE "\x20\x00\x00\x00";
    assert_int_equal(feed(BYTES("GET / HTTP/1.1\r\n"), 3, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(feed(BYTES("POST / HTTP/1.1\r\n"), 3, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(feed(BYTES("PROXYX"), 3, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(feed(BYTES("\r\nGET / HTTP/1.1\r\n"), 3, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(feed(BYTES("PROX"), 3, &proxy, &sentence), 0);
    /* a mode does not know the other version */
    assert_int_equal(feed(v1, sizeof v1 - 1, SL_PROXY_V2, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(feed(v2, sizeof v2 - 1, SL_PROXY_V1, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(sl_proxy_parse("", 0, 0, &proxy, &sentence), SL_ENOENT);
    assert_int_equal(sl_proxy_parse("P", 1, 0, &proxy, &sentence), SL_ENOENT);
}

static void
test_version_2_headers(void **state)
{
    (void)state;
    struct sl_proxy proxy;
    const char *sentence = "?";
    static const char v4[] =
        SIGNATURE "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50";
    assert_int_equal(feed(v4, sizeof v4 - 1, 3, &proxy, &sentence), 28);
    assert_int_equal(proxy.version, 2);
    assert_int_equal(proxy.family, AF_INET);
    assert_string_equal(proxy.source, "1.2.3.4");
    assert_string_equal(proxy.dest, "5.6.7.8");
    assert_int_equal(proxy.source_port, 0x1234);
    assert_int_equal(proxy.dest_port, 80);
    static const char v6[] = SIGNATURE "\x21\x21\x00\x24"
                                       "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                                       "\xff\xff\x01\xbb";
    assert_int_equal(feed(v6, sizeof v6 - 1, 3, &proxy, &sentence), 52);
    assert_int_equal(proxy.family, AF_INET6);
    assert_string_equal(proxy.source, "2001:db8::1");
    assert_string_equal(proxy.dest, "::1");
    assert_int_equal(proxy.source_port, 65535);
    static const char tlv[] = SIGNATURE
        "\x21\x11\x00\x15\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50\x04\x00\x00\x05\x00\x03"
        "abcGET /";
    assert_int_equal(feed(tlv, sizeof tlv - 1, 3, &proxy, &sentence), 37);
    static const char local[] =
        SIGNATURE "\x20\xff\x00\x03xyz"; /* the family of LOCAL is ignored */
    assert_int_equal(feed(local, sizeof local - 1, 3, &proxy, &sentence), 19);
    assert_int_equal(proxy.family, AF_UNSPEC);
    static const char unspec[] = SIGNATURE "\x21\x00\x00\x00";
    assert_int_equal(feed(unspec, sizeof unspec - 1, SL_PROXY_V2, &proxy, &sentence), 16);
    assert_int_equal(proxy.family, AF_UNSPEC);
    assert_string_equal(proxy.source, "");
}

static void
test_malformed_version_2_headers_are_refused(void **state)
{
    (void)state;
    assert_malformed(BYTES(SIGNATURE "\x11\x11\x00\x0c"), "PROXY header has an unknown version");
    assert_malformed(BYTES(SIGNATURE "\x22\x11\x00\x0c"), "PROXY header has an unknown command");
    assert_malformed(BYTES(SIGNATURE "\x21\x12\x00\x0c"), "PROXY header is not about a stream");
    assert_malformed(BYTES(SIGNATURE "\x21\x10\x00\x0c"), "PROXY header is not about a stream");
    assert_malformed(BYTES(SIGNATURE "\x21\x31\x00\xd8"),
                     "PROXY header has an unsupported address family");
    assert_malformed(BYTES(SIGNATURE "\x21\x11\x00\x0b"),
                     "PROXY header is too short for its addresses");
    assert_malformed(BYTES(SIGNATURE "\x21\x21\x00\x23"),
                     "PROXY header is too short for its addresses");
    assert_malformed(BYTES(SIGNATURE "\x21\x11\xff\xff"), "PROXY header is longer than 4096 bytes");
    assert_malformed(BYTES(SIGNATURE "\x20\x00\x0f\xf1"), "PROXY header is longer than 4096 bytes");
    static const char addresses[] = SIGNATURE "\x21\x11\x00\x0f"
                                              "123456781122"
                                              "\x04\x00\x01";
    assert_malformed(BYTES(addresses), "PROXY header has an incomplete extension");
    assert_malformed(BYTES(SIGNATURE "\x21\x11\x00\x0e"
                                     "123456781122"
                                     "\x04\x00"),
                     "PROXY header has an incomplete extension");
}

static void
test_a_checksum_is_verified(void **state)
{
    (void)state;
    struct sl_proxy proxy;
    const char *sentence = "?";
    /* checksum computed with an independent table-driven CRC-32C */
    char header[] = SIGNATURE "\x21\x11\x00\x13\x7f\x00\x00\x01\x7f\x00\x00\x02\x12\x34\x00\x50"
                              "\x03\x00\x04"
                              "\xbb\x1c\x0f\x72";
    size_t len = sizeof header - 1;
    assert_int_equal(len, 35);
    assert_int_equal(feed(header, len, 3, &proxy, &sentence), 35);
    for (size_t i = 16; i < 28; i++) { /* any change of the addresses is noticed */
        header[i] = (char)(header[i] ^ 1);
        assert_malformed(header, len, "PROXY header has a wrong checksum");
        header[i] = (char)(header[i] ^ 1);
    }
    header[len - 1] = (char)(header[len - 1] ^ 1);
    assert_malformed(header, len, "PROXY header has a wrong checksum");
    static const char shorter[] = SIGNATURE "\x21\x11\x00\x11"
                                            "123456781122"
                                            "\x03\x00\x02xx";
    assert_malformed(BYTES(shorter), "PROXY header has a malformed checksum");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1_lines),
        cmocka_unit_test(test_malformed_lines_are_refused),
        cmocka_unit_test(test_without_a_header_the_bytes_are_the_clients),
        cmocka_unit_test(test_version_2_headers),
        cmocka_unit_test(test_malformed_version_2_headers_are_refused),
        cmocka_unit_test(test_a_checksum_is_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
