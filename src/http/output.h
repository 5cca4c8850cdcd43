/* Bytes, and possibly the rest of a file, on their way to one client.
 *
 * The file comes after the bytes. But bytes of a client that is too slow for memory (spooled) are
 * in an unlinked file, and those in memory come after it. */
#ifndef SL_HTTP_OUTPUT_H
#define SL_HTTP_OUTPUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/hints.h"
#include "base/spool.h"

/* What waits for slow clients in memory, all of them together; beyond a limit it goes to files. */
struct sl_out_store {
    struct sl_spool *spool; /* of these files; NULL: there are none */
    atomic_size_t used;     /* bytes in memory */
};

struct sl_out {
    char *ptr;
    size_t start, end, cap; /* ptr[start..end) is to be sent */
    int file_fd;            /* sent after the bytes; -1 = none. Owned */
    off_t file_offset;
    uint64_t file_left;
    bool spooled;               /* the file holds earlier bytes, and may have more appended */
    struct sl_spool *spool;     /* ... and is charged with all of its bytes */
    size_t charged;             /* to the store */
    struct sl_out_store *store; /* where it was moved to; may be NULL */
    const atomic_bool *cut; /* true: nothing may be sent any more. May be NULL; survives release */
};

void sl_out_init(struct sl_out *out);
void sl_out_release(struct sl_out *out);

static inline bool
sl_out_empty(const struct sl_out *out)
{
    return out->start == out->end && out->file_left == 0;
}

static inline uint64_t
sl_out_waiting(const struct sl_out *out)
{
    return out->end - out->start + out->file_left;
}

/* Room for len more bytes; NULL without memory. The caller advances out->end. */
char *sl_out_make_room(struct sl_out *out, size_t len);
static inline char *
sl_out_reserve(struct sl_out *out, size_t len)
{
    bool enough = out->cap - out->end >= len;
    return SL_LIKELY(enough) ? out->ptr + out->end : sl_out_make_room(out, len);
}
int sl_out_append(struct sl_out *out, const void *data, size_t len);

/* Sends what the socket takes without blocking, some MiB at most. SL_OK: all is sent; SL_EAGAIN:
 * not all, and the socket may be writable still; SL_ECLOSED. */
int sl_out_flush(struct sl_out *out, int fd);

/* Sends pending bytes and then data, without copying data unless the socket is full. The file part
 * must be empty. SL_OK (taken; look at sl_out_empty), SL_ECLOSED, SL_ENOMEM. */
int sl_out_direct(struct sl_out *out, int fd, const void *data, size_t len);

/* Moves the bytes in memory to a file of the spool, behind what is there already; the spool
 * outlives it. SL_OK. Or nothing changed: SL_EFULL, the spool's limit is reached; SL_ESYS, there is
 * no room on the disk, no descriptor, or a file that is itself the output. */
int sl_out_spool(struct sl_out *out, struct sl_spool *spool);

/* Moves everything pending from one to the other, which is empty and where it may stay for long:
 * its memory is charged to the store until it is released, or it goes to a file when the store is
 * full. SL_OK or SL_ENOMEM. */
int sl_out_move(struct sl_out *from, struct sl_out *to, struct sl_out_store *store);

#endif
