/* The error log, as gunicorn writes it: "[time] [pid] [LEVEL] message", one write() a line. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "host_c.h"

enum { LINE_MAX_BYTES = 8192 };

struct sl_errlog {
    _Atomic int fd;
    _Atomic int level;
    char *path;               /* NULL: standard error */
    bool captures;            /* standard output and error are the same file */
    struct sl_syslog *syslog; /* besides; NULL: not */
};

static const char *const level_names[] = {
    [SL_LOG_DEBUG] = "DEBUG", [SL_LOG_INFO] = "INFO",         [SL_LOG_WARNING] = "WARNING",
    [SL_LOG_ERROR] = "ERROR", [SL_LOG_CRITICAL] = "CRITICAL",
};

static int
open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
}

static const char *
path_of(const struct sl_config *config)
{
    const char *path = sl_config_text(config, "errorlog");
    return path == NULL || *path == '\0' || strcmp(path, "-") == 0 ? NULL : path;
}

/* Its last part: an entry of syslog has no room for directories. */
static const char *
name_of(const struct sl_generation *generation)
{
    const char *name = sl_generation_name(generation), *slash = strrchr(name, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : name;
}

/* What stays when it cannot be opened is what was there before. */
static int
turn_syslog(struct sl_errlog *log, const struct sl_generation *generation, bool must_answer,
            struct sl_error *err)
{
    struct sl_syslog *fresh = NULL;
    int rc = SL_OK;
    if (sl_config_number(generation->config, "syslog") != 0)
        rc = sl_syslog_open(generation->config, name_of(generation), must_answer, &fresh, err);
    if (rc != SL_OK)
        return rc;
    sl_syslog_close(log->syslog);
    log->syslog = fresh;
    return SL_OK;
}

static void
capture(const struct sl_errlog *log)
{
    if (!log->captures)
        return;
    dup2(log->fd, STDOUT_FILENO);
    dup2(log->fd, STDERR_FILENO);
}

int
sl_errlog_open(const struct sl_generation *generation, struct sl_errlog **ret_log,
               struct sl_error *err)
{
    const struct sl_config *config = generation->config;
    const char *path = path_of(config);
    struct sl_errlog *log = calloc(1, sizeof *log);
    if (log == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    log->fd = STDERR_FILENO;
    log->level = (int)sl_config_number(config, "loglevel");
    if (path != NULL) {
        log->path = strdup(path);
        int fd = log->path == NULL ? -1 : open_file(path);
        if (fd < 0) {
            sl_error_set(err, SL_ESYS, "errorlog: %.300s: %s", path, strerror(errno));
            sl_errlog_close(log);
            return SL_ESYS;
        }
        log->fd = fd;
    }
    int rc = turn_syslog(log, generation, true, err);
    if (rc != SL_OK) {
        sl_errlog_close(log);
        return rc;
    }
    log->captures = path != NULL && sl_config_number(config, "capture_output") != 0;
    capture(log);
    *ret_log = log;
    return SL_OK;
}

/* The descriptor stays the same number, so that no thread writes into a closed one. */
static void
turn_to(struct sl_errlog *log, int fd)
{
    if (log->fd == STDERR_FILENO) {
        log->fd = fd;
    } else {
        dup3(fd, log->fd, O_CLOEXEC);
        close(fd);
    }
    capture(log);
}

int
sl_errlog_leave_stderr(struct sl_errlog *log)
{
    log->captures = false;
    if (log->fd != STDERR_FILENO)
        return SL_OK;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0)
        return SL_ESYS;
    log->fd = fd;
    return SL_OK;
}

void
sl_errlog_reopen(struct sl_errlog *log)
{
    int fd = log->path == NULL ? -1 : open_file(log->path);
    if (fd >= 0)
        turn_to(log, fd);
}

void
sl_errlog_configure(struct sl_errlog *log, const struct sl_generation *generation)
{
    struct sl_error err;
    const char *path = path_of(generation->config);
    log->level = (int)sl_config_number(generation->config, "loglevel");
    (void)turn_syslog(log, generation, false, &err);
    if (path == NULL || (log->path != NULL && strcmp(path, log->path) == 0))
        return;
    char *copy = strdup(path);
    int fd = copy == NULL ? -1 : open_file(path);
    if (fd < 0) {
        free(copy);
        return;
    }
    free(log->path);
    log->path = copy;
    turn_to(log, fd);
}

void
sl_errlog_write(struct sl_errlog *log, enum sl_log_level level, const char *message)
{
    char line[LINE_MAX_BYTES], stamp[40];
    struct tm now;
    time_t seconds = time(NULL);
    if ((int)level < log->level)
        return;
    localtime_r(&seconds, &now);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S %z", &now);
    int head =
        snprintf(line, sizeof line, "[%s] [%d] [%s] ", stamp, (int)getpid(), level_names[level]);
    size_t len = strlen(message), room = sizeof line - (size_t)head - 1;
    if (len > room)
        len = room;
    memcpy(line + head, message, len);
    line[(size_t)head + len] = '\n';
    ssize_t done;
    do
        done = write(log->fd, line, (size_t)head + len + 1);
    while (done < 0 && errno == EINTR);
    if (log->syslog != NULL)
        sl_syslog_write(log->syslog, "error", level, message, len);
}

int
sl_errlog_fd(const struct sl_errlog *log)
{
    return log->fd;
}

struct sl_syslog *
sl_errlog_syslog(const struct sl_errlog *log)
{
    return log->syslog;
}

void
sl_errlog_format(struct sl_errlog *log, enum sl_log_level level, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sl_errlog_write(log, level, text);
}

void
sl_errlog_close(struct sl_errlog *log)
{
    if (log == NULL)
        return;
    if (log->fd != STDERR_FILENO)
        close(log->fd);
    sl_syslog_close(log->syslog);
    free(log->path);
    free(log);
}
