/* _saola.Reloader: shared objects that the arbiter of Python has loaded, and that may be built
 * anew. */
#include "state.h"
#include <saola/guest.h>

struct reloader_object {
    PyObject_HEAD struct sl_reloader *reloader; /* NULL: nothing is watched yet */
};

static PyObject *
reloader_watch(PyObject *object, PyObject *name)
{
    struct sl_error err = {0, ""};
    PyObject *path;
    if (!PyUnicode_FSConverter(name, &path))
        return NULL;
    int rc = sl_reloader_watch(&((struct reloader_object *)object)->reloader,
                               PyBytes_AS_STRING(path), &err);
    Py_DECREF(path);
    if (rc < 0) {
        PyErr_SetString(PyExc_ValueError, err.text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
reloader_look(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct sl_reloader *reloader = ((struct reloader_object *)object)->reloader;
    const char *path = reloader != NULL ? sl_reloader_look(reloader) : NULL;
    return path != NULL ? PyUnicode_DecodeFSDefault(path) : Py_NewRef(Py_None);
}

static void
reloader_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    sl_reloader_free(((struct reloader_object *)object)->reloader);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef reloader_methods[] = {
    {"watch", reloader_watch, METH_O,
     "watch(path)\n--\n\nOne more file, known as it is now; it need not be there. From the first "
     "one "
     "on the arbiter's loop is woken several times a second. ValueError with one line."},
    {"look", reloader_look, METH_NOARGS,
     "look()\n--\n\nA file that has changed, once it is at rest again, or None."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reloader_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "Reloader()\n\n(arbiter) Watches files; see <saola/guest.h>."},
    {Py_tp_new, (void *)(uintptr_t)PyType_GenericNew},
    {Py_tp_dealloc, (void *)(uintptr_t)reloader_dealloc},
    {Py_tp_methods, reloader_methods},
    {0, NULL},
};

static PyType_Spec reloader_spec = {
    .name = "saola._saola.Reloader",
    .basicsize = sizeof(struct reloader_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reloader_slots,
};

int
sl_py_reloader_exec(PyObject *module)
{
    return sl_py_type_add(module, &reloader_spec, &sl_py_state(module)->reloader_type);
}
