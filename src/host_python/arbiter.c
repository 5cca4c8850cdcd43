/* _saola.ArbiterCore: struct sl_host for Python. Each callback of the C arbiter becomes a method
 * call on the owner, a saola.arbiter.Arbiter.
 *
 * The interpreter's lock is held all the time but in the arbiter's sleep. No exception leaves a
 * callback: the owner's methods catch what user code raises and log it; what comes out all the same
 * is a defect of ours or of a subclass and is reported here, by report().
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "state.h"

struct arbiter_object {
    PyObject_HEAD PyObject *owner;
    PyObject *module;
    PyObject *worker_class; /* str: what worker_class() gave last */
    struct sl_arbiter *arbiter;
    struct sl_host host;
    PyThreadState *asleep; /* between sleep_begin and sleep_end */
    char *exec_dir;
    char **exec_argv; /* what host.exec_argv points to */
    bool running;
};

static const char *const hook_names[] = {
#define SL_HOOK(name, arity, process, on_failure, moment) #name,
#include <saola/hooks.def>
#undef SL_HOOK
};

static const char *const level_names[] = {
    [SL_LOG_DEBUG] = "debug", [SL_LOG_INFO] = "info",         [SL_LOG_WARNING] = "warning",
    [SL_LOG_ERROR] = "error", [SL_LOG_CRITICAL] = "critical",
};

/* Logs the exception that is set through owner._unexpected(where, exception); when even that fails,
 * through sys.unraisablehook. */
static void
report(struct arbiter_object *self, const char *where)
{
    PyObject *value = sl_py_take_exception();
    if (value == NULL)
        return;
    PyObject *done = PyObject_CallMethod(self->owner, "_unexpected", "sO", where, value);
    if (done == NULL)
        PyErr_WriteUnraisable(self->owner);
    Py_XDECREF(done);
    Py_DECREF(value);
}

/* Ends a callback whose result does not matter. */
static void
finish(struct arbiter_object *self, const char *where, PyObject *result)
{
    if (result == NULL)
        report(self, where);
    Py_XDECREF(result);
}

/* ---- callbacks ----------------------------------------------------------------------------- */

static void
host_log(void *ctx, enum sl_log_level level, const char *message)
{
    struct arbiter_object *self = ctx;
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "backslashreplace");
    PyObject *done = text == NULL
                         ? NULL
                         : PyObject_CallMethod(self->owner, "_log", "sO", level_names[level], text);
    if (done == NULL) /* a logger that fails: not through the logger again */
        PyErr_WriteUnraisable(self->owner);
    Py_XDECREF(text);
    Py_XDECREF(done);
}

static int
host_generation_load(void *ctx, bool reload, struct sl_config **ret_config, struct sl_error *err)
{
    struct arbiter_object *self = ctx;
    char text[400];
    PyObject *loaded =
        PyObject_CallMethod(self->owner, "_generation_load", "O", reload ? Py_True : Py_False);
    const struct sl_config *config = loaded == NULL ? NULL : sl_py_config_get(loaded);
    if (config == NULL) {
        Py_XDECREF(loaded);
        sl_py_error_text(text, sizeof text, false);
        return sl_error_set(err, SL_EHOST, "%s", text);
    }
    struct sl_config *copy = sl_config_copy(config);
    Py_DECREF(loaded);
    if (copy == NULL)
        return sl_error_set(err, SL_ENOMEM, "no memory for the configuration");
    *ret_config = copy;
    return SL_OK;
}

static void
host_generation_settle(void *ctx, bool accepted)
{
    struct arbiter_object *self = ctx;
    finish(
        self, "generation_settle",
        PyObject_CallMethod(self->owner, "_generation_settle", "O", accepted ? Py_True : Py_False));
}

static const char *
host_worker_class(void *ctx)
{
    struct arbiter_object *self = ctx;
    Py_XSETREF(self->worker_class, PyObject_CallMethod(self->owner, "_worker_class_name", NULL));
    const char *name = self->worker_class == NULL ? NULL : PyUnicode_AsUTF8(self->worker_class);
    if (name == NULL)
        report(self, "worker_class");
    return name;
}

