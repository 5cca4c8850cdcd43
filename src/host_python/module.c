/* The extension module saola._saola: multi-phase initialisation, state per module. */
#include "state.h"

int
sl_py_type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    *slot = (PyTypeObject *)type;
    return PyModule_AddType(module, *slot);
}

PyObject *
sl_py_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void
sl_py_error_text(char *ret_text, size_t size, bool with_type)
{
    PyObject *value = sl_py_take_exception();
    PyObject *text = value == NULL ? NULL : PyObject_Str(value);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    const char *name = value == NULL ? "error" : Py_TYPE(value)->tp_name;
    if (utf8 == NULL || *utf8 == '\0')
        PyOS_snprintf(ret_text, size, "%s", name);
    else if (with_type)
        PyOS_snprintf(ret_text, size, "%s: %s", name, utf8);
    else
        PyOS_snprintf(ret_text, size, "%s", utf8);
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(value);
}

static int
module_exec(PyObject *module)
{
    if (PyModule_AddStringConstant(module, "__version__", SAOLA_VERSION) < 0)
        return -1;
    if (sl_py_slot_exec(module) < 0 || sl_py_arbiter_exec(module) < 0)
        return -1;
    if (sl_py_process_exec(module) < 0 || sl_py_config_exec(module) < 0 ||
        sl_py_wsgi_exec(module) < 0)
        return -1;
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct sl_py_state *state = sl_py_state(module);
#define ROW(type, name) Py_VISIT(state->name);
    SL_PY_STATE_OBJECTS(ROW)
#undef ROW
    return 0;
}

static int
module_clear(PyObject *module)
{
    struct sl_py_state *state = sl_py_state(module);
#define ROW(type, name) Py_CLEAR(state->name);
    SL_PY_STATE_OBJECTS(ROW)
#undef ROW
    return 0;
}

static void
module_free(void *module)
{
    if (sl_py_state((PyObject *)module) != NULL)
        module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)(uintptr_t)module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "saola._saola",
    .m_doc = "The C core of Saola, as Python sees it.",
    .m_size = sizeof(struct sl_py_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__saola(void);

PyMODINIT_FUNC
PyInit__saola(void)
{
    return PyModuleDef_Init(&module_def);
}
