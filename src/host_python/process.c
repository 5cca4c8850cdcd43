/* Functions about the process that runs: going into the background, giving up root. */
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

static PyMethodDef functions[] = {
    {"daemonize", daemonize, METH_O,
     "daemonize(inherit_stdio)\n--\n\nGo into the background (before the arbiter runs). The process "
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
