/* Extension lists, read by the letter of the grammar:
 *
 *   extension *( "," extension ), each: token *( ";" token [ "=" ( token | quoted token ) ] )
 *
 * and permessage-deflate's offers: one that has an unknown parameter, a parameter twice or with a
 * value that it cannot have is declined (RFC 7692 section 7.1), and the next one is looked at. */
#include "http/ws_extension.h"

#include <stdio.h>
#include <string.h>

#include "http/chars.h"

enum { MAX_VALUE = 8 }; /* of a parameter; what is longer is none of ours */

enum param {
    SERVER_NO_CONTEXT = 1,
    CLIENT_NO_CONTEXT = 2,
    SERVER_BITS = 4,
    CLIENT_BITS = 8,
};

struct reader {
    const char *p, *end;
};

struct value {
    bool given;
    size_t len; /* MAX_VALUE + 1: longer */
    char text[MAX_VALUE];
};

struct offer {
    bool ours, wrong;
    unsigned seen; /* enum param */
    unsigned server_bits, client_bits;
};

static void
skip_space(struct reader *r)
{
    while (r->p < r->end && sl_char_is_space(*r->p))
        r->p++;
}

static bool
take(struct reader *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static bool
take_token(struct reader *r, struct sl_str *ret)
{
    skip_space(r);
    const char *from = r->p;
    while (r->p < r->end && (sl_char_class(*r->p) & SL_CHAR_TOKEN))
        r->p++;
    *ret = (struct sl_str){from, (size_t)(r->p - from)};
    return ret->len > 0;
}

static void
add_to_value(struct value *value, char c)
{
    if (value->len < MAX_VALUE)
        value->text[value->len++] = c;
    else
        value->len = MAX_VALUE + 1;
}

/* Behind '='. What is quoted must be a token, too, once the backslashes are gone. */
static bool
take_value(struct reader *r, struct value *value)
{
    bool quoted = take(r, '"');
    value->given = true;
    for (; r->p < r->end; r->p++) {
        char c = *r->p;
        if (quoted && c == '"')
            break;
        if (quoted && c == '\\' && r->p + 1 < r->end)
            c = *++r->p;
        if (!(sl_char_class(c) & SL_CHAR_TOKEN)) {
            if (quoted)
                return false;
            break;
        }
        add_to_value(value, c);
    }
    return value->len > 0 && (!quoted || take(r, '"'));
}

static bool
is(const struct sl_str *s, const char *text)
{
    return s->len == strlen(text) && memcmp(s->ptr, text, s->len) == 0;
}

static enum param
param_of(const struct sl_str *name)
{
    return is(name, "server_no_context_takeover")   ? SERVER_NO_CONTEXT
           : is(name, "client_no_context_takeover") ? CLIENT_NO_CONTEXT
           : is(name, "server_max_window_bits")     ? SERVER_BITS
           : is(name, "client_max_window_bits")     ? CLIENT_BITS
                                                    : 0;
}

/* 8 to 15 without leading zeros, else 0. */
static unsigned
window_bits(const struct value *value)
{
    if (value->len == 1 && (value->text[0] == '8' || value->text[0] == '9'))
        return (unsigned)(value->text[0] - '0');
    if (value->len == 2 && value->text[0] == '1' && value->text[1] >= '0' && value->text[1] <= '5')
        return 10 + (unsigned)(value->text[1] - '0');
    return 0;
}

static void
take_param(struct offer *offer, const struct sl_str *name, const struct value *value)
{
    enum param param = param_of(name);
    bool twice = (offer->seen & param) != 0, fits = !value->given;
    offer->seen |= param;
    if (param == SERVER_BITS) {
        offer->server_bits = window_bits(value);
        fits = offer->server_bits != 0;
    } else if (param == CLIENT_BITS && value->given) {
        offer->client_bits = window_bits(value);
        fits = offer->client_bits != 0;
    }
    if (param == 0 || twice || !fits)
        offer->wrong = true;
}

static bool
take_offer(struct reader *r, struct offer *offer)
{
    struct sl_str name;
    *offer = (struct offer){.server_bits = 15, .client_bits = 15};
    if (!take_token(r, &name))
        return false;
    offer->ours = is(&name, "permessage-deflate");
    while (take(r, ';')) {
        struct value value = {.given = false};
        if (!take_token(r, &name) || (take(r, '=') && !take_value(r, &value)))
            return false;
        if (offer->ours)
            take_param(offer, &name, &value);
    }
    return true;
}

static uint8_t
smaller(unsigned a, unsigned b)
{
    return (uint8_t)(a < b ? a : b);
}

static void
agree(const struct offer *offer, const struct sl_ws_deflate *wanted, struct sl_ws_deflate *agreed)
{
    /* zlib makes no raw stream with a window of 256 bytes. */
    if (offer->wrong || offer->server_bits < 9)
        return;
    bool choose = offer->seen & CLIENT_BITS;
    *agreed = (struct sl_ws_deflate){
        .on = true,
        .server_no_context_takeover =
            wanted->server_no_context_takeover || (offer->seen & SERVER_NO_CONTEXT),
        .client_no_context_takeover =
            wanted->client_no_context_takeover || (offer->seen & CLIENT_NO_CONTEXT),
        .server_window_bits = smaller(offer->server_bits, wanted->server_window_bits),
        .client_window_bits = choose ? smaller(offer->client_bits, wanted->client_window_bits) : 15,
    };
}

bool
sl_ws_extensions_read(const struct sl_str *value, const struct sl_ws_deflate *wanted,
                      struct sl_ws_deflate *agreed)
{
    struct reader r = {value->ptr, value->ptr + value->len};
    for (;;) {
        do
            skip_space(&r);
        while (take(&r, ',')); /* empty elements do not count (RFC 9110 section 5.6.1) */
        if (r.p == r.end)
            return true;
        struct offer offer;
        if (!take_offer(&r, &offer))
            return false;
        skip_space(&r);
        if (r.p < r.end && *r.p != ',')
            return false;
        if (offer.ours && wanted->on && !agreed->on)
            agree(&offer, wanted, agreed);
    }
}

void
sl_ws_extensions_write(const struct sl_ws_deflate *agreed, char *out, size_t capacity)
{
    char server[40] = "", client[40] = "";
    out[0] = '\0';
    if (!agreed->on)
        return;
    /* Must be said when it was offered, whatever the number, and may be said always. */
    snprintf(server, sizeof server, "; server_max_window_bits=%u", agreed->server_window_bits);
    if (agreed->client_window_bits < 15)
        snprintf(client, sizeof client, "; client_max_window_bits=%u", agreed->client_window_bits);
    snprintf(out, capacity, "permessage-deflate%s%s%s%s",
             agreed->server_no_context_takeover ? "; server_no_context_takeover" : "",
             agreed->client_no_context_takeover ? "; client_no_context_takeover" : "", server,
             client);
}
