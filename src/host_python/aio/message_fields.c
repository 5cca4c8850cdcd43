/* What an application gives as fields: an iterable of pairs of bytes. */
#include "message.h"

int
sl_asgi_get_bytes(PyObject *object, const char *what, struct sl_asgi_bytes *ret)
{
    ret->view.obj = NULL;
    if (PyBytes_Check(object)) {
        ret->ptr = PyBytes_AS_STRING(object);
        ret->len = (size_t)PyBytes_GET_SIZE(object);
        return 0;
    }
    if (!PyObject_CheckBuffer(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be bytes, not %.100s", what,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (PyObject_GetBuffer(object, &ret->view, PyBUF_SIMPLE) < 0)
        return -1;
    ret->ptr = ret->view.buf;
    ret->len = (size_t)ret->view.len;
    return 0;
}

void
sl_asgi_drop_bytes(struct sl_asgi_bytes *bytes)
{
    if (bytes->view.obj != NULL)
        PyBuffer_Release(&bytes->view);
}

static inline struct sl_str
text_of(PyObject *bytes)
{
    return (struct sl_str){PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
}

static int
each_pair(PyObject *pair, sl_asgi_field_fn use, void *ctx)
{
    struct sl_asgi_bytes name, value;
    if (PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
        PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 0)) &&
        PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 1))) { /* nearly always */
        struct sl_header field = {text_of(PyTuple_GET_ITEM(pair, 0)),
                                  text_of(PyTuple_GET_ITEM(pair, 1))};
        return use(ctx, &field);
    }
    PyObject *fast = PySequence_Fast(pair, "a header must be a pair of bytes");
    if (fast == NULL)
        return -1;
    int rc = -1;
    if (PySequence_Fast_GET_SIZE(fast) != 2) {
        PyErr_SetString(PyExc_ValueError, "a header must be a pair (name, value) of bytes");
    } else if (sl_asgi_get_bytes(PySequence_Fast_GET_ITEM(fast, 0), "the name of a header",
                                 &name) == 0) {
        if (sl_asgi_get_bytes(PySequence_Fast_GET_ITEM(fast, 1), "the value of a header", &value) ==
            0) {
            struct sl_header field = {{name.ptr, name.len}, {value.ptr, value.len}};
            rc = use(ctx, &field);
            sl_asgi_drop_bytes(&value);
        }
        sl_asgi_drop_bytes(&name);
    }
    Py_DECREF(fast);
    return rc;
}

int
sl_asgi_each_field(PyObject *headers, sl_asgi_field_fn use, void *ctx)
{
    if (headers == NULL)
        return 0;
    PyObject *fast = PySequence_Fast(headers, "headers must be an iterable of pairs of bytes");
    int rc = fast != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PySequence_Fast_GET_SIZE(fast); i++)
        rc = each_pair(PySequence_Fast_GET_ITEM(fast, i), use, ctx);
    Py_XDECREF(fast);
    return rc;
}

int
sl_asgi_keep_field(void *ctx, const struct sl_header *h)
{
    PyObject *pair = Py_BuildValue("(y#y#)", h->name.ptr, (Py_ssize_t)h->name.len, h->value.ptr,
                                   (Py_ssize_t)h->value.len);
    int rc = pair != NULL ? PyList_Append(ctx, pair) : -1;
    Py_XDECREF(pair);
    return rc;
}

int
sl_asgi_collect_field(void *ctx, const struct sl_header *h)
{
    struct sl_asgi_fields *list = ctx;
    if (list->count == SL_ASGI_FIELDS) {
        PyErr_SetString(PyExc_ValueError, "too many headers in one ASGI message");
        return -1;
    }
    list->fields[list->count++] = *h;
    return 0;
}

int
sl_asgi_fields_read(PyObject *headers, struct sl_asgi_fields *ret, PyObject **ret_keep)
{
    PyObject *keep = PyList_New(0);
    ret->count = 0;
    if (keep == NULL || sl_asgi_each_field(headers, sl_asgi_keep_field, keep) < 0 ||
        sl_asgi_each_field(keep, sl_asgi_collect_field, ret) < 0) {
        Py_XDECREF(keep);
        return -1;
    }
    *ret_keep = keep;
    return 0;
}
