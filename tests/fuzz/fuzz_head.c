/* Request heads. The first two bytes choose settings by their low five bits, so that inputs stay
 * readable: "@@" is gunicorn's defaults. The rest is what a client sends.
 *
 *   byte 1: A folding, B spaces, D methods, H versions, P casefold (their sum beyond "@")
 *   byte 2: A refuse or B dangerous underscores, D trusted peer, H small limits, P a trailer
 * section
 *
 * Demanded: the verdict is the same whole, byte by byte and in pieces, whether the host was known
 * or not; what is accepted lies in the buffer, is well-formed, and parses to the same when it is
 * written out and read again. */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "http/head.h"
#include "http/text.h"

enum { FIELDS = 64, MAX_INPUT = 4096 };

struct setup {
    struct sl_http_limits limits;
    bool trusted, trailers;
    struct sl_known_host *known_host;
};

struct verdict {
    int rc;
    const char *sentence;
    char *buf; /* what the slices point into */
    size_t len;
    struct sl_request req;
    struct sl_header fields[FIELDS];
    size_t count;
};

static const struct sl_scheme_header scheme_headers[] = {
    {"X-FORWARDED-PROTO", "https"}, {"X-FORWARDED-SSL", "on"}, {NULL, NULL}};
static const char *const forwarder_headers[] = {"SCRIPT_NAME", "PATH_INFO", NULL};

static struct setup
choose(const uint8_t *data)
{
    unsigned a = data[0], b = data[1];
    bool small = b & 8;
    return (struct setup){
        .limits = {.request_line = small ? 40 : 4094,
                   .head = small ? 100 : 0,
                   .fields = small ? 3 : 100,
                   .field_size = small ? 40 : 8190,
                   .permit_obsolete_folding = a & 1,
                   .strip_header_spaces = a & 2,
                   .permit_unconventional_method = a & 4,
                   .permit_unconventional_version = a & 8,
                   .casefold_method = a & 16,
                   .header_map = b & 1   ? SL_HEADER_MAP_REFUSE
                                 : b & 2 ? SL_HEADER_MAP_DANGEROUS
                                         : SL_HEADER_MAP_DROP,
                   .forwarder_headers = forwarder_headers},
        .trusted = b & 4,
        .trailers = b & 16,
    };
}

static void
parse(const struct setup *s, struct verdict *v, uint64_t *resume)
{
    struct sl_head_rules rules;
    sl_head_rules_init(&rules, &s->limits, scheme_headers);
    v->req = (struct sl_request){0};
    if (s->trailers) {
        v->rc = sl_head_parse_trailers(v->fields, FIELDS, &v->count, v->buf, v->len, resume, &rules,
                                       &v->sentence);
        return;
    }
    struct sl_head head = {&v->req, v->fields, FIELDS, s->known_host};
    v->rc = sl_head_parse(&head, v->buf, v->len, resume, &rules, s->trusted, &v->sentence);
    v->count = v->req.header_count;
}

/* most: longest piece; each prefix has memory of its own size, as far as that can be afforded. */
static void
feed(const struct setup *s, const char *text, size_t size, size_t most, struct verdict *v)
{
    uint64_t resume = 0, seed = 88172645463325252u + size;
    *v = (struct verdict){.buf = malloc(1)};
    size_t done = 0;
    while (v->rc == 0 && done < size) {
        size_t n = most == 0 ? size - done : most == 1 ? 1 : fuzz_piece(&seed, size - done);
        char *longer = malloc(done + n);
        DEMAND(longer != NULL);
        memcpy(longer, v->buf, done);
        memcpy(longer + done, text + done, n);
        free(v->buf);
        v->buf = longer;
        v->len = done += n;
        parse(s, v, &resume);
    }
}

static bool
same_text(const struct sl_str *a, const struct sl_str *b)
{
    return a->len == b->len && (a->ptr == NULL) == (b->ptr == NULL) &&
           (a->len == 0 || memcmp(a->ptr, b->ptr, a->len) == 0);
}

