/* Reads Host, Content-Length, Transfer-Encoding, Connection, Expect and the scheme fields. */
#include "http/framing.h"

#include <strings.h>

#include "base/hints.h"
#include "http/chars.h"
#include "http/request_line.h"

enum { MAX_LENGTH_DIGITS = 19 }; /* 2^63 - 1 has as many */

static void
complain(struct sl_framing *f, int status, const char *sentence)
{
    if (f->status != 0)
        return;
    f->status = status;
    f->sentence = sentence;
}

static bool
is_before_1_1(const struct sl_request *req)
{
    return req->version_major < 1 || (req->version_major == 1 && req->version_minor < 1);
}

/* Next element of a comma list without white space around it; false at the end. Elements may be
 * empty. *rest has its ptr NULL once the last was given. */
static bool
next_element(struct sl_str *rest, struct sl_str *ret_element)
{
    if (rest->ptr == NULL)
        return false;
    const char *p = rest->ptr, *end = p + rest->len;
    const char *comma = memchr(p, ',', rest->len);
    const char *last = comma != NULL ? comma : end;
    *rest = comma != NULL ? (struct sl_str){comma + 1, (size_t)(end - comma - 1)}
                          : (struct sl_str){NULL, 0};
    while (p < last && sl_char_is_space(*p))
        p++;
    while (p < last && sl_char_is_space(last[-1]))
        last--;
    *ret_element = (struct sl_str){p, (size_t)(last - p)};
    return true;
}

static inline bool
is_word(const struct sl_str *s, const char *lower, size_t len)
{
    return s->len == len && sl_chars_equal_lower(s->ptr, lower, len);
}
#define IS_WORD(s, lower) is_word(s, lower, sizeof(lower) - 1)

static bool
is_token(const struct sl_str *s)
{
    for (size_t i = 0; i < s->len; i++) {
        if (!(sl_char_class(s->ptr[i]) & SL_CHAR_TOKEN))
            return false;
    }
    return s->len > 0;
}

/* Digits only: a general integer parser takes signs, spaces, prefixes and underscores. */
static SL_APART void
take_length(struct sl_framing *f, const struct sl_str *value)
{
    if (f->has_length)
        complain(f, 400, "There is more than one Content-Length field.");
    f->has_length = true;
    uint64_t length = 0;
    bool digits = value->len > 0 && value->len <= MAX_LENGTH_DIGITS;
    for (size_t i = 0; digits && i < value->len; i++) {
        digits = sl_char_is_digit(value->ptr[i]);
        length = length * 10 + (unsigned)(value->ptr[i] - '0');
    }
    if (!digits || length > INT64_MAX)
        complain(f, 400, "Content-Length is not a plain number below 2^63.");
    f->content_length = length;
}

/* All Transfer-Encoding fields are one list, in which chunked must be the last and only once; what
 * else is well-formed before it is a coding that we do not have. */
static SL_APART void
take_coding(struct sl_framing *f, const struct sl_str *value)
{
    f->has_coding = true;
    struct sl_str rest = *value, coding;
    while (next_element(&rest, &coding)) {
        if (!is_token(&coding)) {
            complain(f, 400, "Transfer-Encoding is malformed.");
        } else if (f->chunked) {
            complain(f, 400, "Transfer-Encoding has a coding after chunked.");
        } else if (IS_WORD(&coding, "chunked")) {
            f->chunked = true;
        } else {
            f->has_other_coding = true;
        }
    }
}

static SL_APART void
take_options(struct sl_framing *f, const struct sl_str *value)
{
    struct sl_str rest = *value, option;
    while (next_element(&rest, &option)) {
        if (IS_WORD(&option, "close"))
            f->close = true;
        else if (IS_WORD(&option, "keep-alive"))
            f->keep_alive = true;
    }
}

static void
take_connection(struct sl_framing *f, const struct sl_str *value)
{
    if (SL_LIKELY(IS_WORD(value, "keep-alive"))) /* as most often */
        f->keep_alive = true;
    else
        take_options(f, value);
}

static bool
host_is_valid(struct sl_known_host *known, const struct sl_str *host)
{
    if (SL_LIKELY(known != NULL && known->len == host->len) && host->len > 0 &&
        sl_chars_equal(known->text, host->ptr, host->len))
        return true;
    if (!sl_host_is_valid(host->ptr, host->len))
        return false;
    if (known != NULL && host->len <= sizeof known->text) {
        memcpy(known->text, host->ptr, host->len);
        known->len = host->len;
    }
    return true;
}

