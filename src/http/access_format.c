/* The access log's format, compiled once: gunicorn's %(h)s ..., or json and logfmt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/access_piece.h"

/* ---- compiling ------------------------------------------------------------------------------ */

static const struct {
    char letter;
    bool number; /* may be %(x)d, too */
    enum sl_access_atom atom;
    const char *name; /* of the request's field */
} letters[] = {
    {'h', false, SL_ATOM_REMOTE_ADDRESS, NULL},
    {'u', false, SL_ATOM_USER, "authorization"},
    {'t', false, SL_ATOM_TIME, NULL},
    {'r', false, SL_ATOM_REQUEST_LINE, NULL},
    {'s', false, SL_ATOM_STATUS, NULL},
    {'m', false, SL_ATOM_METHOD, NULL},
    {'U', false, SL_ATOM_PATH, NULL},
    {'q', false, SL_ATOM_QUERY, NULL},
    {'H', false, SL_ATOM_PROTOCOL, NULL},
    {'b', false, SL_ATOM_BODY_BYTES, NULL},
    {'B', true, SL_ATOM_BODY_BYTES, NULL},
    {'f', false, SL_ATOM_REQUEST_FIELD, "referer"},
    {'a', false, SL_ATOM_REQUEST_FIELD, "user-agent"},
    {'T', true, SL_ATOM_SECONDS, NULL},
    {'D', true, SL_ATOM_MICROSECONDS, NULL},
    {'M', true, SL_ATOM_MILLISECONDS, NULL},
    {'L', false, SL_ATOM_SECONDS_DECIMAL, NULL},
    {'p', false, SL_ATOM_PID, NULL},
};

/* Keeps a piece of text as long as the format; returns its place in format->text. */
static uint32_t
keep(struct sl_access_format *format, const char *text, size_t len)
{
    size_t place = format->text_len;
    memcpy(format->text + place, text, len);
    format->text_len += len;
    return (uint32_t)place;
}

/* Several literals stand one behind the other. */
static void
add_literal(struct sl_access_format *format, const char *text, size_t len)
{
    struct sl_access_piece *piece = &format->pieces[format->count];
    uint32_t place = keep(format, text, len);
    if (piece->before_len == 0)
        piece->before = place;
    piece->before_len += (uint32_t)len;
}

static uint8_t
field_index(struct sl_access_format *format, const struct sl_str *name)
{
    uint8_t i = 0;
    for (; i < format->field_count; i++) {
        const struct sl_str *other = &format->fields[i].name;
        if (other->len == name->len && memcmp(other->ptr, name->ptr, name->len) == 0)
            return i;
    }
    struct sl_access_field *field = &format->fields[format->field_count++];
    field->name = *name;
    for (size_t at = 0; at < name->len; at++)
        field->odd |= memchr("@[\\]^_", name->ptr[at], 6) != NULL;
    format->field_lengths |= (uint64_t)1 << name->len % 64;
    return i;
}

/* name: of a field, or empty. */
static int
add_atom(struct sl_access_format *format, enum sl_access_atom atom, enum sl_escape_style style,
         const char *name, size_t len)
{
    if (format->count == SL_ACCESS_PIECES - 1)
        return SL_EUNAVAILABLE;
    struct sl_access_piece *piece = &format->pieces[format->count++];
    piece->atom = (uint8_t)atom;
    piece->style = (uint8_t)style;
    piece->name = keep(format, name, len);
    piece->name_len = (uint32_t)len;
    char *kept = format->text + piece->name;
    for (size_t i = 0; i < len; i++)
        if (kept[i] >= 'A' && kept[i] <= 'Z')
            kept[i] = (char)(kept[i] - 'A' + 'a');
    if (atom == SL_ATOM_USER || atom == SL_ATOM_REQUEST_FIELD || atom == SL_ATOM_REQUEST_LAST)
        piece->field = field_index(format, &(struct sl_str){kept, len});
    return SL_OK;
}

/* What nobody knows is missing, as in gunicorn. */
static int
add_missing(struct sl_access_format *format)
{
    add_literal(format, "-", 1);
    return SL_OK;
}

/* {name}i, {name}o. */
static int
add_braced(struct sl_access_format *format, const char *key, size_t len)
{
    if (len < 4 || key[len - 2] != '}')
        return add_missing(format);
    enum sl_access_atom atom;
    switch (key[len - 1]) {
    case 'i':
    case 'I':
        atom = SL_ATOM_REQUEST_LAST;
        break;
    case 'o':
    case 'O':
        atom = SL_ATOM_RESPONSE_FIELD;
        break;
    default: /* environ */
        return SL_EUNAVAILABLE;
    }
    return add_atom(format, atom, SL_ESCAPE_TEXT, key + 1, len - 3);
}

