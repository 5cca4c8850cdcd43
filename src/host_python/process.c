/* Functions about the process that runs: its name, going into the background, giving up root. */
#include "state.h"

static PyObject *
daemonize(PyObject *Py_UNUSED(module), PyObject *argument)
{
    struct sl_error err = {0};
    int inherit_stdio = PyObject_IsTrue(argument);
    if (inherit_stdio < 0)
        return NULL;
    if (sl_daemonize(inherit_stdio, sl_py_fork, NULL, &err) != SL_OK)
        return PyErr_Format(PyExc_OSError, "%s", err.text);
    Py_RETURN_NONE;
}

static PyObject *
drop_privileges(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    struct sl_error err = {0};
    if (sl_worker_drop_privileges(&err) != SL_OK)
        return PyErr_Format(PyExc_OSError, "%s", err.text);
    Py_RETURN_NONE;
}

static PyObject *
set_title(PyObject *module, PyObject *text)
{
    struct sl_py_state *state = sl_py_state(module);
    const char *title = PyBytes_AsString(text);
    if (title == NULL)
        return NULL;
    if (!state->titled)
        (void)sl_title_init(&state->title); /* where it cannot be had only the short name is set */
    state->titled = true;
    sl_title_set(&state->title, title);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_title", set_title, METH_O,
     "set_title(title: bytes)\n--\n\nThe name under which ps shows this process; first call before "
     "threads are started."},
    {"daemonize", daemonize, METH_O,
     "daemonize(inherit_stdio)\n--\n\nGo into the background (before the arbiter runs). The "
     "process "
     "that called ends. OSError when it is not possible; then nothing happened."},
    {"drop_privileges", drop_privileges, METH_NOARGS,
     "drop_privileges()\n--\n\nBecome the configured user and group for good (worker process). "
     "OSError: the worker must end."},
    {NULL, NULL, 0, NULL},
};

int
sl_py_process_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
