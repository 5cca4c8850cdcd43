/* The Range header field (RFC 9110 section 14). */
#include "files/range.h"

#include <stdbool.h>

#include "http/chars.h"

/* Digits at *at; larger numbers than fit are the largest. False if there is none. */
static bool
number(const char **at, const char *end, uint64_t *ret_number)
{
    const char *p = *at;
    uint64_t n = 0;
    for (; p < end && sl_char_is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    bool any = p > *at;
    *at = p;
    *ret_number = n;
    return any;
}

enum sl_range
sl_range_parse(const char *value, size_t len, uint64_t size, uint64_t *ret_first,
               uint64_t *ret_length)
{
    const char *p = value + 6, *end = value + len;
    uint64_t first, last;
    if (len < 8 || !sl_chars_equal_lower(value, "bytes", 5) || value[5] != '=')
        return SL_RANGE_NONE;
    while (p < end && sl_char_is_space(*p))
        p++;
    bool has_first = number(&p, end, &first);
    if (p == end || *p++ != '-')
        return SL_RANGE_NONE;
    bool has_last = number(&p, end, &last);
    if (p != end || (!has_first && !has_last) || (has_first && has_last && last < first))
        return SL_RANGE_NONE;
    if (!has_first) { /* the last so many bytes */
        if (last == 0 || size == 0)
            return SL_RANGE_UNSATISFIABLE;
        first = last < size ? size - last : 0;
        last = size - 1;
    } else {
        if (first >= size)
            return SL_RANGE_UNSATISFIABLE;
        if (!has_last || last >= size)
            last = size - 1;
    }
    *ret_first = first;
    *ret_length = last - first + 1;
    return SL_RANGE_ONE;
}
