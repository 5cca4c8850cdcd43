/* Host, body framing, Expect and Connection (RFC 9110 sections 7.2 and 10.1.1, RFC 9112 sections 6
 * and 9.3). */
#include "head_cases.h"

#define HOST(value) "GET / HTTP/1.1\r\nHost: " value "\r\n\r\n"
#define TE(value) POST "Transfer-Encoding: " value "\r\n" END
#define CL(value) POST "Content-Length: " value "\r\n" END

static void
test_host_is_needed_once_and_valid(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9110 7.2", HOST("h.example"), "=<h.example>"),
        OK("RFC 9110 7.2: port", HOST("h.example:8000"), "=<h.example:8000>"),
        OK("RFC 3986 3.2.3: empty port", HOST("h:"), "=<h:>"),
        OK("RFC 3986 3.2.2: IPv4", HOST("127.0.0.1:80"), "=<127.0.0.1:80>"),
        OK("RFC 3986 3.2.2: IPv6", HOST("[2001:db8::1]:80"), "=<[2001:db8::1]:80>"),
        OK("RFC 3986 3.2.2: IPv6 without port", HOST("[::1]"), "=<[::1]>"),
        OK("RFC 3986 3.2.2: underscore", HOST("a_b.c"), "=<a_b.c>"),
        OK("RFC 3986 3.2.2: percent", HOST("a%2db"), "=<a%2db>"),
        OK("RFC 9112 3.2: any case of the name", "GET / HTTP/1.1\r\nhOST: x\r\n" END,
           "<hOST> =<x>"),
        OK("RFC 9112 3.2: HTTP/1.0 may miss it", GET_1_0 END, "1.0"),
        BAD("RFC 9112 3.2: missing", 400, "GET / HTTP/1.1\r\n" END),
        BAD("RFC 9112 3.2: missing, absolute form", 400, "GET http://h/ HTTP/1.1\r\n" END),
        BAD("RFC 9112 3.2: twice", 400, GET "Host: y\r\n" END),
        BAD("RFC 9112 3.2: twice the same", 400, GET "Host: x\r\n" END),
        BAD("RFC 9112 3.2: twice in HTTP/1.0", 400, GET_1_0 "Host: x\r\nHost: x\r\n" END),
        BAD("RFC 9112 3.2: similar name", 400, "GET / HTTP/1.1\r\nHosts: x\r\n" END),
        BAD("RFC 9110 7.2: empty", 400, HOST("")),
        BAD("RFC 9110 7.2: list", 400, HOST("a, b")),
        BAD("RFC 9110 7.2: list without space", 400, HOST("a,b")),
        BAD("RFC 9110 7.2: user information", 400, HOST("u@h")),
        BAD("RFC 9110 7.2: path", 400, HOST("h/p")),
        BAD("RFC 9110 7.2: URI", 400, HOST("http://h")),
        BAD("RFC 9110 7.2: query", 400, HOST("h?q")),
        BAD("RFC 9110 7.2: fragment", 400, HOST("h#f")),
        BAD("RFC 9110 7.2: space", 400, HOST("a b")),
        BAD("RFC 9110 7.2: 8-bit", 400, HOST("\xc3\xa9.example")),
        BAD("RFC 9110 7.2: backslash", 400, HOST("a\\b")),
        BAD("RFC 9110 7.2: quotes", 400, HOST("\"a\"")),
        BAD("RFC 3986 3.2.3: port of letters", 400, HOST("h:80a")),
        BAD("RFC 3986 3.2.3: port with sign", 400, HOST("h:+80")),
        BAD("RFC 3986 3.2.3: port too large", 400, HOST("h:65536")),
        BAD("RFC 3986 3.2.3: port of many digits", 400, HOST("h:18446744073709551696")),
        BAD("RFC 3986 3.2.3: two ports", 400, HOST("h:80:80")),
        BAD("RFC 3986 3.2.3: port alone", 400, HOST(":80")),
        BAD("RFC 3986 3.2.2: IPv6 without brackets", 400, HOST("::1")),
        BAD("RFC 3986 3.2.2: open bracket", 400, HOST("[::1")),
        BAD("RFC 3986 3.2.2: bytes after the bracket", 400, HOST("[::1]x")),
        BAD("RFC 3986 2.1: percent alone", 400, HOST("a%b")),
        BAD("RFC 3986 2.1: percent at the end", 400, HOST("a%2")),
    };
    RUN_HEAD_CASES(cases);
}

