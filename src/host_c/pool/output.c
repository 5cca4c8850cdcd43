/* What workers of pools print: pipes, which the collector reads (collector.c).
 *
 *     worker's stdout, stderr --pipe--> collector --> the arbiter's stdout, stderr
 *                 arbiter --control----^  new places, "a worker has left its place"
 *
 * A pipe belongs to a place in a pool, not to a process: the arbiter keeps both ends, so a
 * successor goes on where the one before was torn off, and when the collector dies the next one
 * reads what is left. The arbiter itself reads nothing and never waits for a terminal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../host_c.h"
#include "output.h"

/* ---- places (arbiter) -------------------------------------------------------------------------
 */

static struct sl_pool_streams *
find(const struct sl_pool_output *output, const char *group, int place)
{
    struct sl_pool_streams *at = output->places;
    while (at != NULL && (at->place != place || strcmp(at->group, group) != 0))
        at = at->next;
    return at;
}

static void
close_pair(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

static void
free_streams(struct sl_pool_streams *streams)
{
    close_pair(streams->read_fds);
    close_pair(streams->write_fds);
    free(streams);
}

static struct sl_pool_streams *
make_streams(struct sl_pool_output *output, const char *group, int place)
{
    struct sl_pool_streams *streams = calloc(1, sizeof *streams);
    if (streams == NULL)
        return NULL;
    snprintf(streams->group, sizeof streams->group, "%s", group);
    streams->place = place;
    for (int i = 0; i < SL_STREAMS; i++)
        streams->read_fds[i] = streams->write_fds[i] = -1;
    for (int i = 0; i < SL_STREAMS; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0) {
            free_streams(streams);
            return NULL;
        }
        streams->read_fds[i] = ends[0];
        streams->write_fds[i] = ends[1];
    }
    streams->next = output->places;
    output->places = streams;
    return streams;
}

/* Those that were given up and of which the collector knows all. */
static void
drop_given_up(struct sl_pool_output *output)
{
    for (struct sl_pool_streams **at = &output->places; *at != NULL;) {
        struct sl_pool_streams *streams = *at;
        if (!streams->given_up || !streams->known || streams->torn) {
            at = &streams->next;
        } else {
            *at = streams->next;
            free_streams(streams);
        }
    }
}

/* ---- telling the collector (arbiter) ----------------------------------------------------------
 */

