/* A growing run of bytes: doubling, with every size checked for overflow before it is used. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <base/buffer.h>
#include <base/spool.h>
#include <base/tempfile.h>
#include <saola/status.h>

enum {
    SMALLEST = 256,
    SMALLEST_FILE = 256 * 1024,
    FILE_STEP = 4 << 20, /* beyond what is needed; disk is had at once, unlike memory */
};

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
    if (buf->file != 0) {
        munmap(buf->ptr, buf->cap);
        close(buf->file - 1);
        sl_spool_give(buf->spool, buf->cap);
    } else {
        free(buf->ptr);
    }
    sl_buf_init(buf);
}

/* Blocks are had now: a write to a hole of a full disk would be SIGBUS. */
static int
allocate(int fd, size_t size)
{
    int error;
    do
        error = posix_fallocate(fd, 0, (off_t)size);
    while (error == EINTR);
    errno = error;
    return error == 0 ? SL_OK : SL_ESYS;
}

/* By doubling; a large file in steps. need is at most PTRDIFF_MAX. */
static size_t
next_capacity(size_t cap, size_t need, bool in_file)
{
    while (cap < need) {
        if (in_file && cap >= FILE_STEP)
            return (need + FILE_STEP - 1) / FILE_STEP * FILE_STEP;
        cap = cap > (size_t)PTRDIFF_MAX / 2 ? need : cap * 2;
    }
    return cap;
}

static int
grow_file(struct sl_buf *buf, size_t cap)
{
    size_t more = cap - buf->cap;
    if (!sl_spool_take(buf->spool, more))
        return SL_EFULL;
    void *ptr = MAP_FAILED;
    int rc = allocate(buf->file - 1, cap) < 0 ? SL_EFULL : SL_ENOMEM;
    if (rc != SL_EFULL)
        ptr = mremap(buf->ptr, buf->cap, cap, MREMAP_MAYMOVE);
    if (ptr == MAP_FAILED) {
        sl_spool_give(buf->spool, more);
        return rc;
    }
    buf->ptr = ptr;
    buf->cap = cap;
    return SL_OK;
}

/* A file of cap bytes and its mapping. */
static int
open_file(const char *directory, size_t cap, int *ret_fd, void **ret_ptr)
{
    int fd = sl_tempfile_open(directory);
    if (fd < 0)
        return SL_ESYS;
    void *ptr = MAP_FAILED;
    if (allocate(fd, cap) == SL_OK)
        ptr = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ptr == MAP_FAILED) {
        int error = errno;
        close(fd);
        errno = error;
        return SL_ESYS;
    }
    *ret_fd = fd;
    *ret_ptr = ptr;
    return SL_OK;
}

int
sl_buf_spool(struct sl_buf *buf, struct sl_spool *spool, size_t extra)
{
    if (buf->file != 0)
        return SL_OK;
    if (extra > (size_t)PTRDIFF_MAX - buf->len)
        return SL_ESYS;
    size_t cap = next_capacity(SMALLEST_FILE, buf->len + extra, true);
    if (!sl_spool_take(spool, cap))
        return SL_EFULL;
    int fd;
    void *ptr;
    if (open_file(spool->directory, cap, &fd, &ptr) < 0) {
        sl_spool_give(spool, cap);
        return SL_ESYS;
    }
    if (buf->len > 0)
        memcpy(ptr, buf->ptr, buf->len);
    free(buf->ptr);
    *buf = (struct sl_buf){ptr, buf->len, cap, fd + 1, spool};
    return SL_OK;
}

int
sl_buf_reserve(struct sl_buf *buf, size_t extra)
{
    if (extra <= buf->cap - buf->len)
        return SL_OK;
    if (extra > (size_t)PTRDIFF_MAX - buf->len)
        return SL_ENOMEM;
    size_t least = buf->cap < SMALLEST ? SMALLEST : buf->cap;
    size_t cap = next_capacity(least, buf->len + extra, buf->file != 0);
    if (buf->file != 0)
        return grow_file(buf, cap);
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
