/* The object of a request: the coroutine that its task runs, around the application's, and what
 * timers and the loop call of it. One that nobody has kept serves the next request.
 */
#include "task.h"
#include "websocket.h"
#include <string.h>

/* ---- coroutine ----------------------------------------------------------------------------------
 */

static PySendResult
no_more(PyObject **ret_result)
{
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    *ret_result = NULL;
    return PYGEN_ERROR;
}

/* *ret_context: to be left by leave_context(); NULL: it has none of its own. 0 or -1. */
static int
enter_context(struct sl_asgi_request *r, PyObject **ret_context)
{
    *ret_context = NULL;
    if (r->context == NULL)
        return 0;
    if (PyContext_Enter(r->context) < 0)
        return -1;
    *ret_context = Py_NewRef(r->context);
    return 0;
}

static void
leave_context(PyObject *context)
{
    if (context == NULL)
        return;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyContext_Exit(context);
    PyErr_Restore(type, value, trace);
    Py_DECREF(context);
}

static PySendResult
step(struct sl_asgi_request *r, PyObject *value, PyObject **ret_result)
{
    PyObject *inner = r->inner;
    if (inner == NULL)
        return no_more(ret_result);
    Py_INCREF(inner);
    PySendResult rc = PyIter_Send(inner, value, ret_result);
    Py_DECREF(inner);
    if (rc == PYGEN_NEXT)
        return rc;
    if (rc == PYGEN_RETURN) {
        Py_CLEAR(*ret_result);
        sl_asgi_app_ended(r, NULL);
    } else if (sl_asgi_app_raised(r)) {
        *ret_result = NULL;
        return PYGEN_ERROR;
    }
    *ret_result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

PySendResult
sl_asgi_request_step(struct sl_asgi_request *r, PyObject *value, PyObject **ret_result)
{
    PyObject *context;
    *ret_result = NULL;
    if (enter_context(r, &context) < 0)
        return PYGEN_ERROR;
    PySendResult rc = step(r, value, ret_result);
    leave_context(context);
    return rc;
}

/* What came of the first step, which was before the task began; *ret_come is the caller's. */
static enum sl_asgi_came
take_outcome(struct sl_asgi_request *r, PyObject **ret_come)
{
    enum sl_asgi_came came = r->came;
    *ret_come = r->come;
    r->come = NULL;
    r->came = SL_ASGI_CAME_NOT;
    return came;
}

static PySendResult
request_am_send(PyObject *self, PyObject *value, PyObject **ret_result)
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    if (r->came == SL_ASGI_CAME_NOT)
        return sl_asgi_request_step(r, value, ret_result);
    enum sl_asgi_came came = take_outcome(r, ret_result);
    if (came == SL_ASGI_CAME_FUTURE)
        return PYGEN_NEXT;
    if (came == SL_ASGI_CAME_END) {
        *ret_result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(*ret_result), *ret_result);
    Py_CLEAR(*ret_result);
    return PYGEN_ERROR;
}

static PyObject *
throw_into(struct sl_asgi_request *r, PyObject *args)
{
    PyObject *inner = r->inner, *none;
    if (inner == NULL) {
        (void)no_more(&none);
        return NULL;
    }
    Py_INCREF(inner);
    PyObject *method = PyObject_GetAttr(inner, r->aio->text_throw);
    PyObject *result = method ? PyObject_Call(method, args, NULL) : NULL;
    Py_XDECREF(method);
    Py_DECREF(inner);
    if (result != NULL)
        return result;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        sl_asgi_app_ended(r, NULL);
    } else if (sl_asgi_app_raised(r)) {
        return NULL;
    }
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static bool
cancel(struct sl_asgi_request *r, PyObject *future)
{
    if (future == Py_None)
        return false;
    PyObject *done = PyObject_CallMethodNoArgs(future, r->aio->text_cancel);
    bool is_cancelled = done == Py_True;
    if (done == NULL)
        PyErr_Clear();
    Py_XDECREF(done);
    return is_cancelled;
}

