/* What aiohttp's responses write to (aiohttp.abc.AbstractStreamWriter), on the engine's response.
 *
 * The head is aiohttp's own, byte for byte; bodies are framed here as its StreamWriter frames them.
 * Nothing has to be waited for unless the client is slow, so what write() and the others return is
 * one shared object that is done. Compression is done in Python, by aiohttp's own compressor.
 *
 * The transport that applications see asks the writer, too: aiohttp_transport.c.
 */
#include "aiohttp.h"
#include <stdio.h>
#include <structmember.h>

static struct sl_aiohttp *
web_of(struct sl_aiohttp_writer *w)
{
    return w->request->aio->aiohttp;
}

/* The engine and what it knows of aiohttp are gone: an application has kept the writer. */
static PyObject *
outlived(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the server's engine is closed");
    return NULL;
}

static PyObject *
done(struct sl_aiohttp_writer *w)
{
    return web_of(w) != NULL ? Py_NewRef(web_of(w)->done) : outlived();
}

/* A future that is done when there may be room again, or nobody to write to. */
static PyObject *
wait_for_room(struct sl_aiohttp_writer *w)
{
    struct sl_asgi_request *r = w->request;
    if (r->waiters == NULL && (r->waiters = PyList_New(0)) == NULL)
        return NULL;
    PyObject *future = PyObject_CallNoArgs(r->aio->create_future);
    if (future != NULL && PyList_Append(r->waiters, future) < 0)
        Py_CLEAR(future);
    return future;
}

/* ---- output ------------------------------------------------------------------------------------
 */

int
sl_aiohttp_raise_closed(struct sl_aiohttp_writer *w)
{
    w->request->gone = true;
    if (web_of(w) == NULL)
        PyErr_SetString(PyExc_ConnectionResetError, "Cannot write to closing transport");
    else
        PyErr_SetString(web_of(w)->closed_error, "Cannot write to closing transport");
    return -1;
}

/* 0; 1: taken, but the client is slow; -1 with an exception. */
static int
put(struct sl_aiohttp_writer *w, const void *data, size_t len, unsigned flags)
{
    if (sl_aiohttp_is_closed(w))
        return sl_aiohttp_raise_closed(w);
    int rc = sl_response_write(w->request->res, data, len, flags);
    if (rc == SL_ECLOSED)
        return sl_aiohttp_raise_closed(w);
    if (rc == SL_EINVAL) {
        PyErr_SetString(PyExc_RuntimeError, "the response was not started, or is over");
        return -1;
    }
    w->output_size += (Py_ssize_t)len;
    w->buffer_size += (Py_ssize_t)len;
    return rc == SL_EFULL;
}

static int
put_body(struct sl_aiohttp_writer *w, const char *data, size_t len, bool last)
{
    char line[24];
    unsigned flags = last ? 0 : SL_WRITE_FLUSH;
    if (!w->chunked)
        return len > 0 || !last ? put(w, data, len, flags) : 0;
    if (len > 0) {
        int n = snprintf(line, sizeof line, "%zx\r\n", len);
        if (put(w, line, (size_t)n, 0) < 0 || put(w, data, len, 0) < 0 ||
            put(w, "\r\n", 2, last ? 0 : flags) < 0)
            return -1;
    }
    int rc = last ? put(w, "0\r\n\r\n", 5, 0) : put(w, "", 0, flags);
    return rc;
}

static void
complete(struct sl_aiohttp_writer *w)
{
    struct sl_asgi_request *r = w->request;
    w->eof = true;
    if (r->req == NULL || r->complete)
        return;
    r->complete = true;
    (void)sl_response_end(r->res);
    sl_asgi_end_exchange(r);
}

/* ---- the head ----------------------------------------------------------------------------------
 */

