/* _saola.Slot: a worker's record in the scoreboard, as its Python worker object sees it. */
#include "state.h"

struct slot_object {
    PyObject_HEAD struct sl_slot *slot; /* shared memory of the arbiter; NULL: counts for nobody */
    unsigned index;
};

static PyObject *
slot_beat(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    if (slot != NULL)
        sl_slot_beat(slot);
    Py_RETURN_NONE;
}

static PyObject *
slot_ready(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    if (slot != NULL)
        sl_slot_ready(slot);
    Py_RETURN_NONE;
}

static PyObject *
slot_drained(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    sl_slot_drained(((struct slot_object *)self)->slot);
    Py_RETURN_NONE;
}

static PyObject *
slot_spent(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    sl_slot_spent(((struct slot_object *)self)->slot);
    Py_RETURN_NONE;
}

static const char *const step_names[] = {
    [SL_LIFE_LOAD] = "load",       [SL_LIFE_STARTUP] = "startup",
    [SL_LIFE_READY] = "ready",     [SL_LIFE_REQUEST] = "first request",
    [SL_LIFE_STOP] = "stop",       [SL_LIFE_SHUTDOWN] = "shutdown",
    [SL_LIFE_CLEANUP] = "cleanup", [SL_LIFE_EXIT] = "exit",
};

static PyObject *
slot_take_step(PyObject *self, PyObject *name)
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    const char *text = PyUnicode_AsUTF8(name);
    uint64_t ms;
    if (text == NULL)
        return NULL;
    for (int step = 0; step < SL_LIFE_COUNT; step++) {
        if (strcmp(text, step_names[step]) != 0)
            continue;
        sl_slot_count(slot, (enum sl_lifecycle)step);
        return PyLong_FromUnsignedLong(
            slot != NULL ? sl_slot_counted(slot, (enum sl_lifecycle)step, &ms) : 0);
    }
    return PyErr_Format(PyExc_ValueError, "no step of a life: %R", name);
}

static PyObject *
slot_set_cause(PyObject *self, PyObject *cause)
{
    long number = PyLong_AsLong(cause);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    sl_slot_set_cause(((struct slot_object *)self)->slot, (int)number);
    Py_RETURN_NONE;
}

static PyObject *
slot_get_steps(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    PyObject *steps = PyDict_New();
    for (int step = 0; slot != NULL && steps != NULL && step < SL_LIFE_COUNT; step++) {
        uint64_t ms;
        unsigned count = sl_slot_counted(slot, (enum sl_lifecycle)step, &ms);
        PyObject *pair = Py_BuildValue("(Id)", count, (double)ms / 1e3);
        if (pair == NULL || PyDict_SetItemString(steps, step_names[step], pair) < 0)
            Py_CLEAR(steps);
        Py_XDECREF(pair);
    }
    return steps;
}

static PyObject *
slot_get_cause(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyLong_FromLong(slot != NULL ? sl_slot_cause(slot) : 0);
}

static PyObject *
slot_get_generation(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyLong_FromUnsignedLong(slot != NULL ? sl_slot_generation(slot) : 0);
}

static PyObject *
slot_get_age(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyFloat_FromDouble(slot != NULL ? (double)sl_slot_age_ms(slot) / 1e3 : 0);
}

static PyObject *
slot_get_asked(PyObject *self, void *Py_UNUSED(closure))
{
    uint64_t ago_ms;
    if (!sl_slot_asked_to_leave(((struct slot_object *)self)->slot, &ago_ms))
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)ago_ms / 1e3);
}

static PyObject *
slot_get_requests(PyObject *self, void *Py_UNUSED(closure))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyLong_FromUnsignedLongLong(slot != NULL ? sl_slot_requests(slot) : 0);
}

static PyObject *
slot_orphaned(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyBool_FromLong(slot != NULL && sl_worker_orphaned(slot));
}

static PyObject *
slot_server_ends(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_slot *slot = ((struct slot_object *)self)->slot;
    return PyBool_FromLong(slot != NULL && sl_slot_server_ends(slot));
}

static PyObject *
slot_death_fd(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(sl_worker_death_fd());
}

static PyObject *
slot_wrap_stacks(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    sl_stacks_wrap();
    Py_RETURN_NONE;
}

static PyObject *
slot_show_stacks(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    bool shown = ((struct slot_object *)self)->slot != NULL && sl_stacks_show();
    return PyBool_FromLong(shown);
}

/* A handler of signal.signal(): (number, frame). */
static PyObject *
slot_acknowledge(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    sl_worker_acknowledge();
    Py_RETURN_NONE;
}

static PyObject *
slot_watch(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    sl_worker_watch(sl_py_lock_stuck);
    Py_RETURN_NONE;
}

