/* What the files of the aiohttp fast path share. aiohttp.c makes aiohttp's request objects from
 * ours, aiohttp_writer.c is what its responses write to.
 *
 * Process, thread: as in aio.h.
 */
#ifndef SAOLA_HOST_PYTHON_AIOHTTP_H
#define SAOLA_HOST_PYTHON_AIOHTTP_H

#include "aio.h"

/* What the bridge (saola.aio.web.Bridge) brings, by attribute. */
#define SL_AIOHTTP_BRIDGE(ROW)                                                                     \
    ROW(serve)         /* serve(message, payload, protocol, writer): the coroutine; None: every    \
                          connection is given away */                                              \
    ROW(give_away)     /* give_away(fd, data, peer) */                                             \
    ROW(make_protocol) /* make_protocol() */                                                       \
    ROW(make_headers)  /* make_headers(raw_headers) */                                             \
    ROW(make_url)      /* make_url(target) */                                                      \
    ROW(fail_body)     /* fail_body(payload, malformed) */                                         \
    ROW(serialize)     /* serialize(status_line, headers): the head as bytes */                    \
    ROW(date)          /* date(): the value of a Date field now */                                 \
    ROW(server)        /* value of the Server field, or None: no answer() */                       \
    ROW(closed_error)  /* raised where the client is gone */                                       \
    ROW(message_type)                                                                              \
    ROW(version10)                                                                                 \
    ROW(version11)                                                                                 \
    ROW(reader_type)                                                                               \
    ROW(reader_limit)                                                                              \
    ROW(empty_payload)                                                                             \
    ROW(compressor)     /* compressor(encoding, strategy) */                                       \
    ROW(write_squeezed) /* write_squeezed(writer, compressor, chunk): a coroutine */               \
    ROW(end_squeezed)

#define SL_AIOHTTP_TEXTS(ROW)                                                                      \
    ROW(peername)                                                                                  \
    ROW(sockname)                                                                                  \
    ROW(transport)                                                                                 \
    ROW(own_transport)                                                                             \
    ROW(writer)                                                                                    \
    ROW(lost)                                                                                      \
    ROW(feed_data)                                                                                 \
    ROW(feed_eof)                                                                                  \
    ROW(loop)                                                                                      \
    ROW(items)                                                                                     \
    ROW(Connection)

enum {
    SL_AIOHTTP_URLS = 128,       /* slots of the cache; a power of two */
    SL_AIOHTTP_PROTOCOLS = 1024, /* kept for the next requests: making one takes long */
};

struct sl_aiohttp_url {
    PyObject *target; /* str */
    PyObject *url;
};

struct sl_aiohttp {
#define ROW(name) PyObject *name;
    SL_AIOHTTP_BRIDGE(ROW)
#undef ROW
#define ROW(name) PyObject *text_##name;
    SL_AIOHTTP_TEXTS(ROW)
#undef ROW
    PyObject *reader_kwnames;
    PyObject *empty_text;
    PyObject *done; /* an awaitable that is done */
    PyObject *protocols[SL_AIOHTTP_PROTOCOLS];
    unsigned protocol_count;
    struct sl_aio_blocks blocks;
    struct sl_aio_block *block; /* of the request that is being looked at */
    struct sl_aiohttp_url urls[SL_AIOHTTP_URLS];
    const char *local; /* listener of the last request */
    uint16_t local_port;
    PyObject *sockname;
    time_t date_second; /* of date_text */
    PyObject *date_text;
};

/* ---- aiohttp_writer.c ------------------------------------------------------------------------ */

/* What a response is written to. */
struct sl_aiohttp_writer {
    PyObject_HEAD struct sl_asgi_request *request;
    PyObject *length; /* int or None: bytes of the body that may still come */
    PyObject *compressor, *on_body_write;
    Py_ssize_t output_size, buffer_size;
    char chunked;
    bool eof;
};

static inline bool
sl_aiohttp_is_closed(const struct sl_aiohttp_writer *w)
{
    const struct sl_asgi_request *r = w->request;
    return r->req == NULL || r->broken || r->gone;
}

PyObject *sl_aiohttp_writer_new(struct sl_asgi_request *request);
/* -1 with the exception of a connection that is closed. */
int sl_aiohttp_raise_closed(struct sl_aiohttp_writer *writer);

/* ---- aiohttp_transport.c: methods of the writer -------------------------------------------- */

PyObject *sl_aiohttp_pause_reading(PyObject *writer, PyObject *ignored);
PyObject *sl_aiohttp_resume_reading(PyObject *writer, PyObject *ignored);
PyObject *sl_aiohttp_close(PyObject *writer, PyObject *ignored);
PyObject *sl_aiohttp_sendfile(PyObject *writer, PyObject *args);

/* ---- aiohttp_answer.c ------------------------------------------------------------------------ */

/* The head of a plain response as aiohttp would format it. Returns its length; 0: something about
 * it is out of the ordinary, aiohttp must do it; -1 with an exception. args: status, reason,
 * headers, body, keep_alive of the response. */
Py_ssize_t sl_aiohttp_plain_head(struct sl_asgi_request *request, PyObject *const *args, char *head,
                                 size_t size);
enum { SL_AIOHTTP_HEAD_MAX = 4096 };
/* Of a head that aiohttp has formatted: the connection ends as it says (RFC 9112 section 9.3). */
bool sl_aiohttp_ends_connection(const struct sl_request *req, const char *head, size_t len);
/* The number in a status line; -1 with an exception. */
int sl_aiohttp_status(PyObject *line);

#endif
