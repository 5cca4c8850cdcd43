/* Request lines: method, the four forms of the target, version (RFC 9112 sections 2 and 3). */
#include "head_cases.h"

#define LINE(line) line "\r\nHost: x\r\n\r\n"

static void
test_lines_of_the_grammar_are_accepted(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 3", LINE("GET / HTTP/1.1"), "method<GET>", "target</>", "path</> no-query<>",
           "1.1 keep body=none:0 { <Host> =<x> }"),
        OK("RFC 9112 3: 1.0", "GET / HTTP/1.0\r\n\r\n", "1.0 close"),
        OK("RFC 9112 3: 1.0 with Host", LINE("GET / HTTP/1.0"), "1.0 close"),
        OK("RFC 9110 6.2: a higher minor version", LINE("GET / HTTP/1.2"), "1.2 keep"),
        OK("RFC 9110 9.1: other methods", LINE("PROPFIND / HTTP/1.1"), "method<PROPFIND>"),
        OK("gunicorn 7.1: three letters", LINE("PUT / HTTP/1.1"), "method<PUT>"),
        OK("gunicorn 7.1: twenty letters", LINE("ABCDEFGHIJKLMNOPQRST / HTTP/1.1"),
           "method<ABCDEFGHIJKLMNOPQRST>"),
        OK("RFC 9110 5.6.2: a token that is no word", LINE("M-SEARCH / HTTP/1.1"),
           "method<M-SEARCH>"),
        OK("RFC 9112 2.2: one empty line before", "\r\n" LINE("GET /a HTTP/1.1"), "path</a>"),
        OK("RFC 9112 9.3.2: the next request stays", LINE("GET /a HTTP/1.1") "GET /b HTTP/1.1\r\n",
           "path</a>"),
        OK("gunicorn 7.1: 8-bit bytes in the target", LINE("GET /\xc3\xa9 HTTP/1.1"),
           "path</\xc3\xa9>"),
        OK("gunicorn 7.1: what RFC 3986 wants encoded", LINE("GET /{a}|\"<b>\\^` HTTP/1.1"),
           "path</{a}|\"<b>\\^`>"),
        OK("RFC 9112 3: an encoded NUL is left alone", LINE("GET /%00 HTTP/1.1"), "path</%00>"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_targets_are_cut_into_path_and_query(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 3.2.1", LINE("GET /a/b?c=d HTTP/1.1"), "target</a/b?c=d>",
           "path</a/b> query<c=d>"),
        OK("RFC 3986 3.4: empty query", LINE("GET /a? HTTP/1.1"), "path</a> query<>"),
        OK("RFC 3986 3.4: question marks in a query", LINE("GET /a?b?c HTTP/1.1"),
           "path</a> query<b?c>"),
        OK("gunicorn 7.1: fragment", LINE("GET /a#f HTTP/1.1"), "target</a#f>",
           "path</a> no-query"),
        OK("gunicorn 7.1: fragment after query", LINE("GET /a?b#f HTTP/1.1"), "path</a> query<b>"),
        OK("RFC 3986 3.5: a question mark in a fragment", LINE("GET /a#f?b HTTP/1.1"),
           "path</a> no-query"),
        OK("gunicorn 7.1: two slashes", LINE("GET //a//b HTTP/1.1"), "path<//a//b>"),
        OK("RFC 9112 3.2.1: dots are the application's", LINE("GET /../a/./b HTTP/1.1"),
           "path</../a/./b>"),
        OK("RFC 9112 3.2.2", LINE("GET http://h.example:80/a?b HTTP/1.1"),
           "target<http://h.example:80/a?b>", "path</a> query<b>", "<Host> =<h.example:80>"),
        OK("RFC 9112 3.2.2: no path", LINE("GET http://h HTTP/1.1"), "path</> no-query"),
        OK("RFC 9112 3.2.2: no path but query", LINE("GET http://h?q HTTP/1.1"),
           "path</> query<q>"),
        OK("RFC 9112 3.2.2: scheme in capitals", LINE("GET HTTPS://h/ HTTP/1.1"), "path</>"),
        OK("RFC 3986 3.2.2: IPv6", LINE("GET http://[::1]:8000/p HTTP/1.1"), "path</p>",
           "<Host> =<[::1]:8000>"),
        OK("RFC 9112 3.2.2: colon and slashes later do not make it absolute",
           LINE("GET /http://h/p HTTP/1.1"), "path</http://h/p>", "<Host> =<x>"),
        OK("RFC 9112 3.2.2: HTTP/1.0 without Host", "GET http://h/p HTTP/1.0\r\n\r\n", "path</p>"),
        OK("RFC 9112 3.2.3", LINE("CONNECT h.example:443 HTTP/1.1"), "target<h.example:443>",
           "path<> no-query"),
        OK("RFC 9112 3.2.3: IPv6", LINE("CONNECT [::1]:443 HTTP/1.1"), "path<>"),
        OK("RFC 9112 3.2.4", LINE("OPTIONS * HTTP/1.1"), "path<*> no-query"),
        OK("RFC 9112 3.2.1: OPTIONS of a path", LINE("OPTIONS /a HTTP/1.1"), "path</a>"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_malformed_targets_are_refused(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        BAD("RFC 9112 3.2.4: * is for OPTIONS", 400, LINE("GET * HTTP/1.1")),
        BAD("RFC 9112 3.2.4: * alone", 400, LINE("OPTIONS *a HTTP/1.1")),
        BAD("RFC 9112 3.2.3: authority is for CONNECT", 400, LINE("GET h:80 HTTP/1.1")),
        BAD("RFC 9112 3.2.3: no port", 400, LINE("CONNECT h HTTP/1.1")),
        BAD("RFC 9112 3.2.3: empty port", 400, LINE("CONNECT h: HTTP/1.1")),
        BAD("RFC 9112 3.2.3: IPv6 without port", 400, LINE("CONNECT [::1] HTTP/1.1")),
        BAD("RFC 9112 3.2.3: CONNECT to a path", 400, LINE("CONNECT /a HTTP/1.1")),
        BAD("RFC 9112 3.2.3: CONNECT to a URI", 400, LINE("CONNECT http://h:80/ HTTP/1.1")),
        BAD("RFC 9112 3.2: relative", 400, LINE("GET a/b HTTP/1.1")),
        BAD("RFC 9112 3.2: query alone", 400, LINE("GET ?a HTTP/1.1")),
        BAD("RFC 9112 3.2: fragment alone", 400, LINE("GET #a HTTP/1.1")),
        BAD("RFC 9112 3.2: backslash", 400, LINE("GET \\a HTTP/1.1")),
        BAD("RFC 9110 4.2.1: empty authority", 400, LINE("GET http:///a HTTP/1.1")),
        BAD("RFC 9110 4.2.4: user information", 400, LINE("GET http://u@h/a HTTP/1.1")),
        BAD("RFC 3986 3.2.3: port", 400, LINE("GET http://h:8x/ HTTP/1.1")),
        BAD("RFC 3986 3.2.3: port too large", 400, LINE("GET http://h:65536/ HTTP/1.1")),
        BAD("RFC 3986 3.2.2: open bracket", 400, LINE("GET http://[::1/ HTTP/1.1")),
        BAD("RFC 3986 3.2.2: empty brackets", 400, LINE("GET http://[]/ HTTP/1.1")),
        BAD("RFC 3986 3.1: scheme begins with a letter", 400, LINE("GET 1http://h/ HTTP/1.1")),
        BAD("RFC 3986 3.1: scheme empty", 400, LINE("GET ://h/ HTTP/1.1")),
        BAD("RFC 9112 3.2.2: one slash", 400, LINE("GET http:/h HTTP/1.1")),
        BAD("RFC 9112 3.2: NUL", 400, LINE("GET /a\0b HTTP/1.1")),
        BAD("RFC 9112 3.2: control", 400, LINE("GET /a\x01 HTTP/1.1")),
        BAD("RFC 9112 3.2: TAB", 400, LINE("GET /a\tb HTTP/1.1")),
        BAD("RFC 9112 3.2: ESC in the query", 400, LINE("GET /a?\x1b HTTP/1.1")),
        BAD("RFC 9112 3.2: DEL", 400, LINE("GET /a\x7f HTTP/1.1")),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_malformed_lines_are_refused(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        BAD("RFC 9112 3: two spaces before the target", 400, LINE("GET  / HTTP/1.1")),
        BAD("RFC 9112 3: two spaces before the version", 400, LINE("GET /  HTTP/1.1")),
        BAD("RFC 9112 3: space at the end", 400, LINE("GET / HTTP/1.1 ")),
        BAD("RFC 9112 3: space at the start", 400, LINE(" GET / HTTP/1.1")),
        BAD("RFC 9112 3: TAB instead of space", 400, LINE("GET\t/ HTTP/1.1")),
        BAD("RFC 9112 3: TAB before the version", 400, LINE("GET /\tHTTP/1.1")),
        BAD("RFC 9112 3: no target", 400, LINE("GET HTTP/1.1")),
        BAD("RFC 9112 3: no target, two spaces", 400, LINE("GET  HTTP/1.1")),
        BAD("RFC 9112 3: HTTP/0.9", 400, LINE("GET /")),
        BAD("RFC 9112 3: method alone", 400, LINE("GET")),
        BAD("RFC 9112 3: words after the version", 400, LINE("GET / HTTP/1.1 x")),
        BAD("RFC 9112 2.2: bare LF", 400, "GET / HTTP/1.1\nHost: x\r\n\r\n"),
        BAD("RFC 9112 2.2: bare LF throughout", 400, "GET / HTTP/1.1\nHost: x\n\n"),
        BAD("RFC 9112 2.2: bare CR", 400, LINE("GET / HTTP/1.1\r")),
        BAD("RFC 9112 2.2: CR in the target", 400, LINE("GET /\ra HTTP/1.1")),
        BAD("RFC 9112 2.2: two empty lines before", 400, "\r\n\r\n" LINE("GET / HTTP/1.1")),
        BAD("RFC 9112 2.2: LF before", 400, "\n" LINE("GET / HTTP/1.1")),
        BAD("RFC 9112 2.2: CR before", 400, "\r" LINE("GET / HTTP/1.1")),
        BAD("RFC 9112 2.2: white space before the first field", 400,
            "GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
        BAD("RFC 9112 2.1: TLS", 400, "\x16\x03\x01\x02\x00\x01"),
        BAD("RFC 9112 2.1: 8-bit at the start", 400, "\xef\xbb\xbf" LINE("GET / HTTP/1.1")),
        BAD("RFC 9110 5.6.2: method is a token", 400, LINE("GE(T / HTTP/1.1")),
        BAD("RFC 9110 5.6.2: 8-bit method", 400, LINE("GE\xc9 / HTTP/1.1")),
        BAD("RFC 9110 5.6.2: NUL in the method", 400, LINE("GE\0T / HTTP/1.1")),
        BAD("gunicorn 7.1: lower case", 400, LINE("get / HTTP/1.1")),
        BAD("gunicorn 7.1: mixed case", 400, LINE("GeT / HTTP/1.1")),
        BAD("gunicorn 7.1: #", 400, LINE("GET# / HTTP/1.1")),
        BAD("gunicorn 7.1: two letters", 400, LINE("GO / HTTP/1.1")),
        BAD("gunicorn 7.1: 21 letters", 400, LINE("ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1")),
        BAD("RFC 9112 2.3: version in lower case", 400, LINE("GET / http/1.1")),
        BAD("RFC 9112 2.3: no minor", 400, LINE("GET / HTTP/1")),
        BAD("RFC 9112 2.3: no digit", 400, LINE("GET / HTTP/1.x")),
        BAD("RFC 9112 2.3: two digits", 400, LINE("GET / HTTP/1.10")),
        BAD("RFC 9112 2.3: leading zero", 400, LINE("GET / HTTP/01.1")),
        BAD("RFC 9112 2.3: comma", 400, LINE("GET / HTTP/1,1")),
        BAD("RFC 9112 2.3: other protocol", 400, LINE("GET / HTCPCP/1.0")),
        BAD("RFC 9110 15.6.6", 505, LINE("GET / HTTP/2.0")),
        BAD("RFC 9110 15.6.6", 505, LINE("GET / HTTP/0.9")),
        BAD("RFC 9113 3.4: preface of HTTP/2, by its target", 400,
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_settings_relax_the_line(void **state)
{
    (void)state;
    static const struct sl_http_limits method = {.permit_unconventional_method = true};
    static const struct sl_http_limits fold = {.permit_unconventional_method = true,
                                               .casefold_method = true};
    static const struct sl_http_limits fold_only = {.casefold_method = true};
    static const struct sl_http_limits version = {.permit_unconventional_version = true};
    static const struct head_case cases[] = {
        OK_WITH(&method, NULL, "permit_unconventional_http_method", LINE("get / HTTP/1.1"),
                "method<get>"),
        OK_WITH(&method, NULL, "permit_unconventional_http_method", LINE("a / HTTP/1.1"),
                "method<a>"),
        OK_WITH(&method, NULL, "permit_unconventional_http_method",
                LINE("abcdefghijklmnopqrstuvwxyz#! / HTTP/1.1"),
                "method<abcdefghijklmnopqrstuvwxyz#!>"),
        BAD_WITH(&method, NULL, "RFC 9110 9.1: still a token", 400, LINE("g@t / HTTP/1.1")),
        OK_WITH(&fold, NULL, "casefold_http_method", LINE("gEt /path HTTP/1.1"), "method<GET>",
                "path</path>"),
        OK_WITH(&fold, NULL, "casefold_http_method before the target is judged",
                LINE("options * HTTP/1.1"), "method<OPTIONS>", "path<*>"),
        BAD_WITH(&fold_only, NULL, "gunicorn 7.1: lower case is refused before it is folded", 400,
                 LINE("get / HTTP/1.1")),
        OK_WITH(&version, NULL, "permit_unconventional_http_version", LINE("GET / HTTP/1.2"),
                "1.2 keep"),
        OK_WITH(&version, NULL, "permit_unconventional_http_version", LINE("GET / HTTP/2.0"),
                "2.0 keep"),
        OK_WITH(&version, NULL, "permit_unconventional_http_version", LINE("GET / HTTP/0.9"),
                "0.9 close"),
        BAD_WITH(&version, NULL, "RFC 9112 2.3: still digits", 400, LINE("GET / HTTP/1.10")),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_the_line_has_a_limit(void **state)
{
    (void)state;
    static const struct sl_http_limits ten = {.request_line = 18};
    static const struct head_case cases[] = {
        OK_WITH(&ten, NULL, "limit_request_line: exactly", LINE("GET /2345 HTTP/1.1"),
                "path</2345>"),
        OK_WITH(&ten, NULL, "limit_request_line: without the empty line before",
                "\r\n" LINE("GET /2345 HTTP/1.1"), "path</2345>"),
        BAD_WITH(&ten, NULL, "RFC 9112 3: 414", 414, LINE("GET /23456 HTTP/1.1")),
        BAD_WITH(&ten, NULL, "RFC 9112 3: 414 before the line is complete", 414,
                 "GET /234567890123456"),
        BAD_WITH(&ten, NULL, "RFC 9112 3: 414 before a method is complete", 414,
                 "GETGETGETGETGETGETGET"),
        BAD_WITH(&ten, NULL, "too long counts for more than a fault", 414,
                 LINE("GET /\x01\x01\x01\x01\x01\x01 HTTP/1.1")),
        BAD_WITH(&ten, NULL, "too long counts for more than a fault", 414,
                 "GET /\x01\x01 34567890123"),
        WAIT("a line of any length below the limit", "GET /23456789012345678901234567890"),
        WAIT("a fault waits for the end of the line", "GET /\x01"),
        WAIT("nothing yet", "\r"),
        WAIT("an empty line before, nothing yet", "\r\n"),
        WAIT("no end of line", "GET / HTTP/1.1"),
        WAIT("no LF", "GET / HTTP/1.1\r"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_a_refused_head_still_shows_its_request_line(void **state)
{
    (void)state;
    char text[] = "GET /seen HTTP/1.1\r\nHost x\r\n\r\n";
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        struct sl_request req = {0};
        struct sl_header fields[4];
        struct sl_head head = {&req, fields, 4, NULL};
        uint64_t resume = 0;
        const char *sentence = NULL;
        int rc = parse_by(&head, text, cut, &resume, &default_limits, NULL, &sentence);
        if (rc == 0) {
            req = (struct sl_request){0};
            rc = parse_by(&head, text, sizeof text - 1, &resume, &default_limits, NULL, &sentence);
        }
        assert_int_equal(rc, -400);
        assert_non_null(sentence);
        assert_int_equal(req.target.len, 5);
        assert_memory_equal(req.target.ptr, "/seen", 5);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_of_the_grammar_are_accepted),
        cmocka_unit_test(test_targets_are_cut_into_path_and_query),
        cmocka_unit_test(test_malformed_targets_are_refused),
        cmocka_unit_test(test_malformed_lines_are_refused),
        cmocka_unit_test(test_settings_relax_the_line),
        cmocka_unit_test(test_the_line_has_a_limit),
        cmocka_unit_test(test_a_refused_head_still_shows_its_request_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
