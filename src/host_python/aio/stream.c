/* _saola.Stream: the transport (asyncio.Transport) of a connection that was given away to a
 * protocol of somebody else's.
 *
 * It hears of its descriptor from the engine and calls the protocol there and then. asyncio's own
 * transport makes a callback of it first, and receives into 256 KiB that are mapped and unmapped
 * each time: five system calls a message instead of two. What happens once in the life of a
 * connection is done in Python, by the class that is made from this one
 * (saola.aio.stream.StreamTransport); its methods are called here by name.
 *
 *     made --_start()--> open --close()--> closing, output waits --> lost: _lost(), the end
 *                         `--abort(), an error: what waits is dropped --^
 */
#include "stream.h"
#include <errno.h>
#include <structmember.h>
#include <sys/socket.h>

enum { RECEIVE_MAX = 65536 };

/* ---- the descriptor ----------------------------------------------------------------------------
 */

int
sl_stream_update_watch(struct sl_stream *s)
{
    unsigned wanted = 0;
    if (s->started && !s->paused && !s->ended && !s->closing)
        wanted |= SL_WATCH_READ;
    if (s->out_len > 0)
        wanted |= SL_WATCH_WRITE;
    if (wanted == s->watched || s->engine == NULL)
        return 0;
    if (sl_aio_watch(s->aio, s->fd, wanted, (PyObject *)s) < 0)
        return -1;
    s->watched = wanted;
    return 0;
}

/* ---- calls --------------------------------------------------------------------------------------
 */

void
sl_stream_fail(struct sl_stream *s, const char *message)
{
    PyObject *exception = sl_py_take_exception();
    if (exception == NULL)
        return;
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
        PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else {
        PyObject *done = PyObject_CallMethod((PyObject *)s, "_failed", "Os", exception, message);
        Py_XDECREF(done);
    }
    Py_DECREF(exception);
}

int
sl_stream_tell(struct sl_stream *s, const char *name, const char *argument)
{
    PyObject *done = PyObject_CallMethod((PyObject *)s, name, argument ? "s" : NULL, argument);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int
sl_stream_lose(struct sl_stream *s, PyObject *exception)
{
    if (s->lost)
        return 0;
    s->closing = s->lost = true;
    sl_stream_drop(s);
    PyObject *lost = PyObject_GetAttrString((PyObject *)s, "_lost");
    PyObject *handle =
        lost ? PyObject_CallMethodObjArgs(s->loop, s->aio->text_call_soon, lost, exception, NULL)
             : NULL;
    Py_XDECREF(lost);
    Py_XDECREF(handle);
    return sl_stream_update_watch(s) == 0 && handle != NULL ? 0 : -1;
}

/* ---- input --------------------------------------------------------------------------------------
 */

static void
receive(struct sl_stream *s)
{
    char bytes[RECEIVE_MAX];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        sl_stream_fail(s, "Fatal read error on socket transport");
        return;
    }
    if (n == 0) {
        s->ended = true;
        if (sl_stream_update_watch(s) < 0 || sl_stream_tell(s, "_ended", NULL) < 0)
            sl_stream_fail(s, "Fatal error: protocol.eof_received() call failed.");
        return;
    }
    PyObject *data = PyBytes_FromStringAndSize(bytes, n), *receiver = Py_NewRef(s->receive);
    PyObject *done = data ? PyObject_CallOneArg(receiver, data) : NULL;
    Py_DECREF(receiver);
    Py_XDECREF(data);
    if (done == NULL)
        sl_stream_fail(s, "Fatal error: protocol.data_received() call failed.");
    Py_XDECREF(done);
}

/* ---- called by the engine -----------------------------------------------------------------------
 */

