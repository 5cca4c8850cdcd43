/* Lines of the access log: every atom, the structured formats, what is escaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <saola/config.h>
#include "http/access_escape.h"
#include "http/access_format.h"

#define STR(text)                                                                                  \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct sl_peer peer = {.family = 2, .addr = "192.0.2.7"};
static const struct sl_header headers[] = {
    {STR("Host"), STR("example.org")},
    {STR("User-Agent"), STR("curl/8 \"x\"")},
    {STR("REFERER"), STR("http://a/")},
    {STR("referer"), STR("http://b/")},
    {STR("X-Id"), STR("1")},
    {STR("x-id"), STR("\x1b[31m\xe9\x9b")},
    {STR("Authorization"), STR("Basic YnJpYW46cHc=")},
};
static const struct sl_request request = {
    .method = STR("GET"),
    .target = STR("/a%20b%zz?q=\"1\""),
    .path = STR("/a%20b%zz"),
    .query = STR("q=\"1\""),
    .headers = headers,
    .header_count = sizeof headers / sizeof headers[0],
    .version_major = 1,
    .version_minor = 1,
    .peer = &peer,
};

static char *
line_with(const char *format, const struct sl_request *req, int status)
{
    struct sl_access_format *compiled = NULL;
    struct sl_access_clock clock = {0};
    struct sl_buf out = SL_BUF_INIT;
    struct sl_access_entry entry = {
        .req = req,
        .fields = STR("Content-Type: text/html\r\nX-Trace: a\r\nx-trace: b\\c\r\n"),
        .status = status,
        .body_bytes = 1234,
        .duration_ns = 3004005006,
        .now = {.tv_sec = 1795239507, .tv_nsec = 89000000},
    };
    assert_int_equal(sl_access_format_new(format, &compiled, NULL), SL_OK);
    assert_int_equal(sl_access_format_line(compiled, &entry, &clock, &out), SL_OK);
    assert_true(out.len > 0 && out.ptr[out.len - 1] == '\n');
    char *text = strndup(out.ptr, out.len - 1);
    sl_buf_release(&out);
    sl_access_format_free(compiled);
    return text;
}

static char *
line_of(const char *format, const struct sl_request *req)
{
    return line_with(format, req, 200);
}

static void
expect(const char *format, const char *expected)
{
    char *line = line_of(format, &request);
    assert_string_equal(line, expected);
    free(line);
}

static void
test_every_atom(void **state)
{
    (void)state;
    char pid[32];
    snprintf(pid, sizeof pid, "<%d>", (int)getpid());
    expect("%(h)s|%(l)s|%(u)s", "192.0.2.7|-|brian");
    expect("%(r)s", "GET /a%20b%zz?q=\\\"1\\\" HTTP/1.1");
    expect("%(s)s %(m)s %(U)s %(q)s %(H)s", "200 GET /a b%zz q=\\\"1\\\" HTTP/1.1");
    expect("%(b)s %(B)s %(B)d", "1234 1234 1234");
    expect("%(f)s", "http://a/,http://b/");
    expect("%(a)s", "curl/8 \\\"x\\\"");
    expect("%(T)s %(D)s %(M)d %(L)s", "3 3004005 3004 3.004005");
    expect("%(p)s", pid);
    expect("%({X-ID}i)s %({host}i)s %({none}i)s", "\\x1b[31m\xc3\xa9\\x9b example.org -");
    expect("%({X-Trace}o)s %({content-type}o)s %({none}o)s", "b\\\\c text/html -");
    expect("100%% %(zz)s", "100% -");
    expect("", "");
}

static void
test_what_is_missing_is_a_dash(void **state)
{
    (void)state;
    struct sl_request req = {.method = STR("GET"), .peer = &peer, .version_major = 1};
    char *line = line_of("%(u)s %(f)s %(a)s [%(q)s] %(H)s", &req);
    assert_string_equal(line, "- - - [] HTTP/1.0");
    free(line);
}

static void
test_the_time(void **state)
{
    (void)state;
    setenv("TZ", "UTC0", 1);
    tzset();
    expect("%(t)s", "[21/Nov/2026:05:38:27 +0000]");
    setenv("TZ", "XXX-5:30", 1);
    tzset();
    expect("%(t)s", "[21/Nov/2026:11:08:27 +0530]");
    setenv("TZ", "UTC0", 1);
    tzset();
}

static void
test_the_structured_formats(void **state)
{
    (void)state;
    char expected[512];
    snprintf(expected, sizeof expected,
             "{\"time\":\"2026-11-21T05:38:27.089+00:00\",\"remote_addr\":\"192.0.2.7\",\"user\":"
             "\"brian\",\"method\":\"GET\",\"path\":\"/a%%20b%%zz\",\"query\":\"q=\\\"1\\\"\","
             "\"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":1234,\"duration_us\":3004005,"
             "\"referer\":\"http://a/,http://b/\",\"user_agent\":\"curl/8 \\\"x\\\"\",\"pid\":%d}",
             (int)getpid());
    expect("json", expected);
    snprintf(expected, sizeof expected,
             "time=2026-11-21T05:38:27.089+00:00 remote_addr=192.0.2.7 user=brian method=GET "
             "path=/a%%20b%%zz query=\"q=\\\"1\\\"\" protocol=HTTP/1.1 status=200 bytes=1234 "
             "duration_us=3004005 referer=http://a/,http://b/ user_agent=\"curl/8 \\\"x\\\"\" "
             "pid=%d",
             (int)getpid());
    expect("logfmt", expected);
    struct sl_request req = {.method = STR("GET"), .path = STR("/"), .peer = &peer};
    char *line = line_of("json", &req);
    assert_non_null(strstr(line, "\"referer\":null"));
    assert_non_null(strstr(line, "\"query\":\"\""));
    free(line);
}

static void
test_what_only_python_can_fill_is_said(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "%({HTTP_HOST}e)s", "%(T)5d", "%s",   "%(s)d",   "%(h)r", "%", "%(h",
        "%(a(b)c)s",        "%(zz)d", "%(h)", "%({a}i)d"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct sl_access_format *format = NULL;
        assert_int_equal(sl_access_format_new(formats[i], &format, NULL), SL_EUNAVAILABLE);
        assert_null(format);
    }
    char many[1000] = "";
    for (int i = 0; i < 70; i++)
        strcat(many, "%(h)s ");
    struct sl_access_format *format = NULL;
    assert_int_equal(sl_access_format_new(many, &format, NULL), SL_EUNAVAILABLE);
}

static void
test_users(void **state)
{
    (void)state;
    static const struct {
        const char *value, *user;
    } rows[] = {
        {"Basic YnJpYW46cHc=", "brian"},
        {"bAsIc   YnJpYW4=", "brian"},
        {"Basic YnJpYW4", "-"},  /* padding is missing */
        {"Basic YnJp!W4=", "-"}, /* not of the alphabet */
        {"Basic", "-"},
        {"Basic ", "-"},
        {"Basic OnB3", "-"}, /* ":pw" */
        {"Bearer YnJpYW46cHc=", "-"},
        {"Basic YXLCm+KAqDp4", "ar\\x9b\\u2028"},
        {"Basic YXL/OmI=", "ar\xef\xbf\xbd"},
        {"Basic ====", "-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sl_header header = {STR("authorization"), {rows[i].value, strlen(rows[i].value)}};
        struct sl_request req = {.headers = &header, .header_count = 1, .peer = &peer};
        char *line = line_of("%(u)s", &req);
        assert_string_equal(line, rows[i].user);
        free(line);
    }
    struct sl_header two[2] = {{STR("Authorization"), STR("Basic YnJpYW46cHc=")},
                               {STR("Authorization"), STR("Basic YnJpYW46cHc=")}};
    struct sl_request req = {.headers = two, .header_count = 2, .peer = &peer};
    char *line = line_of("%(u)s", &req);
    assert_string_equal(line, "-");
    free(line);
}

