/* ledger: sends requests of four kinds at once and prints what became of each, as lines of JSON.
 *
 *   ledger [options] tcp:ADDRESS:PORT | unix:PATH ...
 *
 * It ends when the wanted number of requests has been made and stdin has ended. On stdin '+' says
 * that a signal is being worked off, '-' that it is over: times are told apart. What it finds is
 * printed, so the exit code is 0 but for wrong arguments (2) and failures of its own (1). */
#include "ledger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static const uint64_t tell_ns = 50000000;

static uint64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static _Noreturn void
usage(const char *what)
{
    fprintf(stderr,
            "ledger: %s\n"
            "usage: ledger [options] tcp:ADDRESS:PORT | unix:PATH ...\n"
            "  --requests N     at least so many\n"
            "  --clients C,K,P,U  connections of each kind: close, keepalive, pipeline, upload\n"
            "  --rate N         requests a second at most\n"
            "  --timeout S      seconds that an answer may take (30)\n"
            "  --piece-ms N     mean pause between two of the 16 pieces of an upload (20)\n"
            "  --seed N         for every choice\n"
            "  --plain          the server answers with the path and numbers only\n",
            what);
    exit(2);
}

static uint64_t
number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        usage(text);
    return value;
}

/* The text behind a prefix, or NULL. */
static const char *
behind(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static void
add_target(struct options *opt, const char *text)
{
    if (opt->targets_len == TARGETS)
        usage("too many addresses");
    struct target *target = &opt->targets[opt->targets_len++];
    const char *path = behind(text, "unix:"), *host = behind(text, "tcp:");
    const char *colon = host != NULL ? strrchr(host, ':') : NULL;
    char address[64] = "";
    if (path != NULL &&
        strnlen(path, sizeof target->addr.un.sun_path) < sizeof target->addr.un.sun_path) {
        target->via = VIA_UNIX;
        target->len = sizeof target->addr.un;
        target->addr.un.sun_family = AF_UNIX;
        strcpy(target->addr.un.sun_path, path);
        return;
    }
    if (colon == NULL || (size_t)(colon - host) >= sizeof address)
        usage(text);
    memcpy(address, host, (size_t)(colon - host));
    target->via = VIA_TCP;
    target->len = sizeof target->addr.in;
    target->addr.in.sin_family = AF_INET;
    target->addr.in.sin_port = htons((uint16_t)number(colon + 1));
    if (inet_pton(AF_INET, address, &target->addr.in.sin_addr) != 1)
        usage(text);
}

static void
take_clients(struct options *opt, char *text)
{
    char *rest = NULL;
    for (int kind = 0; kind < KINDS; kind++) {
        const char *part = strtok_r(kind == 0 ? text : NULL, ",", &rest);
        if (part == NULL)
            usage("--clients wants four numbers");
        opt->clients[kind] = (size_t)number(part);
    }
}

static void
take_options(struct options *opt, int argc, char **argv)
{
    enum { REQUESTS = 1, CLIENTS, RATE, TIMEOUT, PIECE, SEED, PLAIN };
    static const struct option names[] = {{"requests", required_argument, NULL, REQUESTS},
                                          {"clients", required_argument, NULL, CLIENTS},
                                          {"rate", required_argument, NULL, RATE},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"piece-ms", required_argument, NULL, PIECE},
                                          {"seed", required_argument, NULL, SEED},
                                          {"plain", no_argument, NULL, PLAIN},
                                          {0}};
    *opt = (struct options){.requests = 1000,
                            .clients = {8, 16, 4, 16},
                            .timeout_ns = 30000000000,
                            .piece_ms = 20,
                            .seed = 1};
    for (int found; (found = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (found) {
        case REQUESTS:
            opt->requests = number(optarg);
            break;
        case CLIENTS:
            take_clients(opt, optarg);
            break;
        case RATE:
            opt->rate = number(optarg);
            break;
        case TIMEOUT:
            opt->timeout_ns = number(optarg) * 1000000000;
            break;
        case PIECE:
            opt->piece_ms = (unsigned)number(optarg);
            break;
        case SEED:
            opt->seed = number(optarg);
            break;
        case PLAIN:
            opt->plain = true;
            break;
        default:
            usage("unknown option");
        }
    }
    for (; optind < argc; optind++)
        add_target(opt, argv[optind]);
    if (opt->targets_len == 0)
        usage("where?");
}

/* Reads stdin; false at its end. */
static bool
take_orders(struct ledger *ledger)
{
    char orders[256];
    ssize_t n = read(STDIN_FILENO, orders, sizeof orders);
    for (ssize_t i = 0; i < n; i++)
        if (orders[i] == '+' || orders[i] == '-')
            ledger->tally.is_busy = orders[i] == '+';
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* In milliseconds; a moment that has come is not waited for. */
static int
wait_ms(uint64_t now_ns, uint64_t next_ns)
{
    if (next_ns <= now_ns)
        return 0;
    uint64_t wait = (next_ns - now_ns + 999999) / 1000000;
    return wait > 1000 ? 1000 : (int)wait;
}

static void
tell(const struct tally *tally)
{
    printf("{\"event\": \"progress\", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n",
           tally->done, tally->failed);
    fflush(stdout);
}

static int
run(struct ledger *ledger)
{
    struct epoll_event events[64], orders = {.events = EPOLLIN, .data.ptr = NULL};
    bool has_stdin = true;
    if (epoll_ctl(ledger->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &orders) < 0) {
        perror("ledger: stdin has to be a pipe");
        return 1;
    }
    ledger->start_ns = ledger->now_ns = clock_ns();
    uint64_t told_ns = 0;
    for (;;) {
        uint64_t next = conns_due(ledger);
        if (ledger->now_ns - told_ns >= tell_ns) {
            tell(&ledger->tally);
            told_ns = ledger->now_ns;
        }
        if (!has_stdin && ledger->tally.done >= ledger->opt.requests)
            ledger->stopping = true;
        if (ledger->stopping && conns_all_closed(ledger))
            return 0;
        if (told_ns + tell_ns < next)
            next = told_ns + tell_ns;
        int n = epoll_wait(ledger->epoll, events, 64, wait_ms(ledger->now_ns, next));
        if (n < 0 && errno != EINTR) {
            perror("ledger: epoll_wait");
            return 1;
        }
        ledger->now_ns = clock_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL) {
                conn_event(ledger, events[i].data.ptr);
            } else if (!take_orders(ledger)) {
                has_stdin = false;
                (void)epoll_ctl(ledger->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            }
        }
    }
}

int
main(int argc, char **argv)
{
    static struct ledger ledger;
    take_options(&ledger.opt, argc, argv);
    ledger.random = ledger.opt.seed * 0x9e3779b97f4a7c15ULL + 1;
    ledger.epoll = epoll_create1(EPOLL_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    if (ledger.epoll < 0 || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0 ||
        conns_init(&ledger) < 0) {
        perror("ledger");
        return 1;
    }
    int result = run(&ledger);
    if (result == 0)
        tally_report(&ledger.tally, clock_ns() - ledger.start_ns);
    conns_release(&ledger);
    close(ledger.epoll);
    return result;
}