/* With the host before it known to be valid, and with none known. */
static void
test_a_known_host_changes_no_verdict(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "",
        "h.example:8000",
        "h.example:8000",
        "h.example:800/",
        "/.example:8000",
        "h.exampl/:8000",
        "h.example:8000/",
        "h.example:800",
        "h.example:80000",
        "",
        "x",
        "x",
        "/",
        "0123456789012345678901234567890123456789012345678901234567890123",
        "0123456789012345678901234567890/23456789012345678901234567890123",
        "01234567890123456789012345678901234567890123456789012345678901234",
        "01234567890123456789012345678901234567890123456789012345678901234",
        "0123456789012345678901234567890123456789012345678901234567890123/",
        "x/",
    };
    struct sl_known_host known = {0};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        int verdicts[2];
        for (int k = 0; k < 2; k++) {
            char text[200];
            int len = snprintf(text, sizeof text, HOST("%s"), hosts[i]);
            struct sl_request req = {0};
            struct sl_header fields[4];
            struct sl_head head = {&req, fields, 4, k == 0 ? NULL : &known};
            uint64_t resume = 0;
            const char *sentence;
            verdicts[k] =
                parse_by(&head, text, (size_t)len, &resume, &default_limits, NULL, &sentence);
        }
        assert_int_equal(verdicts[1], verdicts[0]);
    }
    assert_int_equal(known.len, 64); /* what is longer is not kept */
}

