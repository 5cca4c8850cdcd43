/* Caches that turn the bytes of a request into str objects that exist already: header names, the
 * last value of each header, recent paths and addresses, peer ports. All are bounded, a slot holds
 * the newest; what a hostile client can do is miss. */
#include "wsgi.h"
#include "../engine/mix.h"
#include <string.h>

/* Is the str (latin-1, from this file) made of these bytes? */
static inline bool
same_text(PyObject *text, const char *ptr, size_t len)
{
    return (size_t)PyUnicode_GET_LENGTH(text) == len &&
           memcmp(PyUnicode_1BYTE_DATA(text), ptr, len) == 0;
}

static bool
name_is(const char *raw, size_t len, const char *lower)
{
    for (size_t i = 0; i < len; i++) {
        char c = raw[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != lower[i])
            return false;
    }
    return lower[len] == '\0';
}

static enum sl_wsgi_name_kind
kind_of(const char *raw, size_t len)
{
    if (len == 4 && name_is(raw, len, "host"))
        return SL_WSGI_NAME_HOST;
    if ((len == 12 && name_is(raw, len, "content-type")) ||
        (len == 14 && name_is(raw, len, "content-length")))
        return SL_WSGI_NAME_ENTITY;
    if (len == 11 && name_is(raw, len, "script_name"))
        return SL_WSGI_NAME_SCRIPT;
    return SL_WSGI_NAME_PLAIN;
}

/* "Accept-Language" to HTTP_ACCEPT_LANGUAGE. */
static PyObject *
key_of(const char *raw, size_t len, enum sl_wsgi_name_kind kind)
{
    size_t prefix = kind == SL_WSGI_NAME_ENTITY ? 0 : 5;
    PyObject *key = PyUnicode_New((Py_ssize_t)(len + prefix), 127);
    if (key == NULL)
        return NULL;
    char *out = (char *)PyUnicode_1BYTE_DATA(key);
    memcpy(out, "HTTP_", prefix);
    out += prefix;
    for (size_t i = 0; i < len; i++) {
        char c = raw[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        out[i] = c == '-' ? '_' : c;
    }
    return key;
}

static PyObject *
latin1(const char *ptr, size_t len)
{
    return PyUnicode_DecodeLatin1(ptr, (Py_ssize_t)len, NULL);
}

int
sl_wsgi_header_objects(struct sl_wsgi *wsgi, const struct sl_header *header, PyObject **ret_key,
                       PyObject **ret_value, enum sl_wsgi_name_kind *ret_kind)
{
    const char *raw = header->name.ptr;
    size_t len = header->name.len;
    if (len > SL_WSGI_NAME_MAX) {
        *ret_kind = SL_WSGI_NAME_PLAIN;
        PyObject *key = key_of(raw, len, SL_WSGI_NAME_PLAIN);
        if (key == NULL)
            return -1;
        *ret_value = latin1(header->value.ptr, header->value.len);
        if (*ret_value == NULL) {
            Py_DECREF(key);
            return -1;
        }
        *ret_key = key;
        return 0;
    }
    struct sl_wsgi_name *name = &wsgi->names[sl_py_mix(raw, len) & (SL_WSGI_HEADERS - 1)];
    if (name->key == NULL || name->len != len || memcmp(name->raw, raw, len) != 0) {
        enum sl_wsgi_name_kind kind = kind_of(raw, len);
        PyObject *key = key_of(raw, len, kind);
        if (key == NULL)
            return -1;
        PyUnicode_InternInPlace(&key);
        Py_XSETREF(name->key, key);
        Py_CLEAR(name->value);
        name->kind = (uint8_t)kind;
        name->len = (uint8_t)len;
        memcpy(name->raw, raw, len);
    }
    PyObject *value = name->value;
    if (value != NULL && same_text(value, header->value.ptr, header->value.len)) {
        Py_INCREF(value);
    } else {
        value = latin1(header->value.ptr, header->value.len);
        if (value == NULL)
            return -1;
        if (header->value.len <= SL_WSGI_VALUE_MAX) {
            Py_INCREF(value);
            Py_XSETREF(name->value, value);
        }
    }
    Py_INCREF(name->key);
    *ret_key = name->key;
    *ret_value = value;
    *ret_kind = (enum sl_wsgi_name_kind)name->kind;
    return 0;
}

PyObject *
sl_wsgi_string(struct sl_wsgi *wsgi, const char *ptr, size_t len)
{
    if (len == 0) {
        Py_INCREF(wsgi->text_empty);
        return wsgi->text_empty;
    }
    if (len > SL_WSGI_VALUE_MAX)
        return latin1(ptr, len);
    PyObject **slot = &wsgi->strings[sl_py_mix(ptr, len) & (SL_WSGI_STRINGS - 1)];
    if (*slot == NULL || !same_text(*slot, ptr, len)) {
        PyObject *text = latin1(ptr, len);
        if (text == NULL)
            return NULL;
        Py_XSETREF(*slot, text);
    }
    Py_INCREF(*slot);
    return *slot;
}

PyObject *
sl_wsgi_port(struct sl_wsgi *wsgi, uint16_t number)
{
    /* Linux gives clients ports of one parity. */
    unsigned index = (number >> 1) & (SL_WSGI_PORTS - 1);
    if (wsgi->ports[index].text == NULL || wsgi->ports[index].number != number) {
        char digits[5];
        unsigned at = sizeof(digits), rest = number;
        do
            digits[--at] = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        PyObject *text = latin1(digits + at, sizeof(digits) - at);
        if (text == NULL)
            return NULL;
        Py_XSETREF(wsgi->ports[index].text, text);
        wsgi->ports[index].number = number;
    }
    Py_INCREF(wsgi->ports[index].text);
    return wsgi->ports[index].text;
}

void
sl_wsgi_headers_release(struct sl_wsgi *wsgi)
{
    for (size_t i = 0; i < SL_WSGI_HEADERS; i++) {
        Py_CLEAR(wsgi->names[i].key);
        Py_CLEAR(wsgi->names[i].value);
    }
    for (size_t i = 0; i < SL_WSGI_STRINGS; i++)
        Py_CLEAR(wsgi->strings[i]);
    for (size_t i = 0; i < SL_WSGI_PORTS; i++)
        Py_CLEAR(wsgi->ports[i].text);
}
