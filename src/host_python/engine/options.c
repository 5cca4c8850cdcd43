/* Reads the dict that a worker gives to _saola.Engine into struct sl_engine_options. Unknown keys
 * are errors, so that a mistyped one is not a silent default. */
#include "engine.h"
#include <string.h>

/* One row an option that is a number or a switch: key, kind, field, largest value. */
enum kind { BOOL, U32, U64, U8, UNSIGNED };

struct row {
    const char *key;
    enum kind kind;
    size_t offset;
    unsigned long long max;
};

#define AT(field) offsetof(struct sl_engine_options, field)

static const struct row rows[] = {
    {"keepalive_ms", U32, AT(keepalive_ms), UINT32_MAX},
    {"retire_linger_ms", U32, AT(retire_linger_ms), UINT32_MAX},
    {"header_timeout_ms", U32, AT(header_timeout_ms), UINT32_MAX},
    {"body_timeout_ms", U32, AT(body_timeout_ms), UINT32_MAX},
    {"min_body_rate", U32, AT(min_body_rate), UINT32_MAX},
    {"min_response_rate", U32, AT(min_response_rate), UINT32_MAX},
    {"max_body", U64, AT(max_body), UINT64_MAX},
    {"body_buffer", U64, AT(body_buffer), UINT64_MAX},
    {"response_buffer", U64, AT(response_buffer), UINT64_MAX},
    {"spool_limit", U64, AT(spool_limit), UINT64_MAX},
    {"max_connections", U32, AT(max_connections), UINT32_MAX},
    {"max_requests", U64, AT(max_requests), UINT64_MAX},
    {"own_listeners", BOOL, AT(own_listeners), 1},
    {"multiple_workers", BOOL, AT(multiple_workers), 1},
    {"proxy_protocol", U8, AT(proxy_protocol), 3},
    {"threads", UNSIGNED, AT(threads), 10000},
    {"limit_request_line", U32, AT(limits.request_line), UINT32_MAX},
    {"limit_request_fields", U32, AT(limits.fields), UINT32_MAX},
    {"limit_request_field_size", U32, AT(limits.field_size), UINT32_MAX},
    {"limit_request_head", U32, AT(limits.head), UINT32_MAX},
    {"permit_obsolete_folding", BOOL, AT(limits.permit_obsolete_folding), 1},
    {"strip_header_spaces", BOOL, AT(limits.strip_header_spaces), 1},
    {"permit_unconventional_http_method", BOOL, AT(limits.permit_unconventional_method), 1},
    {"permit_unconventional_http_version", BOOL, AT(limits.permit_unconventional_version), 1},
    {"casefold_http_method", BOOL, AT(limits.casefold_method), 1},
};

static int
read_number(const struct row *row, PyObject *value, struct sl_engine_options *out)
{
    char *field = (char *)out + row->offset;
    if (row->kind == BOOL) {
        int truth = PyObject_IsTrue(value);
        if (truth < 0)
            return -1;
        *(bool *)field = truth != 0;
        return 0;
    }
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    if (number > row->max) {
        PyErr_Format(PyExc_ValueError, "engine option %s must be at most %llu", row->key, row->max);
        return -1;
    }
    switch (row->kind) {
    case U8:
        *(uint8_t *)field = (uint8_t)number;
        break;
    case U32:
        *(uint32_t *)field = (uint32_t)number;
        break;
    case U64:
        *(uint64_t *)field = number;
        break;
    default:
        *(unsigned *)field = (unsigned)number;
    }
    return 0;
}

/* Memory that lives as long as the engine. */
static void *
keep(struct sl_py_kept *kept, size_t count, size_t size)
{
    if (kept->block_count == SL_PY_KEPT_BLOCKS) {
        PyErr_SetString(PyExc_SystemError, "too many lists among the engine's options");
        return NULL;
    }
    void *block = PyMem_Calloc(count, size);
    if (block == NULL)
        return PyErr_NoMemory();
    kept->blocks[kept->block_count++] = block;
    return block;
}

static const char *
keep_text(struct sl_py_kept *kept, PyObject *text)
{
    const char *utf8 = PyUnicode_AsUTF8(text);
    if (utf8 == NULL || PyList_Append(kept->objects, text) < 0)
        return NULL;
    return utf8;
}

static int
read_strings(PyObject *value, struct sl_py_kept *kept, const char *const **ret_strings)
{
    PyObject *list = PySequence_List(value);
    if (list == NULL)
        return -1;
    Py_ssize_t count = PyList_GET_SIZE(list);
    const char **strings = keep(kept, (size_t)count + 1, sizeof(*strings));
    int result = strings == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < count; i++) {
        strings[i] = keep_text(kept, PyList_GET_ITEM(list, i));
        if (strings[i] == NULL)
            result = -1;
    }
    Py_DECREF(list);
    if (result == 0)
        *ret_strings = strings;
    return result;
}

