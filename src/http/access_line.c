/* One request as a line of the access log. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "http/access_piece.h"
#include "http/chars.h"

enum { USUAL_LINE = 512 }; /* bytes for which there is room at first */

/* sl_buf_append() without the call, for the few bytes that it mostly is. */
static inline int
put(struct sl_buf *out, const char *text, size_t len)
{
    if (out->cap - out->len < len)
        return sl_buf_append(out, text, len);
    memcpy(out->ptr + out->len, text, len);
    out->len += len;
    return SL_OK;
}

static int
put_missing(struct sl_buf *out, enum sl_escape_style style)
{
    return style == SL_ESCAPE_JSON ? put(out, "null", 4) : put(out, "-", 1);
}

static int
put_number(struct sl_buf *out, uint64_t n)
{
    char text[24];
    char *p = text + sizeof text;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    return put(out, p, (size_t)(text + sizeof text - p));
}

static int
put_text(struct sl_buf *out, const struct sl_str *text, enum sl_escape_style style)
{
    return sl_escape_latin1(out, text->ptr != NULL ? text->ptr : "", text->len, style);
}

static void
set_clock(struct sl_access_clock *clock, time_t second)
{
    struct tm tm;
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char zone[8] = "+0000";
    if (localtime_r(&second, &tm) == NULL)
        tm = (struct tm){.tm_mday = 1, .tm_year = 70};
    strftime(zone, sizeof zone, "%z", &tm);
    int year = tm.tm_year + 1900;
    int n = snprintf(clock->clf, sizeof clock->clf, "[%02d/%.3s/%d:%02d:%02d:%02d %s]", tm.tm_mday,
                     months + 3 * tm.tm_mon, year, tm.tm_hour, tm.tm_min, tm.tm_sec, zone);
    clock->clf_len = (size_t)n < sizeof clock->clf ? (size_t)n : sizeof clock->clf - 1;
    n = snprintf(clock->iso, sizeof clock->iso - 7, "%04d-%02d-%02dT%02d:%02d:%02d", year,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    clock->iso_len = (size_t)n < sizeof clock->iso - 7 ? (size_t)n : sizeof clock->iso - 8;
    snprintf(clock->iso + clock->iso_len, 7, "%.3s:%.2s", zone, zone + 3);
    clock->second = second;
}

static int
put_time_iso(struct sl_buf *out, const struct sl_access_clock *clock, long ns, bool quoted)
{
    char text[64];
    int len =
        snprintf(text, sizeof text, "%s%.*s.%03ld%s%s", quoted ? "\"" : "", (int)clock->iso_len,
                 clock->iso, ns / 1000000, clock->iso + clock->iso_len, quoted ? "\"" : "");
    return sl_buf_append(out, text, (size_t)len);
}

static struct sl_str
protocol_of(const struct sl_request *req, char text[16])
{
    if (req->version_major == 1 && req->version_minor == 1)
        return (struct sl_str){"HTTP/1.1", 8}; /* as most often */
    int len = snprintf(text, 16, "HTTP/%u.%u", req->version_major, req->version_minor);
    return (struct sl_str){text, (size_t)len};
}

static int
put_request_line(struct sl_buf *out, const struct sl_request *req, enum sl_escape_style style)
{
    char version[16];
    struct sl_str protocol = protocol_of(req, version);
    if (put_text(out, &req->method, style) < 0 || put(out, " ", 1) < 0 ||
        put_text(out, &req->target, style) < 0 || put(out, " ", 1) < 0)
        return SL_ENOMEM;
    return put(out, protocol.ptr, protocol.len);
}

static int
put_decoded(struct sl_buf *out, const struct sl_str *path, enum sl_escape_style style)
{
    if (path->len == 0 || memchr(path->ptr, '%', path->len) == NULL)
        return put_text(out, path, style);
    struct sl_buf decoded = SL_BUF_INIT;
    if (sl_buf_reserve(&decoded, path->len) < 0)
        return SL_ENOMEM;
    for (size_t i = 0; i < path->len; i++) {
        char c = path->ptr[i];
        int high = -1, low = -1;
        if (c == '%' && path->len - i > 2) {
            high = sl_char_hex(path->ptr[i + 1]);
            low = sl_char_hex(path->ptr[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            c = (char)(high << 4 | low);
            i += 2;
        }
        decoded.ptr[decoded.len++] = c;
    }
    int rc = sl_escape_latin1(out, decoded.ptr, decoded.len, style);
    sl_buf_release(&decoded);
    return rc;
}

static bool
is_named(const struct sl_str *name, const struct sl_access_piece *piece)
{
    return name->len == piece->len && (name->ptr[0] | 0x20) == (piece->text[0] | 0x20) &&
           strncasecmp(name->ptr, piece->text, piece->len) == 0;
}

/* The first field of that name behind h (NULL: of all); NULL: none. */
static inline const struct sl_header *
next_named(const struct sl_request *req, const struct sl_access_piece *piece,
           const struct sl_header *h)
{
    const struct sl_header *end = req->headers + req->header_count;
    for (h = h != NULL ? h + 1 : req->headers; h < end; h++) {
        if (is_named(&h->name, piece))
            return h;
    }
    return NULL;
}

/* All fields of that name with commas between, as they stand in environ. */
static int
put_joined(struct sl_buf *out, const struct sl_request *req, const struct sl_access_piece *piece)
{
    const struct sl_header *first = next_named(req, piece, NULL);
    if (first == NULL)
        return put_missing(out, piece->style);
    const struct sl_header *other = next_named(req, piece, first);
    if (other == NULL)
        return put_text(out, &first->value, piece->style);
    struct sl_buf joined = SL_BUF_INIT;
    int rc = sl_buf_append(&joined, first->value.ptr, first->value.len);
    for (; rc == SL_OK && other != NULL; other = next_named(req, piece, other)) {
        rc = sl_buf_append(&joined, ",", 1);
        if (rc == SL_OK)
            rc = sl_buf_append(&joined, other->value.ptr, other->value.len);
    }
    if (rc == SL_OK)
        rc = sl_escape_latin1(out, joined.ptr, joined.len, piece->style);
    sl_buf_release(&joined);
    return rc;
}

static int
put_last(struct sl_buf *out, const struct sl_request *req, const struct sl_access_piece *piece)
{
    for (size_t i = req->header_count; i > 0; i--)
        if (is_named(&req->headers[i - 1].name, piece))
            return put_text(out, &req->headers[i - 1].value, piece->style);
    return put_missing(out, piece->style);
}

static int
put_response_field(struct sl_buf *out, const struct sl_str *fields,
                   const struct sl_access_piece *piece)
{
    struct sl_str found = {NULL, 0};
    size_t at = 0;
    while (at < fields->len) {
        const char *line = fields->ptr + at;
        const char *lf = memchr(line, '\n', fields->len - at);
        size_t len = lf != NULL ? (size_t)(lf - line) : fields->len - at;
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len >= piece->len + 2 && line[piece->len] == ':' &&
            strncasecmp(line, piece->text, piece->len) == 0)
            found = (struct sl_str){line + piece->len + 2, len - piece->len - 2};
    }
    return found.ptr != NULL ? put_text(out, &found, piece->style) : put_missing(out, piece->style);
}

static int
base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict base64 (RFC 4648 section 4) of text into out, which has room for it. SIZE_MAX: it is not.
 */
static size_t
decode_base64(const char *text, size_t len, char *out)
{
    size_t n = 0, pad = 0;
    if (len == 0 || len % 4 != 0)
        return SIZE_MAX;
    while (pad < 2 && text[len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < len; i += 4) {
        unsigned bits = 0;
        size_t digits = i + 4 == len ? 4 - pad : 4;
        for (size_t k = 0; k < 4; k++) {
            int value = k < digits ? base64_value(text[i + k]) : 0;
            if (value < 0)
                return SIZE_MAX;
            bits = bits << 6 | (unsigned)value;
        }
        for (size_t k = 0; k + 1 < digits; k++)
            out[n++] = (char)(bits >> (16 - 8 * k));
    }
    return n;
}

/* The user of HTTP basic authentication; several Authorization fields name nobody. */
static int
put_user(struct sl_buf *out, const struct sl_request *req, enum sl_escape_style style)
{
    const struct sl_header *found = NULL;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_str *name = &req->headers[i].name;
        if (name->len != 13 || strncasecmp(name->ptr, "authorization", 13) != 0)
            continue;
        if (found != NULL)
            return put_missing(out, style);
        found = &req->headers[i];
    }
    if (found == NULL || found->value.len < 6 || strncasecmp(found->value.ptr, "basic ", 6) != 0)
        return put_missing(out, style);
    const char *text = found->value.ptr + 6;
    size_t len = found->value.len - 6;
    while (len > 0 && (*text == ' ' || *text == '\t'))
        text++, len--;
    struct sl_buf decoded = SL_BUF_INIT;
    if (len == 0)
        return put_missing(out, style);
    if (sl_buf_reserve(&decoded, len) < 0)
        return SL_ENOMEM;
    size_t n = decode_base64(text, len, decoded.ptr);
    const char *colon = n == SIZE_MAX ? NULL : memchr(decoded.ptr, ':', n);
    if (colon != NULL)
        n = (size_t)(colon - decoded.ptr);
    int rc = n == SIZE_MAX || n == 0 ? put_missing(out, style)
                                     : sl_escape_utf8(out, decoded.ptr, n, style);
    sl_buf_release(&decoded);
    return rc;
}

static int
put_formatted(struct sl_buf *out, const char *format, unsigned long long a, unsigned long long b)
{
    char text[48];
    int len = snprintf(text, sizeof text, format, a, b);
    return sl_buf_append(out, text, (size_t)len);
}

static int
put_piece(const struct sl_access_piece *piece, const struct sl_access_entry *entry,
          const struct sl_access_clock *clock, struct sl_buf *out)
{
    const struct sl_request *req = entry->req;
    struct sl_str text;
    char version[16];
    switch (piece->atom) {
    case SL_ATOM_LITERAL:
        return put(out, piece->text, piece->len);
    case SL_ATOM_REMOTE_ADDRESS:
        text = (struct sl_str){req->peer->addr, strlen(req->peer->addr)};
        return put_text(out, &text, piece->style);
    case SL_ATOM_USER:
        return put_user(out, req, piece->style);
    case SL_ATOM_TIME:
        return put(out, clock->clf, clock->clf_len);
    case SL_ATOM_TIME_ISO:
        return put_time_iso(out, clock, entry->now.tv_nsec, piece->style == SL_ESCAPE_JSON);
    case SL_ATOM_REQUEST_LINE:
        return put_request_line(out, req, piece->style);
    case SL_ATOM_STATUS:
        return put_number(out, (uint64_t)entry->status);
    case SL_ATOM_METHOD:
        return put_text(out, &req->method, piece->style);
    case SL_ATOM_PATH:
        return put_decoded(out, &req->path, piece->style);
    case SL_ATOM_PATH_RAW:
        return put_text(out, &req->path, piece->style);
    case SL_ATOM_QUERY:
        return put_text(out, &req->query, piece->style);
    case SL_ATOM_PROTOCOL:
        text = protocol_of(req, version);
        return put_text(out, &text, piece->style);
    case SL_ATOM_BODY_BYTES:
        return put_number(out, entry->body_bytes);
    case SL_ATOM_REQUEST_FIELD:
        return put_joined(out, req, piece);
    case SL_ATOM_REQUEST_LAST:
        return put_last(out, req, piece);
    case SL_ATOM_RESPONSE_FIELD:
        return put_response_field(out, &entry->fields, piece);
    case SL_ATOM_SECONDS:
        return put_number(out, entry->duration_ns / 1000000000);
    case SL_ATOM_MICROSECONDS:
        return put_number(out, entry->duration_ns / 1000);
    case SL_ATOM_MILLISECONDS:
        return put_number(out, entry->duration_ns / 1000000);
    case SL_ATOM_SECONDS_DECIMAL:
        return put_formatted(out, "%llu.%06llu", entry->duration_ns / 1000000000,
                             entry->duration_ns / 1000 % 1000000);
    case SL_ATOM_PID:
        return put_formatted(out, "<%llu>", (unsigned long long)getpid(), 0);
    case SL_ATOM_PID_NUMBER:
        return put_number(out, (uint64_t)getpid());
    }
    return SL_OK;
}

int
sl_access_format_line(const struct sl_access_format *format, const struct sl_access_entry *entry,
                      struct sl_access_clock *clock, struct sl_buf *out)
{
    size_t before = out->len;
    int rc = sl_buf_reserve(out, USUAL_LINE);
    if (entry->now.tv_sec != clock->second || clock->clf_len == 0)
        set_clock(clock, entry->now.tv_sec);
    for (size_t i = 0; rc == SL_OK && i < format->count; i++)
        rc = put_piece(&format->pieces[i], entry, clock, out);
    if (rc == SL_OK)
        rc = put(out, "\n", 1);
    if (rc < 0)
        out->len = before;
    return rc;
}
