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
    const char *name; /* SL_ATOM_REQUEST_FIELD */
} letters[] = {
    {'h', false, SL_ATOM_REMOTE_ADDRESS, NULL},
    {'u', false, SL_ATOM_USER, NULL},
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

static int
add(struct sl_access_format *format, enum sl_access_atom atom, enum sl_escape_style style,
    const char *text, size_t len)
{
    struct sl_access_piece *last = format->count > 0 ? &format->pieces[format->count - 1] : NULL;
    char *to = format->text + format->text_len;
    memcpy(to, text, len);
    format->text_len += len;
    if (atom == SL_ATOM_LITERAL && last != NULL && last->atom == SL_ATOM_LITERAL) {
        last->len += len; /* they stand one behind the other */
        return SL_OK;
    }
    if (format->count == SL_ACCESS_PIECES)
        return SL_EUNAVAILABLE;
    format->pieces[format->count++] = (struct sl_access_piece){atom, style, to, len};
    return SL_OK;
}

/* {name}i, {name}o. */
static int
add_braced(struct sl_access_format *format, const char *key, size_t len)
{
    char *name = format->text + format->text_len;
    if (len < 4 || key[len - 2] != '}')
        return add(format, SL_ATOM_LITERAL, SL_ESCAPE_TEXT, "-", 1);
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
    int rc = add(format, atom, SL_ESCAPE_TEXT, key + 1, len - 3);
    for (size_t i = 0; rc == SL_OK && i < len - 3; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] - 'A' + 'a');
    return rc;
}

/* %(key)c */
static int
add_atom(struct sl_access_format *format, const char *key, size_t len, char conversion)
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
        return add(format, letters[i].atom, SL_ESCAPE_TEXT, name, strlen(name));
    }
    /* What nobody knows is missing, as in gunicorn. */
    return conversion == 's' ? add(format, SL_ATOM_LITERAL, SL_ESCAPE_TEXT, "-", 1)
                             : SL_EUNAVAILABLE;
}

static int
compile_percent(struct sl_access_format *format, const char *text)
{
    while (*text != '\0') {
        size_t run = strcspn(text, "%");
        int rc = run > 0 ? add(format, SL_ATOM_LITERAL, SL_ESCAPE_TEXT, text, run) : SL_OK;
        if (rc < 0)
            return rc;
        text += run;
        if (*text == '\0')
            break;
        if (text[1] == '%') {
            rc = add(format, SL_ATOM_LITERAL, SL_ESCAPE_TEXT, "%", 1);
            text += 2;
        } else if (text[1] == '(') {
            size_t len = strcspn(text + 2, "()");
            if (text[2 + len] != ')')
                return SL_EUNAVAILABLE;
            rc = add_atom(format, text + 2, len, text[3 + len]);
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
    {"user", SL_ATOM_USER, ""},
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
        rc = add(format, SL_ATOM_LITERAL, style, text, (size_t)len);
        if (rc == SL_OK)
            rc = add(format, structured[i].atom, style, structured[i].name,
                     strlen(structured[i].name));
    }
    return rc == SL_OK && json ? add(format, SL_ATOM_LITERAL, style, "}", 1) : rc;
}

int
sl_access_format_new(const char *text, struct sl_access_format **ret_format, struct sl_error *err)
{
    enum { STRUCTURED_TEXT = 512, NAMES = 16 }; /* "user-agent" is longer than "%(a)s" */
    struct sl_access_format *format = calloc(1, sizeof *format);
    size_t room = strlen(text) + STRUCTURED_TEXT + (size_t)NAMES * SL_ACCESS_PIECES;
    if (format == NULL || (format->text = malloc(room)) == NULL) {
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
    *ret_format = format;
    return SL_OK;
}

bool
sl_access_format_is_timed(const struct sl_access_format *format)
{
    for (size_t i = 0; i < format->count; i++) {
        enum sl_access_atom atom = format->pieces[i].atom;
        if (atom >= SL_ATOM_SECONDS && atom <= SL_ATOM_SECONDS_DECIMAL)
            return true;
    }
    return false;
}

void
sl_access_format_free(struct sl_access_format *format)
{
    if (format == NULL)
        return;
    free(format->text);
    free(format);
}