/* Texts that need no escapes are copied by another way, several bytes at a time. */
static void
test_what_needs_escapes_is_found_wherever_it_stands(void **state)
{
    (void)state;
    static const char odd[] = {'"', '\\', 0x1f, 0x7f, '\x80', '\xff', ' ', '~'};
    for (size_t len = 0; len <= 70; len++) {
        for (size_t at = 0; at <= len; at++) {
            char text[71];
            memset(text, 'a', sizeof text);
            text[at] = odd[(len + at) % sizeof odd]; /* at == len: behind the end */
            struct sl_request req = {.query = {text, len}, .peer = &peer};
            char *line = line_of("%(q)s", &req);
            struct sl_buf expected = SL_BUF_INIT;
            assert_int_equal(sl_escape_latin1(&expected, text, len, SL_ESCAPE_TEXT), SL_OK);
            assert_int_equal(strlen(line), expected.len);
            assert_memory_equal(line, expected.ptr, expected.len);
            sl_buf_release(&expected);
            free(line);
        }
    }
}

static void
test_fields_are_found_by_their_whole_name(void **state)
{
    (void)state;
    static const char name_74[] =
        "x-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct sl_header some[] = {{STR("X_A"), STR("1")},        {STR("x^b"), STR("2")},
                               {STR("x~b"), STR("3")},        {STR("USER-AGENT"), STR("4")},
                               {STR("user-agenT"), STR("5")}, {STR("user_agent"), STR("6")},
                               {{name_74, 74}, STR("7")}, /* 64 more than user-agent has */
                               {STR("Referer"), STR("8")},    {STR("x"), STR("9")}};
    struct sl_request req = {
        .headers = some, .header_count = sizeof some / sizeof some[0], .peer = &peer};
    char *line = line_of("%({x_a}i)s %({X^B}i)s %({x~b}i)s %(a)s %({user-agent}i)s %(f)s "
                         "%({X}i)s %(f)s %({y}i)s %(u)s",
                         &req);
    assert_string_equal(line, "1 2 3 4,5 5 8 9 8 - -");
    free(line);
}

