/* The half of _saola.Engine and _saola.AsyncEngine that does not know the application's interface:
 * options that both take, callbacks, the exception that ends a worker, plain methods. */
#include "engine.h"

/* ---- callbacks of the engine ----------------------------------------------------------------- */

void
sl_py_engine_sleep_begin(void *ctx)
{
    struct sl_py_engine *self = ctx;
    if (!sl_py_lock_mine())
        return;
    if (PyErr_CheckSignals() < 0) {
        Py_XSETREF(self->on_exit, sl_py_take_exception());
        sl_engine_wake(self->engine);
    }
    sl_py_lock_drop();
}

void
sl_py_engine_sleep_end(void *Py_UNUSED(ctx))
{
}

void
sl_py_tell(PyObject *function)
{
    if (function == NULL)
        return;
    sl_py_lock_take();
    PyObject *done = PyObject_CallNoArgs(function);
    if (done == NULL)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(done);
}

static void
limit_reached(void *ctx)
{
    sl_py_tell(((struct sl_py_engine *)ctx)->on_limit);
}

static PyObject *
text_or_none(const struct sl_str *s)
{
    if (s == NULL || s->ptr == NULL)
        Py_RETURN_NONE;
    return PyUnicode_DecodeLatin1(s->ptr, (Py_ssize_t)s->len, NULL);
}

static void
bad_request(void *ctx, const struct sl_request *req, const struct sl_peer *peer, int status,
            const char *sentence)
{
    PyObject *function = ((struct sl_py_engine *)ctx)->on_bad_request;
    if (function == NULL)
        return;
    sl_py_lock_take();
    PyObject *done = PyObject_CallFunction(
        function, "sisNN", peer ? peer->addr : "", status, sentence ? sentence : "",
        text_or_none(req ? &req->method : NULL), text_or_none(req ? &req->target : NULL));
    if (done == NULL)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(done);
}

/* ---- life ------------------------------------------------------------------------------------ */

int
sl_py_engine_prepare(struct sl_py_engine *self, PyObject *options, PyObject *fds, PyObject *slot,
                     struct sl_engine_options *out)
{
    PyObject *module = PyType_GetModule(Py_TYPE((PyObject *)self));
    out->server_name = "saola"; /* unless the options have another */
    if (module == NULL || sl_py_take_option(options, "on_bad_request", &self->on_bad_request) < 0 ||
        sl_py_take_option(options, "on_limit", &self->on_limit) < 0 ||
        sl_py_take_option(options, "access_log", &self->access_log) < 0 ||
        sl_py_take_option(options, "files", &self->files) < 0 ||
        sl_py_options_read(options, fds, out, &self->kept) < 0)
        return -1;
    if (self->access_log != NULL) {
        PyTypeObject *type = sl_py_state(module)->access_log_type;
        out->access_log = sl_py_access_log_get(type, self->access_log);
        if (out->access_log == NULL && PyErr_Occurred())
            return -1;
    }
    if (self->files != NULL && (out->front = sl_py_files_front(module, self->files)) == NULL)
        return -1;
    out->ctx = self;
    out->on_bad_request = bad_request;
    out->on_limit = limit_reached;
    out->sleep_begin = sl_py_engine_sleep_begin;
    out->sleep_end = sl_py_engine_sleep_end;
    out->slot = sl_py_slot_get(module, slot);
    return 0;
}

int
sl_py_engine_opened(struct sl_py_engine *self, const struct sl_engine_options *out, int rc,
                    const struct sl_error *err)
{
    if (rc < 0) {
        PyErr_Format(PyExc_OSError, "the HTTP engine cannot start: %s",
                     err->text[0] ? err->text : sl_status_name(rc));
        return -1;
    }
    if (out->slot != NULL)
        sl_worker_on_abort(sl_engine_stop, self->engine);
    return 0;
}

int
sl_py_engine_traverse(struct sl_py_engine *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->on_exit);
    Py_VISIT(self->on_bad_request);
    Py_VISIT(self->on_limit);
    Py_VISIT(self->access_log);
    Py_VISIT(self->files);
    return 0;
}

void
sl_py_engine_clear(struct sl_py_engine *self)
{
    Py_CLEAR(self->on_exit);
    Py_CLEAR(self->on_bad_request);
    Py_CLEAR(self->on_limit);
    Py_CLEAR(self->access_log);
    Py_CLEAR(self->files);
}

/* ---- the end of a worker ------------------------------------------------------------------- */

void
sl_py_engine_exit(struct sl_py_engine *self, PyObject *exception)
{
    if (self->on_exit == NULL)
        self->on_exit = Py_NewRef(exception);
    if (self->engine != NULL)
        sl_engine_wake(self->engine);
}

int
sl_py_engine_raise_exit(struct sl_py_engine *self)
{
    PyObject *exception = self->on_exit;
    self->on_exit = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return -1;
}

/* ---- methods and attributes ------------------------------------------------------------------ */

PyObject *
sl_py_engine_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_py_engine *self = (struct sl_py_engine *)object;
    if (self->engine != NULL)
        sl_engine_stop(self->engine);
    Py_RETURN_NONE;
}

PyObject *
sl_py_engine_wake(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_py_engine *self = (struct sl_py_engine *)object;
    if (self->engine != NULL)
        sl_engine_wake(self->engine);
    Py_RETURN_NONE;
}

PyObject *
sl_py_engine_fileno(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_py_engine *self = (struct sl_py_engine *)object;
    return PyLong_FromLong(self->engine ? sl_engine_fd(self->engine) : -1);
}

PyObject *
sl_py_engine_get_requests(PyObject *object, void *Py_UNUSED(closure))
{
    struct sl_py_engine *self = (struct sl_py_engine *)object;
    return PyLong_FromUnsignedLongLong(self->engine ? sl_engine_requests(self->engine) : 0);
}

PyObject *
sl_py_engine_get_connections(PyObject *object, void *Py_UNUSED(closure))
{
    struct sl_py_engine *self = (struct sl_py_engine *)object;
    return PyLong_FromUnsignedLong(self->engine ? sl_engine_connections(self->engine) : 0);
}
