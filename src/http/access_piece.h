/* The compiled format, shared by access_format.c and access_line.c only. */
#ifndef SL_HTTP_ACCESS_PIECE_H
#define SL_HTTP_ACCESS_PIECE_H

#include <stdint.h>

#include "http/access_escape.h"
#include "http/access_format.h"

/* What stands at one place of the line. */
enum sl_access_atom {
    SL_ATOM_NOTHING,         /* the end */
    SL_ATOM_REMOTE_ADDRESS,  /* h */
    SL_ATOM_USER,            /* u: of HTTP basic authentication (RFC 7617) */
    SL_ATOM_TIME,            /* t */
    SL_ATOM_TIME_ISO,        /* RFC 3339 */
    SL_ATOM_REQUEST_LINE,    /* r */
    SL_ATOM_STATUS,          /* s */
    SL_ATOM_METHOD,          /* m */
    SL_ATOM_PATH,            /* U: percent-decoded */
    SL_ATOM_PATH_RAW,        /* as received */
    SL_ATOM_QUERY,           /* q */
    SL_ATOM_PROTOCOL,        /* H */
    SL_ATOM_BODY_BYTES,      /* b, B */
    SL_ATOM_REQUEST_FIELD,   /* f, a: all fields of that name, joined as environ joins them */
    SL_ATOM_REQUEST_LAST,    /* {name}i: the last field of that name */
    SL_ATOM_RESPONSE_FIELD,  /* {name}o */
    SL_ATOM_SECONDS,         /* T: the first of those that tell a duration */
    SL_ATOM_MICROSECONDS,    /* D */
    SL_ATOM_MILLISECONDS,    /* M */
    SL_ATOM_SECONDS_DECIMAL, /* L: the last of them */
    SL_ATOM_PID,             /* p */
    SL_ATOM_PID_NUMBER,
};

enum {
    SL_ACCESS_PIECES = 64,
    SL_ACCESS_SHORT = 16, /* so many bytes of a literal may be read, however short it is */
};

/* A literal and the atom behind it. The last piece has the end of the line. Small, since a line
 * goes through all of them. */
struct sl_access_piece {
    uint32_t before, before_len; /* the literal, in format->text */
    uint32_t name, name_len;     /* RESPONSE_FIELD: in format->text, in lower case */
    uint8_t atom;                /* enum sl_access_atom */
    uint8_t style;               /* enum sl_escape_style */
    uint8_t field;               /* USER, REQUEST_FIELD, REQUEST_LAST: index in format->fields */
};

/* A request field that lines tell something of. */
struct sl_access_field {
    struct sl_str name; /* in lower case */
    bool odd;           /* has letters that sl_chars_equal_lower() does not know */
};

struct sl_access_format {
    unsigned count, field_count;
    bool usual;             /* SL_ACCESS_USUAL */
    uint64_t field_lengths; /* bit n: there is a name of n bytes, modulo 64 */
    char *text;             /* literals and names one behind the other */
    size_t text_len;
    struct sl_access_piece pieces[SL_ACCESS_PIECES];
    struct sl_access_field fields[SL_ACCESS_PIECES];
};

#endif
