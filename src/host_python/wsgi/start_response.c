/* start_response, the write callable it returns, and wsgi.early_hints (PEP 3333, RFC 8297). */
#include "wsgi.h"
#include <string.h>
#include <structmember.h>

static bool
is_content_length(const char *name, size_t len)
{
    return len == 14 && strncasecmp(name, "content-length", 14) == 0;
}

/* The engine has checked that it is one plain number. */
static void
remember_length(struct sl_wsgi_call *call, const char *value, size_t len)
{
    uint64_t number = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] >= '0' && value[i] <= '9')
            number = number * 10 + (uint64_t)(value[i] - '0');
    }
    call->content_length = number;
    call->has_length = true;
}

static int
add_header(struct sl_wsgi_call *call, PyObject *pair)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_TypeError, "a response header must be a tuple (name, value), not %R",
                     pair);
        return -1;
    }
    size_t name_len, value_len;
    PyObject *name_text = PyTuple_GET_ITEM(pair, 0), *value_text = PyTuple_GET_ITEM(pair, 1);
    const char *name = sl_py_latin1(name_text, "a response header's name", &name_len);
    if (name == NULL)
        return -1;
    const char *value = sl_py_latin1(value_text, "a response header's value", &value_len);
    if (value == NULL)
        return -1;
    int rc = sl_response_header(call->res, name, name_len, value, value_len);
    if (rc == SL_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    if (rc < 0) {
        PyErr_Format(PyExc_ValueError, "response header %R: %R is not acceptable", name_text,
                     value_text);
        return -1;
    }
    if (is_content_length(name, name_len))
        remember_length(call, value, value_len);
    return 0;
}

static int
add_headers(struct sl_wsgi_call *call, PyObject *headers)
{
    if (!PyList_Check(headers)) {
        /* The PEP demands a list; other sequences are harmless. */
        PyObject *list = PySequence_List(headers);
        if (list == NULL)
            return -1;
        int result = add_headers(call, list);
        Py_DECREF(list);
        return result;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        if (add_header(call, PyList_GET_ITEM(headers, i)) < 0)
            return -1;
    }
    return 0;
}

/* exc_info after the head was sent: the application's exception goes on its way. */
static void
raise_again(PyObject *exc_info)
{
    if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3) {
        PyErr_Format(PyExc_TypeError, "exc_info must be the tuple of sys.exc_info(), not %R",
                     exc_info);
        return;
    }
    PyObject *type = PyTuple_GET_ITEM(exc_info, 0), *value = PyTuple_GET_ITEM(exc_info, 1),
             *traceback = PyTuple_GET_ITEM(exc_info, 2);
    if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError, "exc_info[0] must be an exception class, not %R", type);
        return;
    }
    if (traceback == Py_None)
        traceback = NULL;
    Py_INCREF(type);
    Py_XINCREF(value);
    Py_XINCREF(traceback);
    PyErr_Restore(type, value, traceback);
}

/* The arguments by name: start_response(status, headers, exc_info=None). */
static int
bind(PyObject *const *args, Py_ssize_t count, PyObject *kwnames, PyObject *ret_bound[3])
{
    static const char *const names[] = {"status", "headers", "exc_info"};
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < count && i < 3; i++)
        ret_bound[i] = args[i];
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        int i = 0;
        while (i < 3 && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == 3 || ret_bound[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "start_response() got an unexpected argument %R", name);
            return -1;
        }
        ret_bound[i] = args[count + k];
    }
    if (count > 3 || ret_bound[0] == NULL || ret_bound[1] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "start_response() takes status, headers and an optional exc_info");
        return -1;
    }
    return 0;
}

PyObject *
sl_wsgi_start_response_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    struct sl_wsgi_call *call = sl_wsgi_part_call(self, "start_response");
    if (call == NULL)
        return NULL;
    PyObject *bound[3] = {NULL, NULL, NULL};
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (count == 2 && kwnames == NULL) {
        bound[0] = args[0];
        bound[1] = args[1];
    } else if (bind(args, count, kwnames, bound) < 0) {
        return NULL;
    }
    bool again = sl_response_started(call->res);
    if (again && (bound[2] == NULL || bound[2] == Py_None)) {
        PyErr_SetString(PyExc_AssertionError, "start_response was called twice without exc_info");
        return NULL;
    }
    if (again && sl_response_committed(call->res)) {
        raise_again(bound[2]);
        return NULL;
    }
    size_t len;
    const char *status = sl_py_latin1(bound[0], "the response status", &len);
    if (status == NULL)
        return NULL;
    if (len >= 3 && status[0] == '1') {
        PyErr_Format(PyExc_ValueError,
                     "the response status %R: a WSGI application cannot upgrade a connection "
                     "(WebSocket) or give another interim answer here",
                     bound[0]);
        return NULL;
    }
    /* The PEP wants a reason; gunicorn and others never did, so "200" is taken, too. */
    if (sl_response_start(call->res, status, len) < 0) {
        PyErr_Format(PyExc_ValueError, "the response status must be like '200 OK', not %R",
                     bound[0]);
        return NULL;
    }
    call->has_length = false;
    if (add_headers(call, bound[1]) < 0)
        return NULL;
    if (call->wsgi->observer != NULL) {
        Py_XSETREF(call->status, Py_NewRef(bound[0]));
        Py_XSETREF(call->headers, PySequence_List(bound[1]));
        if (call->headers == NULL)
            return NULL;
    }
    Py_INCREF(call->write);
    return call->write;
}

