/* The extension module saola._saola: multi-phase initialisation, state per module. */
#include "state.h"

static int
module_exec(PyObject *module)
{
    if (PyModule_AddStringConstant(module, "__version__", SAOLA_VERSION) < 0)
        return -1;
    if (sl_py_slot_exec(module) < 0 || sl_py_arbiter_exec(module) < 0 ||
        sl_py_files_exec(module) < 0 || sl_py_mounts_exec(module) < 0 ||
        sl_py_guest_exec(module) < 0 || sl_py_reloader_exec(module) < 0)
        return -1;
    if (sl_py_process_exec(module) < 0 || sl_py_config_exec(module) < 0 ||
        sl_py_wsgi_exec(module) < 0 || sl_py_aio_exec(module) < 0)
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
