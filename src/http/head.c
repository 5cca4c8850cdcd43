/* Parses request heads and trailer sections line by line.
 *
 * The usual head is complete in the first call and goes through parse_fields() once. If it is not,
 * *resume keeps where the unfinished line starts, how much of it was seen and how many fields came
 * before; later calls (rescan()) look only at new bytes, check each line that became complete, and
 * when the empty line comes the whole head is parsed a second and last time. So each byte is looked
 * at a bounded number of times, nothing but 64 bits is kept, and lines are judged one by one in
 * either way: the verdict is the same for every cut.
 */
#include "http/head.h"

#include <assert.h>

#include "http/chars.h"
#include "http/framing.h"
#include "http/names.h"
#include "http/request_line.h"

#define COLD __attribute__((cold, noinline))

struct parser {
    char *buf, *end;
    char *first; /* first field line; of a head: the request line */
    uint64_t *resume;
    const struct sl_http_limits *limits;
    const char *const *forwarder_headers; /* of a trusted peer, or NULL */
    size_t max_line, max_field, max_fields;
    bool trailers;
    const char *sentence;
};

/* *resume taken apart. */
struct place {
    size_t line;  /* offset of the unfinished line */
    size_t seen;  /* bytes of it that were looked at */
    size_t count; /* field lines before it */
};

enum { SEEN_BITS = 20, COUNT_BITS = 16 };
static_assert(SL_HEAD_MAX_LINE < 1 << SEEN_BITS, "seen fits");
static_assert(SL_HEAD_MAX_FIELDS < 1 << COUNT_BITS, "count fits");
static_assert(SL_HEAD_MAX_BYTES < 1 << (64 - SEEN_BITS - COUNT_BITS), "line fits");

static uint64_t
pack(const struct place *at)
{
    return (uint64_t)at->line << (SEEN_BITS + COUNT_BITS) | (uint64_t)at->count << SEEN_BITS |
           at->seen;
}

static struct place
unpack(uint64_t resume)
{
    return (struct place){
        .line = (size_t)(resume >> (SEEN_BITS + COUNT_BITS)),
        .count = (size_t)(resume >> SEEN_BITS & ((1u << COUNT_BITS) - 1)),
        .seen = (size_t)(resume & ((1u << SEEN_BITS) - 1)),
    };
}

static int
refuse(struct parser *ps, int status, const char *sentence)
{
    ps->sentence = sentence;
    return -status;
}

/* ---- one line -----------------------------------------------------------------------------------
 */

static bool
is_request_line(const struct parser *ps, const char *line)
{
    return !ps->trailers && line == ps->first;
}

static bool
may_fold(const struct parser *ps, const char *line)
{
    return ps->limits->permit_obsolete_folding && !is_request_line(ps, line);
}

/* The LF that ends the line of which [line, from) holds none; NULL while it is not here, or while
 * the next line may still turn out to continue this one. */
static char *
find_line_end(const struct parser *ps, char *line, char *from)
{
    bool folding = may_fold(ps, line);
    for (char *lf; from < ps->end; from = lf + 1) {
        lf = memchr(from, '\n', (size_t)(ps->end - from));
        if (lf == NULL || !folding)
            return lf;
        if (lf + 1 == ps->end)
            return NULL;
        if (!sl_char_is_space(lf[1]))
            return lf;
    }
    return NULL;
}

/* Length of [line, end) without a line end that it may have. */
static size_t
bare_length(const char *line, const char *end)
{
    if (end > line && end[-1] == '\n')
        end--;
    if (end > line && end[-1] == '\r')
        end--;
    return (size_t)(end - line);
}

static int
check_length(struct parser *ps, const char *line, const char *end)
{
    size_t len = bare_length(line, end);
    if (is_request_line(ps, line))
        return len > ps->max_line ? refuse(ps, 414, "The request line is too long.") : 0;
    return len > ps->max_field ? refuse(ps, 431, "A header field is too long.") : 0;
}

