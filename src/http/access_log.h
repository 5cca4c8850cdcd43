/* The engine's side of the access log. */
#ifndef SL_HTTP_ACCESS_LOG_H
#define SL_HTTP_ACCESS_LOG_H

#include <saola/access_log.h>
#include "http/access_format.h"

/* What a thread that serves keeps for its lines. Zeroed at first. */
struct sl_access_desk {
    struct sl_access_clock clock;
    struct sl_buf line;
};

/* Whether it wants entry->duration_ns. */
bool sl_access_log_is_timed(const struct sl_access_log *log);

/* Makes and hands on the line of one request. entry->now is filled here. */
void sl_access_log_note(struct sl_access_log *log, struct sl_access_desk *desk,
                        struct sl_access_entry *entry);

void sl_access_desk_release(struct sl_access_desk *desk);

#endif
