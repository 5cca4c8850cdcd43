/* Decoder of the chunked transfer coding: one state a byte in the chunk lines, whole runs in the
 * data.
 *
 * The grammar of RFC 9112 section 7.1 is followed to the letter, extensions included, since
 * whatever a proxy in front reads differently is a smuggled request:
 *
 *   SIZE -> [BWS] -> (";" name ["=" token | quoted])* -> CR -> LF -> DATA -> CR -> LF -> SIZE
 *                                                        `-> (size 0) DONE: the trailers follow
 */
#include "http/chunked.h"

#include <stdbool.h>

#include "http/chars.h"

enum state {
    SIZE_FIRST, /* a hex digit must come */
    SIZE,
    EXT_NAME_FIRST, /* after ";" */
    EXT_NAME,
    EXT_NAME_SPACE,  /* white space after a name: "=" or ";" must come */
    EXT_VALUE_FIRST, /* after "=" */
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED, /* after a backslash in a quoted string */
    EXT_END,     /* after the closing quote */
    EXT_SPACE,   /* white space after size or value: ";" must come */
    LINE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    DONE,
    BROKEN,
};

/* Of a chunk size: sizes from 2^63 on are refused, also as leading zeros without end. */
enum { MAX_DIGITS = 16 };

/* Every 64 bytes of data pay for one byte of extension, so that signed uploads pass and a body of
 * nothing but extensions does not. */
enum { DATA_PER_EXT_BYTE = 64 };

static const char *const bad_size = "The size of a chunk is not a hexadecimal number.";
static const char *const bad_line = "A chunk line does not end in CR LF.";
static const char *const bad_ext = "A chunk extension is malformed.";

void
sl_chunked_init(struct sl_chunked *decoder)
{
    *decoder = (struct sl_chunked){.state = SIZE_FIRST};
}

static const char *
take_digit(struct sl_chunked *d, char c)
{
    if (d->digits == MAX_DIGITS || d->left >> 59 != 0)
        return "The size of a chunk is too large.";
    d->left = d->left << 4 | (unsigned)sl_char_hex(c);
    d->digits++;
    return NULL;
}

static enum state
after_space(char c, enum state otherwise)
{
    return c == ';' ? EXT_NAME_FIRST : sl_char_is_space(c) ? otherwise : BROKEN;
}

static enum state
ext_step(enum state state, char c)
{
    bool token = sl_char_class(c) & SL_CHAR_TOKEN;
    switch (state) {
    case EXT_NAME_FIRST:
        return token ? EXT_NAME : sl_char_is_space(c) ? EXT_NAME_FIRST : BROKEN;
    case EXT_NAME:
        if (c == '\r')
            return LINE_LF;
        if (token)
            return EXT_NAME;
        return c == '=' ? EXT_VALUE_FIRST : after_space(c, EXT_NAME_SPACE);
    case EXT_NAME_SPACE:
        return c == '=' ? EXT_VALUE_FIRST : after_space(c, EXT_NAME_SPACE);
    case EXT_VALUE_FIRST:
        if (c == '"')
            return EXT_QUOTED;
        return token ? EXT_VALUE : sl_char_is_space(c) ? EXT_VALUE_FIRST : BROKEN;
    case EXT_VALUE:
        if (c == '\r')
            return LINE_LF;
        return token ? EXT_VALUE : after_space(c, EXT_SPACE);
    case EXT_QUOTED:
        if (c == '"')
            return EXT_END;
        if (c == '\\')
            return EXT_ESCAPED;
        return sl_char_class(c) & SL_CHAR_VALUE ? EXT_QUOTED : BROKEN;
    case EXT_ESCAPED:
        return sl_char_class(c) & SL_CHAR_VALUE ? EXT_QUOTED : BROKEN;
    case EXT_END:
        return c == '\r' ? LINE_LF : after_space(c, EXT_SPACE);
    default:
        return after_space(c, EXT_SPACE);
    }
}

static const char *
take_ext(struct sl_chunked *d, char c)
{
    enum state next = ext_step((enum state)d->state, c);
    if (next == BROKEN)
        return bad_ext;
    d->state = (uint8_t)next;
    if (next == LINE_LF)
        return NULL;
    if (++d->ext > SL_CHUNKED_MAX_LINE_EXT || ++d->debt > SL_CHUNKED_MAX_EXT_DEBT)
        return "The chunk extensions are too long.";
    return NULL;
}

static void
end_line(struct sl_chunked *d)
{
    uint64_t paid = d->left / DATA_PER_EXT_BYTE;
    d->debt = paid < d->debt ? d->debt - (uint32_t)paid : 0;
    d->state = d->left > 0 ? DATA : DONE;
    d->digits = 0;
    d->ext = 0;
}

/* One byte outside the data; NULL or what is wrong with it. */
static const char *
step(struct sl_chunked *d, char c)
{
    switch ((enum state)d->state) {
    case SIZE_FIRST:
        d->left = 0;
        if (!(sl_char_class(c) & SL_CHAR_HEX))
            return bad_size;
        d->state = SIZE;
        return take_digit(d, c);
    case SIZE:
        if (sl_char_class(c) & SL_CHAR_HEX)
            return take_digit(d, c);
        if (c == '\r') {
            d->state = LINE_LF;
            return NULL;
        }
        if (c != ';' && !sl_char_is_space(c))
            return bad_size;
        d->state = EXT_SPACE;
        return take_ext(d, c);
    case LINE_LF:
        if (c != '\n')
            return bad_line;
        end_line(d);
        return NULL;
    case DATA_CR:
        if (c != '\r')
            return "The data of a chunk is not followed by CR LF.";
        d->state = DATA_LF;
        return NULL;
    case DATA_LF:
        if (c != '\n')
            return "The data of a chunk is not followed by CR LF.";
        d->state = SIZE_FIRST;
        return NULL;
    default:
        return take_ext(d, c);
    }
}

enum sl_chunked_event
sl_chunked_next(struct sl_chunked *decoder, const char *buf, size_t len, size_t *ret_used,
                const char **ret_data, size_t *ret_len, const char **ret_sentence)
{
    for (size_t i = 0;;) {
        if (decoder->state == DONE) {
            *ret_used = i;
            return SL_CHUNKED_TRAILERS;
        }
        if (decoder->state == BROKEN) {
            *ret_used = i;
            *ret_sentence = "The chunked body is malformed.";
            return SL_CHUNKED_ERROR;
        }
        if (i == len) {
            *ret_used = i;
            return SL_CHUNKED_MORE;
        }
        if (decoder->state == DATA) {
            size_t n = len - i < decoder->left ? len - i : (size_t)decoder->left;
            decoder->left -= n;
            if (decoder->left == 0)
                decoder->state = DATA_CR;
            *ret_data = buf + i;
            *ret_len = n;
            *ret_used = i + n;
            return SL_CHUNKED_DATA;
        }
        const char *sentence = step(decoder, buf[i++]);
        if (sentence != NULL) {
            decoder->state = BROKEN;
            *ret_used = i;
            *ret_sentence = sentence;
            return SL_CHUNKED_ERROR;
        }
    }
}