/* One row of the owner's _groups(). */
static int
group_parse(PyObject *row, struct sl_group *ret_group)
{
    const char *name;
    int restart, exclusive;
    struct sl_group group = {.name = ""};
    if (!PyArg_ParseTuple(row, "sIpiLLLLLL", &name, &group.workers, &exclusive, &restart,
                          &group.boot_ms, &group.timeout_ms, &group.graceful_ms, &group.exit_ms,
                          &group.lifetime_ms, &group.memory))
        return -1;
    if (strlen(name) >= sizeof group.name) {
        PyErr_Format(PyExc_ValueError, "the name of a pool has at most %d bytes: %s",
                     SL_GROUP_NAME - 1, name);
        return -1;
    }
    memcpy(group.name, name, strlen(name) + 1);
    group.exclusive = exclusive != 0;
    group.restart = (enum sl_restart)restart;
    *ret_group = group;
    return 0;
}

static int
host_groups(void *ctx, struct sl_group *ret_groups, size_t *ret_count, bool *ret_web,
            struct sl_error *err)
{
    struct arbiter_object *self = ctx;
    char text[400];
    PyObject *rows = NULL;
    int web = 1;
    Py_ssize_t count = -1;
    PyObject *both = PyObject_CallMethod(self->owner, "_groups", NULL);
    if (both != NULL && PyArg_ParseTuple(both, "O!p", &PyList_Type, &rows, &web))
        count = PyList_GET_SIZE(rows);
    if (count > SL_GROUPS) {
        PyErr_Format(PyExc_ValueError, "there can be %d pools at most, not %zd", SL_GROUPS, count);
        count = -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (group_parse(PyList_GET_ITEM(rows, i), &ret_groups[i]) < 0)
            count = -1;
    }
    Py_XDECREF(both);
    if (count < 0) {
        sl_py_error_text(text, sizeof text, false);
        return sl_error_set(err, SL_EHOST, "%s", text);
    }
    *ret_count = (size_t)count;
    *ret_web = web != 0;
    return SL_OK;
}

static void
exec_argv_free(char **argv)
{
    for (char **arg = argv; arg != NULL && *arg != NULL; arg++)
        free(*arg);
    free(argv);
}

static int
exec_dir_load(struct arbiter_object *self)
{
    PyObject *dir = PyObject_CallMethod(self->owner, "_exec_dir", NULL), *bytes = NULL;
    char *copy = NULL;
    if (dir != NULL && PyUnicode_FSConverter(dir, &bytes))
        copy = strdup(PyBytes_AS_STRING(bytes));
    if (bytes != NULL && copy == NULL)
        PyErr_NoMemory();
    Py_XDECREF(bytes);
    Py_XDECREF(dir);
    if (copy == NULL)
        return -1;
    free(self->exec_dir);
    self->exec_dir = copy;
    self->host.exec_dir = copy;
    return 0;
}

/* Reads the owner's START_CTX anew: user code may change it until the moment of the exec. */
static int
exec_argv_load(struct arbiter_object *self)
{
    PyObject *list = PyObject_CallMethod(self->owner, "_exec_argv", NULL);
    PyObject *fast = list == NULL ? NULL : PySequence_Fast(list, "_exec_argv() is not a sequence");
    Py_XDECREF(list);
    if (fast == NULL)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    char **argv = calloc((size_t)count + 1, sizeof *argv);
    if (argv == NULL || count < 2) {
        free(argv);
        Py_DECREF(fast);
        PyErr_SetString(PyExc_ValueError, "_exec_argv() gives (program, arg0, ...)");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *bytes = NULL;
        if (PyUnicode_FSConverter(PySequence_Fast_GET_ITEM(fast, i), &bytes))
            argv[i] = strdup(PyBytes_AS_STRING(bytes));
        Py_XDECREF(bytes);
        if (argv[i] == NULL) {
            exec_argv_free(argv);
            Py_DECREF(fast);
            return PyErr_Occurred() ? -1 : (PyErr_NoMemory(), -1);
        }
    }
    Py_DECREF(fast);
    exec_argv_free(self->exec_argv);
    self->exec_argv = argv;
    self->host.exec_program = argv[0];
    self->host.exec_argv = argv + 1;
    return 0;
}

static int
host_hook(void *ctx, const struct sl_hook_call *call)
{
    struct arbiter_object *self = ctx;
    const char *name = hook_names[call->hook];
    PyObject *worker = call->worker == NULL ? Py_None : (PyObject *)call->worker;
    PyObject *done = PyObject_CallMethod(self->owner, "_hook", "sOii", name, worker,
                                         call->new_value, call->old_value);
    if (done == NULL) {
        report(self, name);
        return SL_EHOST;
    }
    bool failed = done == Py_False;
    Py_DECREF(done);
    if (call->hook == SL_HOOK_pre_exec && (exec_argv_load(self) < 0 || exec_dir_load(self) < 0)) {
        report(self, name);
        return SL_EHOST;
    }
    return failed ? SL_EHOST : SL_OK;
}

