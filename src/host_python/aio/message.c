/* ASGI's messages: what the application sends becomes calls of the response, what arrives becomes
 * messages. A message that does not fit raises one clear error in the application. */
#include "message.h"
#include "websocket.h"
#include <string.h>

/* ---- receive
 * ------------------------------------------------------------------------------------- */

static PyObject *
disconnect_message(struct sl_aio *aio)
{
    PyObject *message = PyDict_New();
    if (message != NULL && PyDict_SetItem(message, aio->text_type, aio->text_http_disconnect) < 0)
        Py_CLEAR(message);
    return message;
}

static PyObject *
request_message(struct sl_asgi_request *r, PyObject *body, bool more)
{
    struct sl_aio *aio = r->aio;
    PyObject *message = PyDict_New();
    if (message == NULL || PyDict_SetItem(message, aio->text_type, aio->text_http_request) < 0 ||
        PyDict_SetItem(message, aio->text_body, body) < 0 ||
        PyDict_SetItem(message, aio->text_more_body, more ? Py_True : Py_False) < 0)
        Py_CLEAR(message);
    r->body_given = !more;
    return message;
}

/* What has arrived of the body, up to a limit; NULL without an exception: nothing. */
PyObject *
sl_asgi_take_body(struct sl_request *req)
{
    const char *data = NULL;
    PyObject *body = NULL;
    size_t n;
    while ((n = sl_request_body(req, &data)) > 0) {
        Py_ssize_t have = body ? PyBytes_GET_SIZE(body) : 0;
        if ((size_t)have >= SL_AIO_MESSAGE_MAX)
            break;
        if (n > SL_AIO_MESSAGE_MAX - (size_t)have)
            n = SL_AIO_MESSAGE_MAX - (size_t)have;
        if (body == NULL) {
            body = PyBytes_FromStringAndSize(data, (Py_ssize_t)n);
        } else if (_PyBytes_Resize(&body, have + (Py_ssize_t)n) == 0) {
            memcpy(PyBytes_AS_STRING(body) + have, data, n);
        }
        if (body == NULL)
            return NULL;
        sl_request_consume(req, n);
    }
    return body;
}

/* The body cannot be had: the client hears why if nothing was said yet. */
void
sl_asgi_refuse_body(struct sl_asgi_request *r, int rc)
{
    r->broken = true;
    if (rc == SL_EPROTO)
        sl_response_fail(r->res, 400, "The request body is malformed.");
    else if (rc == SL_ETIMEOUT)
        sl_response_fail(r->res, 408, "The request body did not arrive in time.");
    else
        sl_response_fail(r->res, 400, NULL);
    sl_asgi_end_exchange(r);
}

PyObject *
sl_asgi_receive_message(struct sl_asgi_request *r)
{
    struct sl_request *req = r->req;
    if (r->socket != NULL)
        return sl_asgi_socket_receive(r);
    if (req == NULL || r->complete || r->broken || r->gone)
        return disconnect_message(r->aio);
    if (r->body_given)
        return sl_request_gone(req) ? disconnect_message(r->aio) : NULL;
    if (req->body == SL_BODY_NONE)
        return request_message(r, r->aio->empty_bytes, false);
    for (;;) {
        PyObject *body = sl_asgi_take_body(req);
        if (body == NULL && PyErr_Occurred())
            return NULL;
        bool done = sl_request_body_done(req);
        if (body != NULL || done) {
            PyObject *message = request_message(r, body ? body : r->aio->empty_bytes, !done);
            Py_XDECREF(body);
            return message;
        }
        int rc = sl_request_more(req);
        if (rc == SL_EAGAIN)
            return NULL;
        if (rc < 0) {
            sl_asgi_refuse_body(r, rc);
            return disconnect_message(r->aio);
        }
    }
}

/* ---- send: parts
 * ----------------------------------------------------------------------------------- */

int
sl_asgi_client_gone(struct sl_asgi_request *r)
{
    r->gone = true;
    PyErr_SetString(PyExc_ConnectionResetError, "the client has closed the connection");
    return -1;
}

