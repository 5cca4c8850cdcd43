/* Where the bytes go that are too many for memory: files without a name (tempfile.h) in one
 * directory, and how much all of them may take of its disk together. */
#ifndef SL_BASE_SPOOL_H
#define SL_BASE_SPOOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sl_spool {
    const char *directory; /* NULL: there is none, and no file */
    uint64_t limit;        /* bytes; 0: none */
    _Atomic uint64_t used;
};

/* Any thread. False, and nothing is taken: so many more bytes would be beyond the limit. */
bool sl_spool_take(struct sl_spool *spool, uint64_t len);
/* Any thread. A file became so much shorter, or is gone. */
void sl_spool_give(struct sl_spool *spool, uint64_t len);

/* Whether so many more bytes could be had now. */
bool sl_spool_has_room(const struct sl_spool *spool, uint64_t len);

#endif
