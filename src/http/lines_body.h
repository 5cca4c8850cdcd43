/* The loop over field lines, included once for each set of instructions:
 *
 *   LINES_WAY(name)    name of a function in this way
 *   LINES_TARGET       attribute that lets the compiler use the instructions
 *   LINES_CONTROLS(p)  marks controls and DEL among the 64 bytes at p: one bit a byte, first lowest
 *   LINES_NO_NAME(p)   marks what no name holds, and '_', among the 32 bytes at p; to mark more is
 *                      slow but right
 *
 * Line ends are marked by blocks, which does not depend on where lines begin, so that the processor
 * runs ahead with it; from one line to the next it is only a shift and a count of zeros. Names are
 * short: one load at the start of each line is less than to mark every byte of the values, too.
 * The usual line is taken here; every other one, and whatever is wrong, goes to
 * sl_lines_field(), which alone refuses: so all ways agree.
 */

#define INLINE static inline __attribute__((always_inline)) LINES_TARGET

/* 64 bytes and their controls. Before end is another byte that is not marked, so that behind
 * whatever is found stands one that may be looked at. */
struct LINES_WAY(block) {
    const char *start; /* NULL: no control from there on */
    uint64_t controls;
};

/* Controls among len bytes, less than 64, of an input that is no longer. */
static __attribute__((noinline)) LINES_TARGET uint64_t
LINES_WAY(mark_short)(const char *p, size_t len)
{
    char copy[64];
    memcpy(copy, p, len);
    return LINES_CONTROLS(copy) & ((UINT64_C(1) << len) - 1);
}

/* The first block from p on, by steps of 64, that has a control; the input begins at first. No load
 * goes beyond it: what is left in the end is marked together with bytes before. A call of its own,
 * because the compiler would load its constants again for each line. */
static __attribute__((noinline)) LINES_TARGET struct LINES_WAY(block)
    LINES_WAY(find_block)(const char *first, const char *end, const char *p)
{
    for (; end - p >= 64; p += 64) {
        uint64_t controls = LINES_CONTROLS(p);
        if (controls != 0)
            return (struct LINES_WAY(block)){p, controls};
    }
    if (p < end) {
        size_t left = (size_t)(end - p);
        uint64_t controls = end - first >= 64 ? LINES_CONTROLS(end - 64) >> (64 - left)
                                              : LINES_WAY(mark_short)(p, left);
        if (controls != 0)
            return (struct LINES_WAY(block)){p, controls};
    }
    return (struct LINES_WAY(block)){NULL, 0};
}

/* First control from line on, or NULL. *block is where line begins, or before. */
INLINE const char *
LINES_WAY(find_control)(struct LINES_WAY(block) * block, const char *first, const char *end,
                        const char *line)
{
    size_t at = (size_t)(line - block->start);
    if (__builtin_expect(at < 64 && block->controls >> at != 0, 1))
        return line + __builtin_ctzll(block->controls >> at);
    *block = LINES_WAY(find_block)(first, end, at < 64 ? block->start + 64 : line);
    if (block->start == NULL)
        return NULL;
    return block->start + __builtin_ctzll(block->controls);
}

/* Length of what may be the name at line: up to a byte that no name holds; 0 if that is not near.
 * last: where 32 bytes can be loaded at the latest. */
INLINE size_t
LINES_WAY(measure_name)(const char *line, const char *last)
{
    uint32_t marks = __builtin_expect(line <= last, 1) ? LINES_NO_NAME(line)
                                                       : LINES_NO_NAME(last) >> (line - last);
    return marks != 0 ? (size_t)__builtin_ctz(marks) : 0;
}

static LINES_TARGET int
LINES_WAY(fields)(struct sl_lines *ps, char *line, struct sl_header *fields,
                  struct sl_framing *framing, size_t *ret_count, char **ret_next)
{
    const char *end = ps->end - 1;
    if (framing == NULL || ps->rules->limits.permit_obsolete_folding || ps->end - ps->buf < 32 ||
        line >= end)
        return sl_lines_fields_portable(ps, line, fields, framing, ret_count, ret_next);
    const char *last = ps->end - 32;
    struct LINES_WAY(block) block = LINES_WAY(find_block)(ps->buf, end, line);
    size_t max_field = ps->rules->max_field;
    /* A line that is dropped counts, too, and brings stop nearer. */
    struct sl_header *field = fields, *stop = fields + ps->max_fields;
    uint32_t initials = 0;
    for (;;) {
        const char *cr = LINES_WAY(find_control)(&block, ps->buf, end, line);
        size_t len = (size_t)(cr - line);
        if (cr != NULL && sl_lines_are(cr, "\r\n") && len <= max_field) {
            if (len == 0)
                break;
            /* No name holds the CR either: from the colon on two bytes may be looked at; and if
             * they are ": ", a third. */
            size_t name_len = LINES_WAY(measure_name)(line, last);
            const char *colon = line + name_len;
            if (name_len > 0 && sl_lines_are(colon, ": ") && colon[2] != ' ' && cr[-1] != ' ' &&
                field != stop) {
                field->name = (struct sl_str){line, name_len};
                field->value = (struct sl_str){colon + 2, len - name_len - 2};
                initials |= 1u << (*line & 31);
                if (sl_framing_wants(&field->name))
                    sl_framing_field(framing, field);
                field++;
                line += len + 2;
                continue;
            }
        }
        struct sl_lines_step step =
            sl_lines_unusual(ps, line, field, framing, ps->max_fields - (size_t)(stop - field));
        if (step.rc <= 0)
            return step.rc;
        if (step.rc == SL_LINES_END)
            break;
        if (step.rc == SL_LINES_KEPT)
            field++;
        else
            stop--;
        line = step.next;
    }
    framing->initials |= initials;
    *ret_count = (size_t)(field - fields);
    *ret_next = line + 2;
    return 1;
}

#undef INLINE
#undef LINES_WAY
#undef LINES_TARGET
#undef LINES_CONTROLS
#undef LINES_NO_NAME
