/* Bytes, and possibly the rest of a file, on their way to one client. */
#ifndef SL_HTTP_OUTPUT_H
#define SL_HTTP_OUTPUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sl_out {
    char *ptr;
    size_t start, end, cap; /* ptr[start..end) is to be sent */
    int file_fd;            /* sent after the bytes; -1 = none. Owned */
    off_t file_offset;
    uint64_t file_left;
    const atomic_bool *cut; /* true: nothing may be sent any more. May be NULL; survives release */
};

void sl_out_init(struct sl_out *out);
void sl_out_release(struct sl_out *out);

static inline bool
sl_out_empty(const struct sl_out *out)
{
    return out->start == out->end && out->file_left == 0;
}

/* Room for len more bytes; NULL without memory. The caller advances out->end. */
char *sl_out_reserve(struct sl_out *out, size_t len);
int sl_out_append(struct sl_out *out, const void *data, size_t len);

/* Sends what the socket takes without blocking, some MiB at most. SL_OK: all is sent; SL_EAGAIN:
 * not all, and the socket may be writable still; SL_ECLOSED. */
int sl_out_flush(struct sl_out *out, int fd);

/* Sends pending bytes and then data, without copying data unless the socket is full. The file part
 * must be empty. SL_OK (taken; look at sl_out_empty), SL_ECLOSED, SL_ENOMEM. */
int sl_out_direct(struct sl_out *out, int fd, const void *data, size_t len);

/* Moves everything pending from one to the other, which is empty. SL_OK or SL_ENOMEM. */
int sl_out_move(struct sl_out *from, struct sl_out *to);

#endif
