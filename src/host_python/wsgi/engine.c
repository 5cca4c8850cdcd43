/* _saola.Engine: the HTTP engine of a worker, with a WSGI application behind it.
 *
 * Inline (threads = 0), serve() runs engine and application on the calling thread. With threads the
 * pool does both and serve() only waits, so that Python's signal handlers run on the main thread.
 */
#include "../clock.h"
#include "wsgi.h"
#include <pthread.h>
#include <signal.h>
#include <structmember.h>

struct engine_object {
    struct sl_py_engine base;
    struct sl_engine *abandoned; /* closed with a thread inside, which may call back at any time */
    struct sl_wsgi wsgi;
    bool serving;
    bool threaded;
};

/* ---- callbacks of the engine ----------------------------------------------------------------- */

static int
handle(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct engine_object *self = ctx;
    sl_py_lock_take();
    return sl_wsgi_handle(&self->wsgi, req, res);
}

static void
sleep_begin_pool(void *Py_UNUSED(ctx))
{
    sl_py_lock_drop();
}

static void
thread_begin(void *Py_UNUSED(ctx))
{
    /* Signals are the main thread's: a wait of a pool thread is not interrupted by them. */
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, sl_stacks_signal()); /* it shows where it is, too */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    sl_py_lock_attach();
}

static void
thread_end(void *Py_UNUSED(ctx))
{
    sl_py_lock_detach();
}

/* ---- life ------------------------------------------------------------------------------------ */

static int
take_all(struct sl_wsgi *wsgi, PyObject *options)
{
    if (sl_py_take_option(options, "on_error", &wsgi->on_error) < 0 ||
        sl_py_take_option(options, "observer", &wsgi->observer) < 0 ||
        sl_py_take_option(options, "file_range", &wsgi->file_range) < 0)
        return -1;
    return sl_py_take_text(options, "script_name", &wsgi->script_name);
}

static int
open_engine(struct engine_object *self, PyObject *app, PyObject *fds, PyObject *slot,
            PyObject *options)
{
    PyObject *env = PyDict_GetItemString(options, "environ");
    if (env == NULL || !PyDict_Check(env)) {
        PyErr_SetString(PyExc_TypeError, "engine option environ must be a dict");
        return -1;
    }
    struct sl_py_engine *base = &self->base;
    struct sl_engine_options out = {.threads = 0};
    PyObject *module = PyType_GetModule(Py_TYPE((PyObject *)self));
    if (module == NULL || sl_wsgi_init(&self->wsgi, base, sl_py_state(module), app, env) < 0 ||
        PyDict_DelItemString(options, "environ") < 0 || take_all(&self->wsgi, options) < 0 ||
        sl_py_engine_prepare(base, options, fds, slot, &out) < 0)
        return -1;
    self->threaded = out.threads > 0;
    out.handle = handle;
    if (self->threaded)
        out.sleep_begin = sleep_begin_pool;
    out.thread_begin = thread_begin;
    out.thread_end = thread_end;
    struct sl_error err = {0, ""};
    /* The first request may take the lock for ever before this thread has it again. */
    sl_py_lock_rest(self->threaded);
    PyThreadState *saved = sl_py_lock_release(); /* pool threads attach themselves */
    int rc = sl_engine_open(&out, &base->engine, &err);
    sl_py_lock_restore(saved);
    if (rc < 0)
        sl_py_lock_rest(false);
    return sl_py_engine_opened(base, &out, rc, &err);
}

static PyObject *
engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"app", "fds", "slot", "options", NULL};
    PyObject *app, *fds, *slot, *options;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO!:Engine", names, &app, &fds, &slot,
                                     &PyDict_Type, &options))
        return NULL;
    if (!PyCallable_Check(app)) {
        PyErr_Format(PyExc_TypeError, "a WSGI application must be callable, not %.100s",
                     Py_TYPE(app)->tp_name);
        return NULL;
    }
    struct engine_object *self = (struct engine_object *)type->tp_alloc(type, 0);
    options = self ? PyDict_Copy(options) : NULL;
    if (options == NULL || open_engine(self, app, fds, slot, options) < 0)
        Py_CLEAR(self);
    Py_XDECREF(options);
    return (PyObject *)self;
}

static int
engine_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct engine_object *self = (struct engine_object *)object;
    int rc = sl_py_engine_traverse(&self->base, visit, arg);
    return rc != 0 ? rc : sl_wsgi_traverse(&self->wsgi, visit, arg);
}

static int
close_engine(struct engine_object *self, unsigned wait_ms)
{
    struct sl_engine *engine = self->base.engine;
    if (engine == NULL)
        return SL_OK;
    self->base.engine = NULL;
    sl_worker_on_abort(NULL, NULL);
    sl_py_lock_rest(false);
    PyThreadState *saved = sl_py_lock_release(); /* pool threads need it to end */
    int rc = sl_engine_close(engine, wait_ms);
    sl_py_lock_restore(saved);
    if (rc != SL_OK)
        self->abandoned = engine;
    return rc;
}

static int
engine_clear(PyObject *object)
{
    struct engine_object *self = (struct engine_object *)object;
    /* An open engine may still call back: what it calls is released with it, in dealloc. */
    if (self->base.engine != NULL || self->abandoned != NULL)
        return 0;
    sl_py_engine_clear(&self->base);
    sl_wsgi_release(&self->wsgi);
    return 0;
}