static PyObject *
request_throw(PyObject *self, PyObject *args)
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    PyObject *come, *context;
    enum sl_asgi_came came = take_outcome(r, &come);
    /* The first step has cancelled its own task. A task that had run it would cancel what is waited
     * for, and ends cancelled where nothing is. */
    if (came == SL_ASGI_CAME_FUTURE && cancel(r, come))
        return come;
    if (came == SL_ASGI_CAME_ERROR)
        PyErr_SetObject((PyObject *)Py_TYPE(come), come);
    Py_XDECREF(come);
    if (came == SL_ASGI_CAME_END)
        sl_aio_raise_thrown(args);
    if (came == SL_ASGI_CAME_ERROR || came == SL_ASGI_CAME_END || enter_context(r, &context) < 0)
        return NULL;
    PyObject *result = throw_into(r, args);
    leave_context(context);
    return result;
}

static int
close_inner(struct sl_asgi_request *r)
{
    PyObject *inner = Py_NewRef(r->inner);
    PyObject *done = PyObject_CallMethodNoArgs(inner, r->aio->text_close);
    Py_DECREF(inner);
    if (done == NULL)
        return sl_asgi_app_raised(r) ? -1 : 0;
    Py_DECREF(done);
    if (r->inner != NULL) {
        r->gone = true; /* no complaint about a response that is missing */
        sl_asgi_app_ended(r, NULL);
    }
    return 0;
}

PyObject *
sl_asgi_request_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    PyObject *come, *context;
    (void)take_outcome(r, &come);
    Py_XDECREF(come);
    if (r->inner == NULL)
        Py_RETURN_NONE;
    if (enter_context(r, &context) < 0)
        return NULL;
    int rc = close_inner(r);
    leave_context(context);
    return rc == 0 ? Py_NewRef(Py_None) : NULL;
}

/* cr_frame, cr_code, __name__, ...: debuggers and asyncio's repr see the application. */
static PyObject *
request_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    if (value != NULL || r->inner == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(r->inner, name);
}

/* ---- called by the loop
 * -------------------------------------------------------------------------- */

/* After the grace period. */
static PyObject *
cancel_task(struct sl_asgi_request *r)
{
    if (r->task == NULL)
        Py_RETURN_NONE;
    PyObject *task = Py_NewRef(r->task);
    PyObject *done = PyObject_CallMethodNoArgs(task, r->aio->text_cancel);
    Py_DECREF(task);
    return done;
}

static PyObject *
request_abandon(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    Py_CLEAR(r->timer);
    return cancel_task(r);
}

/* More of a body has come, for aiohttp's reader. */
static PyObject *
request_pump(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    if (r->payload != NULL)
        sl_aiohttp_pump(r);
    Py_RETURN_NONE;
}

