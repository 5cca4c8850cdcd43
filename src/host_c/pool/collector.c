/* The collector's process: reads what workers print, and writes whole lines with their prefix.
 *
 * It is a child of the arbiter that is no worker. Pipes make whoever prints wait while nobody reads
 * on this side, so nothing is dropped, and it keeps no more than an unfinished line of a stream. It
 * ends when all writing ends are closed: after the arbiter and the last worker.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "output.h"

enum {
    PIECE = 64 * 1024, /* of one read; a longer unfinished line is shown in pieces */
    PREFIX = SL_GROUP_NAME + 16,
    EVENTS = 64,
};

struct stream {
    struct stream *next;
    char group[SL_GROUP_NAME];
    int place;
    int fd; /* -1: ended, freed when the turn is over */
    int target;
    char prefix[PREFIX];
    size_t prefix_len;
    char *rest; /* an unfinished line, shorter than PIECE */
    size_t rest_len;
};

struct collector {
    int control, epoll_fd; /* control is -1 when the arbiter has closed its end */
    struct sl_errlog *log;
    struct stream *streams;
    bool reader_left[SL_STREAMS];
    size_t out_len;
    char piece[2 * PIECE], out[4 * PIECE];
};

/* ---- writing ----------------------------------------------------------------------------------
 */

static void
write_out(struct collector *collector, int target)
{
    size_t done = 0;
    while (done < collector->out_len && !collector->reader_left[target]) {
        ssize_t n = write(STDOUT_FILENO + target, collector->out + done, collector->out_len - done);
        struct pollfd room = {.fd = STDOUT_FILENO + target, .events = POLLOUT};
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN) /* somebody else has made it so */
            (void)poll(&room, 1, -1);
        else if (errno != EINTR)
            collector->reader_left[target] = true; /* the workers are not to hang of it */
    }
    collector->out_len = 0;
}

static void
add_line(struct collector *collector, const struct stream *stream, const char *line, size_t len)
{
    if (collector->out_len + stream->prefix_len + len + 1 > sizeof collector->out)
        write_out(collector, stream->target);
    memcpy(collector->out + collector->out_len, stream->prefix, stream->prefix_len);
    collector->out_len += stream->prefix_len;
    memcpy(collector->out + collector->out_len, line, len);
    collector->out_len += len;
    collector->out[collector->out_len++] = '\n';
}

static void
flush(struct collector *collector, struct stream *stream)
{
    if (stream->rest_len > 0) {
        add_line(collector, stream, stream->rest, stream->rest_len);
        write_out(collector, stream->target);
    }
    free(stream->rest);
    stream->rest = NULL;
    stream->rest_len = 0;
}

/* What follows the last line; without memory it is a line. */
static void
keep(struct collector *collector, struct stream *stream, const char *text, size_t len)
{
    free(stream->rest);
    stream->rest = len > 0 && len < PIECE ? malloc(len) : NULL;
    stream->rest_len = stream->rest != NULL ? len : 0;
    if (stream->rest != NULL)
        memcpy(stream->rest, text, len);
    else if (len > 0)
        add_line(collector, stream, text, len);
}

/* ---- streams ----------------------------------------------------------------------------------
 */

static void
close_stream(struct collector *collector, struct stream *stream)
{
    flush(collector, stream);
    (void)epoll_ctl(collector->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL); /* others may have it */
    close(stream->fd);
    stream->fd = -1;
}

/* One piece, so that a busy stream keeps nobody waiting. False: there is none now. */
static bool
read_piece(struct collector *collector, struct stream *stream)
{
    size_t len = stream->rest_len;
    if (len > 0)
        memcpy(collector->piece, stream->rest, len);
    ssize_t n;
    do
        n = read(stream->fd, collector->piece + len, PIECE);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        close_stream(collector, stream);
        return false;
    }
    const char *from = collector->piece, *end = from + len + n, *newline;
    while ((newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        add_line(collector, stream, from, (size_t)(newline - from));
        from = newline + 1;
    }
    keep(collector, stream, from, (size_t)(end - from));
    write_out(collector, stream->target);
    return true;
}