static void
test_no_byte_ends_the_line_or_reaches_a_terminal(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    for (int style = SL_ESCAPE_TEXT; style <= SL_ESCAPE_LOGFMT; style++) {
        struct sl_buf out = SL_BUF_INIT;
        assert_int_equal(sl_escape_latin1(&out, all, sizeof all, (enum sl_escape_style)style), 0);
        assert_int_equal(sl_escape_utf8(&out, all, sizeof all, (enum sl_escape_style)style), 0);
        for (size_t i = 0; i < out.len; i++) {
            unsigned char c = (unsigned char)out.ptr[i];
            assert_true(c >= 0x20 && c != 0x7f);
            if (c == 0xc2) /* U+0080 to U+009F */
                assert_true((unsigned char)out.ptr[i + 1] >= 0xa0);
        }
        sl_buf_release(&out);
    }
}

/* The usual format has code of its own; with a literal behind it, it goes the way of all others. */
static void
expect_usual(const struct sl_request *req, int status)
{
    char *usual = line_with(SL_ACCESS_USUAL, req, status);
    char *other = line_with(SL_ACCESS_USUAL "%%", req, status);
    assert_int_equal(strlen(usual) + 1, strlen(other));
    assert_memory_equal(usual, other, strlen(usual));
    free(usual);
    free(other);
}

