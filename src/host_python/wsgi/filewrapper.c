/* wsgi.file_wrapper (PEP 3333): marks a file-like object that the engine may send by itself. */
#include "wsgi.h"
#include <structmember.h>

struct file_wrapper {
    PyObject_HEAD PyObject *filelike;
    Py_ssize_t blksize;
};

PyObject *
sl_wsgi_file_wrapper_file(PyObject *self)
{
    return ((struct file_wrapper *)self)->filelike;
}

static int
file_wrapper_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"filelike", "blksize", NULL};
    struct file_wrapper *wrapper = (struct file_wrapper *)self;
    PyObject *filelike;
    Py_ssize_t blksize = 8192;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|n:FileWrapper", names, &filelike, &blksize))
        return -1;
    if (blksize <= 0) {
        PyErr_SetString(PyExc_ValueError, "blksize must be positive");
        return -1;
    }
    Py_XSETREF(wrapper->filelike, Py_NewRef(filelike));
    wrapper->blksize = blksize;
    return 0;
}

static int
file_wrapper_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct file_wrapper *)self)->filelike);
    return 0;
}

static int
file_wrapper_clear(PyObject *self)
{
    Py_CLEAR(((struct file_wrapper *)self)->filelike);
    return 0;
}

static void
file_wrapper_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    file_wrapper_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
file_wrapper_next(PyObject *self)
{
    struct file_wrapper *wrapper = (struct file_wrapper *)self;
    if (wrapper->filelike == NULL)
        return NULL;
    PyObject *block = PyObject_CallMethod(wrapper->filelike, "read", "n", wrapper->blksize);
    if (block == NULL)
        return NULL;
    int more = PyObject_IsTrue(block);
    if (more <= 0)
        Py_CLEAR(block); /* end of the iteration, or an error */
    return block;
}

/* PEP 3333: close() exists so that it reaches the file, where that has one. */
static PyObject *
file_wrapper_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *filelike = ((struct file_wrapper *)self)->filelike;
    if (filelike == NULL)
        Py_RETURN_NONE;
    PyObject *close = PyObject_GetAttrString(filelike, "close");
    if (close == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    return result;
}

static PyMethodDef file_wrapper_methods[] = {
    {"close", file_wrapper_close, METH_NOARGS, "Closes the file."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef file_wrapper_members[] = {
    {"filelike", T_OBJECT_EX, offsetof(struct file_wrapper, filelike), READONLY, "The file."},
    {"blksize", T_PYSSIZET, offsetof(struct file_wrapper, blksize), READONLY,
     "Bytes a read when it cannot be sent by the kernel."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot file_wrapper_slots[] = {
    {Py_tp_doc, (void *)"FileWrapper(filelike, blksize=8192): wsgi.file_wrapper of PEP 3333."},
    {Py_tp_init, (void *)file_wrapper_init},
    {Py_tp_traverse, (void *)file_wrapper_traverse},
    {Py_tp_clear, (void *)file_wrapper_clear},
    {Py_tp_dealloc, (void *)file_wrapper_dealloc},
    {Py_tp_methods, file_wrapper_methods},
    {Py_tp_members, file_wrapper_members},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)file_wrapper_next},
    {0, NULL},
};

PyType_Spec sl_wsgi_file_wrapper_spec = {
    .name = "saola._saola.FileWrapper",
    .basicsize = sizeof(struct file_wrapper),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = file_wrapper_slots,
};
