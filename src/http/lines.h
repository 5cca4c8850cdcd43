/* Field lines of a head or trailer section, and how a parse of lines stops; private to head.c and
 * the files lines*.c. */
#ifndef SL_HTTP_LINES_H
#define SL_HTTP_LINES_H

#include <string.h>

#include "http/framing.h"
#include "http/head.h"

/* A parse in progress. */
struct sl_lines {
    char *buf, *end;
    char *first; /* first field line; of a head: the request line */
    uint64_t *resume;
    const struct sl_head_rules *rules;
    size_t max_fields; /* that there is room for, too */
    bool trusted, trailers;
    const char *sentence;
};

/* *resume taken apart. */
struct sl_lines_place {
    size_t line;  /* offset of the unfinished line */
    size_t seen;  /* bytes of it that were looked at */
    size_t count; /* field lines before it */
};

struct sl_lines_place sl_lines_place(uint64_t resume);

static inline int
sl_lines_refuse(struct sl_lines *ps, int status, const char *sentence)
{
    ps->sentence = sentence;
    return -status;
}

static inline bool
sl_lines_is_request_line(const struct sl_lines *ps, const char *line)
{
    return !ps->trailers && line == ps->first;
}

/* The LF that ends the line of which [line, from) holds none; NULL while it is not here, or while
 * the next line may still turn out to continue this one. */
char *sl_lines_find_end(const struct sl_lines *ps, char *line, char *from);

/* 0, or minus the status if [line, end) is too long, a line end not counted. */
int sl_lines_check_length(struct sl_lines *ps, const char *line, const char *end);

/* 0, or minus the status if what comes before `line` is too much already. Goes before whatever may
 * be wrong with the line, since the answer must not depend on how much of it is here. */
int sl_lines_check_place(struct sl_lines *ps, const char *line);

/* The line is not complete: 0, and *resume says where to go on; or it is already too long. */
int sl_lines_wait(struct sl_lines *ps, const char *line, size_t count);

/* The line cannot be finished: its end is not here, or verdict (negative) was found in it. To judge
 * every cut alike, a fault counts once the line is complete, and to be too long counts for more. */
int sl_lines_stop(struct sl_lines *ps, char *line, size_t count, int verdict);

/* White space between name and colon, if it may be there. */
char *sl_lines_skip_name_space(const struct sl_lines *ps, char *p);

/* A name that is not only a token with dashes, or in a trailer. 1: keep, 0: drop, negative: refuse.
 */
int sl_lines_admit_special(struct sl_lines *ps, const struct sl_str *name, bool underscore);

static inline int
sl_lines_admit(struct sl_lines *ps, const struct sl_str *name, bool underscore)
{
    if (ps->trailers || underscore)
        return sl_lines_admit_special(ps, name, underscore);
    return 1;
}

/* One field line. 1: complete, out, *ret_underscore (in the name) and *ret_next are set. 0: not
 * complete. Negative: refused. */
int sl_lines_field(struct sl_lines *ps, char *line, struct sl_header *out, bool *ret_underscore,
                   char **ret_next);

/* A field that stays is shown to framing. */
static inline void
sl_lines_show(struct sl_header *field, struct sl_framing *framing)
{
    framing->initials |= 1u << (field->name.ptr[0] & 31);
    if (sl_framing_wants(&field->name))
        sl_framing_field(framing, field);
}

enum { SL_LINES_KEPT = 1, SL_LINES_DROPPED, SL_LINES_END };

/* In registers: an output parameter would cost the loop over lines a frame with a canary. */
struct sl_lines_step {
    char *next; /* behind a line that was kept or dropped */
    int rc;
};

/* Whatever line is next, after count others. rc is SL_LINES_KEPT, SL_LINES_DROPPED, SL_LINES_END at
 * the empty line, 0 if the line is not complete, or negative: refused. framing may be NULL. */
struct sl_lines_step sl_lines_unusual(struct sl_lines *ps, char *line, struct sl_header *field,
                                      struct sl_framing *framing, size_t count);

/* 1: the empty line is here, 2: a field begins, 0: not enough here; or negative: refused. */
int sl_lines_look(struct sl_lines *ps, const char *line, size_t count);

/* Two bytes at once. */
static inline bool
sl_lines_are(const char *p, const char two[2])
{
    uint16_t a, b;
    memcpy(&a, p, 2);
    memcpy(&b, two, 2);
    return a == b;
}

/* Field lines from line to the empty line. 1: *ret_next is behind it. Else what sl_head_parse()
 * returns. framing may be NULL. */
typedef int sl_lines_fields_fn(struct sl_lines *ps, char *line, struct sl_header *fields,
                               struct sl_framing *framing, size_t *ret_count, char **ret_next);

/* A way to scan: the same results by other instructions. */
struct sl_lines_way {
    const char *name;
    sl_lines_fields_fn *fields;
};

/* The twin of every other way. */
extern const struct sl_lines_way sl_lines_portable;
sl_lines_fields_fn sl_lines_fields_portable;

/* The fastest way that this processor has. */
const struct sl_lines_way *sl_lines_best(void);

/* Every way that this processor has, portable first, for the tests; returns how many (up to 4). */
size_t sl_lines_ways(const struct sl_lines_way *ret_ways[4]);

#endif
