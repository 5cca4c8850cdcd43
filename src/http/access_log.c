/* The access log's writer: a buffer that requests fill and one thread empties.
 *
 * The writer writes what it finds every GATHER_MS, and is woken for GATHER_BYTES. When it finds
 * nothing it sleeps until the next line wakes it: no wake-up while nothing is served, and no more
 * than KEEP_BYTES kept.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "http/access_log.h"
#include "net/descriptor.h"

enum {
    GATHER_MS = 20,
    GATHER_BYTES = 1 << 20, /* ... or so many, which are hardly ever there before */
    KEEP_BYTES = 64 * 1024, /* room for lines while there are none */
    BUFFER_MAX = 4 << 20,   /* bytes that wait for a slow file; what comes then is dropped */
    PIPE_STEP = 4096, /* PIPE_BUF: what several workers write to a pipe is not mixed up to here */
    FLUSH_WAIT_S = 1,
    GATHER_MAX = 16 * 1024,      /* bytes on a desk */
    KEEP_LINES = 2 * GATHER_MAX, /* a larger desk's buffer is not kept */
};

/* One row of exclude. */
struct exclusion {
    char *path; /* NULL: any */
    size_t path_len;
    bool prefix;
    int status_from, status_to;
};

struct sl_access_log {
    struct sl_access_format *format;
    void (*on_line)(void *ctx, const char *line, size_t len);
    void *ctx;
    struct exclusion *exclusions;
    size_t exclusion_count;

    pthread_t writer;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t news; /* the writer: something to do */
    pthread_cond_t done; /* a flush is over */
    /* under the lock */
    struct sl_buf waiting;
    bool file_sent;            /* through the door, and the writer has not taken it */
    uint64_t flushes, flushed; /* asked for, done */
    bool asleep;               /* the writer: the next line wakes it */
    bool quit;

    _Atomic uint64_t dropped;
    int door[2]; /* a socket pair: files for the writer go in at the first end */
};

/* ---- exclude -------------------------------------------------------------------------------- */

/* "304", "2xx", "2XX". */
static bool
take_status(struct exclusion *row, const char *text, size_t len)
{
    if (len != 3 || text[0] < '1' || text[0] > '5')
        return false;
    int class = (text[0] - '0') * 100;
    if (strncasecmp(text + 1, "xx", 2) == 0) {
        row->status_from = class;
        row->status_to = class + 99;
        return true;
    }
    if (text[1] < '0' || text[1] > '9' || text[2] < '0' || text[2] > '9')
        return false;
    row->status_from = row->status_to = class + (text[1] - '0') * 10 + (text[2] - '0');
    return true;
}

static int
take_exclusion(struct exclusion *row, const char *text, struct sl_error *err)
{
    const char *space = strchr(text, ' ');
    size_t len = space != NULL ? (size_t)(space - text) : strlen(text);
    row->status_to = 999;
    if (text[0] != '/') {
        if (space == NULL && take_status(row, text, len))
            return SL_OK;
        return sl_error_set(err, SL_EINVAL,
                            "%s: neither a path such as /health or /static/*, a status such as 304 "
                            "or 2xx, nor both (\"/health 2xx\")",
                            text);
    }
    if (space != NULL && !take_status(row, space + 1, strlen(space + 1)))
        return sl_error_set(err, SL_EINVAL, "%s: after the path a status such as 304 or 2xx", text);
    row->prefix = text[len - 1] == '*';
    row->path_len = row->prefix ? len - 1 : len;
    row->path = strndup(text, row->path_len);
    return row->path != NULL ? SL_OK : sl_error_set(err, SL_ENOMEM, "no memory");
}

