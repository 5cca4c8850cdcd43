/* _saola.AccessLog: the access log in C, for an Engine's option access_log. */
#include "engine.h"
#include <saola/access_log.h>

struct access_log_object {
    PyObject_HEAD struct sl_access_log *log; /* NULL: closed */
    PyObject *on_line;                       /* on_line(str), or NULL */
};

/* On the thread that has served the request. */
static void
call_on_line(void *ctx, const char *line, size_t len)
{
    struct access_log_object *self = ctx;
    sl_py_lock_take();
    PyObject *text = PyUnicode_DecodeUTF8(line, (Py_ssize_t)len, "replace");
    PyObject *done = text != NULL ? PyObject_CallOneArg(self->on_line, text) : NULL;
    if (done == NULL)
        PyErr_WriteUnraisable(self->on_line);
    Py_XDECREF(done);
    Py_XDECREF(text);
}

/* Texts of the sequence, ended by NULL, borrowed from list. NULL with an exception. */
static const char **
texts_of(PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    const char **texts = PyMem_Calloc((size_t)count + 1, sizeof *texts);
    if (texts == NULL)
        return (const char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++) {
        texts[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(list, i));
        if (texts[i] == NULL) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}

static int
open_log(struct access_log_object *self, struct sl_access_log_options *options, PyObject *exclude)
{
    PyObject *list = PySequence_List(exclude);
    const char **texts = list != NULL ? texts_of(list) : NULL;
    struct sl_error err = {0, ""};
    int rc = texts != NULL ? 0 : -1;
    if (rc == 0) {
        options->exclude = texts;
        rc = sl_access_log_open(options, &self->log, &err);
        if (rc == SL_EUNAVAILABLE)
            PyErr_SetString(PyExc_NotImplementedError, "only the Python logger can fill it");
        else if (rc == SL_EINVAL)
            PyErr_SetString(PyExc_ValueError, err.text);
        else if (rc < 0)
            PyErr_SetString(PyExc_OSError, err.text);
    }
    PyMem_Free(texts);
    Py_XDECREF(list);
    return rc < 0 ? -1 : 0;
}

static PyObject *
access_log_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"format", "fd", "on_line", "exclude", NULL};
    struct sl_access_log_options options = {.fd = -1};
    PyObject *on_line = Py_None, *exclude = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "siOO:AccessLog", names, &options.format,
                                     &options.fd, &on_line, &exclude))
        return NULL;
    struct access_log_object *self = (struct access_log_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (on_line != Py_None) {
        self->on_line = Py_NewRef(on_line);
        options.on_line = call_on_line;
        options.ctx = self;
    }
    if (open_log(self, &options, exclude) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
close_log(struct access_log_object *self, unsigned wait_ms)
{
    struct sl_access_log *log = self->log;
    int rc;
    self->log = NULL;
    Py_BEGIN_ALLOW_THREADS;
    rc = sl_access_log_close(log, wait_ms);
    Py_END_ALLOW_THREADS;
    if (rc < 0) /* the file is stuck: it may be tried again */
        self->log = log;
    return rc;
}

static int
access_log_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct access_log_object *self = (struct access_log_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->on_line);
    return 0;
}

static void
access_log_dealloc(PyObject *object)
{
    struct access_log_object *self = (struct access_log_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->log != NULL)
        (void)close_log(self, 0);
    Py_CLEAR(self->on_line);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
access_log_flush(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct access_log_object *self = (struct access_log_object *)object;
    int rc = SL_OK;
    if (self->log != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        rc = sl_access_log_flush(self->log);
        Py_END_ALLOW_THREADS;
    }
    return PyBool_FromLong(rc == SL_OK);
}

static PyObject *
access_log_reopen(PyObject *object, PyObject *argument)
{
    struct access_log_object *self = (struct access_log_object *)object;
    int fd = PyObject_AsFileDescriptor(argument), rc = SL_OK;
    if (fd < 0)
        return NULL;
    if (self->log != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        rc = sl_access_log_reopen(self->log, fd);
        Py_END_ALLOW_THREADS;
    }
    if (rc == SL_ESYS)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyBool_FromLong(rc == SL_OK);
}

static PyObject *
access_log_close(PyObject *object, PyObject *seconds_object)
{
    struct access_log_object *self = (struct access_log_object *)object;
    double seconds = PyFloat_AsDouble(seconds_object);
    if (seconds == -1.0 && PyErr_Occurred())
        return NULL;
    if (!(seconds > 0))
        seconds = 0;
    if (self->log == NULL)
        Py_RETURN_TRUE;
    return PyBool_FromLong(
        close_log(self, seconds > 1e6 ? 1000000000u : (unsigned)(seconds * 1000.0)) == 0);
}

static PyObject *
access_log_get_dropped(PyObject *object, void *Py_UNUSED(closure))
{
    struct access_log_object *self = (struct access_log_object *)object;
    return PyLong_FromUnsignedLongLong(self->log ? sl_access_log_dropped(self->log) : 0);
}

struct sl_access_log *
sl_py_access_log_get(PyTypeObject *type, PyObject *object)
{
    if (Py_TYPE(object) == type)
        return ((struct access_log_object *)object)->log;
    PyErr_SetString(PyExc_TypeError, "engine option access_log must be an AccessLog");
    return NULL;
}

static PyMethodDef access_log_methods[] = {
    {"flush", access_log_flush, METH_NOARGS,
     "flush()\n--\n\nWrite the lines so far; False if the file did not take them in a second."},
    {"reopen", access_log_reopen, METH_O,
     "reopen(file)\n--\n\nWrite the lines so far, then go on with another file (duplicated)."},
    {"close", access_log_close, METH_O,
     "close(seconds)\n--\n\nWrite what is left; the engine must be closed. False if the file did\n"
     "not take it in that time."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef access_log_getset[] = {
    {"dropped", access_log_get_dropped, NULL, "Lines that could not be written.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot access_log_slots[] = {
    {Py_tp_doc,
     (void *)(uintptr_t) "AccessLog(format, fd, on_line, exclude): lines to fd, written by a "
                         "thread of its own,\nor to on_line(line) on the thread that served the "
                         "request. NotImplementedError: the format\nis one that only Python's "
                         "logger can fill. ValueError: exclude."},
    {Py_tp_new, (void *)(uintptr_t)access_log_new},
    {Py_tp_traverse, (void *)(uintptr_t)access_log_traverse},
    {Py_tp_dealloc, (void *)(uintptr_t)access_log_dealloc},
    {Py_tp_methods, access_log_methods},
    {Py_tp_getset, access_log_getset},
    {0, NULL},
};

PyType_Spec sl_py_access_log_spec = {
    .name = "saola._saola.AccessLog",
    .basicsize = sizeof(struct access_log_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = access_log_slots,
};
