/* What an application may say of its response, as a script; what comes out is read by a plain
 * reader of RFC 9112 and must be interim heads, one head and its body, nothing else: no split, no
 * field that was not let in, the body as framed. The first byte says what was asked: bit 0 HEAD,
 * 1 HTTP/1.0, 2 close. Then steps, divided by 0xff; a letter, and words divided by 0xfe:
 *
 *   s STATUS        n STATUS (fields stay)   h NAME VALUE   i CODE NAME VALUE (interim)
 *   w BYTES         f BYTES (flush)          l BYTES (last) t NAME VALUE (trailers, end)
 *   u PROTOCOL      x SENTENCE (error page)
 */
#include <ctype.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "http/engine_state.h"

enum { MAX_INPUT = 4096, STEP = 0xff, WORD = 0xfe };

static struct sl_engine *engine;
static struct sl_conn conn;
static int client;

static int
answer_nothing(void *ctx, struct sl_request *req, struct sl_response *res)
{
    (void)ctx, (void)req, (void)res;
    return 0;
}

static void
prepare(void)
{
    static const struct sl_engine_options options = {.handle = answer_nothing,
                                                     .server_name = "x",
                                                     .keepalive_ms = 2000,
                                                     .limits = {.fields = 100}};
    struct sl_error err;
    int pair[2];
    DEMAND(sl_engine_open(&options, &engine, &err) == SL_OK);
    DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    conn.fd = pair[0];
    client = pair[1];
}

/* ---- what was sent ------------------------------------------------------------------------------
 */

static char sent[1 << 20];
static size_t sent_len;

static void
collect(struct sl_out *out)
{
    ssize_t n;
    while ((n = recv(client, sent + sent_len, sizeof sent - sent_len, 0)) > 0)
        sent_len += (size_t)n;
    size_t rest = out->end - out->start;
    DEMAND(rest <= sizeof sent - sent_len);
    if (rest > 0)
        memcpy(sent + sent_len, out->ptr + out->start, rest);
    sent_len += rest;
    out->start = out->end = 0;
}

struct reading {
    int status;
    bool chunked, has_length, has_upgrade;
    uint64_t length;
    unsigned fields, connections, dates;
};

/* One field line up to end; in a trailer section framing is not read. */
static void
read_field(const char *p, const char *end, struct reading *r)
{
    const char *colon = memchr(p, ':', (size_t)(end - p));
    DEMAND(colon != NULL && colon > p && end - colon >= 2 && colon[1] == ' ');
    for (const char *c = p; c < colon; c++)
        DEMAND(isalnum((unsigned char)*c) || strchr("!#$%&'*+-.^_`|~", *c) != NULL);
    for (const char *c = colon; c < end; c++)
        DEMAND(*c == '\t' || ((unsigned char)*c >= 0x20 && *c != 0x7f));
    size_t len = (size_t)(colon - p);
    const char *value = colon + 2;
    r->fields++;
    if (len == 10 && strncasecmp(p, "connection", len) == 0)
        r->connections++;
    if (len == 4 && strncasecmp(p, "date", len) == 0)
        r->dates++;
    if (len == 7 && strncasecmp(p, "upgrade", len) == 0)
        r->has_upgrade = true;
    if (len == 17 && strncasecmp(p, "transfer-encoding", len) == 0) {
        DEMAND(!r->chunked && end - value == 7 && memcmp(value, "chunked", 7) == 0);
        r->chunked = true;
    }
    if (len == 14 && strncasecmp(p, "content-length", len) == 0) {
        DEMAND(!r->has_length && value < end);
        r->has_length = true;
        for (; value < end; value++) {
            DEMAND(isdigit((unsigned char)*value));
            r->length = r->length * 10 + (uint64_t)(*value - '0');
        }
    }
}

static const char *
line_end(const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    DEMAND(lf != NULL && lf > p && lf[-1] == '\r');
    return lf - 1;
}

static const char *
read_fields(const char *p, const char *end, struct reading *r)
{
    for (;;) {
        const char *cr = line_end(p, end);
        if (cr == p)
            return p + 2;
        read_field(p, cr, r);
        p = cr + 2;
    }
}