static void
demand_same(const struct verdict *a, const struct verdict *b)
{
    DEMAND(a->rc == b->rc);
    if (a->rc == 0)
        return; /* what is in a request then means nothing */
    DEMAND(a->sentence == b->sentence);
    DEMAND(same_text(&a->req.method, &b->req.method));
    DEMAND(same_text(&a->req.target, &b->req.target));
    if (a->rc <= 0)
        return;
    DEMAND(same_text(&a->req.path, &b->req.path));
    DEMAND(same_text(&a->req.query, &b->req.query));
    DEMAND(a->req.version_major == b->req.version_major);
    DEMAND(a->req.version_minor == b->req.version_minor);
    DEMAND(a->req.body == b->req.body);
    DEMAND(a->req.content_length == b->req.content_length);
    DEMAND(a->req.keep_alive == b->req.keep_alive);
    DEMAND(a->req.expect_continue == b->req.expect_continue);
    DEMAND(a->req.https == b->req.https);
    DEMAND(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        DEMAND(same_text(&a->fields[i].name, &b->fields[i].name));
        DEMAND(same_text(&a->fields[i].value, &b->fields[i].value));
    }
}

static void
demand_inside(const struct verdict *v, const struct sl_str *s)
{
    DEMAND(s->ptr >= v->buf && s->ptr + s->len <= v->buf + v->rc);
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void
demand_sound(const struct setup *s, const struct verdict *v)
{
    DEMAND((size_t)v->rc <= v->len);
    DEMAND(v->count <= s->limits.fields);
    for (size_t i = 0; i < v->count; i++) {
        const struct sl_str *name = &v->fields[i].name, *value = &v->fields[i].value;
        demand_inside(v, name);
        demand_inside(v, value);
        DEMAND(sl_http_is_token(name->ptr, name->len));
        DEMAND(sl_http_is_value(value->ptr, value->len));
        if (value->len > 0)
            DEMAND(!is_space(value->ptr[0]) && !is_space(value->ptr[value->len - 1]));
    }
    if (s->trailers)
        return;
    demand_inside(v, &v->req.method);
    demand_inside(v, &v->req.target);
    DEMAND(sl_http_is_token(v->req.method.ptr, v->req.method.len));
    DEMAND(v->req.target.len > 0);
    DEMAND(v->req.path.ptr != NULL);
    if (v->req.path.len != 1)
        demand_inside(v, &v->req.path);
    DEMAND(memchr(v->req.path.ptr, '?', v->req.path.len) == NULL);
    if (v->req.query.ptr != NULL)
        demand_inside(v, &v->req.query);
    DEMAND(v->req.body == SL_BODY_LENGTH || v->req.content_length == 0);
    DEMAND(v->req.content_length <= INT64_MAX);
}

static size_t
write_out(const struct setup *s, const struct verdict *v, char *out)
{
    char *p = out;
    if (!s->trailers)
        p += sprintf(p, "%.*s %.*s HTTP/%u.%u\r\n", (int)v->req.method.len, v->req.method.ptr,
                     (int)v->req.target.len, v->req.target.ptr, v->req.version_major,
                     v->req.version_minor);
    for (size_t i = 0; i < v->count; i++)
        p += sprintf(p, "%.*s:%.*s\r\n", (int)v->fields[i].name.len, v->fields[i].name.ptr,
                     (int)v->fields[i].value.len, v->fields[i].value.ptr);
    p += sprintf(p, "\r\n");
    return (size_t)(p - out);
}

static void
demand_stable(const struct setup *s, const struct verdict *v)
{
    static char out[2 * MAX_INPUT + 16];
    struct verdict again;
    feed(s, out, write_out(s, v, out), 0, &again);
    int rc = again.rc;
    DEMAND(rc > 0);
    again.rc = v->rc; /* the length may differ */
    demand_same(v, &again);
    free(again.buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > MAX_INPUT)
        return 0;
    struct setup s = choose(data);
    const char *text = (const char *)data + 2;
    static struct verdict whole, bytes, pieces;
    struct sl_known_host known_host = {0};
    feed(&s, text, size - 2, 0, &whole);
    s.known_host = &known_host; /* becomes known here */
    feed(&s, text, size - 2, 1, &bytes);
    feed(&s, text, size - 2, 2, &pieces);
    demand_same(&whole, &bytes);
    demand_same(&whole, &pieces);
    DEMAND(whole.rc >= 0 || whole.sentence != NULL);
    if (whole.rc > 0) {
        demand_sound(&s, &whole);
        demand_stable(&s, &whole);
    }
    free(whole.buf);
    free(bytes.buf);
    free(pieces.buf);
    return 0;
}
