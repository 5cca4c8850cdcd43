/* What an arbiter lets other processes read of it: a page of text in anonymous memory (memfd) that
 * who may look into /proc/PID/fd finds by its name, /memfd:saola-arbiter. Nothing is on disk, and
 * it is gone with the arbiter.
 *
 * Process: arbiter. Thread: the main one.
 */
#ifndef SAOLA_PROC_NOTICE_H
#define SAOLA_PROC_NOTICE_H

#include <stdbool.h>

enum { SL_NOTICE_SIZE = 4096 };

struct sl_notice {
    int fd; /* close-on-exec; -1 = none */
    unsigned long number;
    char text[SL_NOTICE_SIZE]; /* as written last */
};

/* False without memory or descriptors: the arbiter then serves without. */
bool sl_notice_open(struct sl_notice *notice);
void sl_notice_close(struct sl_notice *notice);

/* Writes lines (each ended by a line end) unless they are what stands there already. The page is
 * "saola N", the lines, "end N", NULs; a reader that finds two different N, or none, looks again.
 * What does not fit is cut. */
void sl_notice_put(struct sl_notice *notice, const char *lines);

#endif