/* A head that is formatted; 0, or -1 with an exception. */
static int
put_ready_head(struct sl_aiohttp_writer *w, int status, const char *head, size_t len)
{
    struct sl_asgi_request *r = w->request;
    int rc = sl_response_raw(r->res, status, head, len);
    if (rc == SL_OK && sl_aiohttp_ends_connection(r->req, head, len))
        sl_response_close(r->res);
    if (rc == SL_ECLOSED)
        return sl_aiohttp_raise_closed(w);
    if (rc < 0) {
        PyErr_SetString(PyExc_RuntimeError, "the head of this response was sent before");
        return -1;
    }
    r->started = true;
    w->output_size += (Py_ssize_t)len;
    w->buffer_size += (Py_ssize_t)len;
    return 0;
}

static int
put_head(struct sl_aiohttp_writer *w, PyObject *line, PyObject *headers)
{
    struct sl_asgi_request *r = w->request;
    int status = sl_aiohttp_status(line);
    if (status < 0)
        return -1;
    if (sl_aiohttp_is_closed(w))
        return sl_aiohttp_raise_closed(w);
    /* aiohttp knows what the client wants, but not that the server leaves. */
    if (r->req->keep_alive && sl_response_is_last(r->res) &&
        PyObject_SetItem(headers, web_of(w)->text_Connection, r->aio->text_close) < 0)
        return -1;
    PyObject *head = PyObject_CallFunctionObjArgs(web_of(w)->serialize, line, headers, NULL);
    if (head == NULL || !PyBytes_Check(head)) {
        Py_XDECREF(head);
        return -1;
    }
    int rc = put_ready_head(w, status, PyBytes_AS_STRING(head), (size_t)PyBytes_GET_SIZE(head));
    Py_DECREF(head);
    return rc;
}

static PyObject *
writer_write_headers(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "write_headers(status_line, headers)");
        return NULL;
    }
    return put_head(w, args[0], args[1]) < 0 ? NULL : done(w);
}

static PyObject *
writer_send_headers(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (w->request->started && !sl_aiohttp_is_closed(w) && put(w, "", 0, SL_WRITE_FLUSH) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the body ----------------------------------------------------------------------------------
 */

/* Bytes beyond the announced length are dropped; -1 with an exception. */
static int
limit_length(struct sl_aiohttp_writer *w, size_t *len)
{
    if (w->length == Py_None)
        return 0;
    size_t left = PyLong_AsSize_t(w->length);
    if (left == (size_t)-1 && PyErr_Occurred())
        return -1;
    if (*len > left)
        *len = left;
    PyObject *now = PyLong_FromSize_t(left - *len);
    if (now == NULL)
        return -1;
    Py_SETREF(w->length, now);
    return 0;
}

static int
write_plain(struct sl_aiohttp_writer *w, PyObject *chunk, bool last)
{
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE) < 0)
        return -1;
    size_t len = (size_t)view.len;
    int rc = last ? 0 : limit_length(w, &len);
    if (rc == 0 && (len > 0 || last))
        rc = put_body(w, view.buf, len, last);
    PyBuffer_Release(&view);
    return rc;
}

/* write(chunk, *, drain=True, LIMIT=...): the engine has limits of its own. */
static PyObject *
writer_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "write() needs a chunk");
        return NULL;
    }
    if (web_of(w) == NULL)
        return outlived();
    if (w->compressor != NULL)
        return PyObject_CallFunctionObjArgs(web_of(w)->write_squeezed, self, w->compressor, args[0],
                                            NULL);
    int rc = write_plain(w, args[0], false);
    return rc < 0 ? NULL : rc == 1 ? wait_for_room(w) : done(w);
}

static PyObject *
writer_write_eof(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (w->eof || web_of(w) == NULL)
        return done(w);
    if (w->compressor != NULL)
        return PyObject_CallFunctionObjArgs(web_of(w)->end_squeezed, self, w->compressor,
                                            nargs > 0 ? args[0] : Py_None, NULL);
    PyObject *chunk = nargs > 0 ? args[0] : w->request->aio->empty_bytes;
    if (write_plain(w, chunk, true) < 0)
        return NULL;
    complete(w);
    return done(w);
}

