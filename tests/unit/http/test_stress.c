/* Many clients that do what clients do, all at once, against one engine. A ledger holds what was
 * promised: every request is run at most once, every answer of a client that stays comes whole, in
 * order and with the right bytes. At the end nothing is left. SAOLA_TEST_SEED repeats a run,
 * SAOLA_TEST_SECONDS makes it longer. */
#include "engine_fixture.h"
#include "counted_heap.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <time.h>

enum { CLIENTS = 12, MAX_REQUESTS = 8, MAX_IDS = 1 << 20, FILE_SIZE = 300000 };

struct ledger {
    struct server server;
    unsigned seed;
    time_t end;
    atomic_uint next_id;
    atomic_uint answered, abandoned, mistakes;
    atomic_uchar runs[MAX_IDS];
};

/* What a request asks for. The path says it: /ID/KIND/SIZE/DELAY_US. */
struct promise {
    unsigned id, size;
    char kind; /* (l)ength, (c)hunked, (e)cho, (u)nread body, (f)ile, (h)ead */
};

static char
pattern(unsigned id, size_t at)
{
    return (char)(id * 31 + at * 7 + at / 251);
}

static void
note_mistake(struct ledger *ledger, const struct promise *p, const char *what)
{
    if (ledger->mistakes++ == 0)
        fprintf(stderr, "seed %u: request %u, kind %c, size %u: %s\n", ledger->seed, p->id, p->kind,
                p->size, what);
}

/* ---- the application ------------------------------------------------------------------------- */

static int
write_pattern(struct sl_response *res, unsigned id, size_t size, size_t step)
{
    char block[20000];
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        for (size_t i = 0; i < n; i++)
            block[i] = pattern(id, at + i);
        int rc = sl_response_write(res, block, n, id % 3 == 0 ? SL_WRITE_FLUSH : 0);
        if (rc == SL_EFULL)
            rc = sl_response_wait(res);
        if (rc < 0)
            return 0;
    }
    return 0;
}

static int
echo_in_steps(struct sl_request *req, struct sl_response *res, size_t size)
{
    char *all = malloc(size + 1);
    const char *data;
    size_t n, len = 0;
    while (!sl_request_body_done(req)) {
        while ((n = sl_request_body(req, &data)) > 0 && len + n <= size) {
            memcpy(all + len, data, n);
            len += n;
            sl_request_consume(req, n);
        }
        if (!sl_request_body_done(req) && sl_request_wait(req) < 0) {
            free(all);
            return -1;
        }
    }
    sl_response_write(res, all, len, SL_WRITE_LAST);
    free(all);
    return 0;
}

static int
answer_promise(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct ledger *ledger = ctx;
    struct promise p = {0};
    unsigned delay;
    char path[100] = "", text_id[20];
    if (req->path.len < sizeof path)
        memcpy(path, req->path.ptr, req->path.len);
    if (sscanf(path, "/%u/%c/%u/%u", &p.id, &p.kind, &p.size, &delay) != 4 || p.id >= MAX_IDS) {
        note_mistake(ledger, &p, "a path that nobody asked for");
        return -1;
    }
    if (ledger->runs[p.id]++ != 0)
        note_mistake(ledger, &p, "run twice");
    if (delay > 0)
        usleep(delay);
    sl_response_start(res, "200 OK", 6);
    sl_response_header(res, "X-Id", 4, text_id, (size_t)sprintf(text_id, "%u", p.id));
    switch (p.kind) {
    case 'l':
        sl_response_header(res, "Content-Length", 14, text_id,
                           (size_t)sprintf(text_id, "%u", p.size));
        return write_pattern(res, p.id, p.size, 20000);
    case 'c':
        return write_pattern(res, p.id, p.size, 1 + p.id % 20000);
    case 'f':
        sl_response_sendfile(res, ledger->server.file_fd, 0, FILE_SIZE);
        return 0;
    case 'e':
        return echo_in_steps(req, res, p.size);
    default:
        sl_response_write(res, "ok", 2, SL_WRITE_LAST);
        return 0;
    }
}

/* ---- a client -------------------------------------------------------------------------------- */

struct bytes {
    char *ptr;
    size_t len, cap;
};

static void
put(struct bytes *to, const void *data, size_t len)
{
    if (to->cap - to->len < len) {
        to->cap = (to->len + len) * 2;
        to->ptr = realloc(to->ptr, to->cap);
    }
    memcpy(to->ptr + to->len, data, len);
    to->len += len;
}

static void
put_text(struct bytes *to, const char *text)
{
    put(to, text, strlen(text));
}

