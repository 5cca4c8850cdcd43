/* The engine's side of the access log. */
#ifndef SL_HTTP_ACCESS_LOG_H
#define SL_HTTP_ACCESS_LOG_H

#include <saola/access_log.h>
#include "http/access_format.h"

/* What a thread that serves keeps for its lines. Zeroed at first. */
struct sl_access_desk {
    struct sl_access_clock clock;
    bool gathers;          /* its owner will call sl_access_log_hand_over() in a moment */
    struct sl_buf lines;   /* made and not handed over */
    struct timespec since; /* when the first of them was made */
};

/* Whether it wants entry->duration_ns. */
bool sl_access_log_is_timed(const struct sl_access_log *log);

/* Makes the line of one request and hands it over, or leaves that to the desk's owner if it
 * gathers: as long as entry->now stands still, some milliseconds. */
void sl_access_log_note(struct sl_access_log *log, struct sl_access_desk *desk,
                        const struct sl_access_entry *entry);

/* Gives the writer what the desk has. */
void sl_access_log_hand_over(struct sl_access_log *log, struct sl_access_desk *desk);

void sl_access_desk_release(struct sl_access_desk *desk);

#endif
