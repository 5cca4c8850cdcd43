/* Gives field lines to every way to scan them and to the portable one: the same must come out. */
#ifndef SL_TEST_LINES_TWIN_H
#define SL_TEST_LINES_TWIN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "http/lines.h"

enum { TWIN_FIELDS = 128 };

struct twin {
    int rc;
    size_t count, used;
    uint64_t resume;
    const char *sentence;
    struct sl_framing framing;
    struct sl_header fields[TWIN_FIELDS];
};

static inline void
twin_parse(const struct sl_lines_way *way, char *buf, size_t len,
           const struct sl_http_limits *limits, size_t max_field, size_t max_fields,
           struct twin *out)
{
    static const struct sl_request req = {.version_major = 1, .version_minor = 1};
    memset(out, 0, sizeof *out);
    out->framing.req = &req;
    const struct sl_head_rules rules = {.limits = *limits,
                                        .max_line = 4094,
                                        .max_field = max_field,
                                        .max_fields = max_fields,
                                        .max_bytes = SIZE_MAX};
    struct sl_lines lines = {.buf = buf,
                             .end = buf + len,
                             .resume = &out->resume,
                             .rules = &rules,
                             .max_fields = max_fields};
    char *next = buf;
    out->rc = way->fields(&lines, buf, out->fields, &out->framing, &out->count, &next);
    out->used = out->rc == 1 ? (size_t)(next - buf) : 0;
    out->sentence = lines.sentence;
}

static inline bool
twin_same(const struct twin *a, const struct twin *b)
{
    if (a->rc != b->rc || a->resume != b->resume || a->sentence != b->sentence)
        return false;
    if (a->rc != 1)
        return true;
    if (a->count != b->count || a->used != b->used || a->framing.initials != b->framing.initials ||
        a->framing.status != b->framing.status ||
        a->framing.content_length != b->framing.content_length ||
        a->framing.chunked != b->framing.chunked ||
        (a->framing.host == NULL) != (b->framing.host == NULL))
        return false;
    return memcmp(a->fields, b->fields, a->count * sizeof a->fields[0]) == 0;
}

#endif
