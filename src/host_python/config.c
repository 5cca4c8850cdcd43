/* The settings table and struct sl_config in Python. saola/config.py builds its Setting classes
 * from the table; CoreConfig carries the final values, as text, into the core (the arbiter's
 * binding takes a copy of the configuration inside). */
#include "state.h"
#include <string.h>

struct core_config {
    PyObject_HEAD struct sl_config *config;
};

static const char *const type_names[] = {
    [SL_SETTING_BOOL] = "bool",     [SL_SETTING_INT] = "int",
    [SL_SETTING_OCTAL] = "octal",   [SL_SETTING_SIZE] = "size",
    [SL_SETTING_STRING] = "string", [SL_SETTING_LIST] = "list",
    [SL_SETTING_CSV] = "csv",       [SL_SETTING_ADDRS] = "addrs",
    [SL_SETTING_CHOICE] = "choice", [SL_SETTING_CALLABLE] = "callable",
    [SL_SETTING_CLASS] = "class",   [SL_SETTING_DICT] = "dict",
    [SL_SETTING_ANY] = "any",
};

static const char *const when_names[] = {
    [SL_AT_START] = "start",
    [SL_AT_RELOAD] = "reload",
    [SL_IN_WORKER] = "worker",
};

/* ---- the table ----------------------------------------------------------------------------- */

static PyObject *
row_tuple(const struct sl_setting *row)
{
    return Py_BuildValue("(sszLLzsIzzssss)", row->name, type_names[row->type], row->default_text,
                         row->min, row->max, row->choices, when_names[row->when], row->flags,
                         row->cli, row->metavar, row->section, row->summary, row->more,
                         sl_settings_lacking(row) ? sl_settings_lacking(row) : "");
}

static PyObject *
settings_table(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyObject *table = PyList_New((Py_ssize_t)sl_settings_count());
    if (table == NULL)
        return NULL;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        PyObject *row = row_tuple(sl_settings_at(i));
        if (row == NULL) {
            Py_DECREF(table);
            return NULL;
        }
        PyList_SET_ITEM(table, (Py_ssize_t)i, row);
    }
    return table;
}

static PyObject *
nearest_setting(PyObject *Py_UNUSED(module), PyObject *arg)
{
    const char *name = PyUnicode_AsUTF8(arg);
    if (name == NULL)
        return NULL;
    return Py_BuildValue("z", sl_settings_nearest(name));
}

static PyObject *
nearest_word(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *word;
    PyObject *iterable;
    if (!PyArg_ParseTuple(args, "sO:nearest_word", &word, &iterable))
        return NULL;
    PyObject *words = PySequence_Fast(iterable, "nearest_word() needs an iterable of str");
    if (words == NULL)
        return NULL;
    PyObject *result = NULL;
    size_t count = (size_t)PySequence_Fast_GET_SIZE(words);
    const char **texts = PyMem_New(const char *, count + 1);
    if (texts == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(words, (Py_ssize_t)i));
        if (texts[i] == NULL)
            goto done;
    }
    result = Py_BuildValue("z", sl_words_nearest(word, texts, count));
done:
    PyMem_Free(texts);
    Py_DECREF(words);
    return result;
}

static PyMethodDef functions[] = {
    {"settings_table", settings_table, METH_NOARGS,
     "settings_table() -> list of tuples\n\nOne tuple a row of settings.def: name, type, default "
     "text or None, min, max, choices (\"a|b\") or None, when, flags, command-line flags or None, "
     "metavar or None, section, summary, more, and for unavailable rows what is lacking."},
    {"nearest_setting", nearest_setting, METH_O,
     "nearest_setting(name) -> the setting whose name is nearest, or None"},
    {"nearest_word", nearest_word, METH_VARARGS,
     "nearest_word(word, words) -> the nearest of words, or None. Case, leading dashes and the "
     "difference between '-' and '_' do not count."},
    {NULL, NULL, 0, NULL},
};

/* ---- CoreConfig ---------------------------------------------------------------------------- */

static struct sl_config *
inside(PyObject *self)
{
    return ((struct core_config *)self)->config;
}

/* Raises SettingError with the sentence. The class is looked up in the module of the type, so no
 * object is kept in a static. */
static PyObject *
raise_setting_error(PyObject *self, int code, const char *sentence)
{
    if (code == SL_ENOMEM)
        return PyErr_NoMemory();
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *error = module != NULL ? PyObject_GetAttrString(module, "SettingError") : NULL;
    if (error == NULL)
        return NULL;
    PyErr_SetString(error, sentence);
    Py_DECREF(error);
    return NULL;
}