PyObject *
sl_wsgi_write_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    struct sl_wsgi_call *call = sl_wsgi_part_call(self, "write()");
    if (call == NULL)
        return NULL;
    if (PyVectorcall_NARGS(nargsf) != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "write() takes one argument: bytes");
        return NULL;
    }
    if (!PyBytes_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "write() takes bytes, not %.100s", Py_TYPE(args[0])->tp_name);
        return NULL;
    }
    size_t len = (size_t)PyBytes_GET_SIZE(args[0]);
    if (len > 0 && sl_wsgi_send(call, PyBytes_AS_STRING(args[0]), len, SL_WRITE_FLUSH) < 0) {
        PyErr_SetString(PyExc_BrokenPipeError, "the client went away");
        return NULL;
    }
    Py_RETURN_NONE;
}

enum { HINTS_MAX = 64 };

PyObject *
sl_wsgi_early_hints_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    struct sl_wsgi_call *call = sl_wsgi_part_call(self, "wsgi.early_hints");
    if (call == NULL)
        return NULL;
    if (PyVectorcall_NARGS(nargsf) != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "wsgi.early_hints takes a list of (name, value)");
        return NULL;
    }
    if (sl_response_committed(call->res))
        Py_RETURN_NONE;
    PyObject *list = PySequence_List(args[0]);
    if (list == NULL)
        return NULL;
    struct sl_header hints[HINTS_MAX];
    size_t count = (size_t)PyList_GET_SIZE(list);
    if (count > HINTS_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %d early hints", HINTS_MAX);
        goto error;
    }
    for (size_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(list, (Py_ssize_t)i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_Format(PyExc_TypeError, "an early hint must be a tuple (name, value), not %R",
                         pair);
            goto error;
        }
        struct sl_header *hint = &hints[i];
        hint->name.ptr =
            sl_py_latin1(PyTuple_GET_ITEM(pair, 0), "an early hint's name", &hint->name.len);
        if (hint->name.ptr == NULL)
            goto error;
        hint->value.ptr =
            sl_py_latin1(PyTuple_GET_ITEM(pair, 1), "an early hint's value", &hint->value.len);
        if (hint->value.ptr == NULL)
            goto error;
    }
    if (sl_response_interim(call->res, 103, hints, count) == SL_EINVAL) {
        PyErr_Format(PyExc_ValueError, "early hints %R are not acceptable", list);
        goto error;
    }
    Py_DECREF(list);
    Py_RETURN_NONE;
error:
    Py_DECREF(list);
    return NULL;
}

static PyMemberDef part_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct sl_wsgi_part, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define PART_FLAGS                                                                                 \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION)

static PyType_Slot start_response_slots[] = {
    {Py_tp_doc,
     (void *)"start_response(status, headers, exc_info=None) of PEP 3333; returns write()."},
    {Py_tp_dealloc, (void *)sl_wsgi_part_dealloc},
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_members, part_members},
    {0, NULL},
};

PyType_Spec sl_wsgi_start_response_spec = {
    .name = "saola._saola.StartResponse",
    .basicsize = sizeof(struct sl_wsgi_part),
    .flags = PART_FLAGS,
    .slots = start_response_slots,
};

static PyType_Slot write_slots[] = {
    {Py_tp_doc, (void *)"write(bytes) of PEP 3333: sends at once."},
    {Py_tp_dealloc, (void *)sl_wsgi_part_dealloc},
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_members, part_members},
    {0, NULL},
};

PyType_Spec sl_wsgi_write_spec = {
    .name = "saola._saola.Write",
    .basicsize = sizeof(struct sl_wsgi_part),
    .flags = PART_FLAGS,
    .slots = write_slots,
};

static PyType_Slot early_hints_slots[] = {
    {Py_tp_doc, (void *)"wsgi.early_hints([(name, value), ...]): sends 103 Early Hints."},
    {Py_tp_dealloc, (void *)sl_wsgi_part_dealloc},
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_members, part_members},
    {0, NULL},
};

PyType_Spec sl_wsgi_early_hints_spec = {
    .name = "saola._saola.EarlyHints",
    .basicsize = sizeof(struct sl_wsgi_part),
    .flags = PART_FLAGS,
    .slots = early_hints_slots,
};