static int
add_field(void *ctx, const struct sl_header *h)
{
    int rc = sl_response_header(ctx, h->name.ptr, h->name.len, h->value.ptr, h->value.len);
    if (rc == SL_OK)
        return 0;
    if (rc == SL_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *name = PyBytes_FromStringAndSize(h->name.ptr, (Py_ssize_t)h->name.len);
    if (name != NULL)
        PyErr_Format(PyExc_ValueError, "invalid response header %R", name);
    Py_XDECREF(name);
    return -1;
}

/* ---- send: messages
 * --------------------------------------------------------------------------------- */

static PyObject *
field_of(PyObject *message, PyObject *key)
{
    return PyDict_GetItemWithError(message, key);
}

static int
truth_of(PyObject *value)
{
    return value == NULL || value == Py_False ? 0 : value == Py_True ? 1 : PyObject_IsTrue(value);
}

/* By their keys as objects, which are constants of the application's code: faster than to look for
 * each. False: there is another key, or another object with the same text. */
static bool
read_known(const struct sl_aio *aio, PyObject *message, struct sl_asgi_message *ret)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    *ret = (struct sl_asgi_message){.type = NULL};
    while (PyDict_Next(message, &at, &key, &value)) {
        if (key == aio->text_type)
            ret->type = value;
        else if (key == aio->text_body)
            ret->body = value;
        else if (key == aio->text_headers)
            ret->headers = value;
        else if (key == aio->text_status)
            ret->status = value;
        else if (key == aio->text_more_body)
            ret->more_body = value;
        else if (key == aio->text_trailers)
            ret->trailers = value;
        else
            return false;
    }
    return true;
}

int
sl_asgi_message_read(const struct sl_aio *aio, PyObject *message, struct sl_asgi_message *ret)
{
    if (read_known(aio, message, ret))
        return 0;
    *ret = (struct sl_asgi_message){
        .type = field_of(message, aio->text_type),
        .body = field_of(message, aio->text_body),
        .headers = field_of(message, aio->text_headers),
        .status = field_of(message, aio->text_status),
        .more_body = field_of(message, aio->text_more_body),
        .trailers = field_of(message, aio->text_trailers),
    };
    return PyErr_Occurred() ? -1 : 0;
}

int
sl_asgi_unexpected(PyObject *message_type, const char *instead)
{
    PyErr_Format(PyExc_RuntimeError, "unexpected ASGI message %R: %s", message_type, instead);
    return -1;
}

/* Bytes are a status with a reason of its own, b"299 Own words": what WSGI and Tornado know and
 * ASGI does not. */
static int
start_with_reason(struct sl_asgi_request *r, PyObject *status)
{
    if (sl_response_start(r->res, PyBytes_AS_STRING(status), (size_t)PyBytes_GET_SIZE(status)) ==
        SL_OK)
        return 0;
    PyErr_Format(PyExc_ValueError, "the status %R is not acceptable", status);
    return -1;
}

static int
start_response(struct sl_asgi_request *r, PyObject *status)
{
    if (status == NULL) {
        PyErr_SetString(PyExc_KeyError, "the ASGI message has no 'status'");
        return -1;
    }
    if (PyBytes_CheckExact(status))
        return start_with_reason(r, status);
    long code = PyLong_AsLong(status);
    if (code == -1 && PyErr_Occurred())
        return -1;
    if (code < 100 || code > 999) {
        PyErr_Format(PyExc_ValueError, "status must be 100 to 999, not %ld", code);
        return -1;
    }
    (void)sl_response_start_code(r->res, (int)code);
    return 0;
}

int
sl_asgi_send_start(struct sl_asgi_request *r, const struct sl_asgi_message *message)
{
    if (r->started)
        return sl_asgi_unexpected(message->type, "the response was started already");
    int wants = truth_of(message->trailers);
    if (wants < 0 || start_response(r, message->status) < 0 ||
        sl_asgi_each_field(message->headers, add_field, r->res) < 0)
        return -1;
    r->started = true;
    r->wants_trailers = wants != 0;
    return 0;
}

int
sl_asgi_complete(struct sl_asgi_request *r)
{
    r->complete = true;
    (void)sl_response_end(r->res);
    sl_asgi_end_exchange(r);
    return 0;
}

int
sl_asgi_send_body(struct sl_asgi_request *r, const struct sl_asgi_message *message)
{
    if (!r->started)
        return sl_asgi_unexpected(message->type, "'http.response.start' comes first");
    int more = truth_of(message->more_body);
    struct sl_asgi_bytes bytes;
    if (more < 0 ||
        sl_asgi_get_bytes(message->body ? message->body : r->aio->empty_bytes, "body", &bytes) < 0)
        return -1;
    unsigned flags = SL_WRITE_LAST;
    if (more)
        flags = SL_WRITE_FLUSH | SL_WRITE_HEAD;
    else if (r->wants_trailers)
        flags = SL_WRITE_FLUSH | SL_WRITE_HEAD; /* they may take their time */
    int rc = sl_response_write(r->res, bytes.ptr, bytes.len, flags);
    sl_asgi_drop_bytes(&bytes);
    if (rc == SL_ECLOSED)
        return sl_asgi_client_gone(r);
    if (!more && !r->wants_trailers)
        return sl_asgi_complete(r);
    r->full = rc == SL_EFULL;
    return r->full;
}

