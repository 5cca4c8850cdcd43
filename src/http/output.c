/* Output of one connection: gather, send once, keep what the client does not take yet. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <saola/status.h>
#include "base/tempfile.h"
#include "http/output.h"
#include "net/io.h"

enum {
    KEEP_CAPACITY = 128 * 1024,
    FLUSH_MAX = 4 << 20, /* bytes, then it is another client's turn */
    STORE_MAX = 16 << 20,
    SPOOL_LEAST = 16 * 1024, /* less is not worth a file */
};

void
sl_out_init(struct sl_out *out)
{
    *out = (struct sl_out){.file_fd = -1};
}

static void
drop_file(struct sl_out *out)
{
    if (out->file_fd >= 0)
        close(out->file_fd);
    if (out->spooled)
        sl_spool_give(out->spool, (uint64_t)out->file_offset + out->file_left);
    out->file_fd = -1;
    out->file_left = 0;
    out->spooled = false;
}

void
sl_out_release(struct sl_out *out)
{
    const atomic_bool *cut = out->cut;
    drop_file(out);
    free(out->ptr);
    if (out->charged > 0)
        atomic_fetch_sub_explicit(&out->store->used, out->charged, memory_order_relaxed);
    sl_out_init(out);
    out->cut = cut;
}

static int
grow(struct sl_out *out, size_t need)
{
    size_t cap = out->cap ? out->cap : 4096;
    while (cap < need) {
        if (cap > SIZE_MAX / 2)
            return SL_ENOMEM;
        cap *= 2;
    }
    char *ptr = realloc(out->ptr, cap);
    if (ptr == NULL)
        return SL_ENOMEM;
    out->ptr = ptr;
    out->cap = cap;
    return SL_OK;
}

char *
sl_out_make_room(struct sl_out *out, size_t len)
{
    if (out->start > 0) {
        memmove(out->ptr, out->ptr + out->start, out->end - out->start);
        out->end -= out->start;
        out->start = 0;
    }
    if (len > SIZE_MAX - out->end)
        return NULL;
    if (out->cap - out->end < len && grow(out, out->end + len) < 0)
        return NULL;
    return out->ptr + out->end;
}

int
sl_out_append(struct sl_out *out, const void *data, size_t len)
{
    if (len == 0)
        return SL_OK; /* a released buffer has no address to give */
    char *room = sl_out_reserve(out, len);
    if (room == NULL)
        return SL_ENOMEM;
    memcpy(room, data, len);
    out->end += len;
    return SL_OK;
}

/* All bytes are sent: keep a small buffer for the next time, give a large one back. */
static void
rewind_buffer(struct sl_out *out)
{
    out->start = out->end = 0;
    if (out->cap > KEEP_CAPACITY) {
        free(out->ptr);
        out->ptr = NULL;
        out->cap = 0;
    }
}

static bool
is_cut(const struct sl_out *out)
{
    return out->cut != NULL && atomic_load(out->cut);
}

static int
sent_error(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM)
        return SL_EAGAIN;
    return SL_ECLOSED;
}

static int
flush_bytes(struct sl_out *out, int fd, size_t budget)
{
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (out->file_left > 0 ? MSG_MORE : 0);
    while (out->start < out->end) {
        size_t step = out->end - out->start < budget ? out->end - out->start : budget;
        ssize_t n = step == 0 ? 0 : sl_io_send(fd, out->ptr + out->start, step, flags);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return sent_error();
        }
        if (n == 0)
            return SL_EAGAIN;
        out->start += (size_t)n;
        budget -= (size_t)n;
    }
    rewind_buffer(out);
    return SL_OK;
}

static int
flush_file(struct sl_out *out, int fd, size_t budget)
{
    while (out->file_left > 0) {
        if (budget == 0)
            return SL_EAGAIN;
        size_t step = out->file_left < budget ? (size_t)out->file_left : budget;
        ssize_t n = sendfile(fd, out->file_fd, &out->file_offset, step);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return sent_error();
        }
        if (n == 0)
            return SL_ECLOSED; /* the file became shorter: the promised length cannot be kept */
        out->file_left -= (uint64_t)n;
        budget -= (size_t)n;
    }
    drop_file(out);
    return SL_OK;
}

