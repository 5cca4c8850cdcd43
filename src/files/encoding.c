/* The Accept-Encoding header field (RFC 9110 section 12.5.3). */
#include "files/encoding.h"

#include <string.h>

#include "http/chars.h"

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && sl_char_is_space(*p))
        p++;
    return p;
}

/* The weight at the end of a list's element, RFC 9110 section 12.4.2: ";q=0.5". -1: malformed. */
static int
weight(const char *p, const char *end)
{
    p = skip_space(p, end);
    if (p == end)
        return 1000;
    if (*p++ != ';')
        return -1;
    p = skip_space(p, end);
    if (end - p < 3 || (*p | 0x20) != 'q' || p[1] != '=' || (p[2] != '0' && p[2] != '1'))
        return -1;
    int n = (p[2] - '0') * 1000;
    p += 3;
    if (p < end && *p == '.') {
        p++;
        for (int unit = 100; p < end && sl_char_is_digit(*p) && unit > 0; unit /= 10)
            n += (*p++ - '0') * unit;
    }
    return skip_space(p, end) != end || n > 1000 ? -1 : n;
}

unsigned
sl_encoding_weight(const char *list, size_t len, const char *coding)
{
    const char *end = list + len;
    size_t coding_len = strlen(coding);
    int any = 0, wanted = -1;
    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma != NULL ? comma : end;
        const char *name = skip_space(list, stop), *p = name;
        while (p < stop && (sl_char_class(*p) & SL_CHAR_TOKEN))
            p++;
        size_t name_len = (size_t)(p - name);
        int n = weight(p, stop);
        if (n >= 0 && name_len == 1 && *name == '*')
            any = n;
        else if (n >= 0 && name_len == coding_len && sl_chars_equal_lower(name, coding, name_len))
            wanted = n;
        list = comma != NULL ? comma + 1 : end;
    }
    return (unsigned)(wanted >= 0 ? wanted : any);
}
