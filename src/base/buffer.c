/* A growing run of bytes: doubling, with every size checked for overflow before it is used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <base/buffer.h>
#include <saola/status.h>

enum { SMALLEST = 256 };

void
sl_buf_init(struct sl_buf *buf)
{
    *buf = (struct sl_buf)SL_BUF_INIT;
}

void
sl_buf_release(struct sl_buf *buf)
{
    if (buf == NULL)
        return;
    free(buf->ptr);
    sl_buf_init(buf);
}

int
sl_buf_reserve(struct sl_buf *buf, size_t extra)
{
    if (extra <= buf->cap - buf->len)
        return SL_OK;
    if (extra > (size_t)PTRDIFF_MAX - buf->len)
        return SL_ENOMEM;
    size_t need = buf->len + extra;
    size_t cap = buf->cap < SMALLEST ? SMALLEST : buf->cap;
    while (cap < need)
        cap = cap > (size_t)PTRDIFF_MAX / 2 ? need : cap * 2;
    char *ptr = realloc(buf->ptr, cap);
    if (ptr == NULL)
        return SL_ENOMEM;
    buf->ptr = ptr;
    buf->cap = cap;
    return SL_OK;
}

int
sl_buf_append(struct sl_buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return SL_OK;
    int rc = sl_buf_reserve(buf, len);
    if (rc != SL_OK)
        return rc;
    memcpy(buf->ptr + buf->len, data, len);
    buf->len += len;
    return SL_OK;
}

void
sl_buf_consume(struct sl_buf *buf, size_t n)
{
    if (n >= buf->len) {
        buf->len = 0;
        return;
    }
    if (n == 0)
        return;
    buf->len -= n;
    memmove(buf->ptr, buf->ptr + n, buf->len);
}
