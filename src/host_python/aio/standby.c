/* A task that stands by: before CPython 3.12, where making a task and running its first step is a
 * fifth of what a small request costs.
 *
 * Most requests are answered in their first step. So the object of a request comes with a genuine
 * task that was constructed, with it as its coroutine, and has not begun. While the application's
 * first step runs, the task is the current one and in the set of all. If the application has ended
 * then, and nobody has kept the task or done anything to it, the task stands by for the next
 * request. Else it begins now, and the coroutine gives it what came of the step: a future to wait
 * for, the end, or an exception.
 *
 * A context cannot be looked into for changes. So each request gets a fresh one, which is entered
 * within the task's; before 3.12 nobody can ask a task for its own.
 */
#include "task.h"

/* ---- what is needed of asyncio ----------------------------------------------------------------
 */

static PyObject *
attribute_of(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor != NULL && Py_TYPE(descriptor)->tp_descr_get == NULL)
        Py_CLEAR(descriptor);
    return descriptor;
}

void
sl_aio_standby_init(struct sl_aio *aio)
{
    PyTypeObject *type = (PyTypeObject *)aio->task_type;
    PyObject *module = PyImport_ImportModule("_asyncio");
    PyObject *task_type = module ? PyObject_GetAttrString(module, "Task") : NULL;
    PyObject *tasks = module ? PyObject_GetAttrString(module, "_current_tasks") : NULL;
    if (tasks != NULL && PyDict_CheckExact(tasks) && task_type == aio->task_type &&
        type->tp_dictoffset > 0 && type->tp_weaklistoffset > 0) {
        aio->get_must_cancel = attribute_of(type, "_must_cancel");
        aio->get_callbacks = attribute_of(type, "_callbacks");
        aio->get_name = attribute_of(type, "get_name");
        if (aio->get_must_cancel && aio->get_callbacks && aio->get_name)
            aio->current_tasks = Py_NewRef(tasks);
    }
    PyErr_Clear();
    Py_XDECREF(tasks);
    Py_XDECREF(task_type);
    Py_XDECREF(module);
}

void
sl_aio_standby_clear(struct sl_aio_standby *s)
{
    Py_CLEAR(s->entry); /* before its task, which would tell the set */
    Py_CLEAR(s->step);
    Py_CLEAR(s->context);
    Py_CLEAR(s->task);
}

/* ---- making and beginning ----------------------------------------------------------------------
 */

static int
complains(struct sl_aio *aio, PyObject *task, PyObject *whether)
{
    return PyObject_SetAttr(task, aio->text_log_destroy_pending, whether);
}

static int
make(struct sl_aio *aio, struct sl_asgi_request *r)
{
    PyObject *context = PyContext_Copy(aio->base_context);
    if (context == NULL)
        return -1;
    aio->making = true;
    PyObject *task = sl_aio_make_task(aio, (PyObject *)r, context);
    aio->making = false;
    Py_DECREF(context);
    r->standby = aio->made;
    aio->made = (struct sl_aio_standby){.task = NULL};
    r->standby.task = task;
    if (task != NULL && complains(aio, task, Py_False) == 0)
        return 0;
    sl_aio_standby_clear(&r->standby);
    return -1;
}

/* Its exception is raised here: it need not complain that nobody has asked for it. */
static void
forgive(PyObject *task)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (PyObject_SetAttrString(task, "_log_traceback", Py_False) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, trace);
}

