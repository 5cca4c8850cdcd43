/* Messages of ASGI: what an application receives and sends.
 *
 * Process, thread: as in aio.h.
 */
#ifndef SAOLA_HOST_PYTHON_MESSAGE_H
#define SAOLA_HOST_PYTHON_MESSAGE_H

#include "aio.h"

enum { SL_AIO_MESSAGE_MAX = 65536 }; /* most bytes of a body in one http.request */

/* ---- message.c ----------------------------------------------------------------------------- */

/* Carries out what the application sends. 0; 1: done, but the client is slow: wait for room; -1
 * with an exception. */
int sl_asgi_send_message(struct sl_asgi_request *request, PyObject *message);
/* What has arrived of the body, up to a limit; NULL without an exception: nothing. */
PyObject *sl_asgi_take_body(struct sl_request *req);
/* The body cannot be had (code): the client hears why if nothing was said yet. */
void sl_asgi_refuse_body(struct sl_asgi_request *request, int code);
/* The next message for the application; NULL without an exception: none yet. */
PyObject *sl_asgi_receive_message(struct sl_asgi_request *request);

/* For those that look like them: */

/* What a message of a response has; borrowed, NULL: nothing. */
struct sl_asgi_message {
    PyObject *type, *status, *headers, *trailers, *body, *more_body;
};
/* message: a dict. 0, or -1 with an exception. */
int sl_asgi_message_read(const struct sl_aio *aio, PyObject *message, struct sl_asgi_message *ret);
int sl_asgi_send_start(struct sl_asgi_request *request, const struct sl_asgi_message *message);
int sl_asgi_send_body(struct sl_asgi_request *request, const struct sl_asgi_message *message);
/* The response is whole; 0. */
int sl_asgi_complete(struct sl_asgi_request *request);
/* -1 with an exception: RuntimeError; ConnectionResetError. */
int sl_asgi_unexpected(PyObject *message_type, const char *instead);
int sl_asgi_client_gone(struct sl_asgi_request *request);

/* ---- message_file.c ------------------------------------------------------------------------- */

/* http.response.pathsend: the file at "path" as the body. As sl_asgi_send_message(). */
int sl_asgi_send_path(struct sl_asgi_request *request, PyObject *type, PyObject *message);
/* http.response.zerocopysend without more_body: "count" bytes of the open "file" from "offset", for
 * wsgi.file_wrapper. As sl_asgi_send_message(). */
int sl_asgi_send_open_file(struct sl_asgi_request *request, PyObject *type, PyObject *message);

/* ---- message_fields.c ---------------------------------------------------------------------- */

struct sl_asgi_bytes {
    const char *ptr;
    size_t len;
    Py_buffer view; /* obj NULL: not used */
};
/* What bytes or a buffer holds; what: its name in TypeError. 0 or -1; sl_asgi_drop_bytes() after
 * use. */
int sl_asgi_get_bytes(PyObject *object, const char *what, struct sl_asgi_bytes *ret);
void sl_asgi_drop_bytes(struct sl_asgi_bytes *bytes);
typedef int (*sl_asgi_field_fn)(void *ctx, const struct sl_header *field);
/* use for each of headers, an iterable of pairs; NULL is none. 0 or -1. */
int sl_asgi_each_field(PyObject *headers, sl_asgi_field_fn use, void *ctx);
/* For use: into a list of pairs; into a struct sl_asgi_fields. */
int sl_asgi_keep_field(void *ctx, const struct sl_header *field);
int sl_asgi_collect_field(void *ctx, const struct sl_header *field);

enum { SL_ASGI_FIELDS = 64 }; /* most of trailers, of interim responses and of an upgrade */
struct sl_asgi_fields {
    struct sl_header fields[SL_ASGI_FIELDS];
    size_t count;
};
/* headers, an iterable of pairs of bytes or NULL, as fields that point into *ret_keep. 0 or -1. */
int sl_asgi_fields_read(PyObject *headers, struct sl_asgi_fields *ret, PyObject **ret_keep);

#endif