static void
engine_dealloc(PyObject *object)
{
    struct engine_object *self = (struct engine_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)close_engine(self, 0);
    if (self->abandoned == NULL) {
        engine_clear(object);
        sl_py_kept_release(&self->base.kept);
        type->tp_free(object);
    } /* else: a thread is still inside and the memory stays; the process is about to end */
    Py_DECREF(type);
}

/* ---- serving --------------------------------------------------------------------------------- */

static uint64_t
now_ms(void)
{
    return sl_py_clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}

/* One turn; the lock is held before and after. */
static int
turn(struct engine_object *self, int timeout_ms)
{
    int rc;
    if (self->threaded) {
        PyThreadState *saved = sl_py_lock_release();
        rc = sl_engine_turn(self->base.engine, timeout_ms);
        sl_py_lock_restore(saved);
    } else {
        sl_py_lock_enter();
        rc = sl_engine_turn(self->base.engine, timeout_ms);
        sl_py_lock_leave();
    }
    return rc;
}

/* Turns until the time is over, a signal came or the engine is done. SL_OK, SL_ECLOSED, or -1 with
 * an exception. */
static int
serve(struct engine_object *self, uint64_t timeout_ms, bool once)
{
    uint64_t now = now_ms(), end = now + timeout_ms;
    do {
        uint64_t left = end - now;
        int rc = turn(self, left > 1000000 ? 1000000 : (int)left);
        if (self->base.on_exit != NULL)
            return sl_py_engine_raise_exit(&self->base);
        if (PyErr_CheckSignals() < 0)
            return -1;
        if (rc == SL_ECLOSED)
            return rc;
        if (rc == SL_EAGAIN)
            return SL_OK;
        if (rc < 0) {
            PyErr_Format(PyExc_OSError, "the HTTP engine failed: %s", sl_status_name(rc));
            return -1;
        }
        now = now_ms();
    } while (now < end && !once);
    return SL_OK;
}

static PyObject *
serve_method(struct engine_object *self, PyObject *seconds_object, bool once)
{
    double seconds = PyFloat_AsDouble(seconds_object);
    if (seconds == -1.0 && PyErr_Occurred())
        return NULL;
    if (self->base.engine == NULL)
        Py_RETURN_FALSE;
    if (self->serving) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is being turned already");
        return NULL;
    }
    if (!(seconds > 0))
        seconds = 0;
    if (seconds > 1e9)
        seconds = 1e9;
    self->serving = true;
    int rc = serve(self, (uint64_t)(seconds * 1000.0), once);
    self->serving = false;
    if (rc == -1 && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(rc != SL_ECLOSED);
}

static PyObject *
engine_turn(PyObject *self, PyObject *seconds)
{
    return serve_method((struct engine_object *)self, seconds, true);
}

static PyObject *
engine_serve(PyObject *self, PyObject *seconds)
{
    return serve_method((struct engine_object *)self, seconds, false);
}

static PyObject *
engine_close(PyObject *object, PyObject *args)
{
    struct engine_object *self = (struct engine_object *)object;
    double seconds = 0;
    if (!PyArg_ParseTuple(args, "|d:close", &seconds))
        return NULL;
    if (self->serving) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is being turned: stop() it first");
        return NULL;
    }
    if (!(seconds > 0))
        seconds = 0;
    int rc = close_engine(self, (unsigned)(seconds > 1e6 ? 1e9 : seconds * 1000.0));
    return PyBool_FromLong(rc == SL_OK);
}

static PyMethodDef engine_methods[] = {
    {"turn", engine_turn, METH_O,
     "turn(seconds)\n--\n\nWait at most seconds for events and serve them. False once a stopped\n"
     "engine has no connection left."},
    {"serve", engine_serve, METH_O,
     "serve(seconds)\n--\n\nTurn until seconds have passed or a signal came. Result as turn()."},
    {"stop", sl_py_engine_stop, METH_NOARGS,
     "stop()\n--\n\nStop accepting, answer what is in progress; turns go on until one is False."},
    {"close", engine_close, METH_VARARGS,
     "close(seconds=0)\n--\n\nCut every connection; wait at most seconds for handlers of pool\n"
     "threads. False if some are still inside: end the process then."},
    SL_PY_ENGINE_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef engine_getset[] = {
    SL_PY_ENGINE_ATTRIBUTES,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc,
     (void *)(uintptr_t) "Engine(app, fds, slot, options): HTTP for a WSGI application."},
    {Py_tp_new, (void *)(uintptr_t)engine_new},
    {Py_tp_traverse, (void *)(uintptr_t)engine_traverse},
    {Py_tp_clear, (void *)(uintptr_t)engine_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)engine_dealloc},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_getset},
    {0, NULL},
};

PyType_Spec sl_py_engine_spec = {
    .name = "saola._saola.Engine",
    .basicsize = sizeof(struct engine_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = engine_slots,
};

int
sl_py_wsgi_exec(PyObject *module)
{
    struct sl_py_state *state = sl_py_state(module);
    struct {
        PyType_Spec *spec;
        PyTypeObject **slot;
    } types[] = {
        {&sl_py_engine_spec, &state->engine_type},
        {&sl_py_access_log_spec, &state->access_log_type},
        {&sl_wsgi_start_response_spec, &state->start_response_type},
        {&sl_wsgi_write_spec, &state->write_type},
        {&sl_wsgi_early_hints_spec, &state->early_hints_type},
        {&sl_wsgi_input_spec, &state->input_type},
        {&sl_wsgi_file_wrapper_spec, &state->file_wrapper_type},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (sl_py_type_add(module, types[i].spec, types[i].slot) < 0)
            return -1;
    }
    return 0;
}
