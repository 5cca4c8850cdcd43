/* One line of the access log: the format, compiled once, and a request put into it. */
#ifndef SL_HTTP_ACCESS_FORMAT_H
#define SL_HTTP_ACCESS_FORMAT_H

#include <saola/http.h>
#include <saola/status.h>
#include <time.h>

#include "base/buffer.h"

/* What a line tells. All slices live as long as the call. */
struct sl_access_entry {
    const struct sl_request *req;
    struct sl_str fields; /* of the response, each as "Name: value\r\n" */
    int status;
    uint64_t body_bytes;
    uint64_t duration_ns;
    struct timespec now; /* the line's time; tv_nsec only if sl_access_format_is_fine() */
};

/* The text of the last second that was formatted; one a thread, zeroed at first. */
struct sl_access_clock {
    time_t second;
    size_t clf_len, iso_len;
    char clf[40]; /* [21/Nov/2026:05:38:27 +0000] */
    char iso[40]; /* 2026-11-21T05:38:27, the offset behind it */
};

struct sl_access_format;

/* gunicorn's default and ours: what its lines cost is paid by most requests of most servers, so it
 * has code of its own. */
#define SL_ACCESS_USUAL "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\""

/* Compiles gunicorn's access_log_format ("%(h)s %(r)s ..."), or the words "json" and "logfmt".
 * SL_EUNAVAILABLE, without a text: only Python's % operator and logger can fill it (environ atoms,
 * widths, ...). SL_ENOMEM. */
int sl_access_format_new(const char *text, struct sl_access_format **ret_format,
                         struct sl_error *err);
void sl_access_format_free(struct sl_access_format *format); /* NULL is accepted */

/* Whether lines tell how long a request took: if not, nobody needs to look at the clock. */
bool sl_access_format_is_timed(const struct sl_access_format *format);

/* Whether lines tell more of their time than the second. */
bool sl_access_format_is_fine(const struct sl_access_format *format);

/* Appends the line, LF included. Whatever client and application sent is escaped: one line of
 * printable UTF-8. SL_ENOMEM: out is as it was. Any thread; clock is the caller's own. */
int sl_access_format_line(const struct sl_access_format *format,
                          const struct sl_access_entry *entry, struct sl_access_clock *clock,
                          struct sl_buf *out);

#endif
