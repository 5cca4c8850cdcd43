/* The path of a request, made the name of a file. */
#ifndef SL_FILES_PATH_H
#define SL_FILES_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { SL_FILE_PATH_MAX = 2048 };

/* Decodes the percent-encoding of path (RFC 3986 section 2.1) exactly once and checks the result:
 * it starts with a slash, and has no NUL, no slash that was encoded, no empty segment, and no
 * segment that begins with a dot but a first one ".well-known" (RFC 8615). So it names nothing
 * above, beside or hidden, whatever it is appended to. SL_OK with the NUL-terminated result in out
 * (capacity SL_FILE_PATH_MAX) and its length, or SL_ENOENT. */
int sl_file_path_decode(const char *path, size_t len, char *out, size_t *ret_len);

#endif
