/* Chunked bodies and their trailers (RFC 9112 section 7.1), whole, byte by byte and at random cuts.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "http/chunked.h"
#include "http/head.h"

struct chunked_case {
    const char *source;
    const char *input;
    size_t len;
    const char *body; /* NULL: refused; data decoded before counts not */
    bool unfinished;  /* no end in the input */
    const char *rest; /* bytes from the trailer section on; NULL: not asked */
};

#define BODY(source, input, body, rest)                                                            \
    {                                                                                              \
        source, input, sizeof(input) - 1, body, false, rest                                        \
    }
#define BAD(source, input)                                                                         \
    {                                                                                              \
        source, input, sizeof(input) - 1, NULL, false, NULL                                        \
    }
#define WAIT(source, input, body)                                                                  \
    {                                                                                              \
        source, input, sizeof(input) - 1, body, true, NULL                                         \
    }

struct outcome {
    enum sl_chunked_event event;
    size_t used;
    char body[4096];
    size_t body_len;
    const char *sentence;
};

/* Decodes input in pieces of 1 to most bytes, each from memory of exactly its size. */
static void
decode(const char *input, size_t len, size_t most, uint64_t *seed, struct outcome *out)
{
    struct sl_chunked decoder;
    sl_chunked_init(&decoder);
    memset(out, 0, sizeof *out);
    out->event = SL_CHUNKED_MORE;
    for (size_t done = 0; done < len;) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        size_t n = 1 + *seed % most;
        n = most == SIZE_MAX || n > len - done ? len - done : n;
        char *piece = malloc(n);
        memcpy(piece, input + done, n);
        done += n;
        for (size_t i = 0; i < n || out->event == SL_CHUNKED_DATA;) {
            size_t used, data_len;
            const char *data;
            out->event = sl_chunked_next(&decoder, piece + i, n - i, &used, &data, &data_len,
                                         &out->sentence);
            assert_true(used <= n - i);
            out->used += used;
            i += used;
            if (out->event == SL_CHUNKED_DATA) {
                assert_true(data_len > 0);
                assert_ptr_equal(data + data_len, piece + i);
                if (out->body_len + data_len <= sizeof out->body)
                    memcpy(out->body + out->body_len, data, data_len);
                out->body_len += data_len;
            } else if (out->event == SL_CHUNKED_MORE) {
                assert_int_equal(i, n);
            } else {
                free(piece);
                return;
            }
        }
        free(piece);
    }
}

static void
demand(const struct chunked_case *c, const struct outcome *out)
{
    enum sl_chunked_event expected = c->body == NULL ? SL_CHUNKED_ERROR
                                     : c->unfinished ? SL_CHUNKED_MORE
                                                     : SL_CHUNKED_TRAILERS;
    if (out->event != expected)
        fail_msg("%s: event %d instead of %d (%s)", c->source, out->event, expected,
                 out->sentence != NULL ? out->sentence : "");
    if (c->body == NULL) {
        assert_non_null(out->sentence);
        return;
    }
    if (out->body_len != strlen(c->body) || memcmp(out->body, c->body, out->body_len) != 0)
        fail_msg("%s: body is %.*s", c->source, (int)out->body_len, out->body);
    if (c->rest != NULL)
        assert_string_equal(c->input + out->used, c->rest);
    if (c->unfinished)
        assert_int_equal(out->used, c->len);
}

static void
run(const struct chunked_case *cases, size_t count)
{
    static struct outcome whole, pieces;
    for (size_t i = 0; i < count; i++) {
        uint64_t seed = 20261121;
        decode(cases[i].input, cases[i].len, SIZE_MAX, &seed, &whole);
        demand(&cases[i], &whole);
        for (int round = 0; round < 30; round++) {
            decode(cases[i].input, cases[i].len, round == 0 ? 1 : 9, &seed, &pieces);
            demand(&cases[i], &pieces);
            assert_int_equal(pieces.used, whole.used);
            assert_ptr_equal(pieces.sentence, whole.sentence);
        }
    }
}
#define RUN(cases) run(cases, sizeof(cases) / sizeof *(cases))

