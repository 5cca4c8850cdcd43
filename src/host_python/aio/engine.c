/* _saola.AsyncEngine: the HTTP engine of a worker with an event loop, with an ASGI application
 * behind it.
 *
 * Two ways to run it. As the selector's heart: select() is the wait of the whole loop; it serves
 * HTTP and returns what Python has registered with watch(). Under a foreign loop: turn() is called
 * when fileno() is readable, and when patience() is over.
 */
#include "../clock.h"
#include "task.h"
#include "websocket.h"
#include <math.h>
#include <signal.h>

struct async_engine {
    struct sl_py_engine base;
    struct sl_aio aio;
    struct sl_slot *slot;
    PyObject *on_drained; /* on_drained(): stopped, and no connection is left */
    PyObject *keys;       /* dict: watched descriptor to SelectorKey, or to Stream */
    PyObject *ready;      /* list of the turn in progress */
    bool turning, drained;
    bool expect_to_host; /* aiohttp answers Expect itself */
};

/* ---- callbacks of the engine ---------------------------------------------------------------- */

static int
handle(void *ctx, struct sl_request *req, struct sl_response *res)
{
    struct async_engine *self = ctx;
    sl_py_lock_take();
    return sl_asgi_handle(&self->aio, req, res);
}

static void
on_event(void *Py_UNUSED(ctx), struct sl_request *req, unsigned what)
{
    sl_py_lock_take();
    sl_asgi_event(req, what);
}

/* selectors.SelectorKey: (fileobj, fd, events, data); its events are 1 for reading, 2 for writing.
 */
static void
on_ready(void *ctx, int fd, unsigned flags)
{
    struct async_engine *self = ctx;
    sl_py_lock_take();
    PyObject *number = PyLong_FromLong(fd);
    PyObject *key = number ? PyDict_GetItemWithError(self->keys, number) : NULL;
    Py_XDECREF(number);
    if (key != NULL && PyObject_TypeCheck(key, self->aio.state->stream_type)) {
        sl_aio_stream_ready(key, flags);
        return;
    }
    if (key == NULL || self->ready == NULL)
        return; /* it was taken out in this very turn */
    long wanted = PyLong_AsLong(PyTuple_GET_ITEM(key, 2)), events = 0;
    if (flags & (SL_WATCH_READ | SL_WATCH_ERROR))
        events |= 1;
    if (flags & (SL_WATCH_WRITE | SL_WATCH_ERROR))
        events |= 2;
    if ((events & wanted) == 0)
        return;
    PyObject *pair = Py_BuildValue("(Ol)", key, events & wanted);
    if (pair == NULL || PyList_Append(self->ready, pair) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(pair);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int
take_own(struct async_engine *self, PyObject *options)
{
    double own_expect = 0;
    if (sl_py_take_option(options, "on_drained", &self->on_drained) < 0 ||
        sl_aio_take_number(options, "expect_to_host", &own_expect) < 0)
        return -1;
    self->expect_to_host = own_expect != 0;
    return sl_aio_take_options(&self->aio, options);
}

static int
open_engine(struct async_engine *self, PyObject *app, PyObject *fds, PyObject *slot,
            PyObject *options)
{
    struct sl_py_engine *base = &self->base;
    PyObject *module = PyType_GetModule(Py_TYPE((PyObject *)self));
    if (module == NULL)
        return -1;
    self->aio.state = sl_py_state(module);
    self->aio.owner = (PyObject *)self;
    self->aio.app = Py_NewRef(app);
    self->keys = PyDict_New();
    struct sl_engine_options out = {.threads = 0};
    if (self->keys == NULL || sl_aio_texts_init(&self->aio) < 0 || take_own(self, options) < 0 ||
        sl_py_engine_prepare(base, options, fds, slot, &out) < 0)
        return -1;
    self->slot = out.slot;
    out.threads = 0;
    out.lent = out.accept_later = true;
    out.expect_to_host = self->expect_to_host;
    out.handle = handle;
    out.on_event = on_event;
    out.on_ready = on_ready;
    struct sl_error err = {0, ""};
    int rc = sl_engine_open(&out, &base->engine, &err);
    return sl_py_engine_opened(base, &out, rc, &err);
}

static PyObject *
engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"app", "fds", "slot", "options", NULL};
    PyObject *app, *fds, *slot, *options;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO!:AsyncEngine", names, &app, &fds, &slot,
                                     &PyDict_Type, &options))
        return NULL;
    struct async_engine *self = (struct async_engine *)type->tp_alloc(type, 0);
    options = self ? PyDict_Copy(options) : NULL;
    if (options == NULL || open_engine(self, app, fds, slot, options) < 0 ||
        sl_aio_types_meet_asyncio(self->aio.state) < 0)
        Py_CLEAR(self);
    Py_XDECREF(options);
    return (PyObject *)self;
}

