/* The engine's side of the access log. */
#ifndef SL_HTTP_ACCESS_LOG_H
#define SL_HTTP_ACCESS_LOG_H

#include <saola/access_log.h>
#include "http/access_format.h"

/* What a thread that serves keeps for its lines. Zeroed at first. */
struct sl_access_desk {
    struct sl_access_clock clock;
    bool gathers;           /* its owner will call sl_access_log_hand_over() in a moment */
    struct sl_buf lines;    /* made and not handed over */
    struct timespec moment; /* of the last sl_access_log_expect() */
};

/* Whether it wants entry->duration_ns, and the fraction of the second in entry->now. */
bool sl_access_log_is_timed(const struct sl_access_log *log);
bool sl_access_log_is_fine(const struct sl_access_log *log);

/* Makes the line of one request and hands it over, or leaves that to the desk's owner if it
 * gathers. */
void sl_access_log_note(struct sl_access_log *log, struct sl_access_desk *desk,
                        const struct sl_access_entry *entry);

/* Gives the writer what the desk has. */
void sl_access_log_hand_over(struct sl_access_log *log, struct sl_access_desk *desk);

/* A handler is about to be called. It may hang for a long time, or end the process: lines of an
 * earlier moment do not wait for it. now: of a coarse clock, which stands still for some
 * milliseconds. log: may be NULL. */
static inline void
sl_access_log_expect(struct sl_access_log *log, struct sl_access_desk *desk,
                     const struct timespec *now)
{
    if (now->tv_nsec == desk->moment.tv_nsec && now->tv_sec == desk->moment.tv_sec)
        return;
    desk->moment = *now;
    if (log != NULL)
        sl_access_log_hand_over(log, desk);
}

void sl_access_desk_release(struct sl_access_desk *desk);

#endif