static int
take_exclusions(struct sl_access_log *log, const char *const *exclude, struct sl_error *err)
{
    size_t count = 0;
    while (exclude != NULL && exclude[count] != NULL)
        count++;
    if (count == 0)
        return SL_OK;
    log->exclusions = calloc(count, sizeof *log->exclusions);
    if (log->exclusions == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory");
    log->exclusion_count = count;
    for (size_t i = 0; i < count; i++) {
        int rc = take_exclusion(&log->exclusions[i], exclude[i], err);
        if (rc < 0)
            return rc;
    }
    return SL_OK;
}

static bool
is_excluded(const struct sl_access_log *log, const struct sl_access_entry *entry)
{
    const struct sl_str *path = &entry->req->path;
    for (size_t i = 0; i < log->exclusion_count; i++) {
        const struct exclusion *row = &log->exclusions[i];
        if (entry->status < row->status_from || entry->status > row->status_to)
            continue;
        if (row->path == NULL)
            return true;
        if (path->len >= row->path_len && (row->prefix || path->len == row->path_len) &&
            memcmp(path->ptr, row->path, row->path_len) == 0)
            return true;
    }
    return false;
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static uint64_t
count_lines(const char *text, size_t len)
{
    uint64_t count = 0;
    const char *at = text, *end = text + len;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        count++;
        at++;
    }
    return count;
}

/* Up to step bytes that end with a line; a longer line is given whole. */
static size_t
cut(const char *text, size_t len, size_t step)
{
    if (len <= step)
        return len;
    size_t end = step;
    while (end > 0 && text[end - 1] != '\n')
        end--;
    if (end > 0)
        return end;
    const char *lf = memchr(text + step, '\n', len - step);
    return lf != NULL ? (size_t)(lf + 1 - text) : len;
}

/* ---- the writer -------------------------------------------------------------------------------
 */

/* False: the file does not take it. */
static bool
write_all(int fd, const char *text, size_t len, size_t *ret_written)
{
    *ret_written = 0;
    while (*ret_written < len) {
        ssize_t n = write(fd, text + *ret_written, len - *ret_written);
        if (n > 0) {
            *ret_written += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) { /* somebody made our standard output non-blocking */
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void
write_lines(struct sl_access_log *log, int fd, const struct sl_buf *lines)
{
    struct stat st;
    if (lines->ptr == NULL) /* nothing was ever written */
        return;
    bool file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    for (size_t at = 0, step = 0, written; at < lines->len; at += step) {
        step = file ? lines->len - at : cut(lines->ptr + at, lines->len - at, PIPE_STEP);
        if (!write_all(fd, lines->ptr + at, step, &written)) {
            uint64_t lost = count_lines(lines->ptr + at + written, step - written);
            atomic_fetch_add(&log->dropped, lost);
        }
    }
}

static bool
is_wanted(const struct sl_access_log *log)
{
    return log->flushed != log->flushes || log->quit;
}

/* With the lock: waits until there is enough to write, or for GATHER_MS. */
static void
gather(struct sl_access_log *log)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int rc = 0;
    while (rc == 0 && log->waiting.len < GATHER_BYTES && !is_wanted(log))
        rc = pthread_cond_timedwait(&log->news, &log->lock, &until);
}

/* buf is empty. */
static void
shrink(struct sl_buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        sl_buf_release(buf);
}

/* With the lock: waits for something to do, and a little longer for more of it. written: what is
 * used next for waiting. */
static void
await_news(struct sl_access_log *log, struct sl_buf *written)
{
    gather(log);
    while (log->waiting.len == 0 && !is_wanted(log)) {
        shrink(&log->waiting);
        shrink(written);
        log->asleep = true;
        pthread_cond_wait(&log->news, &log->lock);
        log->asleep = false;
        gather(log);
    }
}

static void *
write_on(void *arg)
{
    struct sl_access_log *log = arg;
    struct sl_buf lines = SL_BUF_INIT;
    bool over = false;
    sl_descriptor_separate(log->door[1]);
    int fd = sl_descriptor_receive(log->door[1]);
    pthread_mutex_lock(&log->lock);
    while (!over) {
        await_news(log, &lines);
        struct sl_buf empty = lines;
        lines = log->waiting;
        log->waiting = empty;
        int next_fd = log->file_sent ? sl_descriptor_receive(log->door[1]) : -1;
        log->file_sent = false;
        uint64_t flushes = log->flushes;
        over = log->quit;
        pthread_mutex_unlock(&log->lock);
        write_lines(log, fd, &lines);
        lines.len = 0;
        if (next_fd >= 0) {
            close(fd);
            fd = next_fd;
        }
        pthread_mutex_lock(&log->lock);
        log->flushed = flushes;
        pthread_cond_broadcast(&log->done);
    }
    pthread_mutex_unlock(&log->lock);
    sl_buf_release(&lines);
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* ---- the requests' side -----------------------------------------------------------------------
 */

void
sl_access_log_hand_over(struct sl_access_log *log, struct sl_access_desk *desk)
{
    struct sl_buf *lines = &desk->lines;
    if (lines->len == 0)
        return;
    pthread_mutex_lock(&log->lock);
    size_t before = log->waiting.len;
    bool wake = false;
    bool full = lines->len > BUFFER_MAX - log->waiting.len || log->waiting.len > BUFFER_MAX;
    if (full || sl_buf_append(&log->waiting, lines->ptr, lines->len) < 0)
        atomic_fetch_add(&log->dropped, count_lines(lines->ptr, lines->len));
    else
        wake = log->asleep || (before < GATHER_BYTES && log->waiting.len >= GATHER_BYTES);
    pthread_mutex_unlock(&log->lock);
    if (wake) /* after the lock, or it would wake up for the lock only and once more for this */
        pthread_cond_signal(&log->news);
    lines->len = 0;
    if (lines->cap > KEEP_LINES)
        sl_buf_release(lines);
}

bool
sl_access_log_is_timed(const struct sl_access_log *log)
{
    return sl_access_format_is_timed(log->format);
}

bool
sl_access_log_is_fine(const struct sl_access_log *log)
{
    return sl_access_format_is_fine(log->format);
}

void
sl_access_log_note(struct sl_access_log *log, struct sl_access_desk *desk,
                   const struct sl_access_entry *entry)
{
    if (log->exclusion_count > 0 && is_excluded(log, entry))
        return;
    size_t before = desk->lines.len;
    if (sl_access_format_line(log->format, entry, &desk->clock, &desk->lines) < 0) {
        atomic_fetch_add(&log->dropped, 1);
        return;
    }
    if (log->on_line != NULL)
        log->on_line(log->ctx, desk->lines.ptr + before, desk->lines.len - before - 1);
    if (!log->started)
        desk->lines.len = 0;
    else if (!desk->gathers || desk->lines.len >= GATHER_MAX)
        sl_access_log_hand_over(log, desk);
}

void
sl_access_desk_release(struct sl_access_desk *desk)
{
    sl_buf_release(&desk->lines);
}

uint64_t
sl_access_log_dropped(const struct sl_access_log *log)
{
    return atomic_load(&log->dropped);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void
free_log(struct sl_access_log *log)
{
    for (size_t i = 0; i < log->exclusion_count; i++)
        free(log->exclusions[i].path);
    free(log->exclusions);
    sl_access_format_free(log->format);
    sl_buf_release(&log->waiting);
    if (log->door[0] >= 0) {
        close(log->door[0]);
        close(log->door[1]);
    }
    pthread_cond_destroy(&log->news);
    pthread_cond_destroy(&log->done);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

static int
start_writer(struct sl_access_log *log, int fd, struct sl_error *err)
{
    int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (socketpair(AF_UNIX, type, 0, log->door) < 0 || sl_descriptor_send(log->door[0], fd) < 0)
        return sl_error_set(err, SL_ESYS, "the access log's descriptor: %s", strerror(errno));
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&log->writer, NULL, write_on, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return sl_error_set(err, SL_ESYS, "the access log's thread: %s", strerror(rc));
    log->started = true;
    return SL_OK;
}

int
sl_access_log_open(const struct sl_access_log_options *options, struct sl_access_log **ret_log,
                   struct sl_error *err)
{
    struct sl_access_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the access log");
    log->door[0] = log->door[1] = -1;
    log->on_line = options->on_line;
    log->ctx = options->ctx;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->news, &attr);
    pthread_cond_init(&log->done, &attr);
    pthread_condattr_destroy(&attr);
    int rc = sl_access_format_new(options->format, &log->format, err);
    if (rc == SL_OK)
        rc = take_exclusions(log, options->exclude, err);
    if (rc == SL_OK && (options->fd >= 0 || options->on_line == NULL))
        rc = start_writer(log, options->fd, err);
    if (rc < 0) {
        free_log(log);
        return rc;
    }
    *ret_log = log;
    return SL_OK;
}

/* With the lock: waits until all lines so far are written, and a file that was sent is taken. */
static int
flush(struct sl_access_log *log)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FLUSH_WAIT_S;
    uint64_t mine = ++log->flushes;
    pthread_cond_signal(&log->news);
    int rc = 0;
    while (rc == 0 && log->flushed < mine)
        rc = pthread_cond_timedwait(&log->done, &log->lock, &until);
    return rc == 0 ? SL_OK : SL_ETIMEOUT;
}

int
sl_access_log_flush(struct sl_access_log *log)
{
    if (!log->started)
        return SL_OK;
    pthread_mutex_lock(&log->lock);
    int rc = flush(log);
    pthread_mutex_unlock(&log->lock);
    return rc;
}

int
sl_access_log_reopen(struct sl_access_log *log, int fd)
{
    if (!log->started)
        return SL_OK;
    pthread_mutex_lock(&log->lock);
    int rc = sl_descriptor_send(log->door[0], fd);
    if (rc == SL_OK && log->file_sent) { /* the writer is stuck and has not even taken the last */
        int last = sl_descriptor_receive(log->door[1]);
        if (last >= 0)
            close(last);
    }
    if (rc == SL_OK) {
        log->file_sent = true;
        rc = flush(log);
    }
    pthread_mutex_unlock(&log->lock);
    return rc;
}

int
sl_access_log_close(struct sl_access_log *log, unsigned wait_ms)
{
    if (log == NULL)
        return SL_OK;
    if (log->started) {
        pthread_mutex_lock(&log->lock);
        log->quit = true;
        pthread_cond_signal(&log->news);
        pthread_mutex_unlock(&log->lock);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until); /* what pthread_timedjoin_np() wants */
        until.tv_sec += wait_ms / 1000;
        until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (pthread_timedjoin_np(log->writer, NULL, &until) != 0)
            return SL_ETIMEOUT;
    }
    free_log(log);
    return SL_OK;
}
