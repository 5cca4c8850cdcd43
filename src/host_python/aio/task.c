/* Tasks whose first step is run at once.
 *
 * CPython 3.12 and later do it by themselves (eager_start). Before, our own loop does it by a task
 * that stands by (standby.c). The task is a genuine one either way, is the current task while it
 * runs and is in all_tasks().
 */
#include "task.h"

static int
find_own_loop(struct sl_aio *aio)
{
    aio->loop_dict = PyObject_GenericGetDict(aio->loop, NULL);
    if (aio->loop_dict == NULL || sl_aio_hasten_debug(aio->loop_dict) < 0)
        return -1;
    if (PY_VERSION_HEX >= 0x030c0000)
        return 0;
    sl_aio_standby_init(aio);
    return sl_aio_hook_loop(aio);
}

void
sl_aio_leave_loop(struct sl_aio *aio)
{
    sl_asgi_spare_free(aio); /* its task is this loop's */
    sl_aio_unhook(aio);
    Py_CLEAR(aio->loop_dict);
    Py_CLEAR(aio->loop);
    Py_CLEAR(aio->task_type);
    Py_CLEAR(aio->base_context);
    Py_CLEAR(aio->task_kwargs);
    Py_CLEAR(aio->create_future);
    Py_CLEAR(aio->current_tasks);
    Py_CLEAR(aio->get_must_cancel);
    Py_CLEAR(aio->get_callbacks);
    Py_CLEAR(aio->get_name);
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

void
sl_aio_look_at_loop(struct sl_aio *aio)
{
    if (aio->loop_dict == NULL)
        return;
    PyObject *factory = PyDict_GetItemWithError(aio->loop_dict, aio->text_task_factory);
    aio->factory = factory != NULL && factory != Py_None;
    aio->debug = PyDict_GetItemWithError(aio->loop_dict, aio->text_debug) == Py_True;
}

/* The constructor's arguments are put together here: a call with names would make a dict of them
 * each time. */
PyObject *
sl_aio_make_task(struct sl_aio *aio, PyObject *coroutine, PyObject *context)
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
sl_aio_start_task(struct sl_aio *aio, struct sl_asgi_request *request)
{
    if (PY_VERSION_HEX < 0x030c0000 && aio->eager && !aio->factory)
        return sl_aio_standby_start(aio, request);
    PyObject *context = PyContext_Copy(aio->base_context), *task;
    if (context == NULL)
        return NULL;
    if (!aio->eager || aio->factory)
        task = create_by_loop(aio, (PyObject *)request, context);
    else
        task = sl_aio_make_task(aio, (PyObject *)request, context);
    Py_DECREF(context);
    return task;
}