/* The exchange was over while the engine told of an event; now it may end. */
static PyObject *
request_end(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    sl_asgi_end_exchange((struct sl_asgi_request *)self);
    Py_RETURN_NONE;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void
clear_parts(struct sl_asgi_request *r)
{
    Py_CLEAR(r->inner);
    Py_CLEAR(r->task);
    Py_CLEAR(r->context);
    Py_CLEAR(r->come);
    if (r->protocol != NULL)
        sl_aiohttp_end(r);
    Py_CLEAR(r->payload);
    Py_CLEAR(r->waiters);
    Py_CLEAR(r->timer);
    Py_CLEAR(r->trailers);
    Py_CLEAR(r->method);
    Py_CLEAR(r->path);
    Py_CLEAR(r->owner);
}

/* Most requests are answered before their handler returns, and nobody keeps anything of them: the
 * object, its two functions and its task serve the next one. */
static struct sl_asgi_request *
take_spare(struct sl_aio *aio)
{
    struct sl_asgi_request *r = aio->spare;
    if (r == NULL)
        return NULL;
    aio->spare = NULL;
    PyObject_GC_Track(r);
    return r;
}

void
sl_asgi_request_disband(struct sl_asgi_request *r)
{
    Py_CLEAR(r->receive);
    Py_CLEAR(r->send);
    sl_aio_standby_clear(&r->standby);
}

/* Whether nobody but its functions, its task and the caller refers to it. */
static bool
is_alone(const struct sl_asgi_request *r)
{
    Py_ssize_t own = 1 + (r->standby.task != NULL);
    for (int i = 0; i < 2; i++) {
        PyObject *function = i == 0 ? r->receive : r->send;
        if (function != NULL && Py_REFCNT(function) != 1)
            return false;
        own += function != NULL;
    }
    return Py_REFCNT(r) == own;
}

/* The handler is over, and with it the caller's reference. */
void
sl_asgi_request_give_back(struct sl_aio *aio, struct sl_asgi_request *r)
{
    if (!is_alone(r) || r->listed || r->socket != NULL || aio->spare != NULL) {
        sl_asgi_request_disband(r);
        Py_DECREF(r);
        return;
    }
    PyObject_GC_UnTrack(r);
    clear_parts(r);
    memset((char *)r + offsetof(struct sl_asgi_request, owner), 0,
           sizeof *r - offsetof(struct sl_asgi_request, owner));
    aio->spare = r;
}

void
sl_asgi_spare_free(struct sl_aio *aio)
{
    struct sl_asgi_request *r = take_spare(aio);
    if (r == NULL)
        return;
    sl_asgi_request_disband(r);
    Py_DECREF(r);
}

struct sl_asgi_request *
sl_asgi_request_new(struct sl_aio *aio, struct sl_request *req, struct sl_response *res)
{
    PyTypeObject *type = aio->state->asgi_request_type;
    struct sl_asgi_request *r = take_spare(aio);
    if (r == NULL)
        r = (struct sl_asgi_request *)type->tp_alloc(type, 0);
    if (r == NULL)
        return NULL;
    r->aio = aio;
    r->owner = Py_NewRef(aio->owner);
    r->req = req;
    r->res = res;
    return r;
}

/* ---- type
 * ---------------------------------------------------------------------------------------- */

static int
request_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(r->receive);
    Py_VISIT(r->send);
    Py_VISIT(r->standby.task);
    Py_VISIT(r->standby.step);
    Py_VISIT(r->standby.context);
    Py_VISIT(r->standby.entry);
    Py_VISIT(r->owner);
    Py_VISIT(r->inner);
    Py_VISIT(r->task);
    Py_VISIT(r->context);
    Py_VISIT(r->come);
    Py_VISIT(r->waiters);
    Py_VISIT(r->timer);
    Py_VISIT(r->trailers);
    if (r->socket != NULL) {
        Py_VISIT(r->socket->inbox);
        Py_VISIT(r->socket->farewell);
    }
    Py_VISIT(r->protocol);
    Py_VISIT(r->payload);
    return 0;
}

static int
request_clear(PyObject *self)
{
    struct sl_asgi_request *r = (struct sl_asgi_request *)self;
    if (r->aio != NULL && r->owner != NULL) {
        sl_asgi_request_unlist(r);
        sl_asgi_socket_free(r);
    }
    clear_parts(r);
    sl_asgi_request_disband(r);
    return 0;
}

static void
request_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    request_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef request_methods[] = {
    SL_AIO_COROUTINE_METHODS,
    {"throw", request_throw, METH_VARARGS, NULL},
    {"close", sl_asgi_request_close, METH_NOARGS, NULL},
    {"_abandon", request_abandon, METH_NOARGS, NULL},
    {"_pump", request_pump, METH_NOARGS, NULL},
    {"_end", request_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "The coroutine of one ASGI request."},
    {Py_tp_traverse, (void *)(uintptr_t)request_traverse},
    {Py_tp_clear, (void *)(uintptr_t)request_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)request_dealloc},
    {Py_tp_getattro, (void *)(uintptr_t)request_getattro},
    SL_AIO_COROUTINE_SLOTS(request_am_send),
    {Py_tp_methods, request_methods},
    {0, NULL},
};

PyType_Spec sl_asgi_request_spec = {
    .name = "saola._saola.ASGIRequest",
    .basicsize = sizeof(struct sl_asgi_request),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = request_slots,
};
