/* One ASGI request: the engine's handler, and what becomes of the exchange (the coroutine that the
 * task runs: coroutine.c).
 *
 * The coroutine is this object, around the application's: so the end of the application is seen
 * where it happens, without a callback of the task. The exchange ends when the response is complete
 * or the application has ended, whichever is first; what the application does after its response
 * (background tasks) is its own business.
 */
#include "task.h"
#include "websocket.h"

/* ---- exchange ------------------------------------------------------------------------------- */

void
sl_asgi_wake(struct sl_asgi_request *r)
{
    PyObject *waiters = r->waiters;
    if (waiters == NULL)
        return;
    r->waiters = NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(waiters); i++) {
        PyObject *future = PyList_GET_ITEM(waiters, i);
        PyObject *done = PyObject_CallMethodNoArgs(future, r->aio->text_done);
        if (done == Py_False)
            Py_SETREF(done, PyObject_CallMethodOneArg(future, r->aio->text_set_result, Py_None));
        if (done == NULL)
            PyErr_WriteUnraisable(future);
        Py_XDECREF(done);
    }
    Py_DECREF(waiters);
}

static void
stop_timer(struct sl_asgi_request *r)
{
    PyObject *timer = r->timer;
    if (timer == NULL)
        return;
    r->timer = NULL;
    PyObject *done = PyObject_CallMethodNoArgs(timer, r->aio->text_cancel);
    if (done == NULL)
        PyErr_WriteUnraisable(timer);
    Py_XDECREF(done);
    Py_DECREF(timer);
}

void
sl_asgi_end_exchange(struct sl_asgi_request *r)
{
    struct sl_request *req = r->req;
    if (req == NULL || r->inside)
        return;
    r->req = NULL;
    r->res = NULL;
    r->full = false;
    if (r->timer != NULL && r->socket == NULL) /* a WebSocket's application is to end with it */
        stop_timer(r);
    if (r->waiters != NULL)
        sl_asgi_wake(r);
    if (r->pending) {
        r->pending = false;
        sl_request_finish(req);
        Py_DECREF(r);
    }
}

void
sl_asgi_request_unlist(struct sl_asgi_request *r)
{
    if (!r->listed)
        return;
    r->listed = false;
    r->aio->active--;
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        r->aio->first = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
}

static void
enlist(struct sl_asgi_request *r)
{
    r->listed = true;
    r->aio->active++;
    r->next = r->aio->first;
    if (r->next != NULL)
        r->next->prev = r;
    r->aio->first = r;
}

/* ---- the end of the application ----------------------------------------------------------------
 */

static void
call_log(PyObject *log, PyObject *what, struct sl_asgi_request *r)
{
    PyObject *done = NULL;
    if (log != NULL && what != NULL)
        done = PyObject_CallFunctionObjArgs(log, what, r->method ? r->method : Py_None,
                                            r->path ? r->path : Py_None, NULL);
    if (done == NULL && PyErr_Occurred())
        PyErr_WriteUnraisable(log);
    Py_XDECREF(done);
}

void
sl_asgi_fault(struct sl_asgi_request *r, const char *sentence)
{
    PyObject *text = PyUnicode_FromString(sentence);
    call_log(r->aio->on_fault, text, r);
    Py_XDECREF(text);
}

static bool
client_has_gone(const struct sl_asgi_request *r)
{
    return r->gone || r->broken || (r->req != NULL && sl_request_gone(r->req));
}

static bool
is_cancelled(struct sl_asgi_request *r, PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, r->aio->state->cancelled_error);
}

static void
report(struct sl_asgi_request *r, PyObject *exception)
{
    if (is_cancelled(r, exception) || PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit))
        return; /* whoever cancelled it knows */
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError) && client_has_gone(r))
        return;
    call_log(r->aio->on_error, exception, r);
}

