/* What the files of the extension module need of CPython's objects: types, exceptions, text. */
#include "state.h"

int
sl_py_type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    *slot = (PyTypeObject *)type;
    return PyModule_AddType(module, *slot);
}

PyObject *
sl_py_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void
sl_py_error_text(char *ret_text, size_t size, bool with_type)
{
    PyObject *value = sl_py_take_exception();
    PyObject *text = value == NULL ? NULL : PyObject_Str(value);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    const char *name = value == NULL ? "error" : Py_TYPE(value)->tp_name;
    if (utf8 == NULL || *utf8 == '\0')
        PyOS_snprintf(ret_text, size, "%s", name);
    else if (with_type)
        PyOS_snprintf(ret_text, size, "%s: %s", name, utf8);
    else
        PyOS_snprintf(ret_text, size, "%s", utf8);
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(value);
}

const char *
sl_py_latin1(PyObject *text, const char *what, size_t *ret_len)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %.100s (%R)", what,
                     Py_TYPE(text)->tp_name, text);
        return NULL;
    }
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0)
        return NULL;
#endif
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "%s has characters beyond latin-1: %R", what, text);
        return NULL;
    }
    *ret_len = (size_t)PyUnicode_GET_LENGTH(text);
    return (const char *)PyUnicode_1BYTE_DATA(text);
}