static const char *
read_head(const char *p, const char *end, struct reading *r)
{
    *r = (struct reading){0};
    const char *cr = line_end(p, end);
    DEMAND(cr - p >= 13 && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '0' || p[7] == '1'));
    DEMAND(p[8] == ' ' && p[12] == ' ');
    for (int i = 9; i < 12; i++) {
        DEMAND(isdigit((unsigned char)p[i]));
        r->status = r->status * 10 + p[i] - '0';
    }
    for (const char *c = p; c < cr; c++)
        DEMAND(*c == '\t' || ((unsigned char)*c >= 0x20 && *c != 0x7f));
    return read_fields(cr + 2, end, r);
}

/* Chunks up to and with the trailer section; the data is moved to body. */
static const char *
read_chunks(const char *p, const char *end, char *body, size_t *ret_len)
{
    *ret_len = 0;
    for (;;) {
        char *digits_end;
        const char *cr = line_end(p, end);
        size_t len = strtoul(p, &digits_end, 16);
        DEMAND(digits_end == cr);
        p = cr + 2;
        if (len == 0)
            break;
        DEMAND(len + 2 <= (size_t)(end - p) && memcmp(p + len, "\r\n", 2) == 0);
        memcpy(body + *ret_len, p, len);
        *ret_len += len;
        p += len + 2;
    }
    struct reading trailers = {0};
    return read_fields(p, end, &trailers);
}

/* ---- script -------------------------------------------------------------------------------------
 */

struct script {
    struct sl_response *res;
    char given[MAX_INPUT]; /* body bytes that were taken, as the application sees it */
    size_t given_len;
    unsigned added;   /* fields that were let in */
    unsigned interim; /* heads */
    bool page, upgraded;
};

/* Memory of exactly its size, so that ASan sees a look beyond. */
static struct sl_str
copy(const uint8_t *p, const uint8_t *end)
{
    size_t len = (size_t)(end - p);
    char *mine = malloc(len > 0 ? len : 1);
    DEMAND(mine != NULL);
    memcpy(mine, p, len);
    return (struct sl_str){mine, len};
}

static struct sl_str
next_word(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *stop = memchr(*p, WORD, (size_t)(end - *p)), *from = *p;
    if (stop == NULL)
        stop = end;
    *p = stop < end ? stop + 1 : end;
    return copy(from, stop);
}

static void
add(struct script *s, const struct sl_str *name, const struct sl_str *value)
{
    size_t before = s->res->ws->headers.len;
    int rc = sl_response_header(s->res, name->ptr, name->len, value->ptr, value->len);
    DEMAND(rc == SL_OK || rc == SL_EINVAL);
    size_t after = s->res->ws->headers.len;
    DEMAND(rc == SL_OK || before == after);
    s->added += after > before;
}

static void
give(struct script *s, const struct sl_str *data, unsigned flags)
{
    struct sl_response *res = s->res;
    uint64_t before = res->sent;
    int rc = sl_response_write(res, data->ptr, data->len, flags);
    DEMAND(rc == SL_OK || rc == SL_EINVAL);
    size_t taken = (size_t)(res->sent - before);
    DEMAND(taken <= data->len);
    memcpy(s->given + s->given_len, data->ptr, taken);
    s->given_len += taken;
}

