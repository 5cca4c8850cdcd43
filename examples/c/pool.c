/* Pools in C: workers that answer datagrams on one shared socket, and a job that runs at times.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) pool.c -o pool.so
 *     saola --pool ./pool.so:pong --pool ./pool.so:cleaner --set port=9999
 *     echo ping | nc -u -w1 127.0.0.1 9999
 *
 * The socket is opened in the arbiter, before the first worker, and every worker inherits its
 * descriptor. With an application before --pool, or one in the options of sl_run(), web workers run
 * beside them.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <saola/pool.h>

static int sock = -1; /* opened in the arbiter, the same in all workers */

static int
open_socket(const struct sl_values *settings, struct sl_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)sl_values_number(settings, "port")),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, len) < 0 ||
        getsockname(sock, (struct sockaddr *)&address, &len) < 0)
        return sl_error_set(err, SL_ESYS, "pong: %s", strerror(errno));
    fprintf(stderr, "pong: port %d\n", ntohs(address.sin_port));
    return 0;
}

/* One datagram, one answer. Another worker may have been quicker. */
static void
answer(void *arg, int fd, unsigned flags)
{
    const struct sl_worker *worker = arg;
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char text[64];
    (void)flags;
    if (recvfrom(fd, text, sizeof text, MSG_DONTWAIT, (struct sockaddr *)&from, &len) < 0)
        return;
    int n = snprintf(text, sizeof text, "pong from #%d %d\n", sl_worker_id(worker), (int)getpid());
    (void)sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&from, len);
}

static int
start(struct sl_worker *worker, void **ret_state, struct sl_error *err)
{
    (void)ret_state;
    if (sl_worker_poll(worker, sock, SL_WATCH_READ, answer, worker) != SL_OK)
        return sl_error_set(err, SL_ESYS, "the socket cannot be watched");
    return 0;
}

static void
stop(struct sl_worker *worker, void *state)
{
    (void)state;
    sl_worker_log(worker, SL_LOG_INFO, "pong: worker %d stops", sl_worker_id(worker));
}

static int
clean(struct sl_worker *worker, void *state)
{
    (void)state;
    (void)worker;
    printf("cleaning\n"); /* "[cleaner/0] cleaning" */
    return 0;
}

/* No main: the loop's descriptors, timers and posts are all the work. */
static const struct sl_pool_worker pong_worker = {.start = start, .stop = stop};
static const struct sl_pool_worker clean_worker = {.main = clean};

static const struct sl_setting settings[] = {
    {.name = "port",
     .type = SL_SETTING_INT,
     .default_text = "0",
     .max = 65535,
     .summary = "UDP port of pong; 0: any."},
    {.name = NULL},
};

SL_POOL(pong) = {.abi = SL_POOL_ABI,
                 .name = "pong",
                 .workers = 4,
                 .worker = &pong_worker,
                 .settings = settings,
                 .open = open_socket};

SL_POOL(cleaner) = {.abi = SL_POOL_ABI,
                    .name = "cleaner",
                    .worker = &clean_worker,
                    .cron = "* * * * * *", /* each second: seconds first, since there are six */
                    .exclusive = true};