static int
engine_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct async_engine *self = (struct async_engine *)object;
    int rc = sl_py_engine_traverse(&self->base, visit, arg);
    if (rc != 0)
        return rc;
    Py_VISIT(self->on_drained);
    Py_VISIT(self->keys);
    Py_VISIT(self->aio.app);
    Py_VISIT(self->aio.on_error);
    Py_VISIT(self->aio.on_fault);
    Py_VISIT(self->aio.give_away);
    Py_VISIT(self->aio.app_state);
    Py_VISIT(self->aio.loop);
    Py_VISIT(self->aio.loop_dict);
    Py_VISIT(self->aio.create_future);
    Py_VISIT(self->aio.base_context);
    return sl_aiohttp_traverse(&self->aio, visit, arg);
}

static void
close_engine(struct async_engine *self)
{
    struct sl_engine *engine = self->base.engine;
    if (engine == NULL)
        return;
    if (self->slot != NULL)
        sl_worker_on_abort(NULL, NULL);
    (void)sl_engine_close(engine, 0); /* tells pending requests, which may look at us */
    self->base.engine = NULL;
}

static int
engine_clear(PyObject *object)
{
    struct async_engine *self = (struct async_engine *)object;
    if (self->base.engine != NULL)
        return 0; /* it may still call back: what it calls is released with it */
    sl_py_engine_clear(&self->base);
    Py_CLEAR(self->on_drained);
    Py_CLEAR(self->keys);
    Py_CLEAR(self->ready);
    sl_aio_release(&self->aio);
    return 0;
}

