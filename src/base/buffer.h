/* A growing run of bytes, in memory or in an unlinked file. */
#ifndef SL_BASE_BUFFER_H
#define SL_BASE_BUFFER_H

#include <stddef.h>

struct sl_spool;

/* ptr[0..len) is content, ptr[len..cap) room. ptr is NULL while nothing was ever reserved. Fields
 * may be read, and len raised after writing into reserved room. Not thread-safe. */
struct sl_buf {
    char *ptr;
    size_t len, cap;
    int file;               /* 0: memory; else ptr is a mapping of the descriptor file - 1 */
    struct sl_spool *spool; /* ... which is charged with cap bytes */
};

#define SL_BUF_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0, 0, NULL                                                                        \
    }

void sl_buf_init(struct sl_buf *buf);

/* Frees the memory; buf is empty and usable afterwards. NULL is accepted. */
void sl_buf_release(struct sl_buf *buf);

/* Makes room for at least extra bytes after the content (cap - len >= extra). Grows by doubling.
 * With the content untouched: SL_ENOMEM, also when the size would overflow; of a file SL_EFULL,
 * when its disk or the spool has no room. */
int sl_buf_reserve(struct sl_buf *buf, size_t extra);

/* Moves the content into an unlinked file of the spool, mapped, with room for at least extra more
 * bytes; it grows in that file from then on, and space on its disk is always had before it is used.
 * The content then costs page cache that the kernel may write out, not memory. Does nothing if it
 * is there already. With the content untouched: SL_EFULL, the spool's limit is reached; SL_ESYS
 * (errno), there is no file to be had. The spool outlives the content. */
int sl_buf_spool(struct sl_buf *buf, struct sl_spool *spool, size_t extra);

/* Appends len bytes (data may be NULL if len is 0; must not point into buf). Fails as
 * sl_buf_reserve(). */
int sl_buf_append(struct sl_buf *buf, const void *data, size_t len);

/* Drops the first n bytes (at most all) and moves the rest to the front. */
void sl_buf_consume(struct sl_buf *buf, size_t n);

#endif