static int
host_worker_new(void *ctx, const struct sl_worker_info *info, void **ret_worker,
                struct sl_error *err)
{
    struct arbiter_object *self = ctx;
    char text[400];
    PyObject *slot = sl_py_slot_new(self->module, info->slot, info->slot_index);
    PyObject *worker = slot == NULL
                           ? NULL
                           : PyObject_CallMethod(self->owner, "_worker_new", "skIO", info->group,
                                                 info->age, info->generation, slot);
    Py_XDECREF(slot);
    if (worker == NULL) {
        sl_py_error_text(text, sizeof text, true);
        return sl_error_set(err, SL_EHOST, "%s", text);
    }
    *ret_worker = worker;
    return SL_OK;
}

pid_t
sl_py_fork(void *ctx)
{
    (void)ctx;
    PyOS_BeforeFork();
    pid_t pid = fork();
    int saved = errno;
    if (pid == 0)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
    errno = saved;
    return pid;
}

static void
host_worker_forked(void *ctx, void *worker, pid_t pid, bool in_child)
{
    struct arbiter_object *self = ctx;
    finish(self, "worker_forked",
           PyObject_CallMethod(self->owner, "_worker_forked", "OiO", (PyObject *)worker, (int)pid,
                               in_child ? Py_True : Py_False));
}

static int
host_worker_main(void *ctx, void *worker)
{
    struct arbiter_object *self = ctx;
    PyObject *status = PyObject_CallMethod(self->owner, "_worker_main", "O", (PyObject *)worker);
    long code = status == NULL ? -1 : PyLong_AsLong(status);
    if (code == -1 && PyErr_Occurred()) {
        report(self, "worker_main");
        code = SL_EXIT_INTERNAL;
    }
    Py_XDECREF(status);
    return (int)(code & 0xff);
}

static void
host_worker_free(void *ctx, void *worker, pid_t pid, int wait_status)
{
    struct arbiter_object *self = ctx;
    finish(self, "worker_free",
           PyObject_CallMethod(self->owner, "_worker_free", "Oii", (PyObject *)worker, (int)pid,
                               wait_status));
    Py_DECREF((PyObject *)worker);
}

static void
host_child_gone(void *ctx, pid_t pid, int wait_status)
{
    struct arbiter_object *self = ctx;
    finish(self, "child_gone",
           PyObject_CallMethod(self->owner, "_child_gone", "ii", (int)pid, wait_status));
}

static void
host_worker_aborted(void *ctx, void *worker)
{
    struct arbiter_object *self = ctx;
    finish(self, "worker_aborted",
           PyObject_CallMethod(self->owner, "_worker_aborted", "O", (PyObject *)worker));
}

static void
host_listeners_changed(void *ctx, const int *fds, const char *const *names, size_t count)
{
    struct arbiter_object *self = ctx;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *pair = Py_BuildValue("(iN)", fds[i], PyUnicode_DecodeFSDefault(names[i]));
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    finish(self, "listeners_changed",
           list == NULL ? NULL : PyObject_CallMethod(self->owner, "_listeners_changed", "O", list));
    Py_XDECREF(list);
}

static void
host_reopen_logs(void *ctx)
{
    struct arbiter_object *self = ctx;
    finish(self, "reopen_logs", PyObject_CallMethod(self->owner, "_reopen_logs", NULL));
}

static void
host_arbiter_named(void *ctx, const char *suffix)
{
    struct arbiter_object *self = ctx;
    finish(self, "arbiter_named", PyObject_CallMethod(self->owner, "_arbiter_named", "s", suffix));
}

static int
host_idle(void *ctx)
{
    struct arbiter_object *self = ctx;
    if (PyErr_CheckSignals() == 0) {
        finish(self, "idle", PyObject_CallMethod(self->owner, "_idle", NULL));
        return SL_OK;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        sl_arbiter_signal(self->arbiter, SIGINT);
        return SL_OK;
    }
    bool leave = PyErr_ExceptionMatches(PyExc_SystemExit);
    report(self, "signal handler");
    return leave ? SL_EHOST : SL_OK;
}