static void
engine_dealloc(PyObject *object)
{
    struct async_engine *self = (struct async_engine *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    close_engine(self);
    engine_clear(object);
    sl_py_kept_release(&self->base.kept);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- turning -----------------------------------------------------------------------------------
 */

/* 0; 1: somebody wants the engine to come back; -1 with an exception. */
static int
turn(struct async_engine *self, int timeout_ms)
{
    if (self->base.engine == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is closed");
        return -1;
    }
    if (self->turning) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop was entered again from inside a request");
        return -1;
    }
    self->turning = true;
    sl_aio_look_at_loop(&self->aio);
    sl_py_lock_enter();
    int rc = sl_engine_turn(self->base.engine, timeout_ms);
    sl_py_lock_leave();
    self->turning = false;
    if (self->base.on_exit != NULL)
        return sl_py_engine_raise_exit(&self->base);
    if (rc == SL_EAGAIN)
        return PyErr_CheckSignals() < 0 ? -1 : 1;
    if (rc == SL_ECLOSED && !self->drained) {
        self->drained = true;
        sl_py_tell(self->on_drained);
    }
    if (rc < 0 && rc != SL_ECLOSED) {
        PyErr_Format(PyExc_OSError, "the HTTP engine failed: %s", sl_status_name(rc));
        return -1;
    }
    return rc == SL_ECLOSED;
}

static long long
now_ms(void)
{
    return (long long)(sl_py_clock_ns(CLOCK_MONOTONIC) / 1000000);
}

/* Turns until the time is over or the loop has something to do. Requests that are answered in
 * their first step leave it nothing, and asyncio's own part of a turn costs as much as one. */
static int
turn_while_the_loop_rests(struct async_engine *self, int timeout_ms)
{
    const void *timer = sl_aio_first_timer(&self->aio);
    long long end_ms = now_ms() + timeout_ms;
    int left_ms = timeout_ms, rc;
    while ((rc = turn(self, left_ms)) == 0 && timeout_ms != 0 &&
           PyList_GET_SIZE(self->ready) == 0 && sl_aio_loop_rests(&self->aio, timer)) {
        if (timeout_ms < 0)
            continue;
        long long now = now_ms();
        if (now >= end_ms)
            break;
        left_ms = (int)(end_ms - now);
    }
    return rc;
}

static PyObject *
engine_select(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct async_engine *self = (struct async_engine *)object;
    int timeout_ms = -1;
    if (nargs > 0 && args[0] != Py_None) {
        double seconds = PyFloat_AsDouble(args[0]);
        if (seconds == -1.0 && PyErr_Occurred())
            return NULL;
        seconds = ceil(seconds * 1e3);
        timeout_ms = seconds <= 0 ? 0 : seconds >= 1e9 ? 1000000000 : (int)seconds;
    }
    PyObject *ready = PyList_New(0);
    if (ready == NULL)
        return NULL;
    Py_XSETREF(self->ready, Py_NewRef(ready));
    int rc = turn_while_the_loop_rests(self, timeout_ms);
    Py_CLEAR(self->ready);
    if (rc < 0)
        Py_CLEAR(ready);
    return ready;
}

static PyObject *
engine_turn(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct async_engine *self = (struct async_engine *)object;
    if (self->base.engine == NULL || self->turning)
        Py_RETURN_NONE;
    if (turn(self, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
engine_patience(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct async_engine *self = (struct async_engine *)object;
    int ms = self->base.engine ? sl_engine_patience(self->base.engine) : -1;
    if (ms < 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(ms / 1e3);
}

/* 0, or -1 with an exception. */
static int
watch(struct async_engine *self, int fd, unsigned flags)
{
    int rc = self->base.engine ? sl_engine_watch(self->base.engine, fd, flags) : SL_OK;
    if (rc != SL_EINVAL && rc != SL_ESYS && rc != SL_ENOMEM)
        return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static PyObject *
engine_watch(PyObject *object, PyObject *args)
{
    int fd, events;
    if (!PyArg_ParseTuple(args, "ii:watch", &fd, &events) ||
        watch((struct async_engine *)object, fd, (unsigned)events & 3u) < 0)
        return NULL;
    Py_RETURN_NONE;
}

struct sl_aio *
sl_aio_of(PyObject *object)
{
    if (Py_TYPE(object)->tp_dealloc == engine_dealloc)
        return &((struct async_engine *)object)->aio;
    PyErr_Format(PyExc_TypeError, "an AsyncEngine is needed, not %.100s", Py_TYPE(object)->tp_name);
    return NULL;
}

int
sl_aio_watch(struct sl_aio *aio, int fd, unsigned flags, PyObject *stream)
{
    struct async_engine *self = (struct async_engine *)aio->owner;
    PyObject *number = self->keys ? PyLong_FromLong(fd) : NULL;
    int rc = 0;
    if (number == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (flags != 0)
        rc = PyDict_SetItem(self->keys, number, stream);
    else if (PyDict_GetItemWithError(self->keys, number) == stream)
        rc = PyDict_DelItem(self->keys, number);
    Py_DECREF(number);
    return rc < 0 ? -1 : watch(self, fd, flags);
}

static PyObject *
engine_set_loop(PyObject *object, PyObject *args)
{
    struct async_engine *self = (struct async_engine *)object;
    PyObject *loop;
    int own;
    if (!PyArg_ParseTuple(args, "Op:set_loop", &loop, &own))
        return NULL;
    if (sl_aio_set_loop(&self->aio, loop, own != 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
engine_set_aiohttp(PyObject *object, PyObject *bridge)
{
    struct async_engine *self = (struct async_engine *)object;
    if (sl_aiohttp_new(&self->aio, bridge) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
engine_accept(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct async_engine *self = (struct async_engine *)object;
    if (self->base.engine != NULL)
        sl_engine_accept(self->base.engine);
    Py_RETURN_NONE;
}

static PyObject *
engine_cut(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct async_engine *self = (struct async_engine *)object;
    if (self->turning) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is being turned");
        return NULL;
    }
    if (self->base.engine != NULL)
        sl_engine_cut(self->base.engine);
    Py_RETURN_NONE;
}

static PyObject *
engine_cancel_all(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t count = sl_asgi_cancel_all(&((struct async_engine *)object)->aio);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

static PyObject *
engine_tend_websockets(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    sl_asgi_sockets_tend(&((struct async_engine *)object)->aio);
    Py_RETURN_NONE;
}

static PyObject *
engine_close_websockets(PyObject *object, PyObject *code)
{
    long number = PyLong_AsLong(code);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromSsize_t(
        sl_asgi_sockets_close(&((struct async_engine *)object)->aio, (unsigned)number));
}

static PyObject *
engine_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct async_engine *self = (struct async_engine *)object;
    if (self->turning) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is being turned: stop() it first");
        return NULL;
    }
    close_engine(self);
    Py_RETURN_NONE;
}

static PyObject *
engine_get_active(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((struct async_engine *)object)->aio.active);
}

static PyObject *
engine_get_keys(PyObject *object, void *Py_UNUSED(closure))
{
    struct async_engine *self = (struct async_engine *)object;
    return Py_NewRef(self->keys ? self->keys : Py_None);
}

static PyObject *
engine_get_state(PyObject *object, void *Py_UNUSED(closure))
{
    struct async_engine *self = (struct async_engine *)object;
    return Py_NewRef(self->aio.app_state ? self->aio.app_state : Py_None);
}

static PyMethodDef engine_methods[] = {
    {"select", (PyCFunction)(void (*)(void))engine_select, METH_FASTCALL,
     "select(timeout=None)\n--\n\nselectors.BaseSelector.select(): wait, serve HTTP, return the\n"
     "(key, events) pairs of watched descriptors that are ready."},
    {"turn", engine_turn, METH_NOARGS,
     "turn()\n--\n\nServe what is there without waiting. For loops that watch fileno()."},
    {"patience", engine_patience, METH_NOARGS,
     "patience()\n--\n\nSeconds after which turn() is to be called even if nothing happens, or\n"
     "None."},
    {"watch", engine_watch, METH_VARARGS,
     "watch(fd, events)\n--\n\nWait for a descriptor too: 1 reading, 2 writing, 0 not any more. "
     "keys\n"
     "must hold its SelectorKey."},
    {"set_loop", engine_set_loop, METH_VARARGS,
     "set_loop(loop, own)\n--\n\nThe loop whose tasks requests are; own: select() is its "
     "selector's.\n"
     "The current context becomes the one that every request gets a copy of."},
    {"set_aiohttp", engine_set_aiohttp, METH_O,
     "set_aiohttp(bridge)\n--\n\nThe application is aiohttp's: requests go through a\n"
     "saola.aio.web.Bridge from now on. Before accept()."},
    {"accept", engine_accept, METH_NOARGS, "accept()\n--\n\nBegin to accept connections."},
    {"stop", sl_py_engine_stop, METH_NOARGS,
     "stop()\n--\n\nStop accepting, answer what is in progress; on_drained() tells of the end."},
    {"cut", engine_cut, METH_NOARGS, "cut()\n--\n\nCut every connection at once."},
    {"cancel_all", engine_cancel_all, METH_NOARGS,
     "cancel_all()\n--\n\nCancel the tasks of all requests; returns their number."},
    {"tend_websockets", engine_tend_websockets, METH_NOARGS,
     "tend_websockets()\n--\n\nSend the pings that are due, cut who does not answer. Once a "
     "second."},
    {"close_websockets", engine_close_websockets, METH_O,
     "close_websockets(code)\n--\n\nBegin the closing handshake of all; returns their number."},
    {"close", engine_close, METH_NOARGS,
     "close()\n--\n\nCut every connection and free everything."},
    SL_PY_ENGINE_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef engine_getset[] = {
    SL_PY_ENGINE_ATTRIBUTES,
    {"active", engine_get_active, NULL, "Applications that are running for a request now.", NULL},
    {"keys", engine_get_keys, NULL, "dict: watched descriptor to SelectorKey, or to Stream.", NULL},
    {"state", engine_get_state, NULL, "dict: lifespan state, copied for each request.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "AsyncEngine(app, fds, slot, options): HTTP for an ASGI "
                                    "application on an event loop."},
    {Py_tp_new, (void *)(uintptr_t)engine_new},
    {Py_tp_traverse, (void *)(uintptr_t)engine_traverse},
    {Py_tp_clear, (void *)(uintptr_t)engine_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)engine_dealloc},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_getset},
    {0, NULL},
};

PyType_Spec sl_aio_engine_spec = {
    .name = "saola._saola.AsyncEngine",
    .basicsize = sizeof(struct async_engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = engine_slots,
};