static void
test_chunks_are_joined(void **state)
{
    (void)state;
    static const struct chunked_case cases[] = {
        BODY("7.1", "5\r\nhello\r\n0\r\n\r\n", "hello", "\r\n"),
        BODY("7.1: two", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", "\r\n"),
        BODY("7.1: none", "0\r\n\r\n", "", "\r\n"),
        BODY("7.1: hexadecimal, both cases", "a\r\n0123456789\r\nB\r\n0123456789A\r\n0\r\n\r\n",
             "01234567890123456789A", "\r\n"),
        BODY("7.1: leading zeros", "0005\r\nhello\r\n0000\r\n\r\n", "hello", "\r\n"),
        BODY("7.1: sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "\r\n"),
        BODY("7.1: data of line ends", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", "\r\n"),
        BODY("7.1.2: trailers stay", "1\r\na\r\n0\r\nA: b\r\n\r\nGET", "a", "A: b\r\n\r\nGET"),
        BODY("7.1.1: name", "1;a\r\nx\r\n0;b\r\n\r\n", "x", "\r\n"),
        BODY("7.1.1: value", "1;a=b;c=d\r\nx\r\n0\r\n\r\n", "x", "\r\n"),
        BODY("7.1.1: quoted", "1;a=\"b;\\\"\\\\ \t\x80\"\r\nx\r\n0\r\n\r\n", "x", "\r\n"),
        BODY("7.1.1: empty quoted", "1;a=\"\";b\r\nx\r\n0\r\n\r\n", "x", "\r\n"),
        BODY("7.1.1: bad white space", "1 \t; a = b ;\tc\t=\t\"d\" ; e\r\nx\r\n0\r\n\r\n", "x",
             "\r\n"),
        WAIT("7.1: size", "5", ""),
        WAIT("7.1: size and CR", "5\r", ""),
        WAIT("7.1: size line", "5\r\n", ""),
        WAIT("7.1: data", "5\r\nhel", "hel"),
        WAIT("7.1: no CR after data", "5\r\nhello", "hello"),
        WAIT("7.1: no LF after data", "5\r\nhello\r", "hello"),
        WAIT("7.1: no last chunk", "5\r\nhello\r\n", "hello"),
        WAIT("7.1: last chunk without LF", "0\r", ""),
        WAIT("7.1: 2^63 - 1 bytes", "7fffffffffffffff\r\nhello", "hello"),
    };
    RUN(cases);
}

static void
test_malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const struct chunked_case cases[] = {
        BAD("7.1: no size", "\r\n\r\n"),
        BAD("CVE-2022-24761: prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        BAD("CVE-2022-24761: plus", "+5\r\nhello\r\n0\r\n\r\n"),
        BAD("CVE-2022-24761: minus", "-5\r\nhello\r\n0\r\n\r\n"),
        BAD("CVE-2022-24761: underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: space before", " 5\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: space after", "5 \r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: TAB after", "5\t\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: letter", "g\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: letter behind", "5g\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: seventeen digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        BAD("7.1: 2^63", "8000000000000000\r\n"),
        BAD("7.1: 2^64 + 5", "10000000000000005\r\nhello"),
        BAD("7.1: NUL", "5\0\r\nhello\r\n0\r\n\r\n"),
        BAD("2.2: bare LF after size", "5\nhello\r\n0\r\n\r\n"),
        BAD("2.2: bare CR after size", "5\rhello\r\n0\r\n\r\n"),
        BAD("2.2: CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n"),
        BAD("2.2: bare LF after last chunk", "0\n\r\n"),
        BAD("CVE-2025-43859: no CRLF after data", "5\r\nhelloXX0\r\n\r\n"),
        BAD("7.1: data too long", "5\r\nhello!\r\n0\r\n\r\n"),
        BAD("7.1: data too short", "5\r\nhell\r\n0\r\n\r\n"),
        BAD("2.2: LF after data", "5\r\nhello\n0\r\n\r\n"),
        BAD("2.2: CR after data", "5\r\nhello\r0\r\n\r\n"),
        BAD("7.1.1: bare semicolon", "1;\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: two semicolons", "1;;a\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: no name", "1;=b\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: no value", "1;a=\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: white space at the end", "1;a \r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: white space after a value", "1;a=b \r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: open quote", "1;a=\"b\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: bytes after a quote", "1;a=\"b\"c\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: no token", "1;a@b\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: control", "1;a=b\x01\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: control in quotes", "1;a=\"\x01\"\r\nx\r\n0\r\n\r\n"),
        BAD("7.1.1: escaped LF", "1;a=\"\\\n\"\r\nx\r\n0\r\n\r\n"),
        BAD("CVE-2024-52304: LF in an extension", "1;a\nb\r\nx\r\n0\r\n\r\n"),
        BAD("gunicorn 7.3: CR in an extension", "1;a\rb\r\nx\r\n0\r\n\r\n"),
    };
    RUN(cases);
}

static void
test_extensions_are_bounded(void **state)
{
    (void)state;
    static char line[SL_CHUNKED_MAX_LINE_EXT + 20];
    struct outcome *out = malloc(sizeof *out);
    for (size_t over = 0; over < 2; over++) {
        size_t ext = SL_CHUNKED_MAX_LINE_EXT + over;
        line[0] = '1';
        line[1] = ';';
        memset(line + 2, 'a', ext - 1);
        strcpy(line + 1 + ext, "\r\nx\r\n0\r\n\r\n");
        uint64_t seed = 1;
        decode(line, strlen(line), over + 1, &seed, out);
        assert_int_equal(out->event, over ? SL_CHUNKED_ERROR : SL_CHUNKED_TRAILERS);
    }
    free(out);
}

/* 4 KiB without data to pay for it; 90 bytes of signature on each 64 KiB go on for ever. */
static void
test_extensions_are_paid_for_by_data(void **state)
{
    (void)state;
    struct sl_chunked decoder;
    size_t used, len, chunks;
    const char *data, *sentence;
    static const char small[] = "1;sixteen-bytes-or\r\nx\r\n";
    sl_chunked_init(&decoder);
    enum sl_chunked_event event = SL_CHUNKED_MORE;
    for (chunks = 0; chunks < 1000 && event != SL_CHUNKED_ERROR; chunks++) {
        event = sl_chunked_next(&decoder, small, sizeof small - 1, &used, &data, &len, &sentence);
        if (event == SL_CHUNKED_DATA)
            event = sl_chunked_next(&decoder, small + used, sizeof small - 1 - used, &used, &data,
                                    &len, &sentence);
    }
    assert_int_equal(event, SL_CHUNKED_ERROR);
    assert_in_range(chunks, SL_CHUNKED_MAX_EXT_DEBT / 18, SL_CHUNKED_MAX_EXT_DEBT / 16);

    static char large[65536 + 200];
    memcpy(large, "10000;chunk-signature=", 22);
    memset(large + 22, 'f', 64);
    memcpy(large + 86, "\r\n", 2);
    memset(large + 88, 'x', 65536);
    memcpy(large + 88 + 65536, "\r\n", 2);
    size_t total = 90 + 65536;
    sl_chunked_init(&decoder);
    for (chunks = 0; chunks < 1000; chunks++) {
        event = sl_chunked_next(&decoder, large, total, &used, &data, &len, &sentence);
        assert_int_equal(event, SL_CHUNKED_DATA);
        assert_int_equal(len, 65536);
        event =
            sl_chunked_next(&decoder, large + used, total - used, &used, &data, &len, &sentence);
        assert_int_equal(event, SL_CHUNKED_MORE);
    }
}

static void
test_an_ended_decoder_stays_ended(void **state)
{
    (void)state;
    struct sl_chunked decoder;
    size_t used, len;
    const char *data, *sentence = NULL;
    sl_chunked_init(&decoder);
    assert_int_equal(sl_chunked_next(&decoder, "0\r\nA", 4, &used, &data, &len, &sentence),
                     SL_CHUNKED_TRAILERS);
    assert_int_equal(used, 3);
    assert_int_equal(sl_chunked_next(&decoder, "5\r\n", 3, &used, &data, &len, &sentence),
                     SL_CHUNKED_TRAILERS);
    assert_int_equal(used, 0);
    sl_chunked_init(&decoder);
    assert_int_equal(sl_chunked_next(&decoder, "x", 1, &used, &data, &len, &sentence),
                     SL_CHUNKED_ERROR);
    sentence = NULL;
    assert_int_equal(sl_chunked_next(&decoder, "5\r\nhello", 8, &used, &data, &len, &sentence),
                     SL_CHUNKED_ERROR);
    assert_non_null(sentence);
}

struct trailer_case {
    const char *source, *input;
    int status; /* 200, 0 or refused with */
    size_t count;
};

static int
parse_trailers(const char *input, bool bytewise, size_t *ret_count, size_t *ret_used)
{
    static const struct sl_http_limits limits = {.fields = 3, .field_size = 30};
    struct sl_head_rules rules;
    sl_head_rules_init(&rules, &limits, NULL);
    struct sl_header fields[4];
    uint64_t resume = 0;
    const char *sentence = NULL;
    size_t len = strlen(input);
    int rc = 0;
    for (size_t n = bytewise ? 1 : len; rc == 0 && n <= len; n++) {
        char *copy = malloc(n);
        memcpy(copy, input, n);
        rc = sl_head_parse_trailers(fields, 4, ret_count, copy, n, &resume, &rules, &sentence);
        free(copy);
    }
    if (rc < 0)
        assert_non_null(sentence);
    *ret_used = rc > 0 ? (size_t)rc : 0;
    return rc > 0 ? 200 : -rc;
}

static void
test_trailers_obey_the_rules_of_fields(void **state)
{
    (void)state;
    static const struct trailer_case cases[] = {
        {"7.1.2: none", "\r\n", 200, 0},
        {"7.1.2: one", "A: b\r\n\r\n", 200, 1},
        {"7.1.2: three", "A: b\r\nC: d\r\nE: f\r\n\r\n", 200, 3},
        {"7.1.2: any other name", "Content-MD5: b\r\n\r\n", 200, 1},
        {"header_map: dropped", "A_B: c\r\n\r\n", 200, 0},
        {"7.1.2: unfinished", "A: b\r\n", 0, 0},
        {"7.1.2: nothing", "", 0, 0},
        {"7.1.2: CR", "\r", 0, 0},
        {"CVE-2026-22815: count", "A: b\r\nC: d\r\nE: f\r\nG", 431, 0},
        {"CVE-2026-22815: size", "A: 456789012345678901234567890", 431, 0},
        {"9110 6.5.1: Host", "Host: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: Content-Length", "content-length: 5\r\n\r\n", 400, 0},
        {"9110 6.5.1: Transfer-Encoding", "Transfer-Encoding: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: Trailer", "A: b\r\nTRAILER: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: Authorization", "Authorization: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: TE", "te: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: Content-Type", "Content-Type: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: Connection", "Connection: close\r\n\r\n", 400, 0},
        {"9110 6.5.1: Cookie", "Cookie: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: If-Match", "If-Match: x\r\n\r\n", 400, 0},
        {"9110 6.5.1: X-Forwarded-", "x-forwarded-ssl: on\r\n\r\n", 400, 0},
        {"9110 6.5.1: X-Forwarded", "X-Forwarded: x\r\n\r\n", 200, 1},
        {"9112 5.1: space", "A : b\r\n\r\n", 400, 0},
        {"9112 2.2: LF", "A: b\n\r\n", 400, 0},
        {"9112 2.2: LF as the end", "A: b\r\n\n", 400, 0},
        {"9112 2.2: LF alone", "\n", 400, 0},
        {"9112 5.2: folding", "A: b\r\n c\r\n\r\n", 400, 0},
        {"9112 5: no colon", "GET / HTTP/1.1\r\n\r\n", 400, 0},
        {"9110 5.5: control", "A: \x01\r\n\r\n", 400, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            size_t count = 0, used;
            int status = parse_trailers(cases[i].input, bytewise, &count, &used);
            if (status != cases[i].status || count != cases[i].count ||
                (status == 200 && used != strlen(cases[i].input)))
                fail_msg("%s: status %d, %zu fields, %zu bytes", cases[i].source, status, count,
                         used);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_joined),
        cmocka_unit_test(test_malformed_chunks_are_refused),
        cmocka_unit_test(test_extensions_are_bounded),
        cmocka_unit_test(test_extensions_are_paid_for_by_data),
        cmocka_unit_test(test_an_ended_decoder_stays_ended),
        cmocka_unit_test(test_trailers_obey_the_rules_of_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
