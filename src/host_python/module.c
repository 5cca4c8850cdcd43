/* The extension module saola._saola: multi-phase initialisation, state per module. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "saola._saola",
    .m_doc = "The C core of Saola, as Python sees it.",
};

PyMODINIT_FUNC PyInit__saola(void);

PyMODINIT_FUNC
PyInit__saola(void)
{
    return PyModuleDef_Init(&module);
}