static bool
add_stream(struct collector *collector, const char *group, int place, int target, int fd)
{
    struct stream *stream = calloc(1, sizeof *stream);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (stream == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
        epoll_ctl(collector->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        free(stream);
        return false;
    }
    stream->fd = fd;
    stream->place = place;
    stream->target = target;
    snprintf(stream->group, sizeof stream->group, "%s", group);
    stream->prefix_len =
        (size_t)snprintf(stream->prefix, sizeof stream->prefix, "[%s/%d] ", group, place);
    stream->next = collector->streams;
    collector->streams = stream;
    return true;
}

static void
free_ended(struct collector *collector)
{
    for (struct stream **at = &collector->streams; *at != NULL;) {
        struct stream *stream = *at;
        if (stream->fd >= 0) {
            at = &stream->next;
        } else {
            *at = stream->next;
            free(stream);
        }
    }
}

/* Its worker has gone: what it left in the pipe, but not what a fast successor writes. */
static void
end_line(struct collector *collector, const char *group, int place)
{
    enum { PIECES = 32 };
    for (struct stream *stream = collector->streams; stream != NULL; stream = stream->next) {
        if (stream->fd < 0 || stream->place != place || strcmp(stream->group, group) != 0)
            continue;
        for (int i = 0; i < PIECES && read_piece(collector, stream); i++)
            continue;
        if (stream->fd >= 0)
            flush(collector, stream);
    }
}

/* ---- the arbiter ------------------------------------------------------------------------------
 */

static void
take_message(struct collector *collector, const struct sl_collector_message *message,
             const struct cmsghdr *rights)
{
    int fds[SL_STREAMS];
    if (message->word == SL_COLLECTOR_REOPEN) {
        sl_errlog_reopen(collector->log); /* standard output, with capture_output */
    } else if (message->word == SL_COLLECTOR_TORN) {
        end_line(collector, message->group, message->place);
    } else if (rights != NULL && rights->cmsg_len == CMSG_LEN(sizeof fds)) {
        memcpy(fds, CMSG_DATA(rights), sizeof fds);
        for (int i = 0; i < SL_STREAMS; i++) {
            if (!add_stream(collector, message->group, message->place, i, fds[i]))
                _exit(1); /* the next collector reads it */
        }
    }
}

static void
listen_to_arbiter(struct collector *collector)
{
    struct sl_collector_message message;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SL_STREAMS * sizeof(int))];
    } room = {.bytes = {0}};
    struct iovec part = {.iov_base = &message, .iov_len = sizeof message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = room.bytes,
                            .msg_controllen = sizeof room.bytes};
    ssize_t n = recvmsg(collector->control, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n == (ssize_t)sizeof message) {
        take_message(collector, &message, CMSG_FIRSTHDR(&header));
    } else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        /* It stays open: that it closes tells the arbiter that everything is written. */
        (void)epoll_ctl(collector->epoll_fd, EPOLL_CTL_DEL, collector->control, NULL);
        collector->control = -1;
    }
}

/* ---- life -------------------------------------------------------------------------------------
 */

static bool
is_read(const struct collector *collector, int fd)
{
    for (const struct stream *stream = collector->streams; stream != NULL; stream = stream->next) {
        if (stream->fd == fd)
            return true;
    }
    return false;
}

/* Of the arbiter's descriptors only those that this process is for: others would keep sockets open,
 * or let workers think that the arbiter lives. */
static void
close_others(const struct collector *collector)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != dirfd(directory) && fd != collector->control &&
            fd != collector->epoll_fd && fd != sl_errlog_fd(collector->log) &&
            !is_read(collector, fd))
            close(fd);
    }
    if (directory != NULL)
        closedir(directory);
}

static bool
open_all(struct collector *collector, const struct sl_pool_output *output)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    collector->control = output->control[1];
    collector->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (collector->epoll_fd < 0 ||
        epoll_ctl(collector->epoll_fd, EPOLL_CTL_ADD, collector->control, &event) < 0)
        return false;
    for (const struct sl_pool_streams *at = output->places; at != NULL; at = at->next) {
        for (int i = 0; i < SL_STREAMS; i++) {
            if (!add_stream(collector, at->group, at->place, i, at->read_fds[i]))
                return false;
        }
    }
    return true;
}

int
sl_collector_run(const struct sl_pool_output *output, struct sl_errlog *log)
{
    struct epoll_event events[EVENTS];
    struct collector *collector = calloc(1, sizeof *collector);
    if (collector == NULL || !open_all(collector, output))
        return 1;
    collector->log = log;
    close_others(collector);
    while (collector->streams != NULL || collector->control >= 0) {
        int count = epoll_wait(collector->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream == NULL)
                listen_to_arbiter(collector);
            else if (stream->fd >= 0)
                (void)read_piece(collector, stream);
        }
        free_ended(collector);
    }
    return 0;
}
