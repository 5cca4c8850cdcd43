/* ASGI's messages of a WebSocket, and its scope. */
#include "message.h"
#include "websocket.h"
#include <string.h>

/* ---- for receive() -----------------------------------------------------------------------------
 */

static PyObject *
message_new(struct sl_aio *aio, PyObject *type)
{
    PyObject *message = PyDict_New();
    if (message != NULL && PyDict_SetItem(message, aio->text_type, type) < 0)
        Py_CLEAR(message);
    return message;
}

/* Steals value. */
static int
put(PyObject *message, PyObject *key, PyObject *value)
{
    int rc = message != NULL && value != NULL ? PyDict_SetItem(message, key, value) : -1;
    Py_XDECREF(value);
    return rc;
}

PyObject *
sl_asgi_connect_message(struct sl_aio *aio)
{
    return message_new(aio, aio->text_websocket_connect);
}

PyObject *
sl_asgi_data_message(struct sl_aio *aio, const struct sl_ws_event *event)
{
    PyObject *message = message_new(aio, aio->text_websocket_receive);
    Py_ssize_t len = (Py_ssize_t)event->len;
    bool is_text = event->kind == SL_WS_TEXT;
    PyObject *data = is_text ? PyUnicode_DecodeUTF8(event->data, len, NULL)
                             : PyBytes_FromStringAndSize(event->data, len);
    if (put(message, is_text ? aio->text_text : aio->text_bytes, data) < 0)
        Py_CLEAR(message);
    return message;
}

PyObject *
sl_asgi_disconnect_message(struct sl_aio *aio, unsigned code, const char *reason, size_t len)
{
    PyObject *message = message_new(aio, aio->text_websocket_disconnect);
    if (put(message, aio->text_code, PyLong_FromUnsignedLong(code)) < 0 ||
        put(message, aio->text_reason,
            PyUnicode_DecodeUTF8(reason ? reason : "", (Py_ssize_t)len, "replace")) < 0)
        Py_CLEAR(message);
    return message;
}

/* ---- scope
 * ---------------------------------------------------------------------------------------
 */

static PyObject *
subprotocols(const struct sl_ws_handshake *handshake)
{
    PyObject *list = PyList_New((Py_ssize_t)handshake->protocol_count);
    for (size_t i = 0; list != NULL && i < handshake->protocol_count; i++) {
        const struct sl_str *name = &handshake->protocols[i];
        PyObject *text = PyUnicode_DecodeLatin1(name->ptr, (Py_ssize_t)name->len, NULL);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, text);
    }
    return list;
}

int
sl_asgi_socket_scope(struct sl_asgi_request *r, PyObject *scope)
{
    struct sl_aio *aio = r->aio;
    if (PyDict_SetItem(scope, aio->text_type, aio->text_websocket) < 0 ||
        PyDict_SetItem(scope, aio->text_scheme, r->req->https ? aio->text_wss : aio->text_ws) < 0 ||
        PyDict_DelItem(scope, aio->text_method) < 0 ||
        put(scope, aio->text_extensions, PyDict_Copy(aio->socket_extensions)) < 0)
        return -1;
    return put(scope, aio->text_subprotocols, subprotocols(r->socket->handshake));
}

/* ---- send --------------------------------------------------------------------------------------
 */

/* A field that is there and not None; borrowed. NULL, perhaps with an exception. */
static PyObject *
field(PyObject *message, PyObject *key)
{
    PyObject *value = PyDict_GetItemWithError(message, key);
    return value != Py_None ? value : NULL;
}

/* The UTF-8 of a field that is a str; 0 with *ret_text NULL if it is missing. */
static int
text_field(PyObject *message, PyObject *key, const char **ret_text, Py_ssize_t *ret_len)
{
    PyObject *value = field(message, key);
    *ret_text = NULL;
    *ret_len = 0;
    if (value == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%U must be str, not %.100s", key, Py_TYPE(value)->tp_name);
        return -1;
    }
    *ret_text = PyUnicode_AsUTF8AndSize(value, ret_len);
    return *ret_text != NULL ? 0 : -1;
}

static int
send_accept(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct sl_aio *aio = r->aio;
    struct sl_asgi_socket *s = r->socket;
    struct sl_asgi_fields fields;
    const char *protocol;
    Py_ssize_t len;
    if (s->ws != NULL || s->denying || s->closed)
        return sl_asgi_unexpected(type, "the WebSocket was answered already");
    PyObject *headers = field(message, aio->text_headers), *keep;
    if ((headers == NULL && PyErr_Occurred()) ||
        text_field(message, aio->text_subprotocol, &protocol, &len) < 0 ||
        sl_asgi_fields_read(headers, &fields, &keep) < 0)
        return -1;
    struct sl_ws *ws = sl_ws_new(&aio->websocket, s->handshake);
    int rc = SL_ENOMEM;
    if (ws != NULL)
        rc = sl_ws_upgrade(r->res, s->handshake, protocol, fields.fields, fields.count);
    Py_DECREF(keep);
    if (rc == SL_OK) {
        sl_asgi_socket_begin(r, ws);
        return 0;
    }
    sl_ws_free(ws);
    if (rc == SL_ECLOSED)
        return sl_asgi_client_gone(r);
    if (rc == SL_ENOMEM)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ValueError, "websocket.accept: a header is malformed, or the client "
                                          "has not offered that subprotocol");
    return -1;
}