/* The line is not complete: 0, and *resume says where to go on; or it is already too long. */
static COLD int
wait_for_more(struct parser *ps, const char *line, size_t count)
{
    int rc = check_length(ps, line, ps->end);
    if (rc < 0)
        return rc;
    struct place at = {(size_t)(line - ps->buf), (size_t)(ps->end - line), count};
    /* A line end that may be folded is looked at again together with the next byte. */
    if (at.seen > 0 && ps->end[-1] == '\n')
        at.seen--;
    if (at.line > SL_HEAD_MAX_BYTES)
        return refuse(ps, 431, "The request head is too long.");
    *ps->resume = pack(&at);
    return 0;
}

/* The line cannot be finished: its end is not here, or verdict (negative) was found in it. To judge
 * every cut alike, a fault counts once the line is complete, and to be too long counts for more. */
static COLD int
stop(struct parser *ps, char *line, size_t count, int verdict)
{
    const char *fault = ps->sentence;
    char *lf = find_line_end(ps, line, line);
    if (lf == NULL || verdict == 0)
        return wait_for_more(ps, line, count);
    int rc = check_length(ps, line, lf + 1);
    return rc < 0 ? rc : refuse(ps, -verdict, fault);
}

/* White space between name and colon, if it may be there. */
static COLD char *
skip_name_space(const struct parser *ps, char *p)
{
    if (ps->limits->strip_header_spaces) {
        while (p < ps->end && sl_char_is_space(*p))
            p++;
    }
    return p;
}

/* One field line. 1: complete, out, *ret_underscore (in the name) and *ret_next are set. 0: not
 * complete. Negative: refused. */
static inline int
parse_field(struct parser *ps, char *line, struct sl_header *out, bool *ret_underscore,
            char **ret_next)
{
    char *p = line, *end = ps->end;
    bool underscore = false;
    for (;;) {
        p += sl_chars_skip_name(p, end) - p;
        if (p == end || *p != '_')
            break;
        underscore = true;
        p++;
    }
    size_t name_len = (size_t)(p - line);
    if (p < end && *p != ':' && name_len > 0)
        p = skip_name_space(ps, p);
    if (p == end)
        return 0;
    if (*p != ':' || name_len == 0)
        return refuse(ps, 400, "A header line does not begin with a name and a colon.");
    p++;
    while (p < end && sl_char_is_space(*p))
        p++;
    char *value = p;
    for (;;) {
        p += sl_chars_skip_value(p, end) - p;
        if (end - p < 2) {
            if (p == end || *p == '\r')
                return 0;
            return refuse(ps, 400, "A header value has a control character.");
        }
        if (p[0] != '\r' || p[1] != '\n')
            return refuse(ps, 400, "A header value has a control character.");
        if (__builtin_expect(!ps->limits->permit_obsolete_folding, 1))
            break;
        if (end - p == 2)
            return 0;
        if (!sl_char_is_space(p[2]))
            break;
        p[0] = p[1] = ' ';
    }
    *ret_next = p + 2;
    while (value < p && sl_char_is_space(*value))
        value++;
    while (p > value && sl_char_is_space(p[-1]))
        p--;
    out->name = (struct sl_str){line, name_len};
    out->value = (struct sl_str){value, (size_t)(p - value)};
    *ret_underscore = underscore;
    return 1;
}

/* A name that is not only a token with dashes, or in a trailer. 1: keep, 0: drop, negative: refuse.
 */
static COLD int
admit_special(struct parser *ps, const struct sl_str *name, bool underscore)
{
    if (ps->trailers && !sl_name_may_trail(name))
        return refuse(ps, 400, "A trailer field has a name that only a header may have.");
    if (!underscore)
        return 1;
    switch (sl_name_judge_underscore(name, ps->limits->header_map, ps->forwarder_headers)) {
    case SL_NAME_KEEP:
        return 1;
    case SL_NAME_DROP:
        return 0;
    case SL_NAME_REFUSE:
        break;
    }
    return refuse(ps, 400, "A header name has an underscore.");
}

static inline int
admit(struct parser *ps, const struct sl_str *name, bool underscore)
{
    if (ps->trailers || underscore)
        return admit_special(ps, name, underscore);
    return 1;
}

/* ---- all lines ----------------------------------------------------------------------------------
 */

