/* What stands in the place of functions of asyncio's on our own loop: before CPython 3.12, where a
 * task's constructor schedules its first step, that step is caught; and what every task calls is C.
 *
 * They are entries of the instances' dicts, which pass on what is not for us, and are taken out
 * when the engine goes.
 */
#include "task.h"

/* Before 3.12: what the functions below work on, while the engine lives and after it. */
struct hook {
    struct sl_aio *aio;          /* NULL: the engine is gone */
    PyObject *call_soon;         /* of the loop's class */
    PyObject *all_data, *remove; /* of asyncio's WeakSet of tasks */
};

static const char HOOK[] = "saola.hook";

static void
free_hook(PyObject *capsule)
{
    struct hook *hook = PyCapsule_GetPointer(capsule, HOOK);
    Py_XDECREF(hook->call_soon);
    Py_XDECREF(hook->all_data);
    Py_XDECREF(hook->remove);
    PyMem_Free(hook);
}

/* loop.call_soon(). The first one in a task's construction is its first step, which is kept. */
static PyObject *
call_soon(PyObject *capsule, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct hook *hook = PyCapsule_GetPointer(capsule, HOOK);
    struct sl_aio *aio = hook->aio;
    Py_ssize_t named = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (aio == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    if (aio->making && aio->made.step == NULL && nargs == 1 && named == 1) {
        aio->made.step = Py_NewRef(args[0]);
        aio->made.context = Py_NewRef(args[1]);
        Py_RETURN_NONE;
    }
    PyObject *few[8], **all = few;
    size_t count = (size_t)(nargs + named);
    if (count + 1 > sizeof few / sizeof *few && (all = PyMem_New(PyObject *, count + 1)) == NULL)
        return PyErr_NoMemory();
    all[0] = aio->loop;
    memcpy(all + 1, args, count * sizeof *all);
    PyObject *handle = PyObject_Vectorcall(hook->call_soon, all, (size_t)nargs + 1, kwnames);
    if (all != few)
        PyMem_Free(all);
    return handle;
}

static PyMethodDef call_soon_def = {"call_soon", (PyCFunction)(void (*)(void))call_soon,
                                    METH_FASTCALL | METH_KEYWORDS, NULL};

/* WeakSet.add(), in C. A task that is only being made is not seen there yet. */
static PyObject *
enlist_task(PyObject *capsule, PyObject *task)
{
    struct hook *hook = PyCapsule_GetPointer(capsule, HOOK);
    PyObject *entry = PyWeakref_NewRef(task, hook->remove);
    if (entry == NULL)
        return NULL;
    if (hook->aio != NULL && hook->aio->making) {
        Py_XSETREF(hook->aio->made.entry, entry);
        Py_RETURN_NONE;
    }
    int rc = PySet_Add(hook->all_data, entry);
    Py_DECREF(entry);
    return rc == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef enlist_def = {"add", enlist_task, METH_O, NULL};

/* loop.get_debug(), which every task and future asks when it is made, in C. place: the loop's dict,
 * and the name of the attribute. */
static PyObject *
get_debug(PyObject *place, PyObject *Py_UNUSED(ignored))
{
    PyObject *value =
        PyDict_GetItemWithError(PyTuple_GET_ITEM(place, 0), PyTuple_GET_ITEM(place, 1));
    return value == NULL && PyErr_Occurred() ? NULL : Py_NewRef(value ? value : Py_False);
}

static PyMethodDef get_debug_def = {"get_debug", get_debug, METH_NOARGS, NULL};

int
sl_aio_hasten_debug(PyObject *dict)
{
    if (PyDict_GetItemString(dict, "_debug") == NULL)
        return 0; /* an asyncio that keeps it elsewhere */
    PyObject *place = Py_BuildValue("(ON)", dict, PyUnicode_InternFromString("_debug"));
    PyObject *function = place ? PyCFunction_New(&get_debug_def, place) : NULL;
    int rc = function != NULL ? PyDict_SetItemString(dict, "get_debug", function) : -1;
    Py_XDECREF(place);
    Py_XDECREF(function);
    return rc;
}

/* An entry of an object's dict in place of what its class has. */
static int
put_function(PyObject *dict, PyMethodDef *def, PyObject *capsule)
{
    PyObject *function = PyCFunction_New(def, capsule);
    int rc = function != NULL ? PyDict_SetItemString(dict, def->ml_name, function) : -1;
    Py_XDECREF(function);
    return rc;
}

/* ... is taken out again, if nobody has put another one there. */
static void
drop_function(PyObject *dict, const PyMethodDef *def, const PyObject *capsule)
{
    PyObject *function = dict ? PyDict_GetItemString(dict, def->ml_name) : NULL;
    if (function != NULL && PyCFunction_Check(function) &&
        PyCFunction_GET_SELF(function) == capsule && PyDict_DelItemString(dict, def->ml_name) < 0)
        PyErr_Clear();
}

/* asyncio's set of all tasks, if it is what it was in 3.10 and 3.11; else all goes the usual way.
 */
static void
hook_all_tasks(struct hook *hook, PyObject *capsule)
{
    PyObject *module = PyImport_ImportModule("_asyncio");
    PyObject *set = module ? PyObject_GetAttrString(module, "_all_tasks") : NULL;
    PyObject *dict = set ? PyObject_GenericGetDict(set, NULL) : NULL;
    PyObject *data = dict ? PyDict_GetItemString(dict, "data") : NULL;
    PyObject *remove = dict ? PyDict_GetItemString(dict, "_remove") : NULL;
    if (data != NULL && remove != NULL && PySet_CheckExact(data) && PyCallable_Check(remove)) {
        hook->all_data = Py_NewRef(data);
        hook->remove = Py_NewRef(remove);
        if (put_function(dict, &enlist_def, capsule) == 0)
            hook->aio->all_dict = Py_NewRef(dict);
    }
    PyErr_Clear();
    Py_XDECREF(dict);
    Py_XDECREF(set);
    Py_XDECREF(module);
}

int
sl_aio_hook_loop(struct sl_aio *aio)
{
    struct hook *hook = PyMem_Calloc(1, sizeof *hook);
    if (hook == NULL)
        return -1;
    hook->aio = aio;
    aio->hook = PyCapsule_New(hook, HOOK, free_hook);
    if (aio->hook == NULL) {
        PyMem_Free(hook);
        return -1;
    }
    hook->call_soon = PyObject_GetAttr((PyObject *)Py_TYPE(aio->loop), aio->text_call_soon);
    if (hook->call_soon == NULL || put_function(aio->loop_dict, &call_soon_def, aio->hook) < 0)
        return -1;
    hook_all_tasks(hook, aio->hook);
    return 0;
}

void
sl_aio_unhook(struct sl_aio *aio)
{
    if (aio->hook == NULL)
        return;
    struct hook *hook = PyCapsule_GetPointer(aio->hook, HOOK);
    hook->aio = NULL;
    drop_function(aio->loop_dict, &call_soon_def, aio->hook);
    drop_function(aio->all_dict, &enlist_def, aio->hook);
    Py_CLEAR(aio->hook);
    Py_CLEAR(aio->all_dict);
}

static PyObject *
all_tasks(struct sl_aio *aio)
{
    struct hook *hook = PyCapsule_GetPointer(aio->hook, HOOK);
    return hook->all_data;
}

int
sl_aio_list_task(struct sl_aio *aio, PyObject *entry)
{
    return PySet_Add(all_tasks(aio), entry);
}

int
sl_aio_unlist_task(struct sl_aio *aio, PyObject *entry)
{
    return PySet_Discard(all_tasks(aio), entry) < 0 ? -1 : 0;
}
