/* _saola.Mounts: applications in C below paths, for an engine's option files; in front of a Files,
 * if there is one. */
#include "state.h"
#include <saola/mount.h>

struct mounts_object {
    PyObject_HEAD struct sl_mounts *mounts;
    PyObject *files; /* Files, or NULL */
};

static PyObject *
mounts_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", "files", NULL};
    PyObject *config, *files;
    const struct sl_front *next = NULL;
    struct sl_error err = {0, ""};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Mounts", names, &config, &files))
        return NULL;
    const struct sl_config *core = sl_py_config_get(config);
    if (core == NULL)
        return NULL;
    if (files != Py_None && (next = sl_py_files_front(PyType_GetModule(type), files)) == NULL)
        return NULL;
    struct mounts_object *self = (struct mounts_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (files != Py_None)
        self->files = Py_NewRef(files);
    if (sl_mounts_open(core, next, &self->mounts, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.text);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *
mounts_end(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    sl_mounts_end(((struct mounts_object *)object)->mounts);
    Py_RETURN_NONE;
}

static PyObject *
mounts_reopen_logs(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    sl_mounts_reopen_logs(((struct mounts_object *)object)->mounts);
    Py_RETURN_NONE;
}

static int
mounts_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct mounts_object *)object)->files);
    return 0;
}

static void
mounts_dealloc(PyObject *object)
{
    struct mounts_object *self = (struct mounts_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    sl_mounts_close(self->mounts);
    Py_CLEAR(self->files);
    type->tp_free(object);
    Py_DECREF(type);
}

const struct sl_front *
sl_py_mounts_front(PyObject *module, PyObject *object)
{
    if (Py_TYPE(object) != sl_py_state(module)->mounts_type)
        return NULL;
    return sl_mounts_front(((struct mounts_object *)object)->mounts);
}

static PyMethodDef mounts_methods[] = {
    {"end", mounts_end, METH_NOARGS, "end()\n--\n\nThe applications' stop() and exit(), once."},
    {"reopen_logs", mounts_reopen_logs, METH_NOARGS,
     "reopen_logs()\n--\n\nThe file that their lines go to is opened anew."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot mounts_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "Mounts(config, files)\n\n"
                                    "Loads and starts what the settings mount and app_settings of "
                                    "a CoreConfig name; ValueError with one line."},
    {Py_tp_new, (void *)(uintptr_t)mounts_new},
    {Py_tp_traverse, (void *)(uintptr_t)mounts_traverse},
    {Py_tp_dealloc, (void *)(uintptr_t)mounts_dealloc},
    {Py_tp_methods, mounts_methods},
    {0, NULL},
};

static PyType_Spec mounts_spec = {
    .name = "saola._saola.Mounts",
    .basicsize = sizeof(struct mounts_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = mounts_slots,
};

int
sl_py_mounts_exec(PyObject *module)
{
    return sl_py_type_add(module, &mounts_spec, &sl_py_state(module)->mounts_type);
}
