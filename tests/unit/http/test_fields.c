/* Header fields: names, values, folding, limits, underscores, scheme fields (RFC 9112 section 5).
 */
#include "head_cases.h"

static void
test_fields_come_out_trimmed_and_in_order(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK("RFC 9112 5: order and case are kept", GET "B: 1\r\na: 2\r\nB: 3\r\n" END,
           "{ <Host> =<x> <B> =<1> <a> =<2> <B> =<3> }"),
        OK("RFC 9112 5.1: white space around the value", GET "A: \t b c\t \r\n" END, "<A> =<b c>"),
        OK("RFC 9112 5.1: no white space", GET "A:b\r\n" END, "<A> =<b>"),
        OK("RFC 9110 5.5: empty value", GET "A:\r\n" END, "<A> =<>"),
        OK("RFC 9110 5.5: white space only", GET "A: \t \r\n" END, "<A> =<>"),
        OK("RFC 9110 5.5: TAB inside", GET "A: b\tc\td\te12345678\tf\r\n" END,
           "<A> =<b\tc\td\te12345678\tf>"),
        OK("RFC 9110 5.5: obs-text", GET "A: \x80\xff\xc3\xa9 7654321\x80\x9f\r\n" END,
           "<A> =<\x80\xff\xc3\xa9 7654321\x80\x9f>"),
        OK("RFC 9110 5.5: colons", GET "A: b:c:\r\n" END, "<A> =<b:c:>"),
        OK("RFC 9110 5.6.2: every token character", GET "!#$%&'*+-.^`|~09azAZ: b\r\n" END,
           "<!#$%&'*+-.^`|~09azAZ> =<b>"),
        OK("RFC 9110 5.5: printable characters",
           GET "A: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r\n" END,
           "=<!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~>"),
        OK("RFC 9112 2.1: no fields", GET_1_0 END, "{ }"),
        OK("RFC 9112 5: long values",
           GET "Cookie: a=0123456789abcdefghijklmnopqrstuvwxyz; b=c\r\n" END,
           "=<a=0123456789abcdefghijklmnopqrstuvwxyz; b=c>"),
        WAIT("RFC 9112 2.1: empty line missing", GET),
        WAIT("RFC 9112 2.1: LF of the empty line missing", GET "\r"),
        WAIT("a fault waits for the end of its line", GET "A: \x01"),
        WAIT("a name without end", GET "A"),
        WAIT("what fields say together waits for the head", GET "Host: y\r\n"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_malformed_fields_are_refused(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        BAD("RFC 9112 5.1: space before the colon", 400, GET "A : b\r\n" END),
        BAD("RFC 9112 5.1: TAB before the colon", 400, GET "A\t: b\r\n" END),
        BAD("CVE-2021-22959", 400, POST "Content-Length : 1\r\n" END "x"),
        BAD("RFC 9112 5: no name", 400, GET ": b\r\n" END),
        BAD("RFC 9112 5: no colon", 400, GET "A\r\n" END),
        BAD("RFC 9112 5: no colon but a value", 400, GET "A b\r\n" END),
        BAD("RFC 9110 5.1: 8-bit name", 400, GET "\xc3\xa9: b\r\n" END),
        BAD("RFC 9110 5.1: NUL", 400, GET "A\0: b\r\n" END),
        BAD("RFC 9110 5.1: control", 400, GET "A\x01: b\r\n" END),
        BAD("RFC 9110 5.1: DEL", 400, GET "A\x7f: b\r\n" END),
        BAD("RFC 9110 5.6.2: (", 400, GET "A(: b\r\n" END),
        BAD("RFC 9110 5.6.2: )", 400, GET "A): b\r\n" END),
        BAD("RFC 9110 5.6.2: <", 400, GET "A<: b\r\n" END),
        BAD("RFC 9110 5.6.2: >", 400, GET "A>: b\r\n" END),
        BAD("RFC 9110 5.6.2: @", 400, GET "A@: b\r\n" END),
        BAD("RFC 9110 5.6.2: ,", 400, GET "A,: b\r\n" END),
        BAD("RFC 9110 5.6.2: ;", 400, GET "A;: b\r\n" END),
        BAD("RFC 9110 5.6.2: backslash", 400, GET "A\\: b\r\n" END),
        BAD("RFC 9110 5.6.2: quote", 400, GET "\"A\": b\r\n" END),
        BAD("RFC 9110 5.6.2: [", 400, GET "A[: b\r\n" END),
        BAD("RFC 9110 5.6.2: ]", 400, GET "A]: b\r\n" END),
        BAD("RFC 9110 5.6.2: ?", 400, GET "A?: b\r\n" END),
        BAD("RFC 9110 5.6.2: =", 400, GET "A=: b\r\n" END),
        BAD("RFC 9110 5.6.2: {", 400, GET "A{: b\r\n" END),
        BAD("RFC 9110 5.6.2: }", 400, GET "A}: b\r\n" END),
        BAD("RFC 9110 5.6.2: /", 400, GET "A/: b\r\n" END),
        BAD("RFC 9110 5.5: NUL", 400, GET "A: b\0c\r\n" END),
        BAD("RFC 9110 5.5: control at the start", 400, GET "A: \x01\r\n" END),
        BAD("RFC 9110 5.5: control at the end", 400, GET "A: 01234567\x1f\r\n" END),
        BAD("RFC 9110 5.5: DEL", 400, GET "A: 0123456789\x7f\r\n" END),
        BAD("RFC 9110 5.5: vertical tab", 400, GET "A: b\x0b\r\n" END),
        BAD("RFC 9110 5.5: ESC", 400, GET "A: \x1b[31m\r\n" END),
        BAD("RFC 9112 2.2: bare LF", 400, GET "A: b\nC: d\r\n" END),
        BAD("RFC 9112 2.2: bare LF as the end", 400, GET "A: b\r\n\n"),
        BAD("RFC 9112 2.2: bare CR", 400, GET "A: b\rC: d\r\n" END),
        BAD("CVE-2023-30589", 400, POST "X: a\rTransfer-Encoding: chunked\r\n" END),
        BAD("RFC 9112 2.2: CR CR LF", 400, GET "A: b\r\r\n" END),
        BAD("RFC 9112 2.2: CR at the start of a line", 400, GET "\rA: b\r\n" END),
        BAD("RFC 9112 2.2: empty line with CR CR LF", 400, GET "\r\r\n" END),
        BAD("CVE-2024-27982: space before the first name", 400,
            "POST / HTTP/1.1\r\n Content-Length: 5\r\nHost: x\r\n" END),
        BAD("RFC 9112 5.2: folding", 400, GET "A: b\r\n c\r\n" END),
        BAD("RFC 9112 5.2: folding with TAB", 400, GET "A: b\r\n\tc\r\n" END),
        BAD("RFC 9112 5.2: folding into nothing", 400, GET "A:\r\n \r\n" END),
        BAD("CVE-2022-32215", 400, POST "Transfer-Encoding:\r\n chunked\r\n" END),
    };
    RUN_HEAD_CASES(cases);
}

static const struct sl_http_limits fold = {.permit_obsolete_folding = true};
static const struct sl_http_limits fold_20 = {.permit_obsolete_folding = true, .field_size = 20};
static const struct sl_http_limits spaces = {.strip_header_spaces = true};

static void
test_settings_relax_fields(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK_WITH(&fold, NULL, "RFC 9112 5.2: CR LF become spaces", GET "A: b\r\n c\r\n" END,
                "<A> =<b   c>"),
        OK_WITH(&fold, NULL, "RFC 9112 5.2: twice, with TAB",
                GET "A: b\r\n\tc\r\n  d\r\nE: f\r\n" END, "<A> =<b  \tc    d>", "<E> =<f>"),
        OK_WITH(&fold, NULL, "RFC 9112 5.2: empty first line", GET "A:\r\n b\r\n" END, "<A> =<b>"),
        OK_WITH(&fold, NULL, "RFC 9112 5.2: empty last line", GET "A: b\r\n \r\n" END, "<A> =<b>"),
        OK_WITH(&fold, NULL, "RFC 9112 5.2: nothing folded", GET "A: b\r\n" END, "<A> =<b>"),
        OK_WITH(&fold, NULL, "RFC 9112 6.1: a folded coding counts",
                POST "Transfer-Encoding:\r\n chunked\r\n" END, "body=chunked"),
        OK_WITH(&fold, NULL, "RFC 9112 5.2: Host", "GET / HTTP/1.1\r\nHost:\r\n x\r\n" END,
                "<Host> =<x>"),
        OK_WITH(&fold_20, NULL, "gunicorn 7.2: the folded line counts as one, exactly",
                GET "A: 345\r\n 012345678\r\n" END, "<A> =<345   012345678>"),
        BAD_WITH(&fold_20, NULL, "gunicorn 7.2: the folded line counts as one", 431,
                 GET "A: 345\r\n 0123456789\r\n" END),
        BAD_WITH(&fold_20, NULL, "gunicorn 7.2: a fault in the first part of a long line", 431,
                 GET "A: \x01\x01\x01\r\n 0123456789\r\n" END),
        BAD_WITH(&fold, NULL, "RFC 9112 5.2: bare LF does not fold", 400, GET "A: b\n c\r\n" END),
        BAD_WITH(&fold, NULL, "RFC 9112 2.2: white space before the first field", 400,
                 "GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n" END),
        BAD_WITH(&fold, NULL, "RFC 9112 5.2: names do not fold", 400, GET "A\r\n : b\r\n" END),
        {"a line end that may be folded waits",
         GET "A: b\r\n",
         sizeof(GET "A: b\r\n") - 1,
         0,
         {NULL},
         &fold,
         NULL},
        OK_WITH(&spaces, NULL, "strip_header_spaces", GET "A : b\r\nC \t : d\r\n" END, "<A> =<b>",
                "<C> =<d>"),
        BAD_WITH(&spaces, NULL, "strip_header_spaces: before the colon only", 400,
                 GET "A b : c\r\n" END),
        BAD_WITH(&spaces, NULL, "strip_header_spaces: not before the name", 400,
                 GET " A: c\r\n" END),
        BAD_WITH(&spaces, NULL, "strip_header_spaces: spaces are no name", 400, GET " : c\r\n" END),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_fields_have_limits(void **state)
{
    (void)state;
    static const struct sl_http_limits two = {.fields = 2};
    static const struct sl_http_limits twelve = {.field_size = 12};
    static const struct head_case cases[] = {
        OK_WITH(&two, NULL, "limit_request_fields: exactly", GET "A: b\r\n" END, "<A> =<b>"),
        BAD_WITH(&two, NULL, "RFC 6585 5: one more", 431, GET "A: b\r\nC: d\r\n" END),
        BAD_WITH(&two, NULL, "RFC 6585 5: before the line is complete", 431, GET "A: b\r\nC"),
        BAD_WITH(&two, NULL, "limits: dropped fields count", 431, GET "A_: b\r\nC: d\r\n" END),
        OK_WITH(&twelve, NULL, "gunicorn 7.2: field size with CRLF", GET "A: 4567890\r\n" END,
                "<A> =<4567890>"),
        BAD_WITH(&twelve, NULL, "gunicorn 7.2: one byte more", 431, GET "A: 45678901\r\n" END),
        BAD_WITH(&twelve, NULL, "RFC 6585 5: before the line is complete", 431, GET "A: 45678901"),
        BAD_WITH(&twelve, NULL, "RFC 6585 5: a name alone", 431, GET "AAAAAAAAAAAAA"),
        BAD_WITH(&twelve, NULL, "too long counts for more than a fault", 431,
                 GET "A: \x01\x01\x01\x01\x01\x01\x01\x01\r\n" END),
        BAD_WITH(&twelve, NULL, "CVE-2020-5236: cost of nonsense", 431,
                 GET "A: \x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10"),
        WAIT("RFC 6585 5: below the limit", GET "A: 01234567890123456789"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_fields_beyond_the_callers_room_are_refused(void **state)
{
    (void)state;
    struct sl_request req = {0};
    struct sl_header fields[2];
    char text[] = GET "A: b\r\nC: d\r\n" END;
    for (size_t capacity = 0; capacity <= 2; capacity++) {
        struct sl_head head = {&req, fields, capacity, NULL};
        uint64_t resume = 0;
        const char *sentence;
        assert_int_equal(
            parse_by(&head, text, sizeof text - 1, &resume, &default_limits, NULL, &sentence),
            -431);
    }
}

static const struct sl_http_limits drop = {.header_map = SL_HEADER_MAP_DROP};
static const struct sl_http_limits refuse = {.header_map = SL_HEADER_MAP_REFUSE};
static const struct sl_http_limits dangerous = {.header_map = SL_HEADER_MAP_DANGEROUS};
static const struct sl_http_limits forwarder = {
    .header_map = SL_HEADER_MAP_REFUSE,
    .forwarder_headers = (const char *const[]){"SCRIPT_NAME", "PATH_INFO", NULL}};
static const struct sl_http_limits forward_all = {
    .header_map = SL_HEADER_MAP_DROP, .forwarder_headers = (const char *const[]){"*", NULL}};
static const struct test_trust trusted = {
    .trusted = true,
    .scheme_headers = (const struct sl_scheme_header[]){{"X-FORWARDED-PROTOCOL", "ssl"},
                                                        {"X-FORWARDED-PROTO", "https"},
                                                        {"X-FORWARDED-SSL", "on"},
                                                        {NULL, NULL}}};
static const struct test_trust untrusted = {.trusted = false,
                                            .scheme_headers = (const struct sl_scheme_header[]){
                                                {"X-FORWARDED-PROTO", "https"}, {NULL, NULL}}};

static void
test_underscores_go_by_header_map(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        OK_WITH(&drop, NULL, "header_map = drop", GET "X_A: b\r\nC: d\r\n" END,
                "{ <Host> =<x> <C> =<d> }"),
        OK_WITH(&drop, NULL, "CVE-2024-45614",
                GET "X_Forwarded_For: 1\r\nX-Forwarded-For: 2\r\n" END,
                "{ <Host> =<x> <X-Forwarded-For> =<2> }"),
        OK_WITH(&drop, NULL, "RFC 9112 6.1: no framing by another name",
                POST "Transfer_Encoding: chunked\r\nContent_Length: 5\r\n" END, "body=none",
                "{ <Host> =<x> }"),
        BAD_WITH(&drop, NULL, "header_map = drop: still well-formed", 400, GET "X_A: \x01\r\n" END),
        BAD_WITH(&refuse, NULL, "header_map = refuse", 400, GET "X_A: b\r\n" END),
        OK_WITH(&refuse, NULL, "header_map = refuse: dashes", GET "X-A: b_c\r\n" END,
                "<X-A> =<b_c>"),
        OK_WITH(&dangerous, NULL, "header_map = dangerous", GET "X_A: b\r\n" END, "<X_A> =<b>"),
        OK_WITH(&dangerous, NULL, "header_map = dangerous: never framing",
                POST "Content_Length: 5\r\n" END, "body=none", "<Content_Length> =<5>"),
        OK_WITH(&forwarder, &trusted, "forwarder_headers, any case",
                GET "SCRIPT_NAME: /a\r\npath_info: /b\r\n" END,
                "<SCRIPT_NAME> =</a> <path_info> =</b>"),
        BAD_WITH(&forwarder, &trusted, "forwarder_headers: others", 400,
                 GET "REMOTE_USER: a\r\n" END),
        BAD_WITH(&forwarder, &untrusted, "forwarder_headers: peer not trusted", 400,
                 GET "SCRIPT_NAME: /a\r\n" END),
        BAD_WITH(&forwarder, NULL, "forwarder_headers: no trust given", 400,
                 GET "SCRIPT_NAME: /a\r\n" END),
        OK_WITH(&forward_all, &trusted, "forwarder_headers = *", GET "X_A: b\r\n" END,
                "<X_A> =<b>"),
        OK_WITH(&forward_all, &untrusted, "forwarder_headers = *: peer not trusted",
                GET "X_A: b\r\n" END, "{ <Host> =<x> }"),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_scheme_fields_of_trusted_peers_tell_the_scheme(void **state)
{
    (void)state;
#define L &default_limits
    static const struct head_case cases[] = {
        OK_WITH(L, &trusted, "secure_scheme_headers", GET "X-Forwarded-Proto: https\r\n" END,
                "https { "),
        OK_WITH(L, &trusted, "secure_scheme_headers: any case of the name",
                GET "x-forwarded-ssl: on\r\n" END, "https { "),
        OK_WITH(L, &trusted, "secure_scheme_headers: another value means http",
                GET "X-Forwarded-Proto: HTTPS\r\n" END, "body=none:0 { "),
        OK_WITH(L, &trusted, "secure_scheme_headers: similar names",
                GET "X-Forwarded-Protos: https\r\nX-Real-Ip: 1\r\n" END, "body=none:0 { "),
        OK_WITH(L, &trusted, "secure_scheme_headers: two that agree",
                GET "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\n" END, "https { "),
        BAD_WITH(L, &trusted, "gunicorn 7.2: contradiction", 400,
                 GET "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n" END),
        BAD_WITH(L, &trusted, "gunicorn 7.2: contradiction in one name", 400,
                 GET "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n" END),
        OK_WITH(L, &untrusted, "gunicorn 7.2: peer not trusted",
                GET "X-Forwarded-Proto: https\r\n" END,
                "body=none:0 { <Host> =<x> <X-Forwarded-Proto> =<https> }"),
        OK_WITH(L, &untrusted, "gunicorn 7.2: no contradiction without trust",
                GET "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n" END,
                "body=none:0 { "),
        OK("gunicorn 7.2: no trust given", GET "X-Forwarded-Proto: https\r\n" END,
           "body=none:0 { "),
    };
    RUN_HEAD_CASES(cases);
}

static void
test_a_trusted_peer_may_deny_https(void **state)
{
    (void)state;
    char text[] = GET "X-Forwarded-Proto: http\r\n" END;
    struct sl_header fields[4];
    struct sl_request req = {.https = true};
    struct sl_head head = {&req, fields, 4, NULL};
    uint64_t resume = 0;
    const char *sentence;
    assert_true(
        parse_by(&head, text, sizeof text - 1, &resume, &default_limits, &trusted, &sentence) > 0);
    assert_false(req.https);
}

/* Cost must be linear: 1 MiB in one field, a byte at a time; rescanning the line each time would
 * look at 2^39 bytes. */
static void
test_a_slow_head_costs_no_more_than_a_fast_one(void **state)
{
    (void)state;
    static char text[500000] = GET "A: ";
    size_t len = strlen(text);
    memset(text + len, 'a', sizeof text - len - 4);
    memcpy(text + sizeof text - 4, "\r\n\r\n", 4);
    static const struct sl_http_limits most = {.field_size = UINT32_MAX};
    struct sl_header fields[4];
    struct sl_request req = {0};
    struct sl_head head = {&req, fields, 4, NULL};
    uint64_t resume = 0;
    const char *sentence;
    for (size_t n = 1; n < sizeof text; n++)
        assert_int_equal(parse_by(&head, text, n, &resume, &most, NULL, &sentence), 0);
    assert_int_equal(parse_by(&head, text, sizeof text, &resume, &most, NULL, &sentence),
                     sizeof text);
    assert_int_equal(req.headers[1].value.len, sizeof text - len - 4);
    assert_int_equal(resume, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_come_out_trimmed_and_in_order),
        cmocka_unit_test(test_malformed_fields_are_refused),
        cmocka_unit_test(test_settings_relax_fields),
        cmocka_unit_test(test_fields_have_limits),
        cmocka_unit_test(test_fields_beyond_the_callers_room_are_refused),
        cmocka_unit_test(test_underscores_go_by_header_map),
        cmocka_unit_test(test_scheme_fields_of_trusted_peers_tell_the_scheme),
        cmocka_unit_test(test_a_trusted_peer_may_deny_https),
        cmocka_unit_test(test_a_slow_head_costs_no_more_than_a_fast_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
