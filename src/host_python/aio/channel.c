/* receive() and send(): what they return is done at the first step of its await, and without a
 * future when nothing has to be waited for. It can be awaited, and as a coroutine be made a task.
 */
#include "message.h"
#include "task.h"

struct op {
    PyObject_HEAD struct sl_asgi_request *request;
    PyObject *message; /* of send(); NULL: receive() */
    PyObject *future;  /* waited for */
    PyObject *iterator;
    bool sent; /* the message was taken, only room is waited for */
    bool over;
};

/* ---- waiting
 * -------------------------------------------------------------------------------------- */

static void
forget_future(struct op *op)
{
    PyObject *waiters = op->request->waiters;
    if (op->future == NULL)
        return;
    for (Py_ssize_t i = 0; waiters != NULL && i < PyList_GET_SIZE(waiters); i++) {
        if (PyList_GET_ITEM(waiters, i) == op->future) {
            if (PyList_SetSlice(waiters, i, i + 1, NULL) < 0)
                PyErr_Clear();
            break;
        }
    }
    Py_CLEAR(op->iterator);
    Py_CLEAR(op->future);
}

/* The future to wait for; new reference. */
static PyObject *
wait(struct op *op)
{
    struct sl_asgi_request *r = op->request;
    forget_future(op);
    if (r->waiters == NULL && (r->waiters = PyList_New(0)) == NULL)
        return NULL;
    op->future = PyObject_CallNoArgs(r->aio->create_future);
    if (op->future == NULL || PyList_Append(r->waiters, op->future) < 0)
        return NULL;
    PyTypeObject *type = Py_TYPE(op->future);
    if (type->tp_as_async != NULL && type->tp_as_async->am_await != NULL)
        op->iterator = type->tp_as_async->am_await(op->future);
    return op->iterator ? PyIter_Next(op->iterator) : NULL;
}

/* One look. PYGEN_RETURN with the result, PYGEN_NEXT with the future to wait for, PYGEN_ERROR. */
static PySendResult
step(struct op *op, PyObject **ret_result)
{
    *ret_result = NULL;
    if (op->over) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return PYGEN_ERROR;
    }
    struct sl_asgi_request *r = op->request;
    if (op->message != NULL) {
        /* Woken for another reason than room, it waits again. */
        int rc = op->sent ? r->full : sl_asgi_send_message(r, op->message);
        op->sent = true;
        if (rc == 0)
            *ret_result = Py_NewRef(Py_None);
        if (rc < 0)
            goto error;
    } else {
        *ret_result = sl_asgi_receive_message(r);
        if (*ret_result == NULL && PyErr_Occurred())
            goto error;
    }
    if (*ret_result != NULL) {
        op->over = true;
        forget_future(op);
        return PYGEN_RETURN;
    }
    *ret_result = wait(op);
    if (*ret_result != NULL)
        return PYGEN_NEXT;
error:
    op->over = true;
    forget_future(op);
    return PYGEN_ERROR;
}

static PySendResult
op_am_send(PyObject *self, PyObject *value, PyObject **ret_result)
{
    struct op *op = (struct op *)self;
    if (op->iterator != NULL) { /* the future is done, or somebody steps us by hand */
        PySendResult rc = PyIter_Send(op->iterator, value, ret_result);
        if (rc == PYGEN_NEXT)
            return rc;
        if (rc == PYGEN_ERROR) {
            op->over = true;
            forget_future(op);
            return rc;
        }
        Py_CLEAR(*ret_result);
        forget_future(op);
    }
    return step(op, ret_result);
}

static PyObject *
op_throw(PyObject *self, PyObject *args)
{
    struct op *op = (struct op *)self;
    if (op->iterator != NULL) {
        PyObject *method = PyObject_GetAttrString(op->iterator, "throw");
        PyObject *result = method ? PyObject_Call(method, args, NULL) : NULL;
        Py_XDECREF(method);
        if (result != NULL)
            return result;
    } else {
        sl_aio_raise_thrown(args);
    }
    op->over = true;
    forget_future(op);
    return NULL;
}

static PyObject *
op_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct op *op = (struct op *)self;
    op->over = true;
    forget_future(op);
    Py_RETURN_NONE;
}

/* ---- the functions that the application gets
 * -------------------------------------------------------- */

static PyObject *
op_new(PyObject *request, PyObject *message)
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)request;
    if (r->owner == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the request is over and was collected");
        return NULL;
    }
    PyTypeObject *type = r->aio->state->asgi_op_type;
    struct op *op;
    if (r->aio->spare_call_count > 0) {
        op = r->aio->spare_calls[--r->aio->spare_call_count];
        (void)PyObject_Init((PyObject *)op, type);
    } else {
        op = PyObject_GC_New(struct op, type);
    }
    if (op == NULL)
        return NULL;
    op->request = (struct sl_asgi_request *)Py_NewRef(request);
    op->message = Py_XNewRef(message);
    op->future = op->iterator = NULL;
    op->sent = op->over = false;
    PyObject_GC_Track(op);
    return (PyObject *)op;
}

static PyObject *
receive(PyObject *request, PyObject *Py_UNUSED(ignored))
{
    return op_new(request, NULL);
}

PyMethodDef sl_asgi_receive_def = {
    "receive", receive, METH_NOARGS,
    "receive()\n--\n\nAwait the next message: http.request or http.disconnect."};
PyMethodDef sl_asgi_send_def = {"send", op_new, METH_O,
                                "send(message)\n--\n\nSend a part of the response. "
                                "ConnectionResetError once the client is gone."};

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct op *op = (struct op *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)op->request);
    Py_VISIT(op->message);
    Py_VISIT(op->future);
    Py_VISIT(op->iterator);
    return 0;
}

static int
op_clear(PyObject *self)
{
    struct op *op = (struct op *)self;
    if (op->request != NULL)
        forget_future(op);
    Py_CLEAR(op->message);
    Py_CLEAR(op->request);
    return 0;
}

static void
op_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct op *op = (struct op *)self;
    PyObject_GC_UnTrack(self);
    PyObject *owner = op->request != NULL ? Py_XNewRef(op->request->owner) : NULL;
    struct sl_aio *aio = owner != NULL ? op->request->aio : NULL;
    op_clear(self);
    if (aio != NULL && aio->spare_call_count < SL_AIO_SPARES)
        aio->spare_calls[aio->spare_call_count++] = self;
    else
        PyObject_GC_Del(self);
    Py_XDECREF(owner);
    Py_DECREF(type);
}

void
sl_asgi_calls_free(struct sl_aio *aio)
{
    while (aio->spare_call_count > 0)
        PyObject_GC_Del(aio->spare_calls[--aio->spare_call_count]);
}

static PyMethodDef op_methods[] = {
    SL_AIO_COROUTINE_METHODS,
    {"throw", op_throw, METH_VARARGS, NULL},
    {"close", op_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "A call of receive() or send()."},
    {Py_tp_traverse, (void *)(uintptr_t)op_traverse},
    {Py_tp_clear, (void *)(uintptr_t)op_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)op_dealloc},
    SL_AIO_COROUTINE_SLOTS(op_am_send),
    {Py_tp_methods, op_methods},
    {0, NULL},
};

PyType_Spec sl_asgi_op_spec = {
    .name = "saola._saola.ASGICall",
    .basicsize = sizeof(struct op),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};
