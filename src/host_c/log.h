/* The error log of the host in C, and syslog. */
#ifndef SL_HOST_C_LOG_H
#define SL_HOST_C_LOG_H

#include <stdbool.h>
#include <saola/config.h>
#include <saola/log.h>
#include <saola/status.h>

struct sl_generation;

/* ---- error log (log.c) ------------------------------------------------------------------------
 */

struct sl_errlog;

/* By the settings of a generation. SL_ESYS with a sentence. */
int sl_errlog_open(const struct sl_generation *generation, struct sl_errlog **ret_log,
                   struct sl_error *err);
/* Standard error is about to be something else: lines that go there go where it leads now.
 * SL_ESYS. */
int sl_errlog_leave_stderr(struct sl_errlog *log);
int sl_errlog_fd(const struct sl_errlog *log);
/* With capture_output standard output and error are turned, too. */
void sl_errlog_reopen(struct sl_errlog *log);
/* Takes level, file and syslog of another generation; what cannot be opened stays as it was. */
void sl_errlog_configure(struct sl_errlog *log, const struct sl_generation *generation);
void sl_errlog_write(struct sl_errlog *log, enum sl_log_level level, const char *message);
void sl_errlog_format(struct sl_errlog *log, enum sl_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Where lines go besides; NULL: nowhere. Its, until it is configured or closed. */
struct sl_syslog *sl_errlog_syslog(const struct sl_errlog *log);
void sl_errlog_close(struct sl_errlog *log);

/* ---- syslog (syslog.c) ------------------------------------------------------------------------
 */

struct sl_syslog;

/* Whether the settings can be read: SL_OK (also when syslog is off), SL_EINVAL with a sentence. */
int sl_syslog_check(const struct sl_config *config, struct sl_error *err);
/* name: of the entries, unless the setting syslog_prefix says one. must_answer: SL_ESYS when nobody
 * is there; else one that is there later will do. */
int sl_syslog_open(const struct sl_config *config, const char *name, bool must_answer,
                   struct sl_syslog **ret_syslog, struct sl_error *err);
/* kind: "error" or "access". Never waits. (any thread) */
void sl_syslog_write(struct sl_syslog *syslog, const char *kind, enum sl_log_level level,
                     const char *text, size_t len);
void sl_syslog_close(struct sl_syslog *syslog); /* NULL is accepted */

#endif
