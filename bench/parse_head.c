/* Nanoseconds per request head: a short browser's of 343 B, and heads of 250 B, 700 B and 4 KB, by
 * our parser and, where its sources were at hand, by llhttp.
 *
 *   parse_head [seconds per head, default 1]
 *
 * The parsers take turns of some microseconds, and the best turn counts: on a shared machine the
 * least disturbed is the nearest to the truth.
 *
 * Ours is the whole work on a head: Host, Content-Length, Transfer-Encoding, Connection, Expect and
 * a trusted peer's scheme fields are judged, and every field is recorded. llhttp leaves Host and
 * scheme to its user, and its callbacks only note the slices. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/head.h"
#include "parse_llhttp.h"

enum { BATCH = 100 };

#define SMALL                                                                                      \
    "GET /hello/you HTTP/1.1\r\n"                                                                  \
    "Host: 127.0.0.1:8000\r\n"                                                                     \
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"       \
    "Accept: text/html,*/*;q=0.8\r\n"                                                              \
    "Accept-Language: en-US,en;q=0.5\r\n"                                                          \
    "Accept-Encoding: gzip, deflate\r\n"                                                           \
    "Connection: keep-alive\r\n"

#define SHORT                                                                                      \
    "GET /app/items?page=2 HTTP/1.1\r\n"                                                           \
    "Host: www.example.com\r\n"                                                                    \
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"       \
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"                  \
    "Accept-Language: en-US,en;q=0.5\r\n"                                                          \
    "Accept-Encoding: gzip, deflate, br\r\n"                                                       \
    "Connection: keep-alive\r\n"                                                                   \
    "Cookie: session=0123456789abcdef01\r\n"

#define BROWSER                                                                                    \
    "GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg?size=large HTTP/1.1\r\n"     \
    "Host: www.example.com\r\n"                                                                    \
    "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 "          \
    "Firefox/140.0\r\n"                                                                            \
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n"       \
    "Accept-Language: en-US,en;q=0.7,de;q=0.3\r\n"                                                 \
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"                                                 \
    "Referer: https://www.example.com/a/page/that/links/here.html\r\n"                             \
    "Connection: keep-alive\r\n"                                                                   \
    "Cookie: session=0123456789abcdef0123456789abcdef; csrftoken=fedcba9876543210; "               \
    "theme=dark; _ga=GA1.2.1287664711.1699999999\r\n"                                              \
    "Upgrade-Insecure-Requests: 1\r\n"                                                             \
    "Cache-Control: max-age=0\r\n"

static const struct sl_http_limits limits = {
    .request_line = 4094, .fields = 100, .field_size = 8190};
static const struct sl_scheme_header scheme_headers[] = {{"X-FORWARDED-PROTOCOL", "ssl"},
                                                         {"X-FORWARDED-PROTO", "https"},
                                                         {"X-FORWARDED-SSL", "on"},
                                                         {NULL, NULL}};
static struct sl_head_rules rules;

static double
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct sl_header fields[100];
static struct sl_request req;
static struct sl_head head = {&req, fields, 100, NULL};

static void
parse_batch(char *text, size_t len)
{
    for (int i = 0; i < BATCH; i++) {
        uint64_t resume = 0;
        const char *sentence = NULL;
        if (sl_head_parse(&head, text, len, &resume, &rules, true, &sentence) != (int)len) {
            fprintf(stderr, "refused: %s\n", sentence != NULL ? sentence : "");
            exit(1);
        }
        __asm__ volatile("" : : "r"(&req), "r"(fields) : "memory");
    }
}

static void
llhttp_batch(char *text, size_t len)
{
    for (int i = 0; i < BATCH; i++) {
        if (!parse_by_llhttp(text, len)) {
            fprintf(stderr, "llhttp refuses a head\n");
            exit(1);
        }
    }
}

static void
take_turn(void (*batch)(char *, size_t), char *text, size_t len, double *best)
{
    double start = now_ns();
    batch(text, len);
    double each = (now_ns() - start) / BATCH;
    if (each < *best)
        *best = each;
}

static void
measure(const char *title, char *text, double seconds)
{
    size_t len = strlen(text);
    double ours = 1e12, llhttp = 1e12, end = now_ns() + seconds * 1e9;
    while (now_ns() < end) {
        take_turn(parse_batch, text, len, &ours);
        if (have_llhttp)
            take_turn(llhttp_batch, text, len, &llhttp);
    }
    printf("%-8s %5zu bytes %3zu fields %7.1f ns per head %5.2f GB/s", title, len, req.header_count,
           ours, (double)len / ours);
    if (have_llhttp)
        printf("   llhttp %7.1f ns %5.2f GB/s   %4.1f times", llhttp, (double)len / llhttp,
               llhttp / ours);
    putchar('\n');
}

int
main(int argc, char **argv)
{
    sl_head_rules_init(&rules, &limits, scheme_headers);
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    static char brief[] = SHORT "\r\n", small[] = SMALL "\r\n", browser[] = BROWSER "\r\n",
                large[8192] = BROWSER;
    for (int i = 0; i < 12; i++) {
        char line[400];
        snprintf(line, sizeof line, "X-Large-%02d: %0260d\r\n", i, i);
        strcat(large, line);
    }
    strcat(large, "\r\n");
    measure("short", brief, seconds);
    measure("small", small, seconds);
    measure("browser", browser, seconds);
    measure("large", large, seconds);
    return 0;
}