static PyObject *
core_config_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":CoreConfig", keywords))
        return NULL;
    struct core_config *self = (struct core_config *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->config = sl_config_new();
    if (self->config == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void
core_config_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    sl_config_free(((struct core_config *)self)->config);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The bytes of a str as file names are encoded, so that a path that is no UTF-8 comes through. NULL
 * with an exception. */
static PyObject *
encode(PyObject *self, const char *name, PyObject *text)
{
    struct sl_error err;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "set() needs a str or None, not %.100s",
                     Py_TYPE(text)->tp_name);
        return NULL;
    }
    PyObject *bytes = PyUnicode_EncodeFSDefault(text);
    if (bytes == NULL || strlen(PyBytes_AS_STRING(bytes)) == (size_t)PyBytes_GET_SIZE(bytes))
        return bytes;
    Py_DECREF(bytes);
    sl_error_set(&err, SL_EINVAL, "%.80s: must not contain a NUL character", name);
    return raise_setting_error(self, SL_EINVAL, err.text);
}

static PyObject *
core_config_set(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "text", "source", NULL};
    const char *name, *source = NULL;
    PyObject *text, *bytes = NULL;
    struct sl_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO|z:set", keywords, &name, &text, &source))
        return NULL;
    if (text != Py_None) {
        bytes = encode(self, name, text);
        if (bytes == NULL)
            return NULL;
    }
    int rc = sl_config_set(inside(self), name, bytes != NULL ? PyBytes_AS_STRING(bytes) : NULL,
                           source, &err);
    Py_XDECREF(bytes);
    if (rc != SL_OK)
        return raise_setting_error(self, rc, err.text);
    Py_RETURN_NONE;
}

static PyObject *
core_config_clear(PyObject *self, PyObject *arg)
{
    const char *name = PyUnicode_AsUTF8(arg);
    if (name == NULL)
        return NULL;
    int rc = sl_config_clear(inside(self), name);
    if (rc != SL_OK) {
        struct sl_error err;
        sl_error_set(&err, rc, "%.80s: %s", name,
                     rc == SL_ENOENT ? "no such setting" : "is not a list");
        return raise_setting_error(self, rc, err.text);
    }
    Py_RETURN_NONE;
}

static PyObject *
core_config_check(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_error err;
    int rc = sl_config_check(inside(self), &err);
    if (rc != SL_OK)
        return raise_setting_error(self, rc, err.text);
    Py_RETURN_NONE;
}

static PyObject *
core_config_text(PyObject *self, PyObject *arg)
{
    const char *name = PyUnicode_AsUTF8(arg);
    if (name == NULL)
        return NULL;
    const char *text = sl_config_text(inside(self), name);
    if (text == NULL)
        Py_RETURN_NONE;
    return PyUnicode_DecodeFSDefault(text);
}

static PyObject *
core_config_source(PyObject *self, PyObject *arg)
{
    const char *name = PyUnicode_AsUTF8(arg);
    if (name == NULL)
        return NULL;
    return Py_BuildValue("z", sl_config_source(inside(self), name));
}

static PyMethodDef core_config_methods[] = {
    {"set", (PyCFunction)(void (*)(void))core_config_set, METH_VARARGS | METH_KEYWORDS,
     "set(name, text, source=None)\n\nParses text (None: no value) as settings.def says. A list "
     "grows with each call. Raises SettingError with one sentence."},
    {"clear", core_config_clear, METH_O, "clear(name)\n\nEmpties a list."},
    {"check", core_config_check, METH_NOARGS,
     "check()\n\nRules between settings. Raises SettingError with one sentence."},
    {"text", core_config_text, METH_O,
     "text(name) -> the value as text; None: no value or not a row of the core."},
    {"source", core_config_source, METH_O,
     "source(name) -> where the value came from; None: default."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot core_config_slots[] = {
    {Py_tp_doc, "The configuration the arbiter runs with: a value for every row the core uses."},
    {Py_tp_new, core_config_new},
    {Py_tp_dealloc, core_config_dealloc},
    {Py_tp_methods, core_config_methods},
    {0, NULL},
};

static PyType_Spec core_config_spec = {
    .name = "saola._saola.CoreConfig",
    .basicsize = sizeof(struct core_config),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_config_slots,
};

struct sl_config *
sl_py_config_get(PyObject *object)
{
    /* The deallocator tells our type without a look into the state of a module. */
    if (Py_TYPE(object)->tp_dealloc != core_config_dealloc) {
        PyErr_Format(PyExc_TypeError, "expected a CoreConfig, not %.100s",
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    return inside(object);
}

int
sl_py_config_exec(PyObject *module)
{
    PyObject *error = PyErr_NewExceptionWithDoc("saola._saola.SettingError",
                                                "A setting does not exist or its value is wrong.",
                                                PyExc_ValueError, NULL);
    if (error == NULL || PyModule_AddObjectRef(module, "SettingError", error) < 0) {
        Py_XDECREF(error);
        return -1;
    }
    Py_DECREF(error);
    PyObject *type = PyType_FromModuleAndSpec(module, &core_config_spec, NULL);
    if (type == NULL || PyModule_AddObjectRef(module, "CoreConfig", type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    return PyModule_AddFunctions(module, functions);
}