static void
test_content_length_is_one_plain_number(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 6.3: no body", POST END, "body=none:0"),
        OK("RFC 9110 8.6", CL("5") "hello", "body=length:5"),
        OK("RFC 9110 8.6: zero", CL("0"), "body=length:0"),
        OK("RFC 9110 8.6: leading zeros", CL("0005"), "body=length:5"),
        OK("RFC 9110 8.6: any case", POST "cONTENT-lENGTH:7\r\n" END, "body=length:7"),
        OK("RFC 9110 8.6: with GET", GET "Content-Length: 3\r\n" END "abc", "body=length:3"),
        OK("RFC 9110 8.6: HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 3\r\n" END,
           "body=length:3"),
        OK("RFC 9110 8.6: 2^63 - 1", CL("9223372036854775807"), "body=length:9223372036854775807"),
        BAD("RFC 9110 8.6: 2^63", 400, CL("9223372036854775808")),
        BAD("RFC 9110 8.6: 2^64", 400, CL("18446744073709551616")),
        BAD("RFC 9110 8.6: 2^64 + 5", 400, CL("18446744073709551621")),
        BAD("h11 0.15: absurd", 400,
            CL("00000000000000000000000000000000000000000000000000000005")),
        BAD("CVE-2022-24761: plus", 400, CL("+1")),
        BAD("CVE-2022-24761: minus", 400, CL("-1")),
        BAD("CVE-2022-24761: minus zero", 400, CL("-0")),
        BAD("CVE-2022-24761: hexadecimal", 400, CL("0x1")),
        BAD("CVE-2022-24761: underscore", 400, CL("1_0")),
        BAD("CVE-2022-24761: inner space", 400, CL("1 0")),
        BAD("CVE-2022-24761: letters", 400, CL("a")),
        BAD("CVE-2022-24761: point", 400, CL("1.0")),
        BAD("CVE-2022-24761: other digits", 400, CL("\xd9\xa1")),
        BAD("CVE-2023-40175: empty", 400, CL("")),
        BAD("RFC 9112 6.3: list", 400, CL("5, 5")),
        BAD("RFC 9112 6.3: trailing comma", 400, CL("5,")),
        BAD("RFC 9112 6.3: twice", 400, POST "Content-Length: 5\r\nContent-Length: 6\r\n" END),
        BAD("gunicorn 7.2: twice the same", 400,
            POST "Content-Length: 5\r\nContent-Length: 5\r\n" END),
        BAD("RFC 9112 6.3: twice, the first zero", 400,
            POST "Content-Length: 0\r\nContent-Length: 5\r\n" END),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_transfer_encoding_is_chunked_or_refused(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 6.1", TE("chunked"), "body=chunked:0"),
        OK("RFC 9112 7: any case", TE("ChUnKeD"), "body=chunked"),
        OK("RFC 9110 5.6.3: white space", TE("\t chunked \t"), "body=chunked"),
        BAD("RFC 9112 6.1: chunked twice", 400, TE("chunked, chunked")),
        BAD("RFC 9112 6.1: chunked twice in two fields", 400,
            POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("CVE-2024-1135", 400,
            POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" END),
        BAD("RFC 9112 6.1: not last", 400, TE("chunked, gzip")),
        BAD("RFC 9112 6.1: identity after", 400, TE("chunked, identity")),
        BAD("RFC 9112 6.3: chunked is missing", 400, TE("gzip")),
        BAD("CVE-2024-6827: prefix", 400, TE("xchunked")),
        BAD("CVE-2024-6827: suffix", 400, TE("chunkedx")),
        BAD("CVE-2024-6827: identity", 400, TE("identity")),
        BAD("CVE-2024-6827: unknown coding beside a length", 400,
            POST "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n" END),
        BAD("RFC 9112 6.1: gzip is not done here", 501, TE("gzip, chunked")),
        BAD("RFC 9112 6.1: unknown", 501, TE("x, chunked")),
        BAD("RFC 9112 6.1: identity is gone", 501, TE("identity, chunked")),
        BAD("RFC 9112 6.1: over two fields", 501,
            POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("empty element before", 400, TE(",chunked")),
        BAD("empty element after", 400, TE("chunked,")),
        BAD("empty", 400, TE("")),
        BAD("empty beside a good one", 400,
            POST "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("RFC 9112 7: chunked has no parameters", 400, TE("chunked;q=1")),
        BAD("quoted", 400, TE("\"chunked\"")),
        BAD("two words", 400, TE("chunked chunked")),
        BAD("CVE-2019-16786: vertical tab", 400,
            TE("\x0b"
               "chunked")),
        BAD("CVE-2019-16786: form feed", 400, TE("chunked\x0c")),
        BAD("CVE-2019-16786: no-break space", 400,
            TE("\xa0"
               "chunked")),
        BAD("CVE-2019-16786: next line", 400, TE("chunked\x85")),
        BAD("NUL", 400, TE("chunked\0")),
        BAD("RFC 9112 6.3: beside a length", 400,
            POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("RFC 9112 6.3: before a length", 400,
            POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" END),
        BAD("RFC 9112 6.1: HTTP/1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END),
        OK("RFC 9110 10.1.4: TE is another field", GET "TE: trailers\r\n" END, "body=none"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_other_fields_of_the_head(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9110 8.3", POST "Content-Type: a/b\r\n" END, "<Content-Type> =<a/b>"),
        BAD("gunicorn 7.2: two types", 400, POST "Content-Type: a/b\r\nContent-Type: a/b\r\n" END),
        OK("RFC 9110 10.1.1", POST "Content-Length: 5\r\nExpect: 100-continue\r\n" END, "expect "),
        OK("RFC 9110 10.1.1: any case", TE("chunked\r\neXPECT: 100-Continue"), "expect "),
        OK("RFC 9110 10.1.1: nothing to continue with", POST "Expect: 100-continue\r\n" END,
           "body=none:0 {"),
        OK("RFC 9110 10.1.1: nothing to continue with",
           POST "Content-Length: 0\r\nExpect: 100-continue\r\n" END, "body=length:0 {"),
        OK("RFC 9110 10.1.1: HTTP/1.0",
           "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" END,
           "body=length:5 {"),
        BAD("RFC 9110 10.1.1: other expectation", 417, GET "Expect: 200-ok\r\n" END),
        BAD("RFC 9110 10.1.1: empty", 417, GET "Expect:\r\n" END),
        BAD("RFC 9110 10.1.1: list", 417, GET "Expect: 100-continue, x=y\r\n" END),
        BAD("gunicorn 7.2: in HTTP/1.0 too", 417, GET_1_0 "Expect: x\r\n" END),
        BAD("the first complaint is told", 417, GET "Expect: x\r\nHost: y\r\n" END),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_connection_decides_about_persistence(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 9.3: 1.1 stays", GET END, "1.1 keep"),
        OK("RFC 9112 9.6: close", GET "Connection: close\r\n" END, "1.1 close"),
        OK("RFC 9112 9.6: any case", GET "cONNECTION: ClOsE\r\n" END, "1.1 close"),
        OK("RFC 9110 7.6.1: list", GET "Connection: TE , close\r\n" END, "1.1 close"),
        OK("RFC 9110 5.6.1: empty elements", GET "Connection: ,, close ,\r\n" END, "1.1 close"),
        OK("RFC 9110 5.3: two fields", GET "Connection: te\r\nConnection: close\r\n" END,
           "1.1 close"),
        OK("RFC 9112 9.3: close wins", GET "Connection: keep-alive, close\r\n" END, "1.1 close"),
        OK("RFC 9112 9.3: keep-alive", GET "Connection: keep-alive\r\n" END, "1.1 keep"),
        OK("RFC 9110 7.6.1: other options", GET "Connection: Upgrade, closed, xclose\r\n" END,
           "1.1 keep"),
        OK("RFC 9110 7.6.1: empty", GET "Connection:\r\n" END, "1.1 keep"),
        OK("RFC 9112 9.3: 1.0 goes", GET_1_0 END, "1.0 close"),
        OK("RFC 9112 9.3: 1.0 keep-alive", GET_1_0 "Connection: Keep-Alive\r\n" END, "1.0 keep"),
        OK("RFC 9112 9.3: 1.0 keep-alive in a list", GET_1_0 "Connection: x, keep-alive\r\n" END,
           "1.0 keep"),
        OK("RFC 9112 9.3: 1.0 both", GET_1_0 "Connection: keep-alive, close\r\n" END, "1.0 close"),
        OK("RFC 9112 C.2.2: Proxy-Connection is no Connection",
           GET_1_0 "Proxy-Connection: keep-alive\r\n" END, "1.0 close"),
    };
    RUN_HEAD_CASES(cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_is_needed_once_and_valid),
        cmocka_unit_test(test_a_known_host_changes_no_verdict),
        cmocka_unit_test(test_content_length_is_one_plain_number),
        cmocka_unit_test(test_transfer_encoding_is_chunked_or_refused),
        cmocka_unit_test(test_other_fields_of_the_head),
        cmocka_unit_test(test_connection_decides_about_persistence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