static int
send_trailers(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct sl_asgi_fields list = {.count = 0};
    if (!r->wants_trailers || !sl_response_committed(r->res))
        return sl_asgi_unexpected(type,
                                  "'http.response.start' did not announce trailers, or the body is "
                                  "missing");
    PyObject *headers = field_of(message, r->aio->text_headers);
    PyObject *wants_more = field_of(message, r->aio->text_more_trailers);
    int more = PyErr_Occurred() ? -1 : truth_of(wants_more);
    if (more < 0)
        return -1;
    if (r->trailers == NULL && (r->trailers = PyList_New(0)) == NULL)
        return -1;
    if (sl_asgi_each_field(headers, sl_asgi_keep_field, r->trailers) < 0)
        return -1;
    if (more)
        return 0;
    /* They point into objects that r->trailers holds. */
    if (sl_asgi_each_field(r->trailers, sl_asgi_collect_field, &list) < 0)
        return -1;
    if (sl_response_end_trailers(r->res, list.fields, list.count) == SL_EINVAL) {
        PyErr_SetString(PyExc_ValueError, "a trailer is malformed, or a header that cannot be one");
        return -1;
    }
    return sl_asgi_complete(r);
}

static int
interim(struct sl_asgi_request *r, int status, const struct sl_asgi_fields *list)
{
    int rc = sl_response_interim(r->res, status, list->fields, list->count);
    if (rc == SL_ECLOSED)
        return sl_asgi_client_gone(r);
    if (rc == SL_EINVAL)
        PyErr_SetString(PyExc_ValueError, "a header of an interim response is malformed");
    return rc == SL_OK ? 0 : rc == SL_EINVAL ? -1 : 0;
}

static int
send_early_hint(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct sl_asgi_fields list = {.count = 0};
    if (r->started)
        return sl_asgi_unexpected(type, "the response was started already");
    PyObject *links = field_of(message, r->aio->text_links);
    if (links == NULL && PyErr_Occurred())
        return -1;
    PyObject *fast =
        links ? PySequence_Fast(links, "links must be an iterable of bytes") : PyTuple_New(0);
    if (fast == NULL)
        return -1;
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PySequence_Fast_GET_SIZE(fast); i++) {
        PyObject *link = PySequence_Fast_GET_ITEM(fast, i);
        struct sl_header field = {{"link", 4}, {NULL, 0}};
        if (!PyBytes_Check(link)) {
            PyErr_Format(PyExc_TypeError, "links must be bytes, not %.100s",
                         Py_TYPE(link)->tp_name);
            rc = -1;
            break;
        }
        field.value = (struct sl_str){PyBytes_AS_STRING(link), (size_t)PyBytes_GET_SIZE(link)};
        rc = sl_asgi_collect_field(&list, &field);
    }
    if (rc == 0)
        rc = interim(r, 103, &list);
    Py_DECREF(fast);
    return rc;
}

static bool
is(PyObject *type, PyObject *what)
{
    return type == what || PyUnicode_Compare(type, what) == 0;
}

/* An application's text is the same object each time, a constant of its code. */
static bool
is_as_ever(PyObject *type, PyObject *what, PyObject **seen)
{
    if (type == *seen)
        return true;
    if (!is(type, what))
        return false;
    Py_XSETREF(*seen, Py_NewRef(type));
    return true;
}

int
sl_asgi_send_message(struct sl_asgi_request *r, PyObject *message)
{
    struct sl_aio *aio = r->aio;
    if (!PyDict_Check(message)) {
        PyErr_Format(PyExc_TypeError, "an ASGI message must be a dict, not %.100s",
                     Py_TYPE(message)->tp_name);
        return -1;
    }
    struct sl_asgi_message m = {.type = NULL};
    if (r->socket != NULL)
        m.type = field_of(message, aio->text_type);
    else if (sl_asgi_message_read(aio, message, &m) < 0)
        return -1;
    PyObject *type = m.type;
    if (type == NULL || !PyUnicode_Check(type)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "an ASGI message needs a 'type' that is a str");
        return -1;
    }
    if (r->socket != NULL)
        return sl_asgi_socket_send(r, type, message);
    if (r->complete)
        return sl_asgi_unexpected(type, "the response was completed already");
    if (r->req == NULL || r->broken || r->gone)
        return sl_asgi_client_gone(r);
    if (type != aio->seen_body && is_as_ever(type, aio->text_response_start, &aio->seen_start))
        return sl_asgi_send_start(r, &m);
    if (is_as_ever(type, aio->text_response_body, &aio->seen_body))
        return sl_asgi_send_body(r, &m);
    if (is(type, aio->text_response_trailers))
        return send_trailers(r, type, message);
    if (is(type, aio->text_response_pathsend))
        return sl_asgi_send_path(r, type, message);
    if (is(type, aio->text_response_early_hint))
        return send_early_hint(r, type, message);
    if (PyUnicode_CompareWithASCIIString(type, "http.response.zerocopysend") == 0)
        return sl_asgi_send_open_file(r, type, message);
    return sl_asgi_unexpected(
        type, "an HTTP response has http.response.start, .body, .trailers, .pathsend "
              "and .early_hint");
}