/* For the compressor: what comes out of it. */
static PyObject *
writer_put(PyObject *self, PyObject *chunk)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    int rc = write_plain(w, chunk, false);
    return rc < 0 ? NULL : rc == 1 ? wait_for_room(w) : done(w);
}

static PyObject *
writer_put_last(PyObject *self, PyObject *chunk)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (write_plain(w, chunk, true) < 0)
        return NULL;
    complete(w);
    Py_RETURN_NONE;
}

static PyObject *
writer_set_eof(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (!w->eof && w->request->started) {
        if (put_body(w, "", 0, true) < 0)
            return NULL;
        complete(w);
    }
    Py_RETURN_NONE;
}

static PyObject *
writer_drain(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (sl_aiohttp_is_closed(w) || !w->request->started || w->eof)
        return done(w);
    int rc = put(w, "", 0, SL_WRITE_FLUSH);
    return rc < 0 ? NULL : rc == 1 ? wait_for_room(w) : done(w);
}

static PyObject *
writer_enable_chunking(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct sl_aiohttp_writer *)self)->chunked = 1;
    Py_RETURN_NONE;
}

static PyObject *
writer_enable_compression(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"encoding", "strategy", NULL};
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    PyObject *encoding = NULL, *strategy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:enable_compression", names, &encoding,
                                     &strategy))
        return NULL;
    if (web_of(w) == NULL)
        return outlived();
    PyObject *deflate = encoding ? Py_NewRef(encoding) : PyUnicode_FromString("deflate");
    PyObject *compressor =
        deflate ? PyObject_CallFunctionObjArgs(web_of(w)->compressor, deflate, strategy, NULL)
                : NULL;
    Py_XDECREF(deflate);
    if (compressor == NULL)
        return NULL;
    Py_XSETREF(w->compressor, compressor);
    Py_RETURN_NONE;
}

/* answer(status, reason, headers, body, keep_alive): a whole plain response. True, or False:
 * nothing was done, aiohttp's own prepare() and write_eof() are to do it. */
static PyObject *
writer_answer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    struct sl_asgi_request *r = w->request;
    char head[SL_AIOHTTP_HEAD_MAX];
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "answer(status, reason, headers, body, keep_alive)");
        return NULL;
    }
    if (sl_aiohttp_is_closed(w) || r->started ||
        !(args[3] == Py_None || PyBytes_CheckExact(args[3])))
        Py_RETURN_FALSE;
    Py_ssize_t len = sl_aiohttp_plain_head(r, args, head, sizeof head);
    if (len < 0)
        return NULL;
    if (len == 0)
        Py_RETURN_FALSE;
    if (put_ready_head(w, (int)PyLong_AsLong(args[0]), head, (size_t)len) < 0)
        return NULL;
    if (args[3] != Py_None && PyBytes_GET_SIZE(args[3]) > 0 &&
        put(w, PyBytes_AS_STRING(args[3]), (size_t)PyBytes_GET_SIZE(args[3]), 0) < 0)
        return NULL;
    complete(w);
    Py_RETURN_TRUE;
}

/* ---- type --------------------------------------------------------------------------------------
 */

PyObject *
sl_aiohttp_writer_new(struct sl_asgi_request *r)
{
    struct sl_aiohttp_writer *w =
        PyObject_GC_New(struct sl_aiohttp_writer, r->aio->state->aiohttp_writer_type);
    if (w == NULL)
        return NULL;
    w->request = (struct sl_asgi_request *)Py_NewRef((PyObject *)r);
    w->length = Py_NewRef(Py_None);
    w->compressor = NULL;
    w->on_body_write = NULL;
    w->output_size = w->buffer_size = 0;
    w->chunked = 0;
    w->eof = false;
    PyObject_GC_Track(w);
    return (PyObject *)w;
}

