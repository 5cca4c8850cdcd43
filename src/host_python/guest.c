/* _saola.GuestPool: a pool in C below the arbiter of Python. */
#include "state.h"
#include <saola/guest.h>

enum { SETTINGS_MAX = 64 };

struct guest_object {
    PyObject_HEAD struct sl_guest_pool *pool;
    struct sl_worker_info info;
    char group[SL_GROUP_NAME];
};

/* The texts of a sequence; they live as long as its items. -1 with an exception. */
static int
read_settings(PyObject *list, const char **ret_texts)
{
    Py_ssize_t count = PyList_Size(list);
    if (count < 0 || count > SETTINGS_MAX) {
        if (count > 0)
            PyErr_SetString(PyExc_ValueError, "too many settings");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        ret_texts[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(list, i));
        if (ret_texts[i] == NULL)
            return -1;
    }
    ret_texts[count] = NULL;
    return 0;
}

static PyObject *
guest_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", "text", "settings", NULL};
    const char *texts[SETTINGS_MAX + 1], *text;
    PyObject *config, *settings;
    struct sl_error err = {0, ""};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OsO:GuestPool", names, &config, &text,
                                     &settings))
        return NULL;
    const struct sl_config *core = sl_py_config_get(config);
    bool own = settings != Py_None;
    if (core == NULL || (own && read_settings(settings, texts) < 0))
        return NULL;
    struct guest_object *self = (struct guest_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (sl_guest_pool_new(core, text, own ? texts : NULL, &self->pool, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.text);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *
raise_or_none(int rc, const struct sl_error *err)
{
    if (rc < 0) {
        PyErr_SetString(PyExc_ValueError, err->text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
guest_table(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    const struct sl_pool *table = sl_guest_pool_table(((struct guest_object *)object)->pool);
    return Py_BuildValue(
        "{s:s,s:I,s:N,s:N,s:i,s:i,s:i,s:i,s:i,s:i,s:L,s:N,s:N}", "name", table->name, "workers",
        table->workers > 0 ? table->workers : 1, "exclusive", PyBool_FromLong(table->exclusive),
        "scheduled", PyBool_FromLong(table->every_ms > 0 || table->cron != NULL), "restart",
        (int)table->restart, "boot_timeout", table->boot_timeout, "timeout", table->timeout,
        "graceful_timeout", table->graceful_timeout, "exit_timeout", table->exit_timeout,
        "max_lifetime", table->max_lifetime, "max_memory", table->max_memory, "capture",
        PyBool_FromLong(!table->raw_output), "address",
        PyLong_FromVoidPtr((void *)(uintptr_t)table));
}

static PyObject *
guest_open(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_error err = {0, ""};
    int rc = sl_guest_pool_open(((struct guest_object *)object)->pool, &err);
    return raise_or_none(rc, &err);
}

static PyObject *
guest_enter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_error err = {0, ""};
    int rc = sl_guest_pool_enter(((struct guest_object *)object)->pool, &err);
    return raise_or_none(rc, &err);
}

static PyObject *
guest_start(PyObject *object, PyObject *args)
{
    struct guest_object *self = (struct guest_object *)object;
    struct sl_error err = {0, ""};
    PyObject *slot;
    const char *group;
    int place, rc;
    if (!PyArg_ParseTuple(args, "OskIi:start", &slot, &group, &self->info.age,
                          &self->info.generation, &place))
        return NULL;
    PyOS_snprintf(self->group, sizeof self->group, "%s", group);
    self->info.group = self->group;
    self->info.slot = sl_py_slot_get(PyType_GetModule(Py_TYPE(object)), slot);
    Py_BEGIN_ALLOW_THREADS rc = sl_guest_pool_start(self->pool, &self->info, place, &err);
    Py_END_ALLOW_THREADS return raise_or_none(rc, &err);
}

static PyObject *
guest_main(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    int status;
    Py_BEGIN_ALLOW_THREADS status = sl_guest_pool_main(((struct guest_object *)object)->pool);
    Py_END_ALLOW_THREADS return PyLong_FromLong(status);
}

static PyObject *
guest_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Py_BEGIN_ALLOW_THREADS sl_guest_pool_stop(((struct guest_object *)object)->pool);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static void
guest_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    sl_guest_pool_free(((struct guest_object *)object)->pool);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef guest_methods[] = {
    {"table", guest_table, METH_NOARGS,
     "table()\n--\n\nWhat its struct sl_pool says, by name; \"address\" is the same for the same "
     "code."},
    {"open", guest_open, METH_NOARGS,
     "open()\n--\n\n(arbiter) The table's open(); ValueError with one line."},
    {"enter", guest_enter, METH_NOARGS,
     "enter()\n--\n\n(worker) Its log goes where standard error leads now; ValueError."},
    {"start", guest_start, METH_VARARGS,
     "start(slot, group, age, generation, id)\n--\n\n(worker) Takes the signals and calls start(); "
     "ValueError with one line."},
    {"main", guest_main, METH_NOARGS,
     "main()\n--\n\n(worker) Works until it is to stop; returns the exit status."},
    {"stop", guest_stop, METH_NOARGS, "stop()\n--\n\n(worker) Calls stop()."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot guest_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "GuestPool(config, text, settings)\n\n"
                                    "Loads the pool in C that text names, PATH.so[:NAME], with "
                                    "settings, a list of NAME=VALUE, or None: what app_settings "
                                    "has for it; ValueError with one line."},
    {Py_tp_new, (void *)(uintptr_t)guest_new},
    {Py_tp_dealloc, (void *)(uintptr_t)guest_dealloc},
    {Py_tp_methods, guest_methods},
    {0, NULL},
};

static PyType_Spec guest_spec = {
    .name = "saola._saola.GuestPool",
    .basicsize = sizeof(struct guest_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = guest_slots,
};

int
sl_py_guest_exec(PyObject *module)
{
    return sl_py_type_add(module, &guest_spec, &sl_py_state(module)->guest_type);
}
