/* Load for the case "websocket" of bench/run.py: connections that each send a text message and,
 * when its echo is there, the next one.
 *
 *   ws_load PORT PATH CONNECTIONS SECONDS BYTES
 *
 * No compression is offered. Prints one line of JSON like request.lua. A connection that is not
 * upgraded, ends, or answers with another frame than its own is an error and is not replaced. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { EVENTS = 256, SIZE_MAX_SHORT = 125, FRAME = 2 + 4 + SIZE_MAX_SHORT, SLOTS = 1 << 20 };

struct client {
    int fd; /* -1: failed */
    size_t got;
    uint64_t asked_us;
    unsigned char in[FRAME];
};

struct load {
    struct client *clients;
    int epoll, count, failed;
    size_t size;
    unsigned char frame[FRAME];
    uint64_t done;
    uint32_t *times_us; /* of the last SLOTS messages */
};

/* ---- connecting, one after the other ------------------------------------------------------- */

static bool
upgrade(int fd, const char *path)
{
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: "
                       "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                       "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                       path);
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
        return false;
    size_t got = 0;
    while (got < sizeof text - 1) {
        ssize_t n = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (n <= 0)
            return false;
        got += (size_t)n;
        text[got] = '\0';
        if (strstr(text, "\r\n\r\n") != NULL)
            return strncmp(text, "HTTP/1.1 101 ", 13) == 0;
    }
    return false;
}

static int
open_client(int port, const char *path)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval patience = {.tv_sec = 10};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || !upgrade(fd, path)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- messages ------------------------------------------------------------------------------ */

static void
fail(struct load *load, struct client *client)
{
    close(client->fd);
    client->fd = -1;
    load->failed++;
}

static void
ask(struct load *load, struct client *client)
{
    size_t len = 6 + load->size;
    client->got = 0;
    client->asked_us = now_us();
    if (send(client->fd, load->frame, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
        fail(load, client);
}

static void
hear(struct load *load, struct client *client)
{
    size_t len = 2 + load->size;
    ssize_t n =
        recv(client->fd, client->in + client->got, sizeof client->in - client->got, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    client->got += n > 0 ? (size_t)n : 0;
    if (n <= 0 || client->got > len) {
        fail(load, client);
        return;
    }
    if (client->got < len)
        return;
    if (client->in[0] != 0x81 || client->in[1] != load->size) {
        fail(load, client);
        return;
    }
    load->times_us[load->done++ % SLOTS] = (uint32_t)(now_us() - client->asked_us);
    ask(load, client);
}

static void
run(struct load *load, uint64_t until_us)
{
    struct epoll_event events[EVENTS];
    for (int i = 0; i < load->count; i++) {
        if (load->clients[i].fd >= 0)
            ask(load, &load->clients[i]);
    }
    while (now_us() < until_us && load->failed < load->count) {
        int n = epoll_wait(load->epoll, events, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0)
                hear(load, client);
        }
    }
}

static int
by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    if (argc != 6 || atoi(argv[3]) < 1 || atoi(argv[5]) < 1 || atoi(argv[5]) > SIZE_MAX_SHORT) {
        fprintf(stderr, "ws_load PORT PATH CONNECTIONS SECONDS BYTES (1 to %d)\n", SIZE_MAX_SHORT);
        return 2;
    }
    struct load load = {.count = atoi(argv[3]), .size = (size_t)atoi(argv[5])};
    load.frame[0] = 0x81; /* text, whole; masked with zeros */
    load.frame[1] = (unsigned char)(0x80 | load.size);
    memset(load.frame + 6, 'x', load.size);
    load.clients = calloc((size_t)load.count, sizeof *load.clients);
    load.times_us = calloc(SLOTS, sizeof *load.times_us);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.clients == NULL || load.times_us == NULL || load.epoll < 0)
        die("ws_load");
    for (int i = 0; i < load.count; i++) {
        struct client *client = &load.clients[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        client->fd = open_client(atoi(argv[1]), argv[2]);
        if (client->fd < 0)
            load.failed++;
        else if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
            die("epoll_ctl");
    }
    uint64_t start_us = now_us();
    run(&load, start_us + (uint64_t)(atof(argv[4]) * 1e6));
    uint64_t took_us = now_us() - start_us;
    size_t kept = load.done < SLOTS ? load.done : SLOTS;
    qsort(load.times_us, kept, sizeof *load.times_us, by_size);
    printf("RESULT {\"requests\": %llu, \"us\": %llu, \"connect\": 0, \"read\": %d, \"write\": 0, "
           "\"status\": 0, \"timeout\": 0, \"p99_us\": %u}\n",
           (unsigned long long)load.done, (unsigned long long)took_us, load.failed,
           kept > 0 ? load.times_us[kept * 99 / 100] : 0);
    return 0;
}