static int
send_data(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct sl_aio *aio = r->aio;
    const char *text;
    Py_ssize_t len;
    if (r->socket->ws == NULL)
        return sl_asgi_unexpected(type, "'websocket.accept' comes first");
    PyObject *bytes = field(message, aio->text_bytes);
    if ((bytes == NULL && PyErr_Occurred()) ||
        (bytes == NULL && text_field(message, aio->text_text, &text, &len) < 0))
        return -1;
    int rc;
    if (bytes != NULL) {
        Py_buffer view;
        if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0)
            return -1;
        rc = sl_ws_send(r->socket->ws, SL_WS_BINARY, view.buf, (size_t)view.len, true);
        PyBuffer_Release(&view);
    } else if (text != NULL) {
        rc = sl_ws_send(r->socket->ws, SL_WS_TEXT, text, (size_t)len, true);
    } else {
        PyErr_SetString(PyExc_ValueError, "websocket.send needs 'bytes' or 'text'");
        return -1;
    }
    if (rc == SL_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    rc = rc == SL_OK ? sl_asgi_socket_flush(r) : -1;
    return rc < 0 ? sl_asgi_client_gone(r) : rc;
}

static int
send_close(struct sl_asgi_request *r, PyObject *message)
{
    struct sl_aio *aio = r->aio;
    struct sl_asgi_socket *s = r->socket;
    const char *reason;
    Py_ssize_t len;
    PyObject *number = field(message, aio->text_code);
    long code = number != NULL ? PyLong_AsLong(number) : 1000;
    if (PyErr_Occurred() || text_field(message, aio->text_reason, &reason, &len) < 0)
        return -1;
    if (s->ws == NULL) {
        s->closed = true;
        sl_asgi_socket_closing(r, 1006, NULL, 0);
        sl_response_fail(r->res, 403, NULL);
        r->complete = true;
        sl_asgi_socket_end(r);
        return 0;
    }
    int rc = code > 0 && code < 5000 ? sl_ws_close(s->ws, (unsigned)code, reason, (size_t)len)
                                     : SL_EINVAL;
    if (rc == SL_EINVAL) {
        PyErr_Format(PyExc_ValueError,
                     "websocket.close: code %ld may not be sent, or the reason is longer than "
                     "123 bytes",
                     code);
        return -1;
    }
    if (rc == SL_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    s->closed = true;
    sl_asgi_socket_closing(r, (unsigned)code, reason, (size_t)len);
    if (sl_asgi_socket_flush(r) < 0)
        sl_asgi_socket_end(r);
    return 0;
}

static int
send_denial(struct sl_asgi_request *r, PyObject *type, PyObject *message, bool start)
{
    struct sl_asgi_socket *s = r->socket;
    if (s->ws != NULL)
        return sl_asgi_unexpected(type, "the WebSocket was accepted already");
    struct sl_asgi_message m;
    if (sl_asgi_message_read(r->aio, message, &m) < 0)
        return -1;
    if (start) {
        s->denying = true;
        return sl_asgi_send_start(r, &m);
    }
    int rc = sl_asgi_send_body(r, &m);
    if (r->complete) {
        s->closed = true;
        sl_asgi_socket_closing(r, 1006, NULL, 0);
        sl_asgi_socket_end(r);
    }
    return rc;
}

static bool
is(PyObject *type, PyObject *what)
{
    return type == what || PyUnicode_Compare(type, what) == 0;
}

int
sl_asgi_socket_send(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct sl_aio *aio = r->aio;
    struct sl_asgi_socket *s = r->socket;
    if (s->closed)
        return sl_asgi_unexpected(type, "the WebSocket was closed already");
    if (r->req == NULL || s->over || r->gone)
        return sl_asgi_client_gone(r);
    if (is(type, aio->text_websocket_send))
        return send_data(r, type, message);
    if (is(type, aio->text_websocket_accept))
        return send_accept(r, type, message);
    if (is(type, aio->text_websocket_close))
        return send_close(r, message);
    if (is(type, aio->text_denial_start))
        return send_denial(r, type, message, true);
    if (is(type, aio->text_denial_body))
        return send_denial(r, type, message, false);
    return sl_asgi_unexpected(type, "a WebSocket has websocket.accept, .send and .close, or "
                                    "websocket.http.response.start and .body");
}
