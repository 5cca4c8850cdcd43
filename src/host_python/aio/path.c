/* The path of a request as ASGI has it; those that came before are kept. */
#include "aio.h"

/* Decoded as the specification wants: percent-decoded, then UTF-8. */
static PyObject *
decode_path(struct sl_aio *aio, const char *ptr, size_t len)
{
    char *bytes = PyMem_Malloc(len + 1);
    if (bytes == NULL)
        return PyErr_NoMemory();
    size_t n = sl_py_percent_decode(bytes, ptr, len);
    PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)n, "replace");
    PyMem_Free(bytes);
    if (text == NULL || PyUnicode_GET_LENGTH(aio->root_path) == 0)
        return text;
    PyObject *whole = PyUnicode_Concat(aio->root_path, text);
    Py_DECREF(text);
    return whole;
}

static PyObject *
raw_path(struct sl_aio *aio, PyObject *sent)
{
    PyObject *raw = Py_NewRef(aio->root_raw);
    if (PyBytes_GET_SIZE(raw) == 0) {
        Py_DECREF(raw);
        return Py_NewRef(sent);
    }
    PyBytes_Concat(&raw, sent);
    return raw;
}

struct sl_aio_path *
sl_aio_path_find(struct sl_aio *aio, const char *ptr, size_t len)
{
    struct sl_aio_path *slot = &aio->paths[sl_py_mix(ptr, len) & (SL_AIO_PATHS - 1)];
    if (slot->sent != NULL && sl_aio_same_bytes(slot->sent, ptr, len))
        return slot;
    PyObject *sent = PyBytes_FromStringAndSize(ptr, (Py_ssize_t)len);
    PyObject *raw = sent ? raw_path(aio, sent) : NULL;
    PyObject *text = raw ? decode_path(aio, ptr, len) : NULL;
    if (text == NULL) {
        Py_XDECREF(sent);
        Py_XDECREF(raw);
        return NULL;
    }
    Py_XSETREF(slot->sent, sent);
    Py_XSETREF(slot->raw, raw);
    Py_XSETREF(slot->text, text);
    return slot;
}
