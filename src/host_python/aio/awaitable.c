/* What our objects that stand in an await have in common: all is said by their am_send. */
#include "task.h"

PyObject *
sl_aio_coroutine_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult rc = Py_TYPE(self)->tp_as_async->am_send(self, value, &result);
    if (rc == PYGEN_NEXT)
        return result;
    if (rc == PYGEN_RETURN) {
        if (result == Py_None)
            PyErr_SetNone(PyExc_StopIteration);
        else
            PyErr_SetObject(PyExc_StopIteration, result);
        Py_DECREF(result);
    }
    return NULL;
}

PyObject *
sl_aio_coroutine_next(PyObject *self)
{
    PyObject *result = NULL;
    PySendResult rc = Py_TYPE(self)->tp_as_async->am_send(self, Py_None, &result);
    if (rc == PYGEN_NEXT)
        return result;
    if (rc == PYGEN_RETURN) {
        if (result != Py_None) /* no exception at all means None */
            PyErr_SetObject(PyExc_StopIteration, result);
        Py_DECREF(result);
    }
    return NULL;
}

void
sl_aio_raise_thrown(PyObject *args)
{
    PyObject *type, *value = NULL, *trace = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &trace))
        return;
    if (PyExceptionInstance_Check(type))
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    else if (value != NULL && value != Py_None)
        PyErr_SetObject(type, value);
    else
        PyErr_SetNone(type);
}

/* ---- one that is done ---------------------------------------------------------------------------
 */

static PySendResult
done_am_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **ret_result)
{
    *ret_result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyType_Slot done_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "An awaitable that is done."},
    SL_AIO_COROUTINE_SLOTS(done_am_send),
    {0, NULL},
};

PyType_Spec sl_aio_done_spec = {
    .name = "saola._saola.Done",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = done_slots,
};