static void
put_body(struct bytes *to, const struct promise *p, bool chunked, unsigned *rng)
{
    for (size_t at = 0; at < p->size;) {
        char line[20], block[5000];
        size_t n = 1 + (size_t)rand_r(rng) % sizeof block;
        n = n < p->size - at ? n : p->size - at;
        for (size_t i = 0; i < n; i++)
            block[i] = pattern(p->id, at + i);
        if (chunked)
            put(to, line, (size_t)sprintf(line, "%zx\r\n", n));
        put(to, block, n);
        if (chunked)
            put_text(to, "\r\n");
        at += n;
    }
    if (chunked)
        put_text(to, "0\r\n\r\n");
}

static struct promise
ask(struct ledger *ledger, struct bytes *to, unsigned *rng, bool last)
{
    static const unsigned sizes[] = {0, 1, 13, 500, 5000, 70000, 200000};
    static const char kinds[] = "lllcceeuufh";
    struct promise p = {
        .id = ledger->next_id++,
        .size = sizes[(unsigned)rand_r(rng) % 7],
        .kind = kinds[(unsigned)rand_r(rng) % (sizeof kinds - 1)],
    };
    assert_true(p.id < MAX_IDS);
    unsigned delay = rand_r(rng) % 20 == 0 ? (unsigned)rand_r(rng) % 3000 : 0;
    bool body = p.kind == 'e' || p.kind == 'u', chunked = body && rand_r(rng) % 2;
    char head[300];
    int n = sprintf(head, "%s /%u/%c/%u/%u HTTP/1.1\r\nHost: x\r\n%s",
                    body            ? "POST"
                    : p.kind == 'h' ? "HEAD"
                                    : "GET",
                    p.id, p.kind, p.size, delay, last ? "Connection: close\r\n" : "");
    if (chunked)
        n += sprintf(head + n, "Transfer-Encoding: chunked\r\n");
    else if (body)
        n += sprintf(head + n, "Content-Length: %u\r\n", p.size);
    put(to, head, (size_t)n);
    put_text(to, "\r\n");
    if (body)
        put_body(to, &p, chunked, rng);
    return p;
}

/* Takes chunks apart in place. Length used of the input, or 0 if it is not complete. */
static size_t
unchunk(char *data, size_t len, size_t *ret_len)
{
    size_t pos = 0, out = 0;
    for (;;) {
        char *lf = memchr(data + pos, '\n', len - pos);
        if (lf == NULL)
            return 0;
        size_t size = strtoul(data + pos, NULL, 16);
        pos = (size_t)(lf + 1 - data);
        if (len - pos < size + 2)
            return 0;
        memmove(data + out, data + pos, size);
        out += size;
        pos += size + 2;
        *ret_len = out;
        if (size == 0)
            return pos;
    }
}

static bool
right_body(const struct promise *p, const char *body, size_t len)
{
    if (p->kind == 'u')
        return len == 2 && memcmp(body, "ok", 2) == 0;
    if (p->kind == 'h')
        return len == 0;
    if (len != (p->kind == 'f' ? FILE_SIZE : p->size))
        return false;
    for (size_t i = 0; i < len; i++)
        if (body[i] != (p->kind == 'f' ? (char)('a' + i % 26) : pattern(p->id, i)))
            return false;
    return true;
}