static void
test_the_usual_format_knows_every_status_and_field(void **state)
{
    (void)state;
    static const struct sl_header fields[] = {
        {STR("user-agent"), STR("a")}, {STR("Referer"), STR("b")},  {STR("USER-AGENT"), STR("c")},
        {STR("referer"), STR("")},     {STR("Refererx"), STR("d")}, {STR("UserxAgent"), STR("e")},
        {STR("Referes"), STR("f")},    {STR("user-agent"), STR("")}};
    struct sl_request req = request;
    req.method = (struct sl_str){"GET /x", 3};
    req.target = (struct sl_str){req.method.ptr + 4, 2};
    req.header_count = 0;
    static const int statuses[] = {0, 7, 42, 100, 101, 110, 199, 200, 309, 404, 599, 999, 1000};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        expect_usual(&req, statuses[i]);
    static const char short_one[] = {'B'}; /* and nothing behind it */
    static const struct sl_header users[] = {{STR("Authorization"), {short_one, 1}},
                                             {STR("Authorization"), STR("BASIC YnJpYW46cHc=")},
                                             {STR("authorization"), STR("Bearer YnJpYW46cHc=")},
                                             {STR("authorizatiox"), STR("Basic YnJpYW46cHc=")},
                                             {STR("Authorization"), STR("Basic")}};
    for (size_t i = 0; i < 5; i++) {
        req.headers = users + i;
        for (req.header_count = 1; req.header_count <= 5 - i; req.header_count++)
            expect_usual(&req, 200);
    }
    req.header_count = 0;
    req.version_minor = 0;
    expect_usual(&req, 200);
    req.version_minor = 1;
    for (size_t from = 0; from < 8; from++) {
        for (size_t count = 1; count <= 8 - from; count++) {
            req.headers = fields + from;
            req.header_count = count;
            expect_usual(&req, 200);
        }
    }
    char *line = line_of(SL_ACCESS_USUAL, &req);
    assert_string_equal(line, "192.0.2.7 - - [21/Nov/2026:05:38:27 +0000] \"GET /x HTTP/1.1\" 200 "
                              "1234 \"-\" \"\"");
    free(line);
}

/* Each of the three texts in every length, with something to escape in every place; and long ones,
 * for which there must be room. */
static void
test_the_usual_format_escapes_what_the_others_escape(void **state)
{
    (void)state;
    enum { LONGEST = 70, LONG = 6000 };
    static char text[LONG + 5];
    for (size_t len = 1; len <= LONGEST; len++) {
        for (size_t at = 0; at <= len; at++) { /* the last: none */
            memcpy(text, "GET ", 4);
            memset(text + 4, 'a', len);
            if (at < len)
                text[4 + at] = at % 2 == 0 ? '"' : '\x80';
            struct sl_header field = {STR("User-Agent"), {text + 4, len}};
            struct sl_request req = request;
            req.header_count = 0;
            req.method = (struct sl_str){text, 3};
            req.target = (struct sl_str){text + 4, len};
            expect_usual(&req, 200);
            req.target.len = 0;
            req.headers = &field;
            req.header_count = 1;
            expect_usual(&req, 200);
            field.name = (struct sl_str)STR("Referer");
            expect_usual(&req, 200);
        }
    }
    memset(text + 4, 'a', LONG);
    struct sl_header fields[] = {{STR("User-Agent"), {text, 0}}, {STR("Referer"), {text, 0}}};
    struct sl_request req = request;
    req.method = (struct sl_str){text, 3};
    req.headers = fields;
    req.header_count = 2;
    for (int i = 0; i < 3; i++) {
        req.target = (struct sl_str){text + 4, i == 0 ? LONG : 0};
        fields[0].value.len = i == 1 ? LONG : 0;
        fields[1].value.len = i == 2 ? LONG : 0;
        expect_usual(&req, 200);
    }
}

