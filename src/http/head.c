/* Parses request heads and trailer sections line by line.
 *
 * The usual head is complete in the first call and goes through the loop over field lines once. If
 * it is not, *resume keeps where the unfinished line starts, how much of it was seen and how many
 * fields came before; later calls (rescan()) look only at new bytes, check each line that became
 * complete, and when the empty line comes the whole head is parsed a second and last time. So each
 * byte is looked at a bounded number of times, nothing but 64 bits is kept, and lines are judged
 * one by one in either way: the verdict is the same for every cut.
 */
#include "http/head.h"

#include <assert.h>

#include "base/hints.h"
#include "http/chars.h"
#include "http/lines.h"
#include "http/request_line.h"

/* Judges a complete line; *ret_next is behind it. 1 or negative. */
static int
check_line(struct sl_lines *ps, char *line, size_t count, char **ret_next)
{
    int rc;
    if (sl_lines_is_request_line(ps, line)) {
        struct sl_request unused;
        struct sl_str authority;
        rc = sl_request_line_parse(line, ps->end, &ps->rules->limits, &unused, &authority, ret_next,
                                   &ps->sentence);
        if (rc == 1 && sl_lines_check_length(ps, line, *ret_next) < 0)
            return -414;
        return rc == 1 ? 1 : sl_lines_stop(ps, line, count, rc);
    }
    struct sl_header field;
    bool underscore;
    rc = sl_lines_field(ps, line, &field, &underscore, ret_next);
    if (rc <= 0)
        return sl_lines_stop(ps, line, count, rc);
    rc = sl_lines_check_length(ps, line, *ret_next);
    if (rc < 0)
        return rc;
    rc = sl_lines_admit(ps, &field.name, underscore);
    return rc < 0 ? rc : 1;
}

/* Goes on where an earlier call stopped. 1: the empty line is here. Else what sl_head_parse()
 * returns. */
