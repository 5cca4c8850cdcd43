/* Dates, reason phrases, error pages, tokens and values. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <saola/status.h>

#include "http/text.h"

static void
test_dates_are_imf_fixdates(void **state)
{
    (void)state;
    static const struct {
        long long when;
        const char *text;
    } cases[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* the example of RFC 9110 section 5.6.7 */
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1709251199, "Thu, 29 Feb 2024 23:59:59 GMT"},
        {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {253402300800, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {-1, "Thu, 01 Jan 1970 00:00:00 GMT"},
    };
    char text[SL_DATE_LEN + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_http_date((time_t)cases[i].when, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void
test_dates_agree_with_the_c_library(void **state)
{
    (void)state;
    char ours[SL_DATE_LEN + 1], theirs[64];
    for (long long when = 0; when < 253402300800; when += 86400 * 5 + 3671) {
        time_t t = (time_t)when;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        sl_http_date(t, ours);
        assert_string_equal(ours, theirs);
    }
}

static void
test_reasons_are_the_registered_ones(void **state)
{
    (void)state;
    assert_string_equal(sl_http_reason(200), "OK");
    assert_string_equal(sl_http_reason(404), "Not Found");
    assert_string_equal(sl_http_reason(414), "URI Too Long");
    assert_string_equal(sl_http_reason(431), "Request Header Fields Too Large");
    assert_string_equal(sl_http_reason(505), "HTTP Version Not Supported");
    assert_string_equal(sl_http_reason(599), "Unknown");
    assert_string_equal(sl_http_reason(-1), "Unknown");
}

/* The number behind "Content-Length: " and the body are checked against each other. */
static void
check_page(const char *page, size_t len, const char *status_line, const char *in_body)
{
    assert_int_equal(strncmp(page, status_line, strlen(status_line)), 0);
    char copy[4096];
    assert_true(len < sizeof copy);
    memcpy(copy, page, len);
    copy[len] = '\0';
    assert_non_null(strstr(copy, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(copy, "\r\nContent-Type: text/html\r\n"));
    const char *length = strstr(copy, "\r\nContent-Length: "), *body = strstr(copy, "\r\n\r\n");
    assert_non_null(length);
    assert_non_null(body);
    body += 4;
    if (in_body == NULL) {
        assert_int_equal(*body, '\0');
        return;
    }
    assert_int_equal(atoi(length + 18), len - (size_t)(body - copy));
    assert_non_null(strstr(body, in_body));
}

static void
test_error_pages_are_complete_responses(void **state)
{
    (void)state;
    char page[2048];
    size_t len;
    assert_int_equal(sl_http_error_page(page, sizeof page, 400, "No <b> & \"c\"", 1, false, &len),
                     SL_OK);
    check_page(page, len, "HTTP/1.1 400 Bad Request\r\n", "<p>No &lt;b&gt; &amp; \"c\"</p>");
    assert_int_equal(sl_http_error_page(page, sizeof page, 431, NULL, 0, false, &len), SL_OK);
    check_page(page, len, "HTTP/1.0 431 Request Header Fields Too Large\r\n", "<h1>Request Header");
    assert_int_equal(sl_http_error_page(page, sizeof page, 500, "x", 1, true, &len), SL_OK);
    check_page(page, len, "HTTP/1.1 500 Internal Server Error\r\n", NULL);
    assert_int_equal(sl_http_error_page(page, sizeof page, 7, "x", 1, true, &len), SL_EINVAL);
}

static void
test_error_pages_are_never_truncated(void **state)
{
    (void)state;
    char sentence[201];
    memset(sentence, '&', 200);
    sentence[200] = '\0';
    size_t len, same;
    char *page = malloc(2048);
    assert_int_equal(sl_http_error_page(page, 2048, 431, sentence, 1, false, &len), SL_OK);
    free(page);
    for (size_t capacity = 0; capacity < len + 20; capacity++) {
        page = malloc(capacity + 1); /* a sanitizer watches its end */
        int rc = sl_http_error_page(page, capacity, 431, sentence, 1, false, &same);
        assert_int_equal(rc, capacity > len ? SL_OK : SL_EINVAL);
        free(page);
    }
    memset(sentence, 'a', 200);
    page = malloc(1024);
    for (int status = 100; status < 600; status++)
        assert_int_equal(sl_http_error_page(page, 1024, status, sentence, 1, false, &len), SL_OK);
    free(page);
}

static void
test_tokens_and_values_are_told_by_their_bytes(void **state)
{
    (void)state;
    static const char tchars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"; /* RFC 9110 section 5.6.2 */
    for (int c = 0; c < 256; c++) {
        /* At every place of a text, so that each step of a wide scan sees it. */
        for (size_t len = 1; len < 28; len++) {
            for (size_t at = 0; at < len; at++) {
                char *text = malloc(len);
                memset(text, 'a', len);
                text[at] = (char)c;
                bool tchar = c != 0 && strchr(tchars, c) != NULL;
                bool vchar = c == '\t' || (c >= 0x20 && c != 0x7f);
                assert_int_equal(sl_http_is_token(text, len), tchar);
                assert_int_equal(sl_http_is_value(text, len), vchar);
                free(text);
            }
        }
    }
    assert_false(sl_http_is_token("", 0));
    assert_true(sl_http_is_value("", 0));
    assert_true(sl_http_is_value("\t\t\t\t\t\t\t\t\t\t", 10));
    assert_false(sl_http_is_value("\t\t\t\t\t\t\t\t\t\n", 10));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_are_imf_fixdates),
        cmocka_unit_test(test_dates_agree_with_the_c_library),
        cmocka_unit_test(test_reasons_are_the_registered_ones),
        cmocka_unit_test(test_error_pages_are_complete_responses),
        cmocka_unit_test(test_error_pages_are_never_truncated),
        cmocka_unit_test(test_tokens_and_values_are_told_by_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