static int
writer_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)w->request);
    Py_VISIT(w->compressor);
    Py_VISIT(w->on_body_write);
    return 0;
}

static int
writer_clear(PyObject *self)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    Py_CLEAR(w->compressor);
    Py_CLEAR(w->on_body_write);
    return 0;
}

static void
writer_dealloc(PyObject *self)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    Py_CLEAR(w->length);
    Py_CLEAR(w->request);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *
writer_get_transport(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    if (w->request->protocol == NULL || web_of(w) == NULL)
        Py_RETURN_NONE;
    return PyObject_GetAttr(w->request->protocol, web_of(w)->text_transport);
}

static PyObject *
writer_get_protocol(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *protocol = ((struct sl_aiohttp_writer *)self)->request->protocol;
    return Py_NewRef(protocol ? protocol : Py_None);
}

static PyObject *
writer_get_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sl_aiohttp_is_closed((struct sl_aiohttp_writer *)self));
}

static PyMethodDef writer_methods[] = {
    {"answer", (PyCFunction)(void (*)(void))writer_answer, METH_FASTCALL,
     "answer(status, reason, headers, body, keep_alive)\n--\n\nA whole plain response. False: "
     "nothing\nwas done, aiohttp's own prepare() and write_eof() are to do it."},
    {"write_headers", (PyCFunction)(void (*)(void))writer_write_headers, METH_FASTCALL, NULL},
    {"send_headers", writer_send_headers, METH_NOARGS, NULL},
    {"write", (PyCFunction)(void (*)(void))writer_write, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"write_eof", (PyCFunction)(void (*)(void))writer_write_eof, METH_FASTCALL, NULL},
    {"set_eof", writer_set_eof, METH_NOARGS, NULL},
    {"drain", writer_drain, METH_NOARGS, NULL},
    {"enable_chunking", writer_enable_chunking, METH_NOARGS, NULL},
    {"enable_compression", (PyCFunction)(void (*)(void))writer_enable_compression,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"put", writer_put, METH_O, "put(chunk)\n--\n\nAwait: bytes of the body, compressed."},
    {"put_last", writer_put_last, METH_O, "put_last(chunk)\n--\n\nThe last of them."},
    {"pause_reading", sl_aiohttp_pause_reading, METH_NOARGS, NULL},
    {"resume_reading", sl_aiohttp_resume_reading, METH_NOARGS, NULL},
    {"close", sl_aiohttp_close, METH_NOARGS, NULL},
    {"sendfile", sl_aiohttp_sendfile, METH_VARARGS,
     "sendfile(fd, offset, length)\n--\n\nPart of a file as the rest of the body."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef writer_members[] = {
    {"length", T_OBJECT, offsetof(struct sl_aiohttp_writer, length), 0,
     "Bytes of the body that may still come, or None."},
    {"output_size", T_PYSSIZET, offsetof(struct sl_aiohttp_writer, output_size), 0,
     "Bytes written."},
    {"buffer_size", T_PYSSIZET, offsetof(struct sl_aiohttp_writer, buffer_size), 0, NULL},
    {"chunked", T_BOOL, offsetof(struct sl_aiohttp_writer, chunked), 0, NULL},
    {"on_body_write", T_OBJECT, offsetof(struct sl_aiohttp_writer, on_body_write), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"transport", writer_get_transport, NULL, "The connection, while the request lasts.", NULL},
    {"protocol", writer_get_protocol, NULL, NULL, NULL},
    {"closed", writer_get_closed, NULL, "Nothing can be written any more.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "The writer of an aiohttp response, on the engine."},
    {Py_tp_traverse, (void *)(uintptr_t)writer_traverse},
    {Py_tp_clear, (void *)(uintptr_t)writer_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_members, writer_members},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

PyType_Spec sl_aiohttp_writer_spec = {
    .name = "saola._saola.AiohttpWriter",
    .basicsize = sizeof(struct sl_aiohttp_writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = writer_slots,
};