/* At the start of a field line: 1: it is the empty line, 2: a field begins, 0: not enough here. */
static inline int
look(struct parser *ps, const char *line, size_t count)
{
    if (line == ps->end)
        return 0;
    if (*line == '\r') {
        if (ps->end - line == 1)
            return 0;
        if (line[1] == '\n')
            return 1;
    }
    if (count == ps->max_fields)
        return refuse(ps, 431, "There are too many header fields.");
    return 2;
}

/* Field lines from line to the empty line. 1: *ret_next is behind it. Else what sl_head_parse()
 * returns. framing may be NULL. */
static int
parse_fields(struct parser *ps, char *line, struct sl_header *fields, struct sl_framing *framing,
             size_t *ret_count, char **ret_next)
{
    size_t stored = 0;
    for (size_t count = 0;; count++) {
        int rc = look(ps, line, count);
        if (rc < 0)
            return rc;
        if (rc == 1)
            break;
        struct sl_header *field = &fields[stored];
        bool underscore;
        char *next;
        if (rc == 0 || (rc = parse_field(ps, line, field, &underscore, &next)) <= 0)
            return stop(ps, line, count, rc);
        if ((size_t)(next - line) - 2 > ps->max_field)
            return refuse(ps, 431, "A header field is too long.");
        line = next;
        rc = admit(ps, &field->name, underscore);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        stored++;
        if (framing != NULL && sl_framing_wants(&field->name))
            sl_framing_field(framing, field);
    }
    *ret_count = stored;
    *ret_next = line + 2;
    return 1;
}

/* Judges a complete line; *ret_next is behind it. 1 or negative. */
static int
check_line(struct parser *ps, char *line, size_t count, char **ret_next)
{
    int rc;
    if (is_request_line(ps, line)) {
        struct sl_request unused;
        struct sl_str authority;
        rc = sl_request_line_parse(line, ps->end, ps->limits, &unused, &authority, ret_next,
                                   &ps->sentence);
        if (rc == 1 && check_length(ps, line, *ret_next) < 0)
            return -414;
        return rc == 1 ? 1 : stop(ps, line, count, rc);
    }
    struct sl_header field;
    bool underscore;
    rc = parse_field(ps, line, &field, &underscore, ret_next);
    if (rc <= 0)
        return stop(ps, line, count, rc);
    rc = check_length(ps, line, *ret_next);
    if (rc < 0)
        return rc;
    rc = admit(ps, &field.name, underscore);
    return rc < 0 ? rc : 1;
}

/* Goes on where an earlier call stopped. 1: the empty line is here. Else what sl_head_parse()
 * returns. */
static COLD int
rescan(struct parser *ps)
{
    struct place at = unpack(*ps->resume);
    char *line = ps->buf + at.line, *from = line + at.seen;
    assert(from <= ps->end);
    for (;;) {
        bool is_field = !is_request_line(ps, line);
        if (is_field) {
            int rc = look(ps, line, at.count);
            if (rc < 0 || rc == 1)
                return rc;
        }
        if (find_line_end(ps, line, from) == NULL)
            return wait_for_more(ps, line, at.count);
        char *next;
        int rc = check_line(ps, line, at.count, &next);
        if (rc <= 0)
            return rc;
        at.count += is_field;
        line = from = next;
    }
}

static size_t
at_most(uint32_t limit, size_t unset, size_t maximum)
{
    size_t value = limit == 0 ? unset : limit;
    return value < maximum ? value : maximum;
}

static void
setup(struct parser *ps, char *buf, size_t len, size_t capacity, uint64_t *resume,
      const struct sl_http_limits *limits)
{
    size_t fields = at_most(limits->fields, SL_HEAD_MAX_FIELDS, SL_HEAD_MAX_FIELDS);
    size_t size = at_most(limits->field_size, SL_HEAD_DEFAULT_FIELD_SIZE, SL_HEAD_MAX_LINE);
    *ps = (struct parser){
        .buf = buf,
        .end = buf + len,
        .first = buf,
        .resume = resume,
        .limits = limits,
        .max_line = at_most(limits->request_line, SL_HEAD_MAX_LINE, SL_HEAD_MAX_LINE),
        .max_field = size > 2 ? size - 2 : 0, /* gunicorn counts the CRLF */
        .max_fields = fields < capacity ? fields : capacity,
    };
}

