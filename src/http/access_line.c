/* One request as a line of the access log. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/hints.h"
#include "http/access_piece.h"
#include "http/chars.h"
#include "http/text.h"

enum {
    USUAL_LINE = 512, /* bytes for which there is room at first */
    ROOM = 64,        /* ... and before each piece: for a short literal and all atoms but texts */
};

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

/* Within ROOM. */
static int
put_number(struct sl_buf *out, uint64_t n)
{
    out->len += sl_http_put_number(out->ptr + out->len, n);
    return SL_OK;
}

static SL_APART int
put_text(struct sl_buf *out, const struct sl_str *text, enum sl_escape_style style)
{
    if (style == SL_ESCAPE_TEXT && out->cap - out->len >= text->len &&
        sl_escape_copy_plain(out->ptr + out->len, text->ptr, text->len)) {
        out->len += text->len;
        return SL_OK;
    }
    return sl_escape_latin1(out, text->ptr != NULL ? text->ptr : "", text->len, style);
}

/* There is ROOM before it, and enough for any atom but texts behind it. */
static inline int
put_literal(struct sl_buf *out, const char *text, size_t len)
{
    if (len > SL_ACCESS_SHORT)
        return sl_buf_append(out, text, len) < 0 ? SL_ENOMEM : sl_buf_reserve(out, ROOM);
    memcpy(out->ptr + out->len, text, SL_ACCESS_SHORT); /* too much, without a call */
    out->len += len;
    return SL_OK;
}

/* Within ROOM. */
static int
put_clf(struct sl_buf *out, const struct sl_access_clock *clock)
{
    memcpy(out->ptr + out->len, clock->clf, sizeof clock->clf);
    out->len += clock->clf_len;
    return SL_OK;
}

static SL_COLD void
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

static SL_APART int
put_time_iso(struct sl_buf *out, const struct sl_access_clock *clock, long ns, bool quoted)
{
    char text[64];
    int len =
        snprintf(text, sizeof text, "%s%.*s.%03ld%s%s", quoted ? "\"" : "", (int)clock->iso_len,
                 clock->iso, ns / 1000000, clock->iso + clock->iso_len, quoted ? "\"" : "");
    return sl_buf_append(out, text, (size_t)len);
}

static inline bool
is_http_1_1(const struct sl_request *req)
{
    return req->version_major == 1 && req->version_minor == 1;
}

static struct sl_str
protocol_of(const struct sl_request *req, char text[16])
{
    if (is_http_1_1(req))
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

static SL_APART int
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

static inline bool
is_one(const struct sl_header *header, const struct sl_access_field *field)
{
    const struct sl_str *name = &field->name;
    if (header->name.len != name->len)
        return false;
    return field->odd ? strncasecmp(header->name.ptr, name->ptr, name->len) == 0
                      : sl_chars_equal_lower(header->name.ptr, name->ptr, name->len);
}

/* The headers of a request that are one of the format's fields: the first and the last, or NULL. */
struct found {
    const struct sl_header *first, *last;
};

static void
find_fields(const struct sl_access_format *format, const struct sl_request *req,
            struct found found[SL_ACCESS_PIECES])
{
    for (unsigned i = 0; i < format->field_count; i++)
        found[i] = (struct found){NULL, NULL};
    const struct sl_header *end = req->headers + req->header_count;
    for (const struct sl_header *header = req->headers; header < end; header++) {
        if ((format->field_lengths >> header->name.len % 64 & 1) == 0)
            continue;
        for (unsigned i = 0; i < format->field_count; i++) {
            if (!is_one(header, &format->fields[i]))
                continue;
            if (found[i].first == NULL)
                found[i].first = header;
            found[i].last = header;
        }
    }
}

/* All fields of that name with commas between, as they stand in environ. */
static SL_APART int
put_joined(struct sl_buf *out, const struct found *found, const struct sl_access_field *field,
           enum sl_escape_style style)
{
    struct sl_buf joined = SL_BUF_INIT;
    int rc = SL_OK;
    for (const struct sl_header *h = found->first; rc == SL_OK && h <= found->last; h++) {
        if (!is_one(h, field))
            continue;
        if (h != found->first)
            rc = sl_buf_append(&joined, ",", 1);
        if (rc == SL_OK)
            rc = sl_buf_append(&joined, h->value.ptr, h->value.len);
    }
    if (rc == SL_OK)
        rc = sl_escape_latin1(out, joined.ptr, joined.len, style);
    sl_buf_release(&joined);
    return rc;
}

/* fields: of the response, each as "Name: value" CR LF. */
static SL_APART int
put_response_field(struct sl_buf *out, const struct sl_str *fields, const char *name,
                   size_t name_len, enum sl_escape_style style)
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
        if (len >= name_len + 2 && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0)
            found = (struct sl_str){line + name_len + 2, len - name_len - 2};
    }
    return found.ptr != NULL ? put_text(out, &found, style) : put_missing(out, style);
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

