/* The loop over field lines by blocks of 64 bytes, included once for each set of instructions:
 *
 *   LINES_WAY(name)   name of a function in this way
 *   LINES_TARGET      attribute that lets the compiler use the instructions
 *   LINES_MARK        (p, struct sl_lines_marks *): marks the 64 bytes at p
 *
 * Marking does not depend on where lines begin, so that the processor runs ahead with it; from one
 * line to the next it is then only a shift and a count of zeros. The usual line is taken here;
 * every other one, and whatever is wrong, goes to sl_lines_field(), which alone refuses: so all
 * ways agree.
 */

#define INLINE static inline __attribute__((always_inline)) LINES_TARGET

/* The 64 bytes whose marks are at hand, in an input [begin, end). */
struct LINES_WAY(cursor) {
    const char *begin, *end, *block;
    struct sl_lines_marks marks;
};

/* Goes on to the block at p; false if its marks cannot be had without looking beyond the input. */
INLINE bool
LINES_WAY(enter)(struct LINES_WAY(cursor) * c, const char *p)
{
    ptrdiff_t left = c->end - p;
    c->block = p;
    c->marks = (struct sl_lines_marks){0, 0};
    if (left >= 64) {
        LINES_MARK(p, &c->marks);
    } else if (left > 0 && c->end - c->begin >= 64) {
        /* What is left is marked together with bytes before it. */
        LINES_MARK(c->end - 64, &c->marks);
        c->marks.names >>= 64 - left;
        c->marks.values >>= 64 - left;
    } else {
        return false;
    }
    return true;
}

/* First byte from p on that no name holds (or '_'), or NULL. */
INLINE const char *
LINES_WAY(find_name_end)(struct LINES_WAY(cursor) * c, const char *p)
{
    for (;;) {
        ptrdiff_t at = p - c->block;
        if (at < 64 && c->marks.names >> at != 0)
            return p + __builtin_ctzll(c->marks.names >> at);
        if (at < 64)
            p = c->block + 64;
        if (!LINES_WAY(enter)(c, c->block + 64))
            return NULL;
    }
}

/* First control or DEL from p on, or NULL. */
INLINE const char *
LINES_WAY(find_value_end)(struct LINES_WAY(cursor) * c, const char *p)
{
    for (;;) {
        ptrdiff_t at = p - c->block;
        if (at < 64 && c->marks.values >> at != 0)
            return p + __builtin_ctzll(c->marks.values >> at);
        if (at < 64)
            p = c->block + 64;
        if (!LINES_WAY(enter)(c, c->block + 64))
            return NULL;
    }
}

/* A line NAME ":" SP VALUE CR LF without anything uncommon; the next line, or NULL. */
INLINE char *
LINES_WAY(take_usual)(struct LINES_WAY(cursor) * c, char *line, struct sl_header *out)
{
    const char *colon = LINES_WAY(find_name_end)(c, line);
    if (colon == NULL || c->end - colon < 3 || !sl_lines_are(colon, ": ") || colon == line)
        return NULL;
    const char *value = colon + 2, *cr = LINES_WAY(find_value_end)(c, value);
    if (cr == NULL || c->end - cr < 2 || !sl_lines_are(cr, "\r\n") || *value == ' ' ||
        cr[-1] == ' ')
        return NULL;
    out->name = (struct sl_str){line, (size_t)(colon - line)};
    out->value = (struct sl_str){value, (size_t)(cr - value)};
    return line + (cr + 2 - line);
}

static LINES_TARGET int
LINES_WAY(fields)(struct sl_lines *ps, char *line, struct sl_header *fields,
                  struct sl_framing *framing, size_t *ret_count, char **ret_next)
{
    struct LINES_WAY(cursor) cursor = {.begin = ps->buf, .end = ps->end};
    if (framing == NULL || ps->limits->permit_obsolete_folding || !LINES_WAY(enter)(&cursor, line))
        return sl_lines_fields_portable(ps, line, fields, framing, ret_count, ret_next);
    struct sl_header *field = fields;
    size_t left = ps->max_fields, max_field = ps->max_field;
    for (;; left--) {
        char *next = left > 0 ? LINES_WAY(take_usual)(&cursor, line, field) : NULL;
        if (__builtin_expect(next != NULL && (size_t)(next - line) - 2 <= max_field, 1)) {
            sl_lines_show(field, framing);
            field++;
        } else {
            int rc = sl_lines_unusual(ps, line, field, framing, ps->max_fields - left, &next);
            if (rc <= 0)
                return rc;
            if (rc == SL_LINES_END)
                break;
            field += rc == SL_LINES_KEPT;
        }
        line = next;
    }
    *ret_count = (size_t)(field - fields);
    *ret_next = line + 2;
    return 1;
}

#undef INLINE
#undef LINES_WAY
#undef LINES_TARGET
#undef LINES_MARK