static void
host_sleep_begin(void *ctx)
{
    ((struct arbiter_object *)ctx)->asleep = PyEval_SaveThread();
}

static void
host_sleep_end(void *ctx)
{
    struct arbiter_object *self = ctx;
    PyEval_RestoreThread(self->asleep);
    self->asleep = NULL;
}

static const struct sl_host host_template = {
    .name = "python",
    .log = host_log,
    .generation_load = host_generation_load,
    .generation_settle = host_generation_settle,
    .groups = host_groups,
    .worker_class = host_worker_class,
    .hook = host_hook,
    .worker_new = host_worker_new,
    .fork = sl_py_fork,
    .worker_forked = host_worker_forked,
    .worker_main = host_worker_main,
    .worker_free = host_worker_free,
    .child_gone = host_child_gone,
    .worker_aborted = host_worker_aborted,
    .listeners_changed = host_listeners_changed,
    .reopen_logs = host_reopen_logs,
    .arbiter_named = host_arbiter_named,
    .idle = host_idle,
    .sleep_begin = host_sleep_begin,
    .sleep_end = host_sleep_end,
};

/* ---- the type ------------------------------------------------------------------------------ */

static PyObject *
arbiter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"owner", NULL};
    PyObject *owner;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:ArbiterCore", names, &owner))
        return NULL;
    struct arbiter_object *self = (struct arbiter_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->owner = Py_NewRef(owner);
    self->module = Py_NewRef(PyType_GetModule(type));
    self->host = host_template;
    struct sl_error err = {0};
    if (exec_argv_load(self) < 0 || exec_dir_load(self) < 0)
        goto error;
    if (sl_arbiter_new(&self->host, self, &self->arbiter, &err) < 0) {
        PyErr_SetString(PyExc_RuntimeError, err.text);
        goto error;
    }
    return (PyObject *)self;
error:
    Py_DECREF(self);
    return NULL;
}

static int
arbiter_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->module);
    Py_VISIT(self->worker_class);
    return 0;
}

static int
arbiter_clear(PyObject *object)
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    /* First: it gives back worker objects through the callbacks, which need the owner. */
    if (self->arbiter != NULL)
        sl_arbiter_free(self->arbiter);
    self->arbiter = NULL;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->module);
    Py_CLEAR(self->worker_class);
    return 0;
}

static void
arbiter_dealloc(PyObject *object)
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    arbiter_clear(object);
    exec_argv_free(self->exec_argv);
    free(self->exec_dir);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
arbiter_run(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "the arbiter runs already");
        return NULL;
    }
    self->running = true;
    Py_INCREF(object);
    int status = sl_arbiter_run(self->arbiter);
    self->running = false;
    Py_DECREF(object);
    return PyLong_FromLong(status);
}

static PyObject *
arbiter_begin(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "the arbiter runs already");
        return NULL;
    }
    self->running = true;
    return PyLong_FromLong(sl_arbiter_begin(self->arbiter));
}

static PyObject *
arbiter_wait_for(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    int fds[SL_ARBITER_FDS], limit_ms;
    size_t count = sl_arbiter_wait_for(((struct arbiter_object *)object)->arbiter, fds, &limit_ms);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *fd = PyLong_FromLong(fds[i]);
        if (fd == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, fd);
    }
    return list == NULL ? NULL : Py_BuildValue("Ni", list, limit_ms);
}

static PyObject *
arbiter_turn(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(sl_arbiter_turn(((struct arbiter_object *)object)->arbiter));
}

static PyObject *
arbiter_end(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    int status = sl_arbiter_end(self->arbiter);
    self->running = false;
    return PyLong_FromLong(status);
}

static PyObject *
arbiter_resize(PyObject *object, PyObject *args)
{
    const char *group;
    unsigned count;
    if (!PyArg_ParseTuple(args, "sI:resize", &group, &count))
        return NULL;
    int rc = sl_arbiter_resize(((struct arbiter_object *)object)->arbiter, group, count);
    return PyBool_FromLong(rc == SL_OK);
}

static PyObject *
arbiter_remove(PyObject *object, PyObject *args)
{
    int pid, number;
    if (!PyArg_ParseTuple(args, "ii:remove", &pid, &number))
        return NULL;
    int rc = sl_arbiter_remove(((struct arbiter_object *)object)->arbiter, (pid_t)pid, number);
    return PyBool_FromLong(rc == SL_OK);
}