/* The user of HTTP basic authentication. */
static SL_APART int
put_user(struct sl_buf *out, const struct sl_header *found, enum sl_escape_style style)
{
    if (found->value.len < 6 || strncasecmp(found->value.ptr, "basic ", 6) != 0)
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

static SL_APART int
put_formatted(struct sl_buf *out, const char *format, unsigned long long a, unsigned long long b)
{
    char text[48];
    int len = snprintf(text, sizeof text, format, a, b);
    return sl_buf_append(out, text, (size_t)len);
}

static int
put_piece(const struct sl_access_format *format, const struct sl_access_piece *piece,
          const struct sl_access_entry *entry, const struct found all[SL_ACCESS_PIECES],
          const struct sl_access_clock *clock, struct sl_buf *out)
{
    const struct found *found = &all[piece->field];
    const struct sl_request *req = entry->req;
    struct sl_str text;
    char version[16];
    switch ((enum sl_access_atom)piece->atom) {
    case SL_ATOM_NOTHING:
        return SL_OK;
    case SL_ATOM_REMOTE_ADDRESS:
        text = (struct sl_str){req->peer->addr, strlen(req->peer->addr)};
        return put_text(out, &text, piece->style);
    case SL_ATOM_USER:
        if (found->first == NULL || found->first != found->last) /* several name nobody */
            return put_missing(out, piece->style);
        return put_user(out, found->first, piece->style);
    case SL_ATOM_TIME:
        return put_clf(out, clock);
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
        if (found->first != found->last)
            return put_joined(out, found, &format->fields[piece->field], piece->style);
        /* fall through */
    case SL_ATOM_REQUEST_LAST:
        if (found->last == NULL)
            return put_missing(out, piece->style);
        return put_text(out, &found->last->value, piece->style);
    case SL_ATOM_RESPONSE_FIELD:
        return put_response_field(out, &entry->fields, format->text + piece->name, piece->name_len,
                                  piece->style);
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

static SL_APART int
put_pieces(const struct sl_access_format *format, const struct sl_access_entry *entry,
           const struct sl_access_clock *clock, struct sl_buf *out)
{
    size_t before = out->len;
    struct found found[SL_ACCESS_PIECES];
    find_fields(format, entry->req, found);
    int rc = SL_OK;
    for (size_t i = 0; rc == SL_OK && i < format->count; i++) {
        const struct sl_access_piece *piece = &format->pieces[i];
        if (out->cap - out->len < ROOM)
            rc = sl_buf_reserve(out, USUAL_LINE);
        if (rc == SL_OK)
            rc = put_literal(out, format->text + piece->before, piece->before_len);
        if (rc == SL_OK)
            rc = put_piece(format, piece, entry, found, clock, out);
    }
    if (rc < 0)
        out->len = before;
    return rc;
}

/* ---- SL_ACCESS_USUAL --------------------------------------------------------------------------
 *
 * What the loop over the pieces would write, in one straight way: between two requests the
 * processor has forgotten code and branches, and this takes less than half of the time. For lines
 * without user, escapes and repeated fields; the loop writes the others.
 */

static inline bool
is_named(const struct sl_header *header, const char *lower, size_t len)
{
    return header->name.len == len && sl_chars_equal_lower(header->name.ptr, lower, len);
}

/* Bearer tokens and the like name nobody. */
static inline bool
may_name_user(const struct sl_header *header)
{
    return is_named(header, "authorization", 13) && header->value.len >= 6 &&
           sl_chars_equal_lower(header->value.ptr, "basic ", 6);
}

/* Referer and User-Agent, {NULL, 0} if there is none. False: one is there twice, or a user is. */
static inline bool
find_usual_fields(const struct sl_request *req, struct sl_str *referer, struct sl_str *agent)
{
    const struct sl_header *end = req->headers + req->header_count;
    for (const struct sl_header *header = req->headers; header < end; header++) {
        struct sl_str *found = NULL;
        if (is_named(header, "user-agent", 10))
            found = agent;
        else if (is_named(header, "referer", 7))
            found = referer;
        else if (!may_name_user(header))
            continue;
        if (found == NULL || found->ptr != NULL)
            return false;
        *found = header->value;
    }
    return true;
}

/* Method and target as they came (RFC 9112 section 3). False: they are not one text. */
static inline bool
find_request_line(const struct sl_request *req, struct sl_str *ret_line)
{
    const struct sl_str *method = &req->method, *target = &req->target;
    *ret_line = (struct sl_str){method->ptr, method->len + 1 + target->len};
    return method->len > 0 && target->ptr == method->ptr + method->len + 1 &&
           method->ptr[method->len] == ' ';
}

/* Returns the place behind, or NULL if the text needs escapes. */
static SL_APART char *
plain(char *to, const struct sl_str *text)
{
    return sl_escape_copy_plain(to, text->ptr, text->len) ? to + text->len : NULL;
}

static inline char *
plain_field(char *to, const struct sl_str *value)
{
    if (value->ptr != NULL)
        return plain(to, value);
    *to = '-';
    return to + 1;
}

static inline char *
mark(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}

/* False: nothing is appended, and the loop over the pieces has to do it. */
static bool
put_usual(const struct sl_access_entry *entry, const struct sl_access_clock *clock,
          struct sl_buf *out)
{
    const struct sl_request *req = entry->req;
    const char *address = req->peer->addr;
    struct sl_str line, referer = {NULL, 0}, agent = {NULL, 0};
    if (SL_UNLIKELY(!find_request_line(req, &line) || !is_http_1_1(req)) ||
        !find_usual_fields(req, &referer, &agent))
        return false;
    size_t most = USUAL_LINE + line.len + referer.len + agent.len;
    if (SL_UNLIKELY(out->cap - out->len < most) && sl_buf_reserve(out, most) < 0)
        return false;
    _Static_assert(sizeof req->peer->addr + sizeof clock->clf + 128 < USUAL_LINE, "all but texts");
    char *to = out->ptr + out->len;
    memcpy(to, address, sizeof req->peer->addr); /* as inet_ntop() writes it: no escapes */
    to += sl_chars_length(address, sizeof req->peer->addr);
    to = mark(to, " - - ", 5);
    memcpy(to, clock->clf, sizeof clock->clf);
    to = mark(to + clock->clf_len, " \"", 2);
    to = plain(to, &line);
    if (SL_UNLIKELY(to == NULL))
        return false;
    to = mark(to, " HTTP/1.1\" ", 11);
    to += sl_http_put_status(to, (unsigned)entry->status);
    *to++ = ' ';
    to += sl_http_put_number(to, entry->body_bytes);
    to = plain_field(mark(to, " \"", 2), &referer);
    if (SL_UNLIKELY(to == NULL))
        return false;
    to = plain_field(mark(to, "\" \"", 3), &agent);
    if (SL_UNLIKELY(to == NULL))
        return false;
    to = mark(to, "\"\n", 2);
    out->len = (size_t)(to - out->ptr);
    return true;
}

/* ---- a line -----------------------------------------------------------------------------------
 */

int
sl_access_format_line(const struct sl_access_format *format, const struct sl_access_entry *entry,
                      struct sl_access_clock *clock, struct sl_buf *out)
{
    if (SL_UNLIKELY(entry->now.tv_sec != clock->second || clock->clf_len == 0))
        set_clock(clock, entry->now.tv_sec);
    if (SL_LIKELY(format->usual) && SL_LIKELY(put_usual(entry, clock, out)))
        return SL_OK;
    return put_pieces(format, entry, clock, out);
}