static void
take_host(struct sl_framing *f, struct sl_header *field)
{
    if (f->host != NULL)
        complain(f, 400, "There is more than one Host field.");
    else if (!host_is_valid(f->known_host, &field->value))
        complain(f, 400, "Host is not a host name or address with an optional port.");
    f->host = field;
}

static SL_APART void
take_type(struct sl_framing *f)
{
    if (f->has_type)
        complain(f, 400, "There is more than one Content-Type field.");
    f->has_type = true;
}

static SL_APART void
take_expect(struct sl_framing *f, const struct sl_str *value)
{
    if (!IS_WORD(value, "100-continue"))
        complain(f, 417, "Expect asks for something other than 100-continue.");
    f->has_expect = true;
}

void
sl_framing_field(struct sl_framing *f, struct sl_header *field)
{
    const struct sl_str *name = &field->name;
    switch (name->len) {
    case 4:
        if (IS_WORD(name, "host"))
            take_host(f, field);
        break;
    case 6:
        if (IS_WORD(name, "expect"))
            take_expect(f, &field->value);
        break;
    case 10:
        if (IS_WORD(name, "connection"))
            take_connection(f, &field->value);
        break;
    case 12:
        if (IS_WORD(name, "content-type"))
            take_type(f);
        break;
    case 14:
        if (IS_WORD(name, "content-length"))
            take_length(f, &field->value);
        break;
    case 17:
        if (IS_WORD(name, "transfer-encoding"))
            take_coding(f, &field->value);
        break;
    default:
        break;
    }
}

/* secure_scheme_headers: the value must match exactly to mean https; two that disagree are an
 * attack or a broken proxy. */
static SL_APART int
take_scheme(const struct sl_head_rules *rules, struct sl_request *req, const char **ret_sentence)
{
    bool seen = false, https = false;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_header *field = &req->headers[i];
        if (!(rules->scheme_initials >> (field->name.ptr[0] & 31) & 1))
            continue;
        for (const struct sl_scheme_header *h = rules->scheme_headers; h->name != NULL; h++) {
            if (strlen(h->name) != field->name.len ||
                strncasecmp(h->name, field->name.ptr, field->name.len) != 0)
                continue;
            bool secure = strlen(h->value) == field->value.len &&
                          memcmp(h->value, field->value.ptr, field->value.len) == 0;
            if (seen && secure != https) {
                *ret_sentence = "Scheme headers contradict each other.";
                return -400;
            }
            seen = true;
            https = secure;
        }
    }
    if (seen)
        req->https = https;
    return 0;
}

/* RFC 9112 section 6.3. */
static void
check_body(struct sl_framing *f)
{
    if (!f->has_coding)
        return;
    if (is_before_1_1(f->req))
        complain(f, 400, "Transfer-Encoding needs HTTP/1.1.");
    if (f->has_length)
        complain(f, 400, "There are both Transfer-Encoding and Content-Length.");
    if (!f->chunked)
        complain(f, 400, "The last coding of Transfer-Encoding is not chunked.");
    if (f->has_other_coding)
        complain(f, 501, "Transfer-Encoding has a coding other than chunked.");
}

int
sl_framing_end(struct sl_framing *f, const struct sl_str *authority,
               const struct sl_head_rules *rules, struct sl_request *req, const char **ret_sentence)
{
    bool old = is_before_1_1(req);
    check_body(f);
    if (f->host == NULL && !old)
        complain(f, 400, "HTTP/1.1 needs a Host field.");
    if (f->status != 0) {
        *ret_sentence = f->sentence;
        return -f->status;
    }
    if (authority->ptr != NULL && f->host != NULL)
        f->host->value = *authority;
    req->body = f->chunked ? SL_BODY_CHUNKED : f->has_length ? SL_BODY_LENGTH : SL_BODY_NONE;
    req->content_length = f->has_length ? f->content_length : 0;
    req->keep_alive = !f->close && (!old || f->keep_alive);
    /* RFC 9110 section 10.1.1: ignored in HTTP/1.0, and pointless when no content follows. */
    req->expect_continue = f->has_expect && !old && (f->chunked || req->content_length > 0);
    if (rules != NULL && (rules->scheme_initials & f->initials) != 0)
        return take_scheme(rules, req, ret_sentence);
    return 0;
}