/* ---- head ---------------------------------------------------------------------------------------
 */

/* Finds the request line behind the empty line that some clients send after a POST, and refuses
 * what cannot be HTTP at its first byte, such as a TLS handshake. 1, 0 or negative. */
static int
find_first(struct parser *ps)
{
    if (ps->buf == ps->end)
        return 0;
    if (*ps->buf == '\r') {
        if (ps->end - ps->buf == 1)
            return 0;
        if (ps->buf[1] != '\n')
            return refuse(ps, 400, "There is a bare CR before the request line.");
        ps->first += 2;
        return ps->first < ps->end;
    }
    if (!(sl_char_class(*ps->buf) & SL_CHAR_TOKEN))
        return refuse(ps, 400, "This is not an HTTP request.");
    return 1;
}

/* The whole head, of which maybe only a part is here. */
static int
parse_head(struct parser *ps, struct sl_head *head, const struct sl_head_trust *trust)
{
    struct sl_request *req = head->req;
    struct sl_str authority;
    char *next;
    int rc = sl_request_line_parse(ps->first, ps->end, ps->limits, req, &authority, &next,
                                   &ps->sentence);
    if (rc <= 0)
        return stop(ps, ps->first, 0, rc);
    if ((size_t)(next - ps->first) - 2 > ps->max_line) {
        req->method = req->target = (struct sl_str){NULL, 0};
        return check_length(ps, ps->first, next);
    }
    struct sl_framing framing = {.req = req};
    size_t count;
    rc = parse_fields(ps, next, head->fields, &framing, &count, &next);
    if (rc <= 0)
        return rc;
    if (next - ps->buf > SL_HEAD_MAX_BYTES)
        return refuse(ps, 431, "The request head is too long.");
    req->headers = head->fields;
    req->header_count = count;
    rc = sl_framing_end(&framing, &authority, trust, req, &ps->sentence);
    return rc < 0 ? rc : (int)(next - ps->buf);
}

/* For the log: a refused head shows its request line, if that was in order. */
static COLD void
show_request_line(struct parser *ps, struct sl_request *req)
{
    struct sl_str authority;
    const char *sentence;
    char *next;
    (void)sl_request_line_parse(ps->first, ps->end, ps->limits, req, &authority, &next, &sentence);
}

int
sl_head_parse(struct sl_head *head, char *buf, size_t len, uint64_t *resume,
              const struct sl_http_limits *limits, const struct sl_head_trust *trust,
              const char **ret_sentence)
{
    struct parser ps;
    setup(&ps, buf, len, head->capacity, resume, limits);
    if (trust != NULL && trust->trusted)
        ps.forwarder_headers = limits->forwarder_headers;
    int rc = find_first(&ps);
    if (rc > 0 && *resume != 0) {
        rc = rescan(&ps);
        if (rc < 0 && rc != -414)
            show_request_line(&ps, head->req);
    }
    if (rc > 0)
        rc = parse_head(&ps, head, trust);
    if (rc > 0)
        *resume = 0;
    if (rc < 0)
        *ret_sentence = ps.sentence;
    return rc;
}

/* ---- trailers -----------------------------------------------------------------------------------
 */

int
sl_head_parse_trailers(struct sl_header *fields, size_t capacity, size_t *ret_count, char *buf,
                       size_t len, uint64_t *resume, const struct sl_http_limits *limits,
                       const char **ret_sentence)
{
    struct parser ps;
    setup(&ps, buf, len, capacity, resume, limits);
    ps.trailers = true;
    char *next;
    int rc = 1;
    if (*resume != 0)
        rc = rescan(&ps);
    if (rc > 0)
        rc = parse_fields(&ps, buf, fields, NULL, ret_count, &next);
    if (rc < 0)
        *ret_sentence = ps.sentence;
    if (rc <= 0)
        return rc;
    *resume = 0;
    return (int)(next - buf);
}