static void
run_step(struct script *s, char what, const uint8_t *p, const uint8_t *end)
{
    struct sl_response *res = s->res;
    struct sl_str a = next_word(&p, end), b = next_word(&p, end), c = next_word(&p, end);
    const struct sl_header second = {.name = b, .value = c}, first = {.name = a, .value = b};
    switch (what) {
    case 's':
        if (!sl_response_committed(res) && sl_response_start(res, a.ptr, a.len) == SL_OK)
            s->added = 0;
        break;
    case 'n':
        (void)sl_response_set_status(res, a.ptr, a.len);
        break;
    case 'h':
        if (sl_response_started(res) && !sl_response_committed(res))
            add(s, &a, &b);
        break;
    case 'i':
        if (a.len == 1 && b.len > 0 && sl_response_interim(res, a.ptr[0] + 60, &second, 1) == SL_OK)
            s->interim += res->ws->x.req.version_minor > 0;
        break;
    case 'w':
    case 'f':
    case 'l':
        if (!res->ended && !s->page)
            give(s, &a, what == 'f' ? SL_WRITE_FLUSH : what == 'l' ? SL_WRITE_LAST : 0);
        break;
    case 't':
        (void)sl_response_end_trailers(res, &first, 1);
        break;
    case 'u':
        s->upgraded |= sl_response_upgrade(res, a.ptr, a.len) == SL_OK;
        break;
    case 'x': {
        char *sentence = strndup(a.ptr, a.len);
        bool committed = res->committed;
        if (!res->ended && !committed)
            s->page = true;
        sl_response_fail(res, 500, sentence);
        free(sentence);
        break;
    }
    default:
        break;
    }
    free((char *)a.ptr);
    free((char *)b.ptr);
    free((char *)c.ptr);
}

static void
demand_sound(const struct script *s)
{
    static char body[sizeof sent];
    const struct sl_response *res = s->res;
    const struct sl_request *req = &res->ws->x.req;
    const char *p = sent, *end = sent + sent_len;
    struct reading r;
    for (unsigned i = 0; i < s->interim; i++) {
        p = read_head(p, end, &r);
        DEMAND(r.status >= 100 && r.status < 200);
    }
    p = read_head(p, end, &r);
    DEMAND(r.status == res->status);
    DEMAND(!(r.chunked && r.has_length));
    DEMAND(!(r.chunked && req->version_minor == 0));
    DEMAND(r.connections == 1 && r.dates == !s->page);
    DEMAND(r.has_upgrade == s->upgraded);
    if (!s->page) /* Server, Date, Connection and framing are ours */
        DEMAND(r.fields == 3 + s->added + r.chunked + r.has_length + s->upgraded);
    size_t len = (size_t)(end - p);
    if (s->upgraded) {
        DEMAND(!r.chunked && !r.has_length);
    } else if (req->method.len == 4 || r.status < 200 || r.status == 204 || r.status == 304) {
        DEMAND(len == 0);
        DEMAND(r.status >= 200 || r.status == 101 || !r.has_length);
        return;
    } else if (r.chunked) {
        if (res->failed) /* cut, and the client sees it */
            return;
        DEMAND(read_chunks(p, end, body, &len) == end);
        p = body;
    } else if (r.has_length) {
        DEMAND(len == r.length || (res->failed && len < r.length));
    } else {
        DEMAND(res->close);
    }
    if (!s->page)
        DEMAND(len == s->given_len && (len == 0 || memcmp(p, s->given, len) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > MAX_INPUT)
        return 0;
    if (engine == NULL)
        prepare();
    struct sl_workspace *ws = engine->ws;
    const char *method = data[0] & 1 ? "HEAD" : "GET";
    ws->x.req = (struct sl_request){.method = {method, strlen(method)},
                                    .target = {"/", 1},
                                    .path = {"/", 1},
                                    .version_major = 1,
                                    .version_minor = data[0] & 2 ? 0 : 1,
                                    .keep_alive = !(data[0] & 4),
                                    .peer = &conn.peer};
    sl_exchange_begin(&ws->x, &conn, ws->scratch, 0);
    sl_response_init(&ws->x.res, ws);
    static struct script s;
    s = (struct script){.res = &ws->x.res};
    const uint8_t *p = data + 1, *end = data + size;
    while (p < end) {
        const uint8_t *stop = memchr(p, STEP, (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        if (stop > p)
            run_step(&s, (char)*p, p + 1, stop);
        p = stop < end ? stop + 1 : end;
    }
    s.page |= !s.res->started;
    sl_response_settle(s.res, 0);
    DEMAND(s.res->ended);
    sent_len = 0;
    collect(&ws->out);
    demand_sound(&s);
    return 0;
}
