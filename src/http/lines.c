/* Where a parse of lines stops, and the portable way to scan them. */
#include "http/lines.h"

#include <assert.h>

#include "base/hints.h"
#include "http/chars.h"
#include "http/names.h"

enum { SEEN_BITS = 20, COUNT_BITS = 16 };
static_assert(SL_HEAD_MAX_LINE < 1 << SEEN_BITS, "seen fits");
static_assert(SL_HEAD_MAX_FIELDS < 1 << COUNT_BITS, "count fits");
static_assert(SL_HEAD_MAX_BYTES < 1 << (64 - SEEN_BITS - COUNT_BITS), "line fits");

static uint64_t
pack(const struct sl_lines_place *at)
{
    return (uint64_t)at->line << (SEEN_BITS + COUNT_BITS) | (uint64_t)at->count << SEEN_BITS |
           at->seen;
}

struct sl_lines_place
sl_lines_place(uint64_t resume)
{
    return (struct sl_lines_place){
        .line = (size_t)(resume >> (SEEN_BITS + COUNT_BITS)),
        .count = (size_t)(resume >> SEEN_BITS & ((1u << COUNT_BITS) - 1)),
        .seen = (size_t)(resume & ((1u << SEEN_BITS) - 1)),
    };
}

/* ---- one line -----------------------------------------------------------------------------------
 */

static bool
may_fold(const struct sl_lines *ps, const char *line)
{
    return ps->rules->limits.permit_obsolete_folding && !sl_lines_is_request_line(ps, line);
}

char *
sl_lines_find_end(const struct sl_lines *ps, char *line, char *from)
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

int
sl_lines_check_length(struct sl_lines *ps, const char *line, const char *end)
{
    size_t len = bare_length(line, end);
    if (sl_lines_is_request_line(ps, line))
        return len > ps->rules->max_line ? sl_lines_refuse(ps, 414, "The request line is too long.")
                                         : 0;
    return len > ps->rules->max_field ? sl_lines_refuse(ps, 431, "A header field is too long.") : 0;
}

int
sl_lines_check_place(struct sl_lines *ps, const char *line)
{
    if ((size_t)(line - ps->buf) <= ps->rules->max_bytes)
        return 0;
    return sl_lines_refuse(ps, 431, "The header fields together are too long.");
}

SL_COLD int
sl_lines_wait(struct sl_lines *ps, const char *line, size_t count)
{
    int rc = sl_lines_check_length(ps, line, ps->end);
    if (rc < 0)
        return rc;
    struct sl_lines_place at = {(size_t)(line - ps->buf), (size_t)(ps->end - line), count};
    /* A line end that may be folded is looked at again together with the next byte. */
    if (at.seen > 0 && ps->end[-1] == '\n')
        at.seen--;
    *ps->resume = pack(&at);
    return 0;
}

SL_COLD int
sl_lines_stop(struct sl_lines *ps, char *line, size_t count, int verdict)
{
    const char *fault = ps->sentence;
    char *lf = sl_lines_find_end(ps, line, line);
    if (lf == NULL || verdict == 0)
        return sl_lines_wait(ps, line, count);
    int rc = sl_lines_check_length(ps, line, lf + 1);
    return rc < 0 ? rc : sl_lines_refuse(ps, -verdict, fault);
}

SL_COLD char *
sl_lines_skip_name_space(const struct sl_lines *ps, char *p)
{
    if (ps->rules->limits.strip_header_spaces) {
        while (p < ps->end && sl_char_is_space(*p))
            p++;
    }
    return p;
}

SL_COLD int
sl_lines_admit_special(struct sl_lines *ps, const struct sl_str *name, bool underscore)
{
    if (ps->trailers && !sl_name_may_trail(name))
        return sl_lines_refuse(ps, 400, "A trailer field has a name that only a header may have.");
    if (!underscore)
        return 1;
    const struct sl_http_limits *limits = &ps->rules->limits;
    switch (sl_name_judge_underscore(name, limits->header_map,
                                     ps->trusted ? limits->forwarder_headers : NULL)) {
    case SL_NAME_KEEP:
        return 1;
    case SL_NAME_DROP:
        return 0;
    case SL_NAME_REFUSE:
        break;
    }
    return sl_lines_refuse(ps, 400, "A header name has an underscore.");
}

/* ---- any line -----------------------------------------------------------------------------------
 */

int
sl_lines_field(struct sl_lines *ps, char *line, struct sl_header *out, bool *ret_underscore,
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
        p = sl_lines_skip_name_space(ps, p);
    if (p == end)
        return 0;
    if (*p != ':' || name_len == 0)
        return sl_lines_refuse(ps, 400, "A header line does not begin with a name and a colon.");
    p++;
    while (p < end && sl_char_is_space(*p))
        p++;
    char *value = p;
    for (;;) {
        p += sl_chars_skip_value(p, end) - p;
        if (end - p < 2) {
            if (p == end || *p == '\r')
                return 0;
            return sl_lines_refuse(ps, 400, "A header value has a control character.");
        }
        if (p[0] != '\r' || p[1] != '\n')
            return sl_lines_refuse(ps, 400, "A header value has a control character.");
        if (__builtin_expect(!ps->rules->limits.permit_obsolete_folding, 1))
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

int
sl_lines_look(struct sl_lines *ps, const char *line, size_t count)
{
    int rc = sl_lines_check_place(ps, line);
    if (rc < 0)
        return rc;
    if (line == ps->end)
        return 0;
    if (*line == '\r') {
        if (ps->end - line == 1)
            return 0;
        if (line[1] == '\n')
            return 1;
    }
    if (count == ps->max_fields)
        return sl_lines_refuse(ps, 431, "There are too many header fields.");
    return 2;
}

struct sl_lines_step
sl_lines_unusual(struct sl_lines *ps, char *line, struct sl_header *field,
                 struct sl_framing *framing, size_t count)
{
    struct sl_lines_step step = {line, sl_lines_look(ps, line, count)};
    if (step.rc < 0)
        return step;
    if (step.rc == 1) {
        step.rc = SL_LINES_END;
        return step;
    }
    bool underscore;
    char *next;
    if (step.rc == 0 || (step.rc = sl_lines_field(ps, line, field, &underscore, &next)) <= 0) {
        step.rc = sl_lines_stop(ps, line, count, step.rc);
        return step;
    }
    if ((size_t)(next - line) - 2 > ps->rules->max_field) {
        step.rc = sl_lines_refuse(ps, 431, "A header field is too long.");
        return step;
    }
    step.rc = sl_lines_admit(ps, &field->name, underscore);
    if (step.rc < 0)
        return step;
    step.next = next;
    if (step.rc == 0) {
        step.rc = SL_LINES_DROPPED;
        return step;
    }
    if (framing != NULL)
        sl_lines_show(field, framing);
    step.rc = SL_LINES_KEPT;
    return step;
}

/* ---- the portable way ---------------------------------------------------------------------------
 */

int
sl_lines_fields_portable(struct sl_lines *ps, char *line, struct sl_header *fields,
                         struct sl_framing *framing, size_t *ret_count, char **ret_next)
{
    struct sl_header *field = fields;
    for (size_t count = 0;; count++) {
        struct sl_lines_step step = sl_lines_unusual(ps, line, field, framing, count);
        if (step.rc <= 0)
            return step.rc;
        if (step.rc == SL_LINES_END)
            break;
        field += step.rc == SL_LINES_KEPT;
        line = step.next;
    }
    *ret_count = (size_t)(field - fields);
    *ret_next = line + 2;
    return 1;
}

const struct sl_lines_way sl_lines_portable = {"portable", sl_lines_fields_portable};
