/* The compiled format, shared by access_format.c and access_line.c only. */
#ifndef SL_HTTP_ACCESS_PIECE_H
#define SL_HTTP_ACCESS_PIECE_H

#include "http/access_escape.h"
#include "http/access_format.h"

/* What stands at one place of the line. */
enum sl_access_atom {
    SL_ATOM_LITERAL,
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

struct sl_access_piece {
    enum sl_access_atom atom;
    enum sl_escape_style style;
    const char *text; /* SL_ATOM_LITERAL; *_FIELD: the name in lower case. In format->text */
    size_t len;
};

enum { SL_ACCESS_PIECES = 64 };

struct sl_access_format {
    size_t count;
    struct sl_access_piece pieces[SL_ACCESS_PIECES];
    char *text; /* literals and names one after the other; never longer than the format */
    size_t text_len;
};

#endif
