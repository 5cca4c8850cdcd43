/* wsgi.input: reads the request body from the engine as it arrives; nothing is kept here.
 *
 * Every read gives the interpreter's lock back only while it waits for the client. */
#include "wsgi.h"
#include <errno.h>
#include <string.h>

enum {
    READ_STEP = 64 * 1024,    /* first allocation for a body of unknown length */
    READ_TRUST = 1024 * 1024, /* a declared length up to this is allocated at once */
};

/* A status of sl_request_wait() as exception; notes what the error page should say. */
static void
raise_wait_error(struct sl_wsgi_call *call, int rc)
{
    if (rc == SL_ETIMEOUT) {
        call->read_error = 408;
        PyErr_SetString(PyExc_TimeoutError, "the client sent no more of the request body in time");
        return;
    }
    int number = ECONNRESET;
    const char *text = "the client went away before the end of the request body";
    if (rc == SL_ERANGE) {
        call->read_error = 413;
        number = EFBIG;
        text = "the request body is longer than limit_request_body";
    } else if (rc == SL_EPROTO) {
        call->read_error = 400;
        number = EPROTO;
        text = "the request body is not valid chunked coding";
    } else {
        call->client_gone = true;
    }
    PyObject *args = Py_BuildValue("(is)", number, text);
    if (args != NULL) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
}

/* Bytes that are here now, waiting for some if need be. 0: end of the body, or -1 in *ret_error
 * with an exception. */
static size_t
peek(struct sl_wsgi_call *call, const char **ret_data, int *ret_error)
{
    *ret_error = 0;
    for (;;) {
        size_t here = sl_request_body(call->req, ret_data);
        if (here > 0 || sl_request_body_done(call->req))
            return here;
        PyThreadState *saved = sl_py_lock_release();
        int rc = sl_request_wait(call->req);
        sl_py_lock_restore(saved);
        if (rc < 0) {
            raise_wait_error(call, rc);
            *ret_error = -1;
            return 0;
        }
        if (PyErr_CheckSignals() < 0) {
            *ret_error = -1;
            return 0;
        }
    }
}

/* The call of an input that may be read now; NULL with an exception. */
static struct sl_wsgi_call *
enter(PyObject *self)
{
    struct sl_wsgi_call *call = sl_wsgi_part_call(self, "wsgi.input");
    if (call == NULL)
        return NULL;
    if (call->reading) {
        PyErr_SetString(PyExc_RuntimeError, "wsgi.input is being read by another thread");
        return NULL;
    }
    call->reading = true;
    return call;
}

/* None and negative numbers mean everything: -1. */
static int
parse_size(PyObject *const *args, Py_ssize_t nargs, const char *name, Py_ssize_t *ret_size)
{
    *ret_size = -1;
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most one argument: the size", name);
        return -1;
    }
    if (nargs == 0 || args[0] == Py_None)
        return 0;
    Py_ssize_t size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred())
        return -1;
    *ret_size = size < 0 ? -1 : size;
    return 0;
}

/* Reads limit bytes, or up to the end of the body; until and including a line end with line. */
static PyObject *
read_bytes(struct sl_wsgi_call *call, size_t limit, bool line)
{
    const char *data;
    int error;
    size_t here = peek(call, &data, &error);
    if (error < 0)
        return NULL;
    if (here == 0 || limit == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    /* The usual case: all that is asked for is here. */
    size_t take = here < limit ? here : limit;
    const char *end = line ? memchr(data, '\n', take) : NULL;
    if (end != NULL)
        take = (size_t)(end - data) + 1;
    if (end != NULL || take == limit) {
        PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)take);
        if (bytes != NULL)
            sl_request_consume(call->req, take);
        return bytes;
    }
    size_t capacity = take;
    if (!line) {
        size_t known = call->req->body == SL_BODY_LENGTH && call->req->content_length <= READ_TRUST
                           ? (size_t)call->req->content_length
                           : READ_STEP;
        capacity = known < limit ? known : limit;
        if (capacity < take)
            capacity = take;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
    size_t filled = 0;
    while (bytes != NULL) {
        if (filled + take > capacity) {
            capacity = capacity + capacity / 2;
            if (capacity < filled + take)
                capacity = filled + take;
            if (_PyBytes_Resize(&bytes, (Py_ssize_t)capacity) < 0)
                return NULL;
        }
        memcpy(PyBytes_AS_STRING(bytes) + filled, data, take);
        sl_request_consume(call->req, take);
        filled += take;
        if (end != NULL || filled == limit)
            break;
        here = peek(call, &data, &error);
        if (error < 0) {
            Py_DECREF(bytes);
            return NULL;
        }
        if (here == 0)
            break;
        take = here < limit - filled ? here : limit - filled;
        end = line ? memchr(data, '\n', take) : NULL;
        if (end != NULL)
            take = (size_t)(end - data) + 1;
    }
    if (bytes != NULL && filled < capacity)
        _PyBytes_Resize(&bytes, (Py_ssize_t)filled);
    return bytes;
}

static PyObject *
input_take(PyObject *self, PyObject *const *args, Py_ssize_t nargs, const char *name, bool line)
{
    Py_ssize_t size;
    if (parse_size(args, nargs, name, &size) < 0)
        return NULL;
    struct sl_wsgi_call *call = enter(self);
    if (call == NULL)
        return NULL;
    PyObject *bytes = read_bytes(call, size < 0 ? SIZE_MAX : (size_t)size, line);
    call->reading = false;
    return bytes;
}

static PyObject *
input_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return input_take(self, args, nargs, "read", false);
}

static PyObject *
input_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return input_take(self, args, nargs, "readline", true);
}

static PyObject *
input_next(PyObject *self)
{
    PyObject *line = input_take(self, NULL, 0, "next", true);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line); /* end of the iteration */
    return line;
}

static PyObject *
input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t hint, total = 0;
    if (parse_size(args, nargs, "readlines", &hint) < 0)
        return NULL;
    PyObject *lines = PyList_New(0);
    while (lines != NULL && (hint <= 0 || total < hint)) {
        PyObject *line = input_next(self);
        if (line == NULL) {
            if (PyErr_Occurred())
                Py_CLEAR(lines);
            break;
        }
        total += PyBytes_GET_SIZE(line);
        int rc = PyList_Append(lines, line);
        Py_DECREF(line);
        if (rc < 0)
            Py_CLEAR(lines);
    }
    return lines;
}

static PyMethodDef input_methods[] = {
    {"read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL,
     "read(size=-1) -> bytes: size bytes, fewer only at the end of the body.\n\n"
     "Raises OSError (ECONNRESET) if the client goes away, TimeoutError if it stalls, OSError\n"
     "(EPROTO) if the chunked coding is broken."},
    {"readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL,
     "readline(size=-1) -> bytes: up to and including the next line feed."},
    {"readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL,
     "readlines(hint=-1) -> list of bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot input_slots[] = {
    {Py_tp_doc, (void *)"wsgi.input: the request body, read as it arrives."},
    {Py_tp_dealloc, (void *)sl_wsgi_part_dealloc},
    {Py_tp_methods, input_methods},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)input_next},
    {0, NULL},
};

PyType_Spec sl_wsgi_input_spec = {
    .name = "saola._saola.Input",
    .basicsize = sizeof(struct sl_wsgi_part),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = input_slots,
};
