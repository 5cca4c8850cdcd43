/* A growing run of bytes, in memory or in an unlinked file. */
#ifndef SL_BASE_BUFFER_H
#define SL_BASE_BUFFER_H

#include <stddef.h>

/* ptr[0..len) is content, ptr[len..cap) room. ptr is NULL while nothing was ever reserved. Fields
 * may be read, and len raised after writing into reserved room. Not thread-safe. */
struct sl_buf {
    char *ptr;
    size_t len, cap;
    int file; /* 0: memory; else ptr is a mapping of the descriptor file - 1 */
};

#define SL_BUF_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0, 0                                                                              \
    }

void sl_buf_init(struct sl_buf *buf);

/* Frees the memory; buf is empty and usable afterwards. NULL is accepted. */
void sl_buf_release(struct sl_buf *buf);

/* Makes room for at least extra bytes after the content (cap - len >= extra). Grows by doubling.
 * SL_ENOMEM, with the content untouched, also when the size would overflow. */
int sl_buf_reserve(struct sl_buf *buf, size_t extra);

/* Moves the content into an unlinked file of directory, mapped, with room for at least extra more
 * bytes; it grows in that file from then on, and space on its disk is always had before it is used.
 * The content then costs page cache that the kernel may write out, not memory. Does nothing if it
 * is there already. SL_ESYS (errno), with the content untouched. */
int sl_buf_spool(struct sl_buf *buf, const char *directory, size_t extra);

/* Appends len bytes (data may be NULL if len is 0; must not point into buf). SL_ENOMEM. */
int sl_buf_append(struct sl_buf *buf, const void *data, size_t len);

/* Drops the first n bytes (at most all) and moves the rest to the front. */
void sl_buf_consume(struct sl_buf *buf, size_t n);

#endif