static void
test_the_usual_format_writes_what_the_others_write(void **state)
{
    (void)state;
    static char target[3000], head[] = "POST /x HTTP/1.1\r\n", apart[] = "PUT\0/x";
    memset(target, '/', sizeof target);
    const struct sl_peer unknown = {.family = 1};
    const struct sl_peer longest = {.family = 10,
                                    .addr = "0123:4567:89ab:cdef:0123:4567:255.255.255.255"};
    struct sl_request requests[8];
    for (size_t i = 0; i < 8; i++)
        requests[i] = request;
    requests[1].method = (struct sl_str){head, 4}; /* as they stand in a request */
    requests[1].target = (struct sl_str){head + 5, 2};
    requests[2].target = (struct sl_str){target, sizeof target};
    requests[2].method = (struct sl_str){apart, 3}; /* with something else between */
    requests[3].method = requests[2].method;
    requests[3].target = (struct sl_str){apart + 4, 2};
    requests[3].header_count = 0;
    requests[4].version_minor = 0;
    requests[5].version_major = 9;
    requests[5].peer = &unknown;
    requests[6].headers = headers + 1; /* a user agent alone */
    requests[6].header_count = 1;
    requests[6].peer = &longest;
    requests[7].headers = headers + 2;
    requests[7].header_count = 1;
    for (size_t i = 0; i < 8; i++)
        expect_usual(&requests[i], 200);
    apart[3] = '|'; /* which needs no escapes */
    expect_usual(&requests[3], 200);
    char *line = line_of(SL_ACCESS_USUAL, &requests[1]);
    assert_string_equal(line, "192.0.2.7 - brian [21/Nov/2026:05:38:27 +0000] \"POST /x HTTP/1.1\" "
                              "200 1234 \"http://a/,http://b/\" \"curl/8 \\\"x\\\"\"");
    free(line);
    line = line_of("%(r)s", &requests[3]);
    assert_string_equal(line, "PUT /x HTTP/1.1");
    free(line);
}

/* Or nobody would have its speed. */
static void
test_the_usual_format_is_the_setting(void **state)
{
    (void)state;
    const struct sl_setting *setting = sl_settings_find("access_log_format");
    assert_non_null(setting);
    assert_string_equal(setting->default_text, SL_ACCESS_USUAL);
}

static void
test_broken_utf8(void **state)
{
    (void)state;
#define BAD "\xef\xbf\xbd"
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc0\xaf", BAD BAD},
        {"\xe0\x80\x80", BAD BAD BAD},
        {"\xed\xa0\x80", BAD BAD BAD},
        {"\xe2\x82"
         "a",
         BAD "a"},
        {"\xf0\x9f\x98", BAD},
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xff"
         "a\x80",
         BAD "a" BAD},
        {"\xe2\x80\xa8\xc2\x85", "\\u2028\\x85"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sl_buf out = SL_BUF_INIT;
        sl_escape_utf8(&out, rows[i].in, strlen(rows[i].in), SL_ESCAPE_TEXT);
        assert_int_equal(out.len, strlen(rows[i].out));
        assert_memory_equal(out.ptr, rows[i].out, out.len);
        sl_buf_release(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_atom),
        cmocka_unit_test(test_what_is_missing_is_a_dash),
        cmocka_unit_test(test_the_time),
        cmocka_unit_test(test_the_structured_formats),
        cmocka_unit_test(test_what_only_python_can_fill_is_said),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_what_needs_escapes_is_found_wherever_it_stands),
        cmocka_unit_test(test_fields_are_found_by_their_whole_name),
        cmocka_unit_test(test_no_byte_ends_the_line_or_reaches_a_terminal),
        cmocka_unit_test(test_the_usual_format_writes_what_the_others_write),
        cmocka_unit_test(test_the_usual_format_knows_every_status_and_field),
        cmocka_unit_test(test_the_usual_format_escapes_what_the_others_escape),
        cmocka_unit_test(test_the_usual_format_is_the_setting),
        cmocka_unit_test(test_broken_utf8),
    };
    setenv("TZ", "UTC0", 1);
    tzset();
    return cmocka_run_group_tests_name("access_format", tests, NULL, NULL);
}
