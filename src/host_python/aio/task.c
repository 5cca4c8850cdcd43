/* Tasks whose first step is run at once.
 *
 * CPython 3.12 and later do it by themselves (eager_start). Before, the constructor of asyncio.Task
 * schedules the first step by loop.call_soon(step, context=...): on our own loop that is caught, by
 * an entry in the loop's instance dict that passes all other calls on, and called in its context.
 * The task is a genuine one either way, is the current task while it runs and is in all_tasks().
 */
#include "aio.h"

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
    if (aio->making && aio->captured == NULL && nargs == 1) {
        aio->captured = Py_NewRef(args[0]);
        aio->captured_context = named == 1 ? Py_NewRef(args[1]) : NULL;
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

/* WeakSet.add(), in C; remembers the reference, so that a task that ends in its first step leaves
 * the set without a call of Python either. */
static PyObject *
enlist_task(PyObject *capsule, PyObject *task)
{
    struct hook *hook = PyCapsule_GetPointer(capsule, HOOK);
    PyObject *ref = PyWeakref_NewRef(task, hook->remove);
    if (ref == NULL || PySet_Add(hook->all_data, ref) < 0) {
        Py_XDECREF(ref);
        return NULL;
    }
    if (hook->aio != NULL && hook->aio->making)
        Py_XSETREF(hook->aio->enlisted, ref);
    else
        Py_DECREF(ref);
    Py_RETURN_NONE;
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

static int
hasten_get_debug(PyObject *dict)
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

static int
hook_loop(struct sl_aio *aio)
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

static int
find_own_loop(struct sl_aio *aio)
{
    aio->loop_dict = PyObject_GenericGetDict(aio->loop, NULL);
    if (aio->loop_dict == NULL || hasten_get_debug(aio->loop_dict) < 0)
        return -1;
    return PY_VERSION_HEX < 0x030c0000 ? hook_loop(aio) : 0;
}

void
sl_aio_leave_loop(struct sl_aio *aio)
{
    if (aio->hook != NULL) {
        struct hook *hook = PyCapsule_GetPointer(aio->hook, HOOK);
        hook->aio = NULL;
        drop_function(aio->loop_dict, &call_soon_def, aio->hook);
        drop_function(aio->all_dict, &enlist_def, aio->hook);
    }
    Py_CLEAR(aio->hook);
    Py_CLEAR(aio->all_dict);
    Py_CLEAR(aio->loop_dict);
    Py_CLEAR(aio->loop);
    Py_CLEAR(aio->task_type);
    Py_CLEAR(aio->base_context);
    Py_CLEAR(aio->task_kwargs);
    Py_CLEAR(aio->create_future);
    Py_CLEAR(aio->captured);
    Py_CLEAR(aio->captured_context);
    Py_CLEAR(aio->enlisted);
}

/* The arguments by name of each request's task; its context is put in besides. */
static PyObject *
task_arguments(struct sl_aio *aio)
{
    PyObject *kwargs = Py_BuildValue("{sOsO}", "loop", aio->loop, "name", aio->text_task_name);
    if (kwargs != NULL && PY_VERSION_HEX >= 0x030c0000 &&
        PyDict_SetItemString(kwargs, "eager_start", Py_True) < 0)
        Py_CLEAR(kwargs);
    return kwargs;
}

int
sl_aio_set_loop(struct sl_aio *aio, PyObject *loop, bool own)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return -1;
    sl_aio_leave_loop(aio);
    aio->task_type = PyObject_GetAttrString(asyncio, "Task");
    /* What is no loop of asyncio's (gevent's hub) makes tasks of its own kind. */
    PyObject *base = PyObject_GetAttrString(asyncio, "AbstractEventLoop");
    int genuine = base ? PyObject_IsInstance(loop, base) : -1;
    Py_XDECREF(base);
    Py_DECREF(asyncio);
    if (genuine < 0)
        return -1;
    aio->loop = Py_NewRef(loop);
    aio->create_future = PyObject_GetAttr(loop, aio->text_create_future);
    aio->base_context = PyContext_CopyCurrent();
    aio->task_kwargs = task_arguments(aio);
    aio->eager = own || (PY_VERSION_HEX >= 0x030c0000 && genuine);
    if (aio->task_type == NULL || aio->create_future == NULL || aio->base_context == NULL ||
        aio->task_kwargs == NULL)
        return -1;
    return own ? find_own_loop(aio) : 0;
}

const void *
sl_aio_first_timer(struct sl_aio *aio)
{
    PyObject *timers =
        aio->loop_dict ? PyDict_GetItemWithError(aio->loop_dict, aio->text_scheduled) : NULL;
    bool some = timers != NULL && PyList_CheckExact(timers) && PyList_GET_SIZE(timers) > 0;
    return some ? PyList_GET_ITEM(timers, 0) : NULL;
}

bool
sl_aio_loop_rests(struct sl_aio *aio, const void *first)
{
    if (aio->loop_dict == NULL)
        return false;
    PyObject *ready = PyDict_GetItemWithError(aio->loop_dict, aio->text_ready);
    PyObject *stopping = PyDict_GetItemWithError(aio->loop_dict, aio->text_stopping);
    return ready != NULL && PyObject_Size(ready) == 0 && stopping == Py_False &&
           sl_aio_first_timer(aio) == first;
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

/* The constructor's arguments are put together here: a call with names would make a dict of them
 * each time. */
static PyObject *
make_task(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
{
    bool contexts = PY_VERSION_HEX >= 0x030b0000;
    PyObject *args = PyTuple_Pack(1, coroutine), *task = NULL;
    if (args != NULL &&
        (!contexts || PyDict_SetItem(aio->task_kwargs, aio->text_context, context) == 0))
        task = PyObject_Call(aio->task_type, args, aio->task_kwargs);
    Py_XDECREF(args);
    if (task != NULL && contexts &&
        PyDict_SetItem(aio->task_kwargs, aio->text_context, aio->base_context) < 0)
        Py_CLEAR(task);
    return task;
}

/* The step's own exceptions are SystemExit and KeyboardInterrupt. */
static int
run_captured(struct sl_aio *aio, PyObject *context)
{
    PyObject *step = aio->captured;
    PyObject *its_context = aio->captured_context ? aio->captured_context : Py_NewRef(context);
    aio->captured = aio->captured_context = NULL;
    PyObject *done = step == NULL ? Py_NewRef(Py_None) : NULL; /* else it comes by the loop */
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

static int
leave_all_tasks(struct sl_aio *aio, PyObject *ref)
{
    struct hook *hook = PyCapsule_GetPointer(aio->hook, HOOK);
    return PySet_Discard(hook->all_data, ref);
}

static PyObject *
start_captured(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
{
    aio->making = true;
    PyObject *task = make_task(aio, coroutine, context);
    aio->making = false;
    PyObject *enlisted = aio->enlisted;
    aio->enlisted = NULL;
    if (task != NULL && run_captured(aio, context) < 0) {
        forgive_task(task);
        Py_CLEAR(task);
    }
    bool ours = Py_TYPE(coroutine) == aio->state->asgi_request_type;
    if (enlisted != NULL && ours && ((struct sl_asgi_request *)coroutine)->inner == NULL &&
        leave_all_tasks(aio, enlisted) < 0)
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
