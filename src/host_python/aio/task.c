/* Tasks whose first step is run at once.
 *
 * CPython 3.12 and later do it by themselves (eager_start). Before, the constructor of asyncio.Task
 * schedules the first step by loop.call_soon(step, context=...): on our own loop that is caught, by
 * an entry in the loop's instance dict for that moment, and called in its context. The task is a
 * genuine one either way, is the current task while it runs and is in all_tasks().
 */
#include "aio.h"

/* call_soon(step, *, context) for the time of a task's construction. */
static PyObject *
capture_step(PyObject *owner, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct sl_aio *aio = PyCapsule_GetPointer(owner, NULL);
    if (aio == NULL)
        return NULL;
    Py_XSETREF(aio->captured, nargs > 0 ? Py_NewRef(args[0]) : NULL);
    bool context = kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1;
    Py_XSETREF(aio->captured_context, context ? Py_NewRef(args[nargs]) : NULL);
    Py_RETURN_NONE;
}

static PyMethodDef capture_def = {"call_soon", (PyCFunction)(void (*)(void))capture_step,
                                  METH_FASTCALL | METH_KEYWORDS, NULL};

/* WeakSet.add(), in C, for the time of a task's construction; remembers the reference, so that a
 * task that ends in its first step leaves the set without a call of Python either. */
static PyObject *
enlist_task(PyObject *owner, PyObject *task)
{
    struct sl_aio *aio = PyCapsule_GetPointer(owner, NULL);
    PyObject *ref = aio ? PyWeakref_NewRef(task, aio->all_remove) : NULL;
    if (ref == NULL || PySet_Add(aio->all_data, ref) < 0) {
        Py_XDECREF(ref);
        return NULL;
    }
    Py_XSETREF(aio->enlisted, ref);
    Py_RETURN_NONE;
}

static PyMethodDef enlist_def = {"add", enlist_task, METH_O, NULL};

/* asyncio's set of all tasks, if it is what it was in 3.10 and 3.11; else all goes the usual way.
 */
static void
find_all_tasks(struct sl_aio *aio, PyObject *capsule)
{
    PyObject *module = PyImport_ImportModule("_asyncio");
    PyObject *set = module ? PyObject_GetAttrString(module, "_all_tasks") : NULL;
    PyObject *dict = set ? PyObject_GenericGetDict(set, NULL) : NULL;
    PyObject *data = dict ? PyDict_GetItemString(dict, "data") : NULL;
    PyObject *remove = dict ? PyDict_GetItemString(dict, "_remove") : NULL;
    if (data != NULL && remove != NULL && PySet_CheckExact(data) && PyCallable_Check(remove) &&
        (aio->enlist = PyCFunction_New(&enlist_def, capsule)) != NULL) {
        aio->all_dict = Py_NewRef(dict);
        aio->all_data = Py_NewRef(data);
        aio->all_remove = Py_NewRef(remove);
    }
    PyErr_Clear();
    Py_XDECREF(dict);
    Py_XDECREF(set);
    Py_XDECREF(module);
}

static int
find_own_loop(struct sl_aio *aio)
{
    aio->loop_dict = PyObject_GenericGetDict(aio->loop, NULL);
    PyObject *capsule = aio->loop_dict ? PyCapsule_New(aio, NULL, NULL) : NULL;
    aio->capture = capsule ? PyCFunction_New(&capture_def, capsule) : NULL;
    if (aio->capture != NULL && PY_VERSION_HEX < 0x030c0000)
        find_all_tasks(aio, capsule);
    Py_XDECREF(capsule);
    return aio->capture ? 0 : -1;
}

