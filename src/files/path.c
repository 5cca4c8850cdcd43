/* The path of a request, made the name of a file. */
#include "files/path.h"

#include <saola/status.h>
#include <string.h>

#include "http/chars.h"

/* A segment as it may be asked for; first: of the path. */
static bool
is_segment(const char *segment, size_t len, bool first)
{
    static const char known[] = ".well-known";
    if (len == 0)
        return false;
    return segment[0] != '.' ||
           (first && len == sizeof known - 1 && memcmp(segment, known, len) == 0);
}

int
sl_file_path_decode(const char *path, size_t len, char *out, size_t *ret_len)
{
    size_t n = 0, start = 1;
    if (len == 0 || path[0] != '/')
        return SL_ENOENT;
    for (size_t i = 0; i < len; i++) {
        char c = path[i];
        if (n + 1 >= SL_FILE_PATH_MAX)
            return SL_ENOENT;
        if (c == '%') {
            int high = len - i > 2 ? sl_char_hex(path[i + 1]) : -1;
            int low = len - i > 2 ? sl_char_hex(path[i + 2]) : -1;
            if (high < 0 || low < 0)
                return SL_ENOENT;
            c = (char)(high << 4 | low);
            i += 2;
            if (c == '/')
                return SL_ENOENT;
        } else if (c == '/' && n > 0) {
            if (!is_segment(out + start, n - start, start == 1))
                return SL_ENOENT;
            start = n + 1;
        }
        if (c == '\0')
            return SL_ENOENT;
        out[n++] = c;
    }
    /* The last segment is empty after a slash. */
    if (start < n && !is_segment(out + start, n - start, start == 1))
        return SL_ENOENT;
    out[n] = '\0';
    *ret_len = n;
    return SL_OK;
}
