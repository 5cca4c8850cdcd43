/* Load for bench/slow.py: clients that are slow on purpose, and normal ones whose answers are
 * timed.
 *
 *   slow_load attack KIND PORT COUNT    until it is killed; KIND: head, body or reader
 *   slow_load normal PORT COUNT SECONDS PAUSE_MS
 *
 * An attacker sends its request but for the end of the head or the body, and then one byte a
 * second, or reads one byte a second of a large answer with a small window; when the server ends
 * its connection, it comes again. The attackers' bytes are spread over the second. On SIGTERM it
 * prints how many connections were opened, ended by the server and open at the end. A normal client
 * asks for / on a connection that stays open, and again PAUSE_MS after the answer; printed are
 * requests, errors and the median, 99th percentile and maximum of their times in microseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum {
    SLICES = 1000, /* of a second; connection i has its byte in slice i % SLICES */
    OPEN_RATE = 1, /* connections that are opened in one slice */
    EVENTS = 256,
    WINDOW = 4096,
};

struct client {
    int fd; /* -1: none */
    bool asked, answered;
    uint64_t at_us; /* normal: asked at, or asks at */
};

static volatile sig_atomic_t stopped;

static void
stop(int number)
{
    (void)number;
    stopped = 1;
}

static int
begin_connect(int port, int window)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (window > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- attackers ------------------------------------------------------------------------------ */

struct attack {
    struct client *clients;
    size_t count;
    int port;
    const char *request;
    bool reads;
    unsigned long opened, ended, open, answered;
};

static const char *
request_of(const char *kind)
{
    if (strcmp(kind, "head") == 0)
        return "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    if (strcmp(kind, "body") == 0)
        return "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    if (strcmp(kind, "reader") == 0)
        return "GET /256k HTTP/1.1\r\nHost: x\r\n\r\n";
    fprintf(stderr, "slow_load: %s: not one of head, body, reader\n", kind);
    exit(2);
}

static void
hang_up(struct attack *attack, struct client *client)
{
    close(client->fd);
    client->fd = -1;
    attack->answered -= client->answered;
    client->asked = client->answered = false;
    attack->open--;
    attack->ended++;
}

/* The client's byte of this second. */
static void
drip(struct attack *attack, struct client *client)
{
    char byte = 'a';
    bool sent = client->asked;
    ssize_t n;
    if (!client->asked)
        n = send(client->fd, attack->request, strlen(attack->request), MSG_NOSIGNAL);
    else if (attack->reads)
        n = recv(client->fd, &byte, 1, 0);
    else
        n = send(client->fd, &byte, 1, MSG_NOSIGNAL);
    client->asked |= n > 0;
    if (n > 0 && attack->reads && sent && !client->answered) {
        client->answered = true;
        attack->answered++;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != ENOTCONN))
        hang_up(attack, client);
    else if (client->asked && !attack->reads &&
             recv(client->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0)
        hang_up(attack, client); /* 408, or closed */
}

static void
run_slice(struct attack *attack, uint64_t slice)
{
    int may_open = OPEN_RATE;
    for (size_t i = slice % SLICES; i < attack->count; i += SLICES) {
        struct client *client = &attack->clients[i];
        if (client->fd >= 0) {
            drip(attack, client);
        } else if (may_open > 0) {
            may_open--;
            client->fd = begin_connect(attack->port, attack->reads ? WINDOW : 0);
            if (client->fd < 0)
                continue;
            attack->opened++;
            attack->open++;
        }
    }
}

static int
run_attack(const char *kind, int port, size_t count)
{
    struct attack attack = {.count = count, .port = port, .request = request_of(kind)};
    attack.reads = strcmp(kind, "reader") == 0;
    attack.clients = calloc(count, sizeof *attack.clients);
    if (attack.clients == NULL)
        die("calloc");
    for (size_t i = 0; i < count; i++)
        attack.clients[i].fd = -1;
    uint64_t start = now_us(), done = 0;
    bool told = false;
    while (!stopped) {
        uint64_t slice = (now_us() - start) * SLICES / 1000000u;
        for (; done < slice && !stopped; done++)
            run_slice(&attack, done);
        if (!told && attack.open == count && (!attack.reads || attack.answered == count)) {
            told = true;
            printf("{\"ready\": true}\n");
            fflush(stdout);
        }
        usleep(500);
    }
    printf("{\"opened\": %lu, \"ended\": %lu, \"open\": %lu}\n", attack.opened, attack.ended,
           attack.open);
    return 0;
}

/* ---- normal clients ------------------------------------------------------------------------- */

struct normal {
    struct client *clients;
    size_t count;
    int port, epoll;
    uint64_t pause_us;
    uint32_t *times;
    size_t done, room;
    unsigned long errors;
};

static void
open_client(struct normal *normal, struct client *client)
{
    client->fd = begin_connect(normal->port, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (client->fd < 0 || epoll_ctl(normal->epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        die("normal client");
    client->asked = false;
}

static void
fail(struct normal *normal, struct client *client)
{
    normal->errors++;
    close(client->fd);
    open_client(normal, client);
}

static void
note(struct normal *normal, uint64_t us)
{
    if (normal->done == normal->room) {
        normal->room = normal->room ? normal->room * 2 : 65536;
        normal->times = realloc(normal->times, normal->room * sizeof *normal->times);
        if (normal->times == NULL)
            die("realloc");
    }
    normal->times[normal->done++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void
take_answer(struct normal *normal, struct client *client)
{
    char answer[4096];
    ssize_t n = recv(client->fd, answer, sizeof answer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 12 || !client->asked || memcmp(answer, "HTTP/1.1 200", 12) != 0) {
        fail(normal, client);
        return;
    }
    uint64_t now = now_us();
    note(normal, now - client->at_us);
    client->asked = false;
    client->at_us = now + normal->pause_us;
}

/* Returns how long nobody has anything to ask, in milliseconds. */
static int
ask(struct normal *normal)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: normal\r\n\r\n";
    uint64_t now = now_us(), next = now + 100000;
    for (size_t i = 0; i < normal->count; i++) {
        struct client *client = &normal->clients[i];
        if (client->asked)
            continue;
        if (client->at_us <= now) {
            client->at_us = now_us();
            if (send(client->fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0)
                client->asked = true;
            else if (errno != ENOTCONN && errno != EAGAIN)
                fail(normal, client);
        } else if (client->at_us < next) {
            next = client->at_us;
        }
    }
    return (int)((next - now) / 1000u);
}

static int
compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int
run_normal(int port, size_t count, double seconds, double pause_ms)
{
    struct normal normal = {.count = count, .port = port};
    normal.pause_us = (uint64_t)(pause_ms * 1000);
    normal.epoll = epoll_create1(EPOLL_CLOEXEC);
    normal.clients = calloc(count, sizeof *normal.clients);
    if (normal.epoll < 0 || normal.clients == NULL)
        die("slow_load");
    uint64_t start = now_us(), end = start + (uint64_t)(seconds * 1000000);
    for (size_t i = 0; i < count; i++) {
        open_client(&normal, &normal.clients[i]);
        normal.clients[i].at_us = start + normal.pause_us * i / count; /* not all at once */
    }
    while (!stopped && now_us() < end) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(normal.epoll, events, EVENTS, ask(&normal));
        for (int i = 0; i < n; i++)
            take_answer(&normal, events[i].data.ptr);
    }
    for (size_t i = 0; i < count; i++) /* who waits has waited so long at least */
        if (normal.clients[i].asked && now_us() - normal.clients[i].at_us > 1000000)
            note(&normal, now_us() - normal.clients[i].at_us);
    size_t done = normal.done;
    if (done == 0) {
        printf("{\"requests\": 0, \"errors\": %lu}\n", normal.errors);
        return 0;
    }
    qsort(normal.times, done, sizeof *normal.times, compare);
    printf("{\"requests\": %zu, \"errors\": %lu, \"p50\": %u, \"p99\": %u, \"max\": %u}\n", done,
           normal.errors, normal.times[done / 2], normal.times[done * 99 / 100],
           normal.times[done - 1]);
    return 0;
}

int
main(int argc, char **argv)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGTERM, stop);
    if (argc == 5 && strcmp(argv[1], "attack") == 0)
        return run_attack(argv[2], atoi(argv[3]), (size_t)atol(argv[4]));
    if (argc == 6 && strcmp(argv[1], "normal") == 0)
        return run_normal(atoi(argv[2]), (size_t)atol(argv[3]), atof(argv[4]), atof(argv[5]));
    fprintf(stderr, "usage: slow_load attack KIND PORT COUNT | "
                    "normal PORT COUNT SECONDS PAUSE_MS\n");
    return 2;
}
