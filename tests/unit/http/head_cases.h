/* Feeds request heads to the parser whole, byte by byte and at random cuts, each time from a buffer
 * of exactly the bytes that "arrived" (so that a sanitizer sees any look beyond), and demands one
 * and the same verdict. */
#ifndef SL_TEST_HEAD_CASES_H
#define SL_TEST_HEAD_CASES_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/head.h"

/* What the peer may do. */
struct test_trust {
    bool trusted;
    const struct sl_scheme_header *scheme_headers;
};

static inline int
parse_by(struct sl_head *head, char *buf, size_t len, uint64_t *resume,
         const struct sl_http_limits *limits, const struct test_trust *trust,
         const char **ret_sentence)
{
    struct sl_head_rules rules;
    sl_head_rules_init(&rules, limits, trust != NULL ? trust->scheme_headers : NULL);
    return sl_head_parse(head, buf, len, resume, &rules, trust != NULL && trust->trusted,
                         ret_sentence);
}

struct head_case {
    const char *source; /* RFC section or gunicorn's rule, and what the case is about */
    const char *input;
    size_t len;
    int status;           /* 200: accepted, 0: not complete, else refused with it */
    const char *shows[4]; /* parts of the description of an accepted head */
    const struct sl_http_limits *limits;
    const struct test_trust *trust;
};

#define OK(source, input, ...)                                                                     \
    {                                                                                              \
        source, "" input, sizeof(input) - 1, 200, {__VA_ARGS__}, NULL, NULL                        \
    }
#define BAD(source, status, input)                                                                 \
    {                                                                                              \
        source, "" input, sizeof(input) - 1, status, {NULL}, NULL, NULL                            \
    }
#define WAIT(source, input)                                                                        \
    {                                                                                              \
        source, "" input, sizeof(input) - 1, 0, {NULL}, NULL, NULL                                 \
    }
#define OK_WITH(limits, trust, source, input, ...)                                                 \
    {                                                                                              \
        source, "" input, sizeof(input) - 1, 200, {__VA_ARGS__}, limits, trust                     \
    }
#define BAD_WITH(limits, trust, source, status, input)                                             \
    {                                                                                              \
        source, "" input, sizeof(input) - 1, status, {NULL}, limits, trust                         \
    }

#define GET "GET / HTTP/1.1\r\nHost: x\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"
#define GET_1_0 "GET / HTTP/1.0\r\n"
#define END "\r\n"

/* gunicorn's defaults. */
static const struct sl_http_limits default_limits = {
    .request_line = 4094, .fields = 100, .field_size = 8190};

enum { VERDICT_TEXT = 60000, TEST_FIELDS = 200 };

struct verdict {
    int rc;
    const char *sentence; /* of a refusal */
    char text[VERDICT_TEXT];
};

static void
put(struct verdict *v, size_t *at, const char *what, const struct sl_str *s)
{
    *at += (size_t)snprintf(v->text + *at, sizeof v->text - *at, "%s<%.*s> ", what, (int)s->len,
                            s->ptr != NULL ? s->ptr : "");
    assert_true(*at < sizeof v->text);
}

static void
describe(struct verdict *v, const struct sl_request *req)
{
    static const char *const kinds[] = {"none", "length", "chunked"};
    size_t at = 0;
    put(v, &at, "method", &req->method);
    put(v, &at, "target", &req->target);
    put(v, &at, "path", &req->path);
    put(v, &at, req->query.ptr != NULL ? "query" : "no-query", &req->query);
    at +=
        (size_t)snprintf(v->text + at, sizeof v->text - at, "%u.%u %s body=%s:%llu %s%s{ ",
                         req->version_major, req->version_minor, req->keep_alive ? "keep" : "close",
                         kinds[req->body], (unsigned long long)req->content_length,
                         req->expect_continue ? "expect " : "", req->https ? "https " : "");
    for (size_t i = 0; i < req->header_count; i++) {
        put(v, &at, "", &req->headers[i].name);
        put(v, &at, "=", &req->headers[i].value);
    }
    snprintf(v->text + at, sizeof v->text - at, "}");
}

/* Parses input as it arrives in pieces whose ends cut() tells; returns at the first verdict. */
static void
feed(const struct head_case *c, size_t (*cut)(size_t done, size_t len, void *ctx), void *ctx,
     struct verdict *v)
{
    static struct sl_header fields[TEST_FIELDS];
    uint64_t resume = 0;
    char *buf = malloc(1);
    size_t done = 0;
    memset(v, 0, sizeof *v);
    while (v->rc == 0 && done < c->len) {
        size_t n = cut(done, c->len, ctx);
        char *longer = malloc(n);
        memcpy(longer, buf, done);
        memcpy(longer + done, c->input + done, n - done);
        free(buf);
        buf = longer;
        done = n;
        struct sl_request req = {0};
        struct sl_head head = {&req, fields, TEST_FIELDS, NULL};
        v->rc = parse_by(&head, buf, done, &resume, c->limits != NULL ? c->limits : &default_limits,
                         c->trust, &v->sentence);
        if (v->rc > 0)
            describe(v, &req);
        else if (v->rc < 0)
            put(v, &(size_t){0}, "refused", &req.method);
    }
    free(buf);
}

static size_t
cut_nowhere(size_t done, size_t len, void *ctx)
{
    (void)done, (void)ctx;
    return len;
}

static size_t
cut_everywhere(size_t done, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    return done + 1;
}

static size_t
cut_anywhere(size_t done, size_t len, void *ctx)
{
    uint64_t *seed = ctx;
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    size_t n = done + 1 + *seed % (*seed >> 60 == 0 ? 4 : 40);
    return n < len ? n : len;
}

static void
demand_same(const struct head_case *c, const struct verdict *whole, const struct verdict *other)
{
    if (other->rc == whole->rc && strcmp(other->text, whole->text) == 0 &&
        other->sentence == whole->sentence)
        return;
    fail_msg("%s\n--- input:\n%.*s\n--- whole: %d %s %s\n--- in pieces: %d %s %s", c->source,
             (int)c->len, c->input, whole->rc, whole->text,
             whole->sentence != NULL ? whole->sentence : "", other->rc, other->text,
             other->sentence != NULL ? other->sentence : "");
}

static void
run_head_case(const struct head_case *c)
{
    static struct verdict whole, other;
    feed(c, cut_nowhere, NULL, &whole);
    int status = whole.rc > 0 ? 200 : -whole.rc;
    if (status != c->status)
        fail_msg("%s\n--- input:\n%.*s\n--- expected %d, got %d %s", c->source, (int)c->len,
                 c->input, c->status, status, whole.sentence != NULL ? whole.sentence : whole.text);
    for (size_t i = 0; i < 4 && c->shows[i] != NULL; i++) {
        if (strstr(whole.text, c->shows[i]) == NULL)
            fail_msg("%s\n--- input:\n%.*s\n--- not shown: %s\n--- but: %s", c->source, (int)c->len,
                     c->input, c->shows[i], whole.text);
    }
    feed(c, cut_everywhere, NULL, &other);
    demand_same(c, &whole, &other);
    uint64_t seed = 20261121;
    for (int round = 0; round < 20; round++) {
        feed(c, cut_anywhere, &seed, &other);
        demand_same(c, &whole, &other);
    }
}

#define RUN_HEAD_CASES(cases)                                                                      \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < sizeof(cases) / sizeof *(cases); i_++)                            \
            run_head_case(&(cases)[i_]);                                                           \
    } while (0)

#endif
