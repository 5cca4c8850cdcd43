/* The access log of a worker: lines are made on the threads that serve, written by one of its own,
 * so that a slow disk or a full pipe never holds up a request.
 *
 * Process: the worker that opened it (a fork has no writer). Thread: any, unless said otherwise.
 */
#ifndef SAOLA_ACCESS_LOG_H
#define SAOLA_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_access_log;

struct sl_access_log_options {
    /* gunicorn's access_log_format, "json" or "logfmt". */
    const char *format;
    /* Where lines go; it is duplicated. -1: only to on_line. */
    int fd;
    /* Called with each line, without LF, on the thread that served the request; must not wait.
     * NULL: nobody. */
    void (*on_line)(void *ctx, const char *line, size_t len);
    void *ctx;
    /* Requests that get no line; NULL, or ended by NULL. "/health" is a path, with a star at its
     * end it is the beginning of one; "304" is a status, "2xx" a class of them; "/health 2xx" is
     * both at once. */
    const char *const *exclude;
};

/* SL_EUNAVAILABLE without a text: the format is one that only Python's logger can fill.
 * SL_EINVAL: exclude. SL_ENOMEM, SL_ESYS. The options' texts are copied. */
int sl_access_log_open(const struct sl_access_log_options *options, struct sl_access_log **ret_log,
                       struct sl_error *err);

/* Writes the lines so far; waits for that, at most a second. SL_OK, SL_ETIMEOUT. */
int sl_access_log_flush(struct sl_access_log *log);

/* The same, and from then on lines go to fd (duplicated). SL_ESYS: nothing has changed;
 * SL_ETIMEOUT: it will, as soon as the old file takes its lines. */
int sl_access_log_reopen(struct sl_access_log *log, int fd);

/* Lines that could not be written since it was opened: the file takes nothing (disk full, reader
 * gone), or not as fast as requests come. */
uint64_t sl_access_log_dropped(const struct sl_access_log *log);

/* Writes what is left and frees it. Nobody may use it any more. NULL is accepted. SL_ETIMEOUT: the
 * file did not take it within wait_ms; try again, or leave it to the end of the process. */
int sl_access_log_close(struct sl_access_log *log, unsigned wait_ms);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