static SL_COLD int
rescan(struct sl_lines *ps)
{
    struct sl_lines_place at = sl_lines_place(*ps->resume);
    char *line = ps->buf + at.line, *from = line + at.seen;
    assert(from <= ps->end);
    for (;;) {
        bool is_field = !sl_lines_is_request_line(ps, line);
        if (is_field) {
            int rc = sl_lines_look(ps, line, at.count);
            if (rc < 0 || rc == 1)
                return rc;
        }
        if (sl_lines_find_end(ps, line, from) == NULL)
            return sl_lines_wait(ps, line, at.count);
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

void
sl_head_rules_init(struct sl_head_rules *rules, const struct sl_http_limits *limits,
                   const struct sl_scheme_header *scheme_headers)
{
    size_t size = at_most(limits->field_size, SL_HEAD_DEFAULT_FIELD_SIZE, SL_HEAD_MAX_LINE);
    *rules = (struct sl_head_rules){
        .limits = *limits,
        .scheme_headers = scheme_headers,
        .max_line = at_most(limits->request_line, SL_HEAD_MAX_LINE, SL_HEAD_MAX_LINE),
        .max_field = size > 2 ? size - 2 : 0, /* gunicorn counts the CRLF */
        .max_fields = at_most(limits->fields, SL_HEAD_MAX_FIELDS, SL_HEAD_MAX_FIELDS),
        .max_bytes = at_most(limits->head, SL_HEAD_MAX_BYTES, SL_HEAD_MAX_BYTES),
        .way = sl_lines_best(),
    };
    for (; scheme_headers != NULL && scheme_headers->name != NULL; scheme_headers++)
        rules->scheme_initials |= 1u << (scheme_headers->name[0] & 31);
}

static void
setup(struct sl_lines *ps, char *buf, size_t len, size_t capacity, uint64_t *resume,
      const struct sl_head_rules *rules, bool trusted)
{
    /* One by one: for an initializer of this size gcc clears the memory first, which takes longer.
     */
    ps->buf = ps->first = buf;
    ps->end = buf + len;
    ps->resume = resume;
    ps->rules = rules;
    ps->max_fields = rules->max_fields < capacity ? rules->max_fields : capacity;
    ps->trusted = trusted;
    ps->trailers = false;
    ps->sentence = NULL;
}

/* ---- head ---------------------------------------------------------------------------------------
 */

/* Finds the request line behind the empty line that some clients send after a POST, and refuses
 * what cannot be HTTP at its first byte, such as a TLS handshake. 1, 0 or negative. */
static int
find_first(struct sl_lines *ps)
{
    if (ps->buf == ps->end)
        return 0;
    if (*ps->buf == '\r') {
        if (ps->end - ps->buf == 1)
            return 0;
        if (ps->buf[1] != '\n')
            return sl_lines_refuse(ps, 400, "There is a bare CR before the request line.");
        ps->first += 2;
        return ps->first < ps->end;
    }
    if (!(sl_char_class(*ps->buf) & SL_CHAR_TOKEN))
        return sl_lines_refuse(ps, 400, "This is not an HTTP request.");
    return 1;
}

/* The whole head, of which maybe only a part is here. */
static int
parse_head(struct sl_lines *ps, struct sl_head *head)
{
    struct sl_request *req = head->req;
    struct sl_str authority;
    char *next;
    int rc = sl_request_line_parse(ps->first, ps->end, &ps->rules->limits, req, &authority, &next,
                                   &ps->sentence);
    if (rc <= 0)
        return sl_lines_stop(ps, ps->first, 0, rc);
    if ((size_t)(next - ps->first) - 2 > ps->rules->max_line) {
        req->method = req->target = (struct sl_str){NULL, 0};
        return sl_lines_check_length(ps, ps->first, next);
    }
    struct sl_framing framing = {.req = req, .known_host = head->known_host};
    size_t count;
    rc = ps->rules->way->fields(ps, next, head->fields, &framing, &count, &next);
    if (rc <= 0)
        return rc;
    rc = sl_lines_check_place(ps, next);
    if (rc < 0)
        return rc;
    req->headers = head->fields;
    req->header_count = count;
    rc = sl_framing_end(&framing, &authority, ps->trusted ? ps->rules : NULL, req, &ps->sentence);
    return rc < 0 ? rc : (int)(next - ps->buf);
}

/* For the log: a refused head shows its request line, if that was in order. */
static SL_COLD void
show_request_line(struct sl_lines *ps, struct sl_request *req)
{
    struct sl_str authority;
    const char *sentence;
    char *next;
    (void)sl_request_line_parse(ps->first, ps->end, &ps->rules->limits, req, &authority, &next,
                                &sentence);
}

int
sl_head_parse(struct sl_head *head, char *buf, size_t len, uint64_t *resume,
              const struct sl_head_rules *rules, bool trusted, const char **ret_sentence)
{
    struct sl_lines ps;
    setup(&ps, buf, len, head->capacity, resume, rules, trusted);
    int rc = find_first(&ps);
    if (rc > 0 && *resume != 0) {
        rc = rescan(&ps);
        if (rc < 0 && rc != -414)
            show_request_line(&ps, head->req);
    }
    if (rc > 0)
        rc = parse_head(&ps, head);
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
                       size_t len, uint64_t *resume, const struct sl_head_rules *rules,
                       const char **ret_sentence)
{
    struct sl_lines ps;
    setup(&ps, buf, len, capacity, resume, rules, false);
    ps.trailers = true;
    char *next;
    int rc = 1;
    if (*resume != 0)
        rc = rescan(&ps);
    if (rc > 0)
        rc = rules->way->fields(&ps, buf, fields, NULL, ret_count, &next);
    if (rc > 0 && sl_lines_check_place(&ps, next) < 0)
        rc = -431;
    if (rc < 0)
        *ret_sentence = ps.sentence;
    if (rc <= 0)
        return rc;
    *resume = 0;
    return (int)(next - buf);
}