int
sl_aio_set_loop(struct sl_aio *aio, PyObject *loop, bool own)
{
    bool modern = PY_VERSION_HEX >= 0x030c0000;
    bool contexts = PY_VERSION_HEX >= 0x030b0000;
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return -1;
    Py_XSETREF(aio->task_type, PyObject_GetAttrString(asyncio, "Task"));
    /* What is no loop of asyncio's (gevent's hub) makes tasks of its own kind. */
    PyObject *base = PyObject_GetAttrString(asyncio, "AbstractEventLoop");
    int genuine = base ? PyObject_IsInstance(loop, base) : -1;
    Py_XDECREF(base);
    Py_DECREF(asyncio);
    if (genuine < 0)
        return -1;
    Py_XSETREF(aio->loop, Py_NewRef(loop));
    Py_CLEAR(aio->loop_dict);
    Py_CLEAR(aio->capture);
    Py_XSETREF(aio->create_future, PyObject_GetAttr(loop, aio->text_create_future));
    Py_XSETREF(aio->base_context, PyContext_CopyCurrent());
    if (modern)
        Py_XSETREF(aio->task_kwnames,
                   Py_BuildValue("(ssss)", "loop", "name", "context", "eager_start"));
    else if (contexts)
        Py_XSETREF(aio->task_kwnames, Py_BuildValue("(sss)", "loop", "name", "context"));
    else
        Py_XSETREF(aio->task_kwnames, Py_BuildValue("(ss)", "loop", "name"));
    aio->eager = own || (modern && genuine);
    if (aio->task_type == NULL || aio->create_future == NULL || aio->base_context == NULL ||
        aio->task_kwnames == NULL)
        return -1;
    return own ? find_own_loop(aio) : 0;
}

/* Somebody has set a task factory: tasks are what it makes. */
static bool
has_factory(struct sl_aio *aio)
{
    if (aio->loop_dict == NULL)
        return false;
    PyObject *factory = PyDict_GetItemWithError(aio->loop_dict, aio->text_task_factory);
    return factory != NULL && factory != Py_None;
}

static PyObject *
make_task(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
{
    PyObject *args[6] = {NULL, coroutine, aio->loop, aio->text_task_name, context, Py_True};
    return PyObject_Vectorcall(aio->task_type, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               aio->task_kwnames);
}

/* The step's own exceptions are SystemExit and KeyboardInterrupt. */
static int
run_captured(struct sl_aio *aio, PyObject *context)
{
    PyObject *step = aio->captured;
    PyObject *its_context = aio->captured_context ? aio->captured_context : Py_NewRef(context);
    aio->captured = aio->captured_context = NULL;
    PyObject *done = NULL;
    if (step != NULL && PyContext_Enter(its_context) == 0) {
        done = PyObject_CallNoArgs(step);
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyContext_Exit(its_context);
        PyErr_Restore(type, value, trace);
    }
    int rc = done != NULL ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(step);
    Py_DECREF(its_context);
    return rc;
}

/* Its exception is raised here: it need not complain that nobody has asked for it. */
static void
forgive_task(PyObject *task)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (PyObject_SetAttrString(task, "_log_traceback", Py_False) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, trace);
}

static PyObject *
start_captured(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
{
    if (PyDict_SetItem(aio->loop_dict, aio->text_call_soon, aio->capture) < 0 ||
        (aio->enlist != NULL && PyDict_SetItem(aio->all_dict, aio->text_add, aio->enlist) < 0))
        return NULL;
    PyObject *task = make_task(aio, coroutine, context);
    PyObject *enlisted = aio->enlisted;
    aio->enlisted = NULL;
    if (PyDict_DelItem(aio->loop_dict, aio->text_call_soon) < 0 ||
        (aio->enlist != NULL && PyDict_DelItem(aio->all_dict, aio->text_add) < 0))
        Py_CLEAR(task);
    if (task != NULL && run_captured(aio, context) < 0) {
        forgive_task(task);
        Py_CLEAR(task);
    }
    bool ours = Py_TYPE(coroutine) == aio->state->asgi_request_type;
    if (enlisted != NULL && ours && ((struct sl_asgi_request *)coroutine)->inner == NULL &&
        PySet_Discard(aio->all_data, enlisted) < 0)
        Py_CLEAR(task);
    Py_XDECREF(enlisted);
    return task;
}

static PyObject *
create_by_loop(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
{
    if (PyContext_Enter(context) < 0)
        return NULL;
    PyObject *task = PyObject_CallMethodObjArgs(aio->loop, aio->text_create_task, coroutine, NULL);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyContext_Exit(context);
    PyErr_Restore(type, value, trace);
    return task;
}

PyObject *
sl_aio_start_task(struct sl_aio *aio, PyObject *coroutine)
{
    PyObject *context = PyContext_Copy(aio->base_context), *task;
    if (context == NULL)
        return NULL;
    if (!aio->eager || has_factory(aio))
        task = create_by_loop(aio, coroutine, context);
    else if (PY_VERSION_HEX >= 0x030c0000)
        task = make_task(aio, coroutine, context);
    else
        task = start_captured(aio, coroutine, context);
    Py_DECREF(context);
    return task;
}