/* streams: whose places it is about, if it is about one. */
static bool
tell(const struct sl_pool_output *output, const struct sl_pool_streams *streams,
     enum sl_collector_word word)
{
    struct sl_collector_message message = {.word = word};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof streams->read_fds)];
    } room = {.bytes = {0}};
    struct iovec part = {.iov_base = &message, .iov_len = sizeof message};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (streams != NULL) {
        message.place = streams->place;
        memcpy(message.group, streams->group, sizeof message.group);
    }
    if (word == SL_COLLECTOR_NEW) {
        header.msg_control = room.bytes;
        header.msg_controllen = sizeof room.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof streams->read_fds);
        memcpy(CMSG_DATA(rights), streams->read_fds, sizeof streams->read_fds);
    }
    ssize_t n;
    do
        n = sendmsg(output->control[0], &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* What it does not know yet, perhaps because it was behind. */
static void
tell_all(struct sl_pool_output *output)
{
    if (output->collector == 0)
        return;
    if (output->reopen && (output->reopen = !tell(output, NULL, SL_COLLECTOR_REOPEN)))
        return;
    for (struct sl_pool_streams *at = output->places; at != NULL; at = at->next) {
        if (!at->known && !(at->known = tell(output, at, SL_COLLECTOR_NEW)))
            return;
        if (at->torn && (at->torn = !tell(output, at, SL_COLLECTOR_TORN)))
            return;
    }
    drop_given_up(output);
}

/* ---- the collector (arbiter) ------------------------------------------------------------------
 */

static void
live(struct sl_host_c *host, const sigset_t *mask)
{
    static const int ignored[] = {SIGHUP,  SIGINT,   SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGWINCH, SIGTTIN, SIGTTOU, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        (void)signal(ignored[i], SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
    sl_host_c_title(host, "output", host->next != NULL ? host->next : host->current, "");
    _exit(sl_collector_run(host->output, host->log));
}

/* Not more than five a second of such as die at once. */
static void
fork_collector(struct sl_host_c *host)
{
    enum { PAUSE_MS = 200 };
    struct sl_pool_output *output = host->output;
    sigset_t all, before;
    long long pause_ms = output->forked_ms + PAUSE_MS - sl_now_ms();
    if (output->collector != 0)
        return;
    if (pause_ms > 0)
        (void)poll(NULL, 0, (int)pause_ms);
    output->forked_ms = sl_now_ms();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        live(host, &before);
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        sl_errlog_format(host->log, SL_LOG_ERROR, "No process for the pools' output: %s",
                         strerror(saved));
        return;
    }
    output->collector = pid;
    output->reopen = false;
    for (struct sl_pool_streams *at = output->places; at != NULL; at = at->next) {
        at->known = true;
        at->torn = false;
    }
    drop_given_up(output);
}

static bool
open_output(struct sl_host_c *host)
{
    if (host->output != NULL)
        return true;
    struct sl_pool_output *output = calloc(1, sizeof *output);
    if (output == NULL ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, output->control) < 0) {
        free(output);
        return false;
    }
    output->forked_ms = -3600000;
    host->output = output;
    return true;
}

int
sl_output_prepare(struct sl_worker *worker, struct sl_error *err)
{
    struct sl_host_c *host = worker->host;
    if (worker->pool->table->raw_output)
        return SL_OK;
    if (!open_output(host))
        return sl_error_set(err, SL_ESYS, "no pipes for the output of the pools: %s",
                            strerror(errno));
    struct sl_pool_streams *streams = find(host->output, worker->info.group, worker->place);
    if (streams == NULL)
        streams = make_streams(host->output, worker->info.group, worker->place);
    if (streams == NULL)
        return sl_error_set(err, SL_ESYS, "no pipes for the output of a worker: %s",
                            strerror(errno));
    streams->given_up = false;
    worker->beside = streams->workers;
    streams->workers = worker;
    worker->streams = streams;
    fork_collector(host);
    tell_all(host->output);
    return SL_OK;
}

/* Whether somebody may come to this place again. */
static bool
is_wanted(const struct sl_host_c *host, const struct sl_pool_streams *streams)
{
    struct sl_generation *generations[] = {host->current, host->next};
    for (size_t i = 0; i < 2; i++) {
        const struct sl_pool_site *site =
            generations[i] != NULL ? sl_pools_find(generations[i], streams->group) : NULL;
        if (site != NULL && (unsigned)streams->place < sl_pools_size(site->table))
            return true;
    }
    return false;
}

void
sl_output_worker_gone(struct sl_worker *worker)
{
    struct sl_pool_streams *streams = worker->streams;
    if (streams == NULL)
        return;
    struct sl_worker **at = &streams->workers;
    while (*at != worker)
        at = &(*at)->beside;
    *at = worker->beside;
    streams->torn = true;
    streams->given_up = streams->workers == NULL && !is_wanted(worker->host, streams);
    tell_all(worker->host->output);
}

/* Whoever waits for a slow reader cannot beat, and does not hang: the arbiter beats for it. Once
 * more when the reader has come, since that may be just before the heartbeat is due. */
static void
beat_for(struct sl_pool_streams *streams)
{
    struct pollfd room[SL_STREAMS];
    for (int i = 0; i < SL_STREAMS; i++)
        room[i] = (struct pollfd){.fd = streams->write_fds[i], .events = POLLOUT};
    bool was_full = streams->full;
    streams->full = poll(room, SL_STREAMS, 0) != SL_STREAMS;
    if (!streams->full && !was_full)
        return;
    for (const struct sl_worker *worker = streams->workers; worker != NULL; worker = worker->beside)
        sl_slot_beat(worker->info.slot);
}

void
sl_output_idle(struct sl_host_c *host)
{
    enum { LOOK_MS = 250 };
    struct sl_pool_output *output = host->output;
    if (output == NULL || sl_now_ms() - output->looked_ms < LOOK_MS)
        return;
    output->looked_ms = sl_now_ms();
    fork_collector(host);
    tell_all(output);
    for (struct sl_pool_streams *at = output->places; at != NULL; at = at->next)
        beat_for(at);
}

void
sl_output_reopen(struct sl_host_c *host)
{
    if (host->output == NULL)
        return;
    host->output->reopen = true;
    tell_all(host->output);
}

void
sl_output_child_gone(struct sl_host_c *host, pid_t pid, int wait_status)
{
    if (host->output == NULL || pid != host->output->collector)
        return;
    host->output->collector = 0;
    sl_errlog_format(host->log, SL_LOG_ERROR,
                     "The collector of the pools' output (pid:%d) has ended (status %d); making "
                     "another",
                     (int)pid, wait_status);
    fork_collector(host);
}

static void
close_places(struct sl_pool_output *output)
{
    while (output->places != NULL) {
        struct sl_pool_streams *streams = output->places;
        output->places = streams->next;
        free_streams(streams);
    }
}

/* Until the collector's end of the control socket closes, which it does last. */
static bool
await_end(const struct sl_pool_output *output)
{
    enum { LAST_LINES_MS = 2000 };
    struct pollfd end = {.fd = output->control[0]};
    long long until_ms = sl_now_ms() + LAST_LINES_MS, left_ms;
    int rc;
    do {
        left_ms = until_ms - sl_now_ms();
        rc = poll(&end, 1, left_ms > 0 ? (int)left_ms : 0);
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

void
sl_output_close(struct sl_host_c *host)
{
    struct sl_pool_output *output = host->output;
    if (output == NULL)
        return;
    pid_t pid = output->collector;
    close_places(output);
    close(output->control[1]);
    (void)shutdown(output->control[0], SHUT_WR);
    if (pid != 0 && await_end(output)) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    } else if (pid != 0) {
        sl_errlog_format(host->log, SL_LOG_WARNING,
                         "Output of the pools is still being read (pid:%d)", (int)pid);
    }
    close(output->control[0]);
    free(output);
    host->output = NULL;
}

/* ---- workers ----------------------------------------------------------------------------------
 */

void
sl_output_leave(struct sl_host_c *host)
{
    if (host->output == NULL)
        return;
    close_places(host->output);
    close_pair(host->output->control);
    free(host->output);
    host->output = NULL;
}

int
sl_output_enter(struct sl_worker *worker, struct sl_error *err)
{
    struct sl_pool_streams *streams = worker->streams;
    int rc = SL_OK;
    if (streams != NULL) {
        fflush(NULL);
        if (sl_errlog_leave_stderr(worker->log) != SL_OK ||
            dup2(streams->write_fds[0], STDOUT_FILENO) < 0 ||
            dup2(streams->write_fds[1], STDERR_FILENO) < 0)
            rc = sl_error_set(err, SL_ESYS, "the worker's output: %s", strerror(errno));
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        worker->streams = NULL;
    }
    sl_output_leave(worker->host);
    return rc;
}