/* Its own exceptions are SystemExit and KeyboardInterrupt. */
static int
run_step(const struct sl_aio_standby *s)
{
    if (PyContext_Enter(s->context) < 0)
        return -1;
    PyObject *done = PyObject_CallNoArgs(s->step);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyContext_Exit(s->context);
    PyErr_Restore(type, value, trace);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* The task goes its way; it is in the set of all. */
static PyObject *
begin(struct sl_aio *aio, struct sl_asgi_request *r)
{
    struct sl_aio_standby s = r->standby;
    r->standby = (struct sl_aio_standby){.task = NULL};
    PyObject *task = Py_NewRef(s.task);
    if (complains(aio, task, Py_True) < 0 || (s.step != NULL && run_step(&s) < 0)) {
        forgive(task);
        Py_CLEAR(task);
    }
    if (r->inner == NULL && s.entry != NULL && sl_aio_unlist_task(aio, s.entry) < 0)
        Py_CLEAR(task);
    sl_aio_standby_clear(&s);
    return task;
}

/* ---- the first step ----------------------------------------------------------------------------
 */

static int
enter(struct sl_aio *aio, const struct sl_aio_standby *s)
{
    if (sl_aio_list_task(aio, s->entry) < 0)
        return -1;
    return PyDict_SetItem(aio->current_tasks, aio->loop, s->task);
}

static int
leave(struct sl_aio *aio)
{
    return PyDict_DelItem(aio->current_tasks, aio->loop);
}

static bool
says(PyObject *descriptor, PyObject *task, PyObject *expected)
{
    PyTypeObject *type = Py_TYPE(descriptor);
    PyObject *value = type->tp_descr_get(descriptor, task, (PyObject *)Py_TYPE(task));
    if (value == NULL)
        PyErr_Clear();
    Py_XDECREF(value);
    return value == expected;
}

static bool
has_its_name(struct sl_aio *aio, PyObject *task)
{
    PyObject *name = PyObject_CallOneArg(aio->get_name, task);
    if (name == NULL)
        PyErr_Clear();
    Py_XDECREF(name);
    return name == aio->text_task_name;
}

/* Nobody has it, and nobody could tell it from a new one. */
static bool
is_untouched(struct sl_aio *aio, const struct sl_aio_standby *s)
{
    const char *object = (const char *)s->task;
    const PyTypeObject *type = Py_TYPE(s->task);
    PyWeakReference *refs = *(PyWeakReference *const *)(object + type->tp_weaklistoffset);
    PyObject *dict = *(PyObject *const *)(object + type->tp_dictoffset);
    return Py_REFCNT(s->task) == 2 /* ours, and that of its step */ &&
           (PyObject *)refs == s->entry && refs->wr_next == NULL && dict == NULL &&
           says(aio->get_must_cancel, s->task, Py_False) &&
           says(aio->get_callbacks, s->task, Py_None) && has_its_name(aio, s->task);
}

static void
keep_outcome(struct sl_asgi_request *r, PySendResult rc, PyObject *result)
{
    if (rc == PYGEN_NEXT) {
        r->came = SL_ASGI_CAME_FUTURE;
        r->come = result;
    } else if (rc == PYGEN_RETURN) {
        r->came = SL_ASGI_CAME_END;
        Py_DECREF(result);
    } else {
        r->came = SL_ASGI_CAME_ERROR;
        r->come = sl_py_take_exception();
    }
}

PyObject *
sl_aio_standby_start(struct sl_aio *aio, struct sl_asgi_request *r)
{
    struct sl_aio_standby *s = &r->standby;
    PyObject *result;
    if (aio->debug)
        sl_aio_standby_clear(s); /* it would not know where it was made */
    if (s->task == NULL && make(aio, r) < 0)
        return NULL;
    if (aio->current_tasks == NULL || s->step == NULL || s->entry == NULL) {
        /* An asyncio that is not what we know. */
        if (s->entry != NULL && sl_aio_list_task(aio, s->entry) < 0)
            return NULL;
        return begin(aio, r);
    }
    r->context = PyContext_Copy(aio->base_context);
    if (r->context == NULL || enter(aio, s) < 0)
        return NULL;
    PySendResult rc = sl_asgi_request_step(r, Py_None, &result);
    keep_outcome(r, rc, result);
    if (leave(aio) < 0)
        return NULL;
    if (r->came != SL_ASGI_CAME_END || aio->debug || !is_untouched(aio, s))
        return begin(aio, r);
    r->came = SL_ASGI_CAME_NOT;
    Py_CLEAR(r->context);
    return sl_aio_unlist_task(aio, s->entry) == 0 ? Py_NewRef(s->task) : NULL;
}