static PyObject *
slot_get_acknowledge_signal(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromLong(sl_worker_acknowledge_signal());
}

static PyObject *
slot_get_stacks(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_BuildValue("ii", sl_stacks_signal(), sl_stacks_fd());
}

static PyObject *
slot_get_index(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((struct slot_object *)self)->index);
}

static void
slot_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef slot_methods[] = {
    {"beat", slot_beat, METH_NOARGS, "beat()\n--\n\nTell the arbiter that the worker lives."},
    {"ready", slot_ready, METH_NOARGS,
     "ready()\n--\n\nTell the arbiter that the worker has booted."},
    {"spent", slot_spent, METH_NOARGS,
     "spent()\n--\n\nAsk the arbiter for a successor; serve on until TERM comes."},
    {"drained", slot_drained, METH_NOARGS,
     "drained()\n--\n\nTell the arbiter that the requests are finished and the exit hooks begin."},
    {"take_step", slot_take_step, METH_O,
     "take_step(name)\n--\n\nCount a step of the application's life; returns how often it was "
     "taken."},
    {"set_cause", slot_set_cause, METH_O,
     "set_cause(number)\n--\n\nWhy the worker will end, see saola.lifecycle; the first one "
     "counts."},
    {"orphaned", slot_orphaned, METH_NOARGS, "orphaned()\n--\n\nTrue when the arbiter is gone."},
    {"server_ends", slot_server_ends, METH_NOARGS,
     "server_ends()\n--\n\nTrue when the whole server stops, not this worker alone."},
    {"death_fd", slot_death_fd, METH_NOARGS,
     "death_fd()\n--\n\nDescriptor that reads end of file once the arbiter is gone; -1 outside a "
     "worker."},
    {"wrap_stacks", slot_wrap_stacks, METH_NOARGS,
     "wrap_stacks()\n--\n\nThe handler just installed for the signal of `stacks` is called by the "
     "core's own from now on."},
    {"show_stacks", slot_show_stacks, METH_NOARGS,
     "show_stacks()\n--\n\nLet the arbiter log the stacks of all threads, unless it has since the "
     "last call. False when there is no arbiter to do it."},
    {"acknowledge", slot_acknowledge, METH_VARARGS,
     "acknowledge(number, frame)\n--\n\nHandler of acknowledge_signal: Python code runs."},
    {"watch", slot_watch, METH_NOARGS,
     "watch()\n--\n\nacknowledge_signal is handled: should the arbiter die while this worker hangs "
     "in C with\nthe interpreter's lock, the core notices and ends it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slot_getset[] = {
    {"index", slot_get_index, NULL, "Position in the scoreboard.", NULL},
    {"steps", slot_get_steps, NULL,
     "dict: step of a life to (how often, seconds from the fork to the first).", NULL},
    {"cause", slot_get_cause, NULL, "What set_cause() was given first; 0: nothing.", NULL},
    {"generation", slot_get_generation, NULL, "Number of the worker's generation, from 1.", NULL},
    {"age", slot_get_age, NULL, "Seconds since the fork.", NULL},
    {"asked", slot_get_asked, NULL,
     "Seconds since the arbiter has asked the worker to leave; None: it has not.", NULL},
    {"requests", slot_get_requests, NULL, "Requests begun so far.", NULL},
    {"stacks", slot_get_stacks, NULL,
     "Signal upon which the worker shows its stacks, and the descriptor to write them to (-1: "
     "none).",
     NULL},
    {"acknowledge_signal", slot_get_acknowledge_signal, NULL,
     "Signal that comes with TERM when the arbiter has died.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slot_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "A worker's record in the scoreboard (worker process)."},
    {Py_tp_dealloc, (void *)(uintptr_t)slot_dealloc},
    {Py_tp_methods, slot_methods},
    {Py_tp_getset, slot_getset},
    {0, NULL},
};

static PyType_Spec slot_spec = {
    .name = "saola._saola.Slot",
    .basicsize = sizeof(struct slot_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slot_slots,
};

PyObject *
sl_py_slot_new(PyObject *module, struct sl_slot *slot, unsigned index)
{
    PyTypeObject *type = sl_py_state(module)->slot_type;
    struct slot_object *self = (struct slot_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->slot = slot;
    self->index = index;
    return (PyObject *)self;
}

struct sl_slot *
sl_py_slot_get(PyObject *module, PyObject *object)
{
    if (object == NULL || Py_TYPE(object) != sl_py_state(module)->slot_type)
        return NULL;
    return ((struct slot_object *)object)->slot;
}

int
sl_py_slot_exec(PyObject *module)
{
    return sl_py_type_add(module, &slot_spec, &sl_py_state(module)->slot_type);
}
