/* _saola.Files: static files and X-Sendfile in front of an application, for an engine's option
 * files. */
#include "engine/engine.h"
#include <string.h>
#include <saola/files.h>

enum { LISTS = 3 };

struct files_object {
    PyObject_HEAD struct sl_files *files;
    PyObject *on_error; /* on_error(sentence), or NULL */
};

/* On the thread that answers the request. */
static void
call_on_error(void *ctx, const char *sentence)
{
    struct files_object *self = ctx;
    sl_py_lock_take();
    PyObject *text = PyUnicode_DecodeUTF8(sentence, (Py_ssize_t)strlen(sentence), "replace");
    PyObject *done = text != NULL ? PyObject_CallOneArg(self->on_error, text) : NULL;
    if (done == NULL)
        PyErr_WriteUnraisable(self->on_error);
    Py_XDECREF(done);
    Py_XDECREF(text);
}

/* The texts of a sequence of str, as the file system takes them, ended by NULL; bytes that they
 * live in are kept in list. NULL with an exception. */
static const char **
texts_of(PyObject *sequence, PyObject *kept)
{
    PyObject *list = PySequence_List(sequence);
    if (list == NULL)
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    const char **texts = PyMem_Calloc((size_t)count + 1, sizeof *texts);
    for (Py_ssize_t i = 0; texts != NULL && i < count; i++) {
        PyObject *bytes = NULL;
        if (PyUnicode_FSConverter(PyList_GET_ITEM(list, i), &bytes) &&
            PyList_Append(kept, bytes) == 0) {
            texts[i] = PyBytes_AS_STRING(bytes);
        } else {
            PyMem_Free(texts);
            texts = NULL;
        }
        Py_XDECREF(bytes);
    }
    if (texts == NULL && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_DECREF(list);
    return texts;
}

static int
open_files(struct files_object *self, PyObject *const sequences[LISTS], unsigned max_age_s)
{
    const char **lists[LISTS] = {NULL};
    PyObject *kept = PyList_New(0);
    int rc = kept == NULL ? -1 : 0;
    for (int i = 0; rc == 0 && i < LISTS; i++) {
        lists[i] = texts_of(sequences[i], kept);
        rc = lists[i] == NULL ? -1 : 0;
    }
    if (rc == 0) {
        struct sl_error err = {0, ""};
        struct sl_files_options options = {.routes = lists[0],
                                           .types = lists[1],
                                           .sendfile_roots = lists[2],
                                           .max_age_s = max_age_s};
        options.on_error = self->on_error != NULL ? call_on_error : NULL;
        options.ctx = self;
        rc = sl_files_open(&options, &self->files, &err);
        if (rc < 0)
            PyErr_SetString(PyExc_ValueError, err.text);
    }
    for (int i = 0; i < LISTS; i++)
        PyMem_Free(lists[i]);
    Py_XDECREF(kept);
    return rc < 0 ? -1 : 0;
}

static PyObject *
files_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"routes", "types", "sendfile_roots", "max_age", "on_error", NULL};
    PyObject *lists[LISTS], *on_error = Py_None;
    unsigned max_age_s;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOI|O:Files", names, &lists[0], &lists[1],
                                     &lists[2], &max_age_s, &on_error))
        return NULL;
    struct files_object *self = (struct files_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (on_error != Py_None)
        self->on_error = Py_NewRef(on_error);
    if (open_files(self, lists, max_age_s) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
files_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct files_object *)object)->on_error);
    return 0;
}

static void
files_dealloc(PyObject *object)
{
    struct files_object *self = (struct files_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    sl_files_close(self->files);
    Py_CLEAR(self->on_error);
    type->tp_free(object);
    Py_DECREF(type);
}

const struct sl_front *
sl_py_files_front(PyObject *module, PyObject *object)
{
    if (Py_TYPE(object) == sl_py_state(module)->files_type)
        return sl_files_front(((struct files_object *)object)->files);
    const struct sl_front *front = sl_py_mounts_front(module, object);
    if (front == NULL)
        PyErr_SetString(PyExc_TypeError, "engine option files must be a Files or Mounts");
    return front;
}

static PyType_Slot files_slots[] = {
    {Py_tp_doc,
     (void *)(uintptr_t) "Files(routes, types, sendfile_roots, max_age, on_error=None)\n\n"
                         "Opens the directories; ValueError with one line."},
    {Py_tp_new, (void *)(uintptr_t)files_new},
    {Py_tp_traverse, (void *)(uintptr_t)files_traverse},
    {Py_tp_dealloc, (void *)(uintptr_t)files_dealloc},
    {0, NULL},
};

static PyType_Spec files_spec = {
    .name = "saola._saola.Files",
    .basicsize = sizeof(struct files_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = files_slots,
};

int
sl_py_files_exec(PyObject *module)
{
    return sl_py_type_add(module, &files_spec, &sl_py_state(module)->files_type);
}
