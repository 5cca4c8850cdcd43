/* Paths as WSGI and ASGI want them. */
#include "engine.h"

static int
hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t
sl_py_percent_decode(char *out, const char *ptr, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int high, low;
        if (ptr[i] == '%' && i + 2 < len && (high = hex(ptr[i + 1])) >= 0 &&
            (low = hex(ptr[i + 2])) >= 0) {
            out[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[n++] = ptr[i];
        }
    }
    return n;
}