/* exception: what left the application, or NULL. */
void
sl_asgi_app_ended(struct sl_asgi_request *r, PyObject *exception)
{
    Py_CLEAR(r->inner);
    Py_CLEAR(r->task);
    if (r->timer != NULL)
        stop_timer(r);
    sl_asgi_request_unlist(r);
    if (r->protocol != NULL)
        sl_aiohttp_end(r);
    if (exception != NULL)
        report(r, exception);
    if (r->socket != NULL) {
        sl_asgi_socket_abandon(r, exception != NULL,
                               exception != NULL && is_cancelled(r, exception));
        return;
    }
    if (exception == NULL && !r->complete && !client_has_gone(r) && r->aio->aiohttp == NULL)
        sl_asgi_fault(r, r->started
                             ? "the ASGI application returned without completing its response"
                             : "the ASGI application returned without starting a response");
    if (r->req != NULL && !r->complete && !r->broken)
        sl_response_fail(r->res, 500, NULL);
    sl_asgi_end_exchange(r);
}

/* SystemExit and KeyboardInterrupt leave by the turn that is under way. */
static void
keep_exit(struct sl_aio *aio)
{
    PyObject *exception = sl_py_take_exception();
    if (exception == NULL)
        return;
    sl_py_engine_exit((struct sl_py_engine *)aio->owner, exception);
    Py_DECREF(exception);
}

/* The exception that is set has left the application. True: it goes on to the task. */
bool
sl_asgi_app_raised(struct sl_asgi_request *r)
{
    PyObject *exception = sl_py_take_exception();
    if (exception == NULL)
        return false;
    sl_asgi_app_ended(r, exception);
    bool passes = !PyErr_GivenExceptionMatches(exception, PyExc_Exception);
    bool ends = PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
                PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
    if (passes)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    if (passes && ends && r->inside) {
        keep_exit(r->aio); /* not by the task, whose constructor would fail and complain besides */
        passes = false;
    }
    return passes;
}

/* ---- the engine's handler
 * ------------------------------------------------------------------------ */

/* What the application returned, as something that can be sent to. Steals result. */
static PyObject *
as_coroutine(PyObject *result)
{
    PyTypeObject *type = Py_TYPE(result);
    if (PyCoro_CheckExact(result) || (type->tp_as_async && type->tp_as_async->am_send))
        return result;
    if (type->tp_as_async == NULL || type->tp_as_async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError,
                     "the ASGI application returned %.100s instead of a coroutine: an ASGI 3 "
                     "application is `async def app(scope, receive, send)`%s",
                     type->tp_name,
                     PyCallable_Check(result) ? "; for ASGI 2 wrap it in asgiref's guarantee_"
                                                "single_callable()"
                                              : "");
        Py_DECREF(result);
        return NULL;
    }
    PyObject *iterator = type->tp_as_async->am_await(result);
    Py_DECREF(result);
    return iterator;
}