void
sl_aio_stream_ready(PyObject *self, unsigned flags)
{
    struct sl_stream *s = (struct sl_stream *)self;
    PyObject *context = Py_NewRef(s->context), *engine = Py_NewRef(s->engine);
    Py_INCREF(s);
    if (PyContext_Enter(context) == 0) {
        if ((flags & (SL_WATCH_READ | SL_WATCH_ERROR)) && (s->watched & SL_WATCH_READ))
            receive(s);
        if ((flags & (SL_WATCH_WRITE | SL_WATCH_ERROR)) && (s->watched & SL_WATCH_WRITE))
            sl_stream_flush(s);
        PyObject *exception = sl_py_take_exception();
        PyContext_Exit(context);
        if (exception != NULL)
            sl_py_engine_exit((struct sl_py_engine *)engine, exception);
        Py_XDECREF(exception);
    } else {
        PyErr_WriteUnraisable(self);
    }
    Py_DECREF(s);
    Py_DECREF(engine);
    Py_DECREF(context);
}

/* ---- the transport's methods --------------------------------------------------------------------
 */

static PyObject *
none_if(int rc)
{
    return rc == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
stream_start(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct sl_stream *)self)->started = true;
    return none_if(sl_stream_update_watch((struct sl_stream *)self));
}

static PyObject *
stream_pause_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct sl_stream *)self)->paused = true;
    return none_if(sl_stream_update_watch((struct sl_stream *)self));
}

static PyObject *
stream_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct sl_stream *)self)->paused = false;
    return none_if(sl_stream_update_watch((struct sl_stream *)self));
}

static PyObject *
stream_is_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const struct sl_stream *s = (struct sl_stream *)self;
    return PyBool_FromLong(!s->paused && !s->closing);
}

static PyObject *
stream_is_closing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((struct sl_stream *)self)->closing);
}

static PyObject *
stream_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_stream *s = (struct sl_stream *)self;
    if (s->closing)
        Py_RETURN_NONE;
    s->closing = true;
    return none_if(s->out_len == 0 ? sl_stream_lose(s, Py_None) : sl_stream_update_watch(s));
}

static PyObject *
stream_cut(PyObject *self, PyObject *exception)
{
    return none_if(sl_stream_lose((struct sl_stream *)self, exception));
}

static PyObject *
stream_abort(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return stream_cut(self, Py_None);
}

static PyObject *
stream_get_write_buffer_size(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(((struct sl_stream *)self)->out_len);
}

static PyObject *
stream_limit(PyObject *self, PyObject *args)
{
    struct sl_stream *s = (struct sl_stream *)self;
    Py_ssize_t high, low;
    if (!PyArg_ParseTuple(args, "nn:_limit", &high, &low))
        return NULL;
    if (low < 0 || high < low) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
        return NULL;
    }
    s->high = high;
    s->low = low;
    return none_if(sl_stream_pause_if_full(s));
}

static PyObject *
stream_get_protocol(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = ((struct sl_stream *)self)->protocol;
    return Py_NewRef(protocol ? protocol : Py_None);
}

static PyObject *
stream_set_protocol(PyObject *self, PyObject *protocol)
{
    struct sl_stream *s = (struct sl_stream *)self;
    PyObject *receiver = PyObject_GetAttrString(protocol, "data_received");
    if (receiver == NULL)
        return NULL;
    Py_XSETREF(s->receive, receiver);
    Py_XSETREF(s->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

/* ---- type ---------------------------------------------------------------------------------------
 */

static int
stream_clear(PyObject *self)
{
    struct sl_stream *s = (struct sl_stream *)self;
    Py_CLEAR(s->protocol);
    Py_CLEAR(s->receive);
    Py_CLEAR(s->emptied);
    Py_CLEAR(s->context);
    Py_CLEAR(s->loop);
    s->aio = NULL;
    Py_CLEAR(s->engine);
    s->closing = s->lost = true;
    return 0;
}

/* The connection is over. */
static PyObject *
stream_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    (void)sl_stream_lose((struct sl_stream *)self, Py_None);
    stream_clear(self);
    Py_RETURN_NONE;
}

static PyObject *
stream_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    struct sl_stream *s = (struct sl_stream *)type->tp_alloc(type, 0);
    if (s != NULL) {
        s->fd = -1;
        s->closing = s->lost = true; /* until __init__() */
        s->high = SL_STREAM_HIGH;
        s->low = SL_STREAM_LOW;
    }
    return (PyObject *)s;
}