int
sl_out_flush(struct sl_out *out, int fd)
{
    int rc = is_cut(out) ? SL_ECLOSED : SL_OK;
    if (rc == SL_OK && out->spooled)
        rc = flush_file(out, fd, FLUSH_MAX);
    if (rc == SL_OK && out->start < out->end)
        rc = flush_bytes(out, fd, FLUSH_MAX);
    if (rc == SL_OK && out->file_left > 0)
        rc = flush_file(out, fd, FLUSH_MAX);
    return rc;
}

int
sl_out_direct(struct sl_out *out, int fd, const void *data, size_t len)
{
    size_t pending = out->end - out->start;
    char *first = pending > 0 ? out->ptr + out->start : NULL;
    struct iovec parts[2] = {{first, pending}, {(void *)data, len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;
    if (is_cut(out))
        return SL_ECLOSED;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (sent_error() == SL_ECLOSED)
            return SL_ECLOSED;
        n = 0;
    }
    size_t taken = (size_t)n;
    if (taken < pending) {
        out->start += taken;
        return sl_out_append(out, data, len);
    }
    taken -= pending;
    out->start = out->end = 0;
    return sl_out_append(out, (const char *)data + taken, len - taken);
}

static bool
write_all(int fd, const char *data, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
        at += n;
    }
    return true;
}

int
sl_out_spool(struct sl_out *out, struct sl_spool *spool)
{
    size_t len = out->end - out->start;
    if (out->file_fd >= 0 && !out->spooled)
        return SL_ESYS;
    if (!sl_spool_take(spool, len))
        return SL_EFULL;
    int fd = out->spooled ? out->file_fd : sl_tempfile_open(spool->directory);
    off_t at = out->spooled ? out->file_offset + (off_t)out->file_left : 0;
    if (fd < 0 || !write_all(fd, out->ptr + out->start, len, at)) {
        if (fd >= 0 && !out->spooled)
            close(fd);
        sl_spool_give(spool, len);
        return SL_ESYS;
    }
    if (!out->spooled)
        out->file_offset = 0;
    out->spooled = true;
    out->spool = spool;
    out->file_fd = fd;
    out->file_left += len;
    rewind_buffer(out);
    return SL_OK;
}

static bool
is_full(const struct sl_out_store *store, size_t len)
{
    return store->spool != NULL && len >= SPOOL_LEAST &&
           atomic_load_explicit(&store->used, memory_order_relaxed) + len > STORE_MAX;
}

/* A large buffer goes as it is, of a small one only what is used: its owner goes on with it. */
static int
move_bytes(struct sl_out *from, struct sl_out *to)
{
    size_t len = from->end - from->start;
    if (from->cap > KEEP_CAPACITY && len > from->cap / 2) {
        free(to->ptr);
        to->ptr = from->ptr;
        to->start = from->start;
        to->end = from->end;
        to->cap = from->cap;
        from->ptr = NULL;
        from->start = from->end = from->cap = 0;
        return SL_OK;
    }
    char *copy = malloc(len);
    if (copy == NULL)
        return SL_ENOMEM;
    memcpy(copy, from->ptr + from->start, len);
    free(to->ptr);
    to->ptr = copy;
    to->start = 0;
    to->end = to->cap = len;
    return SL_OK;
}

int
sl_out_move(struct sl_out *from, struct sl_out *to, struct sl_out_store *store)
{
    if (is_full(store, from->end - from->start))
        (void)sl_out_spool(from, store->spool); /* else memory is what there is */
    if (from->start < from->end && move_bytes(from, to) < 0)
        return SL_ENOMEM;
    if (to->store == NULL) {
        to->store = store;
        to->charged = to->cap;
        atomic_fetch_add_explicit(&store->used, to->charged, memory_order_relaxed);
    }
    to->file_fd = from->file_fd;
    to->file_offset = from->file_offset;
    to->file_left = from->file_left;
    to->spooled = from->spooled;
    to->spool = from->spool;
    from->file_fd = -1;
    from->file_left = 0;
    from->spooled = false;
    rewind_buffer(from);
    return SL_OK;
}