/* {"X-FORWARDED-PROTO": "https"} */
static int
read_scheme_headers(PyObject *value, struct sl_py_kept *kept,
                    const struct sl_scheme_header **ret_headers)
{
    if (!PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "engine option scheme_headers must be a dict");
        return -1;
    }
    struct sl_scheme_header *headers =
        keep(kept, (size_t)PyDict_GET_SIZE(value) + 1, sizeof(*headers));
    if (headers == NULL)
        return -1;
    PyObject *name, *text;
    Py_ssize_t position = 0;
    for (size_t i = 0; PyDict_Next(value, &position, &name, &text); i++) {
        if ((headers[i].name = keep_text(kept, name)) == NULL ||
            (headers[i].value = keep_text(kept, text)) == NULL)
            return -1;
    }
    *ret_headers = headers;
    return 0;
}

static int
read_header_map(PyObject *value, enum sl_header_map *ret_map)
{
    static const char *const names[] = {"drop", "refuse", "dangerous"};
    const char *text = PyUnicode_AsUTF8(value);
    if (text == NULL)
        return -1;
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_map = (enum sl_header_map)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "header_map must be drop, refuse or dangerous, not %R", value);
    return -1;
}

static int
read_one(const char *key, PyObject *value, struct sl_engine_options *out, struct sl_py_kept *kept)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].key, key) == 0)
            return read_number(&rows[i], value, out);
    }
    if (strcmp(key, "server_name") == 0)
        return (out->server_name = keep_text(kept, value)) == NULL ? -1 : 0;
    if (strcmp(key, "spool_dir") == 0)
        return value != Py_None && (out->spool_dir = keep_text(kept, value)) == NULL ? -1 : 0;
    if (strcmp(key, "header_map") == 0)
        return read_header_map(value, &out->limits.header_map);
    if (strcmp(key, "forwarder_headers") == 0)
        return read_strings(value, kept, &out->limits.forwarder_headers);
    if (strcmp(key, "proxy_allow") == 0)
        return read_strings(value, kept, &out->proxy_allow);
    if (strcmp(key, "forwarded_allow") == 0)
        return read_strings(value, kept, &out->forwarded_allow);
    if (strcmp(key, "scheme_headers") == 0)
        return read_scheme_headers(value, kept, &out->scheme_headers);
    PyErr_Format(PyExc_TypeError, "unknown engine option '%s'", key);
    return -1;
}

int
sl_py_options_read(PyObject *options, PyObject *fds, struct sl_engine_options *out,
                   struct sl_py_kept *kept)
{
    kept->objects = PyList_New(0);
    if (kept->objects == NULL)
        return -1;
    PyObject *name, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(options, &position, &name, &value)) {
        const char *key = PyUnicode_AsUTF8(name);
        if (key == NULL || read_one(key, value, out, kept) < 0)
            return -1;
    }
    PyObject *list = PySequence_List(fds);
    if (list == NULL)
        return -1;
    size_t count = (size_t)PyList_GET_SIZE(list);
    int *numbers = keep(kept, count + 1, sizeof(*numbers));
    for (size_t i = 0; numbers != NULL && i < count; i++) {
        long number = PyLong_AsLong(PyList_GET_ITEM(list, (Py_ssize_t)i));
        if (number < 0 || number > INT32_MAX) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "%ld is no file descriptor", number);
            numbers = NULL;
            break;
        }
        numbers[i] = (int)number;
    }
    Py_DECREF(list);
    if (numbers == NULL)
        return -1;
    out->listener_fds = numbers;
    out->listener_count = count;
    return 0;
}

void
sl_py_kept_release(struct sl_py_kept *kept)
{
    while (kept->block_count > 0)
        PyMem_Free(kept->blocks[--kept->block_count]);
    Py_CLEAR(kept->objects);
}

int
sl_py_take_option(PyObject *options, const char *key, PyObject **slot)
{
    PyObject *value = PyDict_GetItemString(options, key);
    if (value == NULL)
        return 0;
    if (value != Py_None)
        *slot = Py_NewRef(value);
    return PyDict_DelItemString(options, key);
}

int
sl_py_take_text(PyObject *options, const char *key, PyObject **slot)
{
    if (sl_py_take_option(options, key, slot) < 0)
        return -1;
    if (*slot == NULL && (*slot = PyUnicode_FromString("")) == NULL)
        return -1;
    if (PyUnicode_Check(*slot))
        return 0;
    PyErr_Format(PyExc_TypeError, "engine option %s must be str", key);
    return -1;
}