static int
stream_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"engine", "loop", "fd", "protocol", NULL};
    struct sl_stream *s = (struct sl_stream *)self;
    PyObject *engine, *loop, *protocol;
    int fd;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOiO:Stream", names, &engine, &loop, &fd,
                                     &protocol))
        return -1;
    struct sl_aio *aio = sl_aio_of(engine);
    if (aio == NULL)
        return -1;
    if (s->engine != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__() was called before");
        return -1;
    }
    PyObject *done = stream_set_protocol(self, protocol);
    Py_XDECREF(done);
    s->context = done ? PyContext_CopyCurrent() : NULL;
    if (s->context == NULL)
        return -1;
    s->loop = Py_NewRef(loop);
    s->engine = Py_NewRef(engine);
    s->aio = aio;
    s->fd = fd;
    s->closing = s->lost = false;
    return 0;
}

static int
stream_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct sl_stream *s = (struct sl_stream *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(s->engine);
    Py_VISIT(s->loop);
    Py_VISIT(s->context);
    Py_VISIT(s->protocol);
    Py_VISIT(s->receive);
    Py_VISIT(s->emptied);
    return 0;
}

static void
stream_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    stream_clear(self);
    sl_stream_drop((struct sl_stream *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef stream_methods[] = {
    {"write", sl_stream_write, METH_O,
     "write(data)\n--\n\nSend bytes; what the client does not take waits."},
    {"write_eof", sl_stream_write_eof, METH_NOARGS,
     "write_eof()\n--\n\nNothing more will be written."},
    {"pause_reading", stream_pause_reading, METH_NOARGS, NULL},
    {"resume_reading", stream_resume_reading, METH_NOARGS, NULL},
    {"is_reading", stream_is_reading, METH_NOARGS, NULL},
    {"is_closing", stream_is_closing, METH_NOARGS, NULL},
    {"close", stream_close, METH_NOARGS, "close()\n--\n\nSend what waits, then close."},
    {"abort", stream_abort, METH_NOARGS, "abort()\n--\n\nClose, what waits is dropped."},
    {"get_write_buffer_size", stream_get_write_buffer_size, METH_NOARGS, NULL},
    {"get_protocol", stream_get_protocol, METH_NOARGS, NULL},
    {"set_protocol", stream_set_protocol, METH_O, NULL},
    {"_start", stream_start, METH_NOARGS, "_start()\n--\n\nBegin to receive."},
    {"_cut", stream_cut, METH_O, "_cut(exception)\n--\n\nabort(), and why."},
    {"_limit", stream_limit, METH_VARARGS, "_limit(high, low)\n--\n\nOf what may wait, in bytes."},
    {"_release", stream_release, METH_NOARGS, "_release()\n--\n\nLet go of everything."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef stream_members[] = {
    {"_high", T_PYSSIZET, offsetof(struct sl_stream, high), READONLY, NULL},
    {"_low", T_PYSSIZET, offsetof(struct sl_stream, low), READONLY, NULL},
    {"_emptied", T_OBJECT, offsetof(struct sl_stream, emptied), 0,
     "Called once when nothing waits to be sent."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc,
     (void *)(uintptr_t) "Stream(engine, loop, fd, protocol): what a transport does often."},
    {Py_tp_new, (void *)(uintptr_t)stream_new},
    {Py_tp_init, (void *)(uintptr_t)stream_init},
    {Py_tp_traverse, (void *)(uintptr_t)stream_traverse},
    {Py_tp_clear, (void *)(uintptr_t)stream_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)stream_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_members, stream_members},
    {0, NULL},
};

PyType_Spec sl_aio_stream_spec = {
    .name = "saola._saola.Stream",
    .basicsize = sizeof(struct sl_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = stream_slots,
};