static PyObject *
arbiter_signal(PyObject *object, PyObject *argument)
{
    long number = PyLong_AsLong(argument);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    sl_arbiter_signal(((struct arbiter_object *)object)->arbiter, (int)number);
    Py_RETURN_NONE;
}

static PyObject *
arbiter_set_workers(PyObject *object, PyObject *argument)
{
    long count = PyLong_AsLong(argument);
    if (count == -1 && PyErr_Occurred())
        return NULL;
    if (count < 0 || count > INT_MAX) {
        PyErr_Format(PyExc_ValueError, "the number of workers is 0 or more, not %ld", count);
        return NULL;
    }
    sl_arbiter_set_workers(((struct arbiter_object *)object)->arbiter, (unsigned)count);
    Py_RETURN_NONE;
}

static PyObject *
arbiter_get_workers_wanted(PyObject *object, void *Py_UNUSED(closure))
{
    struct arbiter_object *self = (struct arbiter_object *)object;
    return PyLong_FromUnsignedLong(sl_arbiter_workers_wanted(self->arbiter));
}

static PyObject *
arbiter_get_reexec_pid(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(sl_arbiter_reexec_pid(((struct arbiter_object *)object)->arbiter));
}

static PyObject *
arbiter_get_master_pid(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(sl_arbiter_master_pid(((struct arbiter_object *)object)->arbiter));
}

static PyObject *
arbiter_get_running(PyObject *object, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((struct arbiter_object *)object)->running);
}

static PyMethodDef arbiter_methods[] = {
    {"run", arbiter_run, METH_NOARGS,
     "run()\n--\n\nRun from \"Starting\" to the end; returns the exit status of the program."},
    {"signal", arbiter_signal, METH_O,
     "signal(number)\n--\n\nAct as if this signal had arrived (TERM, HUP, TTIN, ...)."},
    {"set_workers", arbiter_set_workers, METH_O,
     "set_workers(count)\n--\n\nWant this many workers in the group \"web\"."},
    {"begin", arbiter_begin, METH_NOARGS,
     "begin()\n--\n\nrun() in pieces: begin, turn() until it is False, end(). Returns 0, or the "
     "exit "
     "status when\nit failed: end() all the same."},
    {"wait_for", arbiter_wait_for, METH_NOARGS,
     "wait_for()\n--\n\n(descriptors, milliseconds): the next turn is due when one is readable, or "
     "then; -1: never."},
    {"turn", arbiter_turn, METH_NOARGS,
     "turn()\n--\n\nDo what is due. False when all is over. In a worker it does not return."},
    {"end", arbiter_end, METH_NOARGS, "end()\n--\n\nReturns the exit status."},
    {"resize", arbiter_resize, METH_VARARGS,
     "resize(group, count)\n--\n\nWant so many workers in this group. False: there is none of this "
     "name."},
    {"remove", arbiter_remove, METH_VARARGS,
     "remove(pid, signal)\n--\n\nOne worker less in its group, this one. False: there is none of "
     "this pid."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef arbiter_getset[] = {
    {"workers_wanted", arbiter_get_workers_wanted, NULL, "Number of workers asked for.", NULL},
    {"reexec_pid", arbiter_get_reexec_pid, NULL, "Pid of the arbiter USR2 started, or 0.", NULL},
    {"master_pid", arbiter_get_master_pid, NULL,
     "Pid of the arbiter that started this one by "
     "USR2, or 0.",
     NULL},
    {"running", arbiter_get_running, NULL, "True inside run().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot arbiter_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "ArbiterCore(owner)\n--\n\nThe C arbiter; calls the owner's "
                                    "methods. Main thread only."},
    {Py_tp_new, (void *)(uintptr_t)arbiter_new},
    {Py_tp_dealloc, (void *)(uintptr_t)arbiter_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)arbiter_traverse},
    {Py_tp_clear, (void *)(uintptr_t)arbiter_clear},
    {Py_tp_methods, arbiter_methods},
    {Py_tp_getset, arbiter_getset},
    {0, NULL},
};

static PyType_Spec arbiter_spec = {
    .name = "saola._saola.ArbiterCore",
    .basicsize = sizeof(struct arbiter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = arbiter_slots,
};

int
sl_py_arbiter_exec(PyObject *module)
{
    return sl_py_type_add(module, &arbiter_spec, &sl_py_state(module)->arbiter_type);
}