/* Looks for the answer to p at the front of in. Bytes used, 0: not complete; *ret_right. */
static size_t
take_answer(struct bytes *in, const struct promise *p, bool *ret_right)
{
    char *end = memmem(in->ptr, in->len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    end[2] = '\0';
    char *body = end + 4, *id = strstr(in->ptr, "X-Id: "),
         *length = strstr(in->ptr, "Content-Length: ");
    size_t left = in->len - (size_t)(body - in->ptr), len = 0, used = 0;
    *ret_right = false;
    if (strncmp(in->ptr, "HTTP/1.1 200 OK\r\n", 17) != 0 || id == NULL ||
        strtoul(id + 6, NULL, 10) != p->id)
        return in->len; /* wrong */
    bool chunked = strstr(in->ptr, "Transfer-Encoding: chunked") != NULL;
    end[2] = '\r';
    if (chunked) {
        /* unchunk() destroys: only when the end may be here */
        if (left < 5 || memmem(body, left, "0\r\n\r\n", 5) == NULL)
            return 0;
        char *copy = malloc(left);
        memcpy(copy, body, left);
        used = unchunk(copy, left, &len);
        *ret_right = used > 0 && right_body(p, copy, len);
        free(copy);
        return used == 0 ? 0 : (size_t)(body - in->ptr) + used;
    }
    if (p->kind != 'h')
        len = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    if (left < len)
        return 0;
    *ret_right = right_body(p, body, len);
    return (size_t)(body - in->ptr) + len;
}

enum manner { STAYS, CLOSES, HALF_CLOSES, RESETS, LEAVES, MANNERS };

/* One connection from its beginning to its end. */
static void
converse(struct ledger *ledger, unsigned *rng)
{
    struct promise promises[MAX_REQUESTS];
    struct bytes out = {0}, in = {0};
    enum manner manner = (enum manner)(rand_r(rng) % MANNERS);
    size_t count = 1 + (size_t)rand_r(rng) % MAX_REQUESTS, taken = 0, sent = 0;
    size_t piece = rand_r(rng) % 4 == 0 ? 50 : 100000, gulp = rand_r(rng) % 4 == 0 ? 3000 : 65536;
    for (size_t i = 0; i < count; i++)
        promises[i] = ask(ledger, &out, rng, manner == CLOSES && i + 1 == count);
    if (piece < 100 && out.len > 20000)
        piece = 5000;
    size_t leave_at =
        manner == RESETS || manner == LEAVES ? (size_t)rand_r(rng) % (out.len + 1) : SIZE_MAX;
    char *block = malloc(65536);
    int fd = dial(&ledger->server), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    bool ended = false;
    while ((taken < count || sent < out.len) && !ended && sent < leave_at) {
        struct pollfd p = {.fd = fd, .events = sent < out.len ? POLLIN | POLLOUT : POLLIN};
        if (poll(&p, 1, 20000) <= 0) {
            break; /* a stall */
        }
        if ((p.revents & POLLOUT) && sent < out.len) {
            size_t n = 1 + (size_t)rand_r(rng) % piece;
            n = n < out.len - sent ? n : out.len - sent;
            ssize_t done = send(fd, out.ptr + sent, n, MSG_NOSIGNAL);
            sent += done > 0 ? (size_t)done : 0;
            if (sent == out.len && manner == HALF_CLOSES)
                shutdown(fd, SHUT_WR);
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(fd, block, 1 + (size_t)rand_r(rng) % gulp, 0);
            ended = n == 0 || (n < 0 && errno != EAGAIN);
            if (n > 0)
                put(&in, block, (size_t)n);
        }
        if (rand_r(rng) % 50 == 0)
            usleep((unsigned)rand_r(rng) % 1000);
        bool right;
        size_t used;
        while (taken < count && in.len > 0 &&
               (used = take_answer(&in, &promises[taken], &right)) > 0) {
            if (!right)
                note_mistake(ledger, &promises[taken], "wrong answer");
            memmove(in.ptr, in.ptr + used, in.len - used);
            in.len -= used;
            taken++;
        }
    }
    if (sent >= leave_at) {
        ledger->abandoned++;
    } else {
        if (taken < count)
            note_mistake(ledger, &promises[taken],
                         ended ? "no answer: the connection ended" : "no answer");
        ledger->answered += (unsigned)taken;
        if (!ended && (manner == CLOSES || manner == HALF_CLOSES)) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            if (poll(&p, 1, 20000) != 1 || recv(fd, block, 1, 0) != 0)
                note_mistake(ledger, &promises[count - 1], "the connection did not end after it");
        }
    }
    if (manner == RESETS)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    free(block);
    free(out.ptr);
    free(in.ptr);
}

static void *
live(void *arg)
{
    struct ledger *ledger = arg;
    unsigned rng = ledger->seed + ledger->next_id++ * 7919;
    while (time(NULL) < ledger->end && ledger->mistakes == 0)
        converse(ledger, &rng);
    return NULL;
}

static long
number_from(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? atol(text) : otherwise;
}

static void
test_every_promise_is_kept(void **state)
{
    long blocks = heap_blocks;
    struct ledger *ledger = calloc(1, sizeof *ledger);
    struct server *s = &ledger->server;
    ledger->seed = (unsigned)number_from("SAOLA_TEST_SEED", 1);
    server_prepare(s, *(unsigned *)*state);
    s->options.handle = answer_promise;
    server_make_file(s, FILE_SIZE);
    server_listen(s);
    s->options.ctx = ledger;
    server_open(s);
    ledger->end = time(NULL) + number_from("SAOLA_TEST_SECONDS", 3);
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, live, ledger), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(ledger->mistakes, 0);
    assert_true(ledger->answered > 100 && ledger->abandoned > 10);
    server_stop(s);
    free(ledger);
    assert_int_equal(heap_blocks, blocks);
}

int
main(void)
{
    static unsigned inline_threads = 0, one_thread = 1, pool_threads = 4;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_every_promise_is_kept, &inline_threads),
        cmocka_unit_test_prestate(test_every_promise_is_kept, &one_thread),
        cmocka_unit_test_prestate(test_every_promise_is_kept, &pool_threads),
    };
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