static PyObject *
call_app(struct sl_asgi_request *r)
{
    PyObject *scope = sl_asgi_scope_new(r), *result = NULL;
    if (r->receive == NULL)
        r->receive = PyCFunction_New(&sl_asgi_receive_def, (PyObject *)r);
    if (r->send == NULL)
        r->send = PyCFunction_New(&sl_asgi_send_def, (PyObject *)r);
    if (scope != NULL && r->receive != NULL && r->send != NULL) {
        PyObject *args[4] = {NULL, scope, r->receive, r->send};
        result =
            PyObject_Vectorcall(r->aio->app, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(scope);
    return result != NULL ? as_coroutine(result) : NULL;
}

static void
start(struct sl_asgi_request *r)
{
    r->inner = r->aio->aiohttp != NULL ? sl_aiohttp_call(r) : call_app(r);
    if (r->inner == NULL) {
        if (sl_asgi_app_raised(r))
            keep_exit(r->aio);
        return;
    }
    enlist(r);
    PyObject *task = sl_aio_start_task(r->aio, r);
    if (task == NULL) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        if (r->inner != NULL) {
            PyObject *done = sl_asgi_request_close((PyObject *)r, NULL);
            Py_XDECREF(done);
        }
        PyErr_Restore(type, value, trace);
        keep_exit(r->aio);
        return;
    }
    if (r->inner != NULL)
        r->task = task;
    else
        Py_DECREF(task);
}

int
sl_asgi_handle(struct sl_aio *aio, struct sl_request *req, struct sl_response *res)
{
    if (aio->limit != 0 && aio->active >= aio->limit) {
        sl_response_fail(res, 503, "The server is at its limit of concurrent requests.");
        return 0;
    }
    int code = 0;
    if (aio->aiohttp != NULL && sl_aiohttp_give_away(aio, req, res, &code))
        return code;
    if (aio->give_away != NULL && sl_ws_is_upgrade(req))
        return sl_aio_give_away(aio, aio->give_away, req, res);
    struct sl_asgi_request *r = sl_asgi_request_new(aio, req, res);
    if (r == NULL) {
        PyErr_WriteUnraisable(aio->app);
        return SL_ENOMEM;
    }
    r->inside = true;
    if (!sl_ws_is_upgrade(req))
        start(r);
    else if (sl_asgi_socket_open(r))
        start(r);
    r->inside = false;
    if (r->socket != NULL && r->socket->left)
        sl_asgi_start_grace(r); /* before there was a task to cancel */
    if (r->socket != NULL ? !r->socket->over : r->inner != NULL && !r->complete && !r->broken) {
        sl_asgi_request_disband(r); /* the application has them */
        sl_asgi_scope_forget(aio);
        r->pending = true; /* the engine's reference */
        req->host_data = r;
        return SL_PENDING;
    }
    sl_asgi_end_exchange(r);
    sl_asgi_request_give_back(aio, r);
    sl_asgi_scope_settle(aio);
    return 0;
}

/* ---- what happens to the connection
 * -------------------------------------------------------------- */

void
sl_asgi_start_grace(struct sl_asgi_request *r)
{
    if (r->timer != NULL || r->aio->grace < 0 || r->task == NULL)
        return;
    PyObject *call = PyObject_GetAttrString((PyObject *)r, "_abandon");
    PyObject *seconds = PyFloat_FromDouble(r->aio->grace);
    if (call != NULL && seconds != NULL)
        r->timer =
            PyObject_CallMethodObjArgs(r->aio->loop, r->aio->text_call_later, seconds, call, NULL);
    if (r->timer == NULL)
        PyErr_WriteUnraisable((PyObject *)r);
    Py_XDECREF(call);
    Py_XDECREF(seconds);
}

void
sl_asgi_event(struct sl_request *req, unsigned what)
{
    struct sl_asgi_request *r = req->host_data;
    if (r == NULL)
        return;
    if (what & (SL_ON_ROOM | SL_ON_GONE | SL_ON_CLOSED))
        r->full = false;
    if (r->socket != NULL) {
        sl_asgi_socket_event(r, what);
        return;
    }
    if (what & (SL_ON_GONE | SL_ON_CLOSED))
        sl_asgi_start_grace(r);
    if (what & SL_ON_CLOSED) {
        r->req = NULL;
        r->res = NULL;
        r->gone = true;
        r->pending = false;
        if (r->protocol != NULL)
            sl_aiohttp_event(r, what);
        sl_asgi_wake(r);
        Py_DECREF(r);
        return;
    }
    if (r->protocol != NULL)
        sl_aiohttp_event(r, what);
    sl_asgi_wake(r);
}

Py_ssize_t
sl_asgi_cancel_all(struct sl_aio *aio)
{
    PyObject *tasks = PyList_New(0);
    for (struct sl_asgi_request *r = aio->first; tasks != NULL && r != NULL; r = r->next) {
        if (r->task != NULL && PyList_Append(tasks, r->task) < 0)
            Py_CLEAR(tasks);
    }
    if (tasks == NULL)
        return -1;
    Py_ssize_t count = PyList_GET_SIZE(tasks);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *done = PyObject_CallMethodNoArgs(PyList_GET_ITEM(tasks, i), aio->text_cancel);
        if (done == NULL)
            PyErr_WriteUnraisable(PyList_GET_ITEM(tasks, i));
        Py_XDECREF(done);
    }
    Py_DECREF(tasks);
    return count;
}
