/* What the verdict programs share: requests in, one line a verdict out.
 *
 * In: per request four bytes of length (little-endian) and the bytes. Out, tab-separated:
 *
 *   accept  METHOD TARGET VERSION LENGTH BODY NAME=VALUE...   LENGTH: bytes used up
 *   reject  REASON
 *   wait                                             more bytes are needed
 *
 * METHOD, TARGET, BODY, NAME and VALUE are hexadecimal; trailer fields are not shown. */
#ifndef SL_TEST_DIFFERENTIAL_H
#define SL_TEST_DIFFERENTIAL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void
put_hex(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)data[i]);
}

static inline void
put_field(const char *separator, const char *data, size_t len)
{
    fputs(separator, stdout);
    put_hex(data, len);
}

/* Next request in memory of exactly its size, for the caller to free; NULL at the end. */
static inline char *
read_request(size_t *ret_len)
{
    uint8_t head[4];
    if (fread(head, 1, 4, stdin) != 4)
        return NULL;
    size_t len = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
    char *data = malloc(len > 0 ? len : 1);
    if (data == NULL || fread(data, 1, len, stdin) != len)
        abort();
    *ret_len = len;
    return data;
}

#endif