/* %(key)c */
static int
add_key(struct sl_access_format *format, const char *key, size_t len, char conversion)
{
    if (conversion != 's' && conversion != 'd')
        return SL_EUNAVAILABLE;
    if (len > 0 && key[0] == '{')
        return conversion == 's' ? add_braced(format, key, len) : SL_EUNAVAILABLE;
    for (size_t i = 0; len == 1 && i < sizeof letters / sizeof letters[0]; i++) {
        if (letters[i].letter != key[0])
            continue;
        if (conversion == 'd' && !letters[i].number)
            return SL_EUNAVAILABLE;
        const char *name = letters[i].name != NULL ? letters[i].name : "";
        return add_atom(format, letters[i].atom, SL_ESCAPE_TEXT, name, strlen(name));
    }
    return conversion == 's' ? add_missing(format) : SL_EUNAVAILABLE;
}

static int
compile_percent(struct sl_access_format *format, const char *text)
{
    while (*text != '\0') {
        size_t run = strcspn(text, "%");
        int rc = SL_OK;
        add_literal(format, text, run);
        text += run;
        if (*text == '\0')
            break;
        if (text[1] == '%') {
            add_literal(format, "%", 1);
            text += 2;
        } else if (text[1] == '(') {
            size_t len = strcspn(text + 2, "()");
            if (text[2 + len] != ')')
                return SL_EUNAVAILABLE;
            rc = add_key(format, text + 2, len, text[3 + len]);
            text += 4 + len;
        } else {
            rc = SL_EUNAVAILABLE;
        }
        if (rc < 0)
            return rc;
    }
    return SL_OK;
}

/* The fields of the two structured formats, in their order. */
static const struct {
    const char *key;
    enum sl_access_atom atom;
    const char *name;
} structured[] = {
    {"time", SL_ATOM_TIME_ISO, ""},
    {"remote_addr", SL_ATOM_REMOTE_ADDRESS, ""},
    {"user", SL_ATOM_USER, "authorization"},
    {"method", SL_ATOM_METHOD, ""},
    {"path", SL_ATOM_PATH_RAW, ""},
    {"query", SL_ATOM_QUERY, ""},
    {"protocol", SL_ATOM_PROTOCOL, ""},
    {"status", SL_ATOM_STATUS, ""},
    {"bytes", SL_ATOM_BODY_BYTES, ""},
    {"duration_us", SL_ATOM_MICROSECONDS, ""},
    {"referer", SL_ATOM_REQUEST_FIELD, "referer"},
    {"user_agent", SL_ATOM_REQUEST_FIELD, "user-agent"},
    {"pid", SL_ATOM_PID_NUMBER, ""},
};

static int
compile_structured(struct sl_access_format *format, enum sl_escape_style style)
{
    bool json = style == SL_ESCAPE_JSON;
    int rc = SL_OK;
    for (size_t i = 0; rc == SL_OK && i < sizeof structured / sizeof structured[0]; i++) {
        char text[32];
        int len =
            json ? snprintf(text, sizeof text, "%s\"%s\":", i == 0 ? "{" : ",", structured[i].key)
                 : snprintf(text, sizeof text, "%s%s=", i == 0 ? "" : " ", structured[i].key);
        add_literal(format, text, (size_t)len);
        rc = add_atom(format, structured[i].atom, style, structured[i].name,
                      strlen(structured[i].name));
    }
    if (json)
        add_literal(format, "}", 1);
    return rc;
}

int
sl_access_format_new(const char *text, struct sl_access_format **ret_format, struct sl_error *err)
{
    enum { STRUCTURED_TEXT = 512, NAMES = 16 }; /* "user-agent" is longer than "%(a)s" */
    struct sl_access_format *format = calloc(1, sizeof *format);
    size_t room =
        strlen(text) + STRUCTURED_TEXT + (size_t)NAMES * SL_ACCESS_PIECES + SL_ACCESS_SHORT;
    if (format == NULL || (format->text = calloc(1, room)) == NULL) {
        free(format);
        return sl_error_set(err, SL_ENOMEM, "no memory for the access log's format");
    }
    int rc = strcmp(text, "json") == 0     ? compile_structured(format, SL_ESCAPE_JSON)
             : strcmp(text, "logfmt") == 0 ? compile_structured(format, SL_ESCAPE_LOGFMT)
                                           : compile_percent(format, text);
    if (rc < 0) {
        sl_access_format_free(format);
        return rc;
    }
    add_literal(format, "\n", 1);
    format->count++;
    format->usual = strcmp(text, SL_ACCESS_USUAL) == 0;
    *ret_format = format;
    return SL_OK;
}

/* first to last: in the order of the enum. */
static bool
has_atom(const struct sl_access_format *format, enum sl_access_atom first, enum sl_access_atom last)
{
    for (size_t i = 0; i < format->count; i++) {
        uint8_t atom = format->pieces[i].atom;
        if (atom >= first && atom <= last)
            return true;
    }
    return false;
}

bool
sl_access_format_is_timed(const struct sl_access_format *format)
{
    return has_atom(format, SL_ATOM_SECONDS, SL_ATOM_SECONDS_DECIMAL);
}

bool
sl_access_format_is_fine(const struct sl_access_format *format)
{
    return has_atom(format, SL_ATOM_TIME_ISO, SL_ATOM_TIME_ISO);
}

void
sl_access_format_free(struct sl_access_format *format)
{
    if (format == NULL)
        return;
    free(format->text);
    free(format);
}
