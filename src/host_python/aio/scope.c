/* The ASGI scope of a request: a copy of a template with what differs. Bytes that came before
 * become the objects they became then; the caches are bounded, a slot holds the newest. */
#include "aio.h"
#include <string.h>

static inline bool
same_bytes(PyObject *bytes, const char *ptr, size_t len)
{
    return (size_t)PyBytes_GET_SIZE(bytes) == len &&
           memcmp(PyBytes_AS_STRING(bytes), ptr, len) == 0;
}

int
sl_aio_texts_init(struct sl_aio *aio)
{
#define ROW(field, text)                                                                           \
    if ((aio->text_##field = PyUnicode_InternFromString(text)) == NULL ||                          \
        PyObject_Hash(aio->text_##field) == -1)                                                    \
        return -1;
    SL_AIO_TEXTS(ROW)
#undef ROW
    aio->empty_bytes = PyBytes_FromStringAndSize("", 0);
    aio->asgi = Py_BuildValue("{ssss}", "version", "3.0", "spec_version", "2.4");
    aio->extensions = Py_BuildValue("{s{}s{}s{}}", "http.response.trailers",
                                    "http.response.pathsend", "http.response.early_hint");
    aio->socket_extensions = Py_BuildValue("{s{}}", "websocket.http.response");
    return aio->empty_bytes && aio->asgi && aio->extensions && aio->socket_extensions ? 0 : -1;
}

void
sl_aio_release(struct sl_aio *aio)
{
#define ROW(field, text) Py_CLEAR(aio->text_##field);
    SL_AIO_TEXTS(ROW)
#undef ROW
    sl_aiohttp_free(aio);
    sl_asgi_calls_free(aio);
    Py_CLEAR(aio->seen_start);
    Py_CLEAR(aio->seen_body);
    Py_CLEAR(aio->app);
    Py_CLEAR(aio->on_error);
    Py_CLEAR(aio->on_fault);
    Py_CLEAR(aio->give_away);
    Py_CLEAR(aio->app_state);
    Py_CLEAR(aio->root_path);
    Py_CLEAR(aio->root_raw);
    Py_CLEAR(aio->asgi);
    Py_CLEAR(aio->extensions);
    Py_CLEAR(aio->socket_extensions);
    Py_CLEAR(aio->empty_bytes);
    sl_aio_leave_loop(aio);
    for (size_t i = 0; i < SL_AIO_HEADERS; i++)
        Py_CLEAR(aio->fields[i].pair);
    for (size_t i = 0; i < SL_AIO_PATHS; i++) {
        Py_CLEAR(aio->paths[i].raw);
        Py_CLEAR(aio->paths[i].text);
        Py_CLEAR(aio->paths[i].sent);
        Py_CLEAR(aio->queries[i]);
    }
    for (size_t i = 0; i < 16; i++)
        Py_CLEAR(aio->methods[i]);
    for (size_t i = 0; i < SL_AIO_CLIENTS; i++)
        Py_CLEAR(aio->clients[i].pair);
    for (unsigned i = 0; i < aio->template_count; i++)
        Py_CLEAR(aio->templates[i].dict);
    aio->template_count = 0;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static PyObject *
pair_of(const struct sl_header *header)
{
    PyObject *name = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)header->name.len);
    PyObject *value = PyBytes_FromStringAndSize(header->value.ptr, (Py_ssize_t)header->value.len);
    PyObject *pair = name && value ? PyTuple_Pack(2, name, value) : NULL;
    if (pair != NULL) {
        char *out = PyBytes_AS_STRING(name);
        for (size_t i = 0; i < header->name.len; i++) {
            char c = header->name.ptr[i];
            out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    return pair;
}

static PyObject *
field_object(struct sl_aio *aio, const struct sl_header *header)
{
    const char *raw = header->name.ptr;
    size_t len = header->name.len;
    struct sl_aio_field *slot = &aio->fields[sl_aio_mix(raw, len) & (SL_AIO_HEADERS - 1)];
    if (slot->pair != NULL && slot->len == len && memcmp(slot->raw, raw, len) == 0 &&
        same_bytes(PyTuple_GET_ITEM(slot->pair, 1), header->value.ptr, header->value.len))
        return Py_NewRef(slot->pair);
    PyObject *pair = pair_of(header);
    if (pair != NULL && len <= sizeof(slot->raw) && header->value.len <= SL_AIO_CACHED_MAX) {
        Py_XSETREF(slot->pair, Py_NewRef(pair));
        slot->len = (uint8_t)len;
        memcpy(slot->raw, raw, len);
    }
    return pair;
}

static PyObject *
headers_list(struct sl_aio *aio, const struct sl_request *req)
{
    PyObject *list = PyList_New((Py_ssize_t)req->header_count);
    for (size_t i = 0; list != NULL && i < req->header_count; i++) {
        PyObject *pair = field_object(aio, &req->headers[i]);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    return list;
}

static int
hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decoded as the specification wants: percent-decoded, then UTF-8. */
static PyObject *
decode_path(struct sl_aio *aio, const char *ptr, size_t len)
{
    char *bytes = PyMem_Malloc(len + 1);
    size_t n = 0;
    if (bytes == NULL)
        return PyErr_NoMemory();
    for (size_t i = 0; i < len; i++) {
        int high, low;
        if (ptr[i] == '%' && i + 2 < len && (high = hex(ptr[i + 1])) >= 0 &&
            (low = hex(ptr[i + 2])) >= 0) {
            bytes[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            bytes[n++] = ptr[i];
        }
    }
    PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)n, "replace");
    PyMem_Free(bytes);
    if (text == NULL || PyUnicode_GET_LENGTH(aio->root_path) == 0)
        return text;
    PyObject *whole = PyUnicode_Concat(aio->root_path, text);
    Py_DECREF(text);
    return whole;
}

static PyObject *
raw_path(struct sl_aio *aio, PyObject *sent)
{
    PyObject *raw = Py_NewRef(aio->root_raw);
    if (PyBytes_GET_SIZE(raw) == 0) {
        Py_DECREF(raw);
        return Py_NewRef(sent);
    }
    PyBytes_Concat(&raw, sent);
    return raw;
}

/* Fills a slot of the cache, which is returned; or NULL with an exception. */
static struct sl_aio_path *
path_objects(struct sl_aio *aio, const char *ptr, size_t len)
{
    struct sl_aio_path *slot = &aio->paths[sl_aio_mix(ptr, len) & (SL_AIO_PATHS - 1)];
    if (slot->sent != NULL && same_bytes(slot->sent, ptr, len))
        return slot;
    PyObject *sent = PyBytes_FromStringAndSize(ptr, (Py_ssize_t)len);
    PyObject *raw = sent ? raw_path(aio, sent) : NULL;
    PyObject *text = raw ? decode_path(aio, ptr, len) : NULL;
    if (text == NULL) {
        Py_XDECREF(sent);
        Py_XDECREF(raw);
        return NULL;
    }
    Py_XSETREF(slot->sent, sent);
    Py_XSETREF(slot->raw, raw);
    Py_XSETREF(slot->text, text);
    return slot;
}

static PyObject *
query_object(struct sl_aio *aio, const struct sl_str *query)
{
    if (query->len == 0)
        return Py_NewRef(aio->empty_bytes);
    PyObject **slot = &aio->queries[sl_aio_mix(query->ptr, query->len) & (SL_AIO_PATHS - 1)];
    if (*slot != NULL && same_bytes(*slot, query->ptr, query->len))
        return Py_NewRef(*slot);
    PyObject *bytes = PyBytes_FromStringAndSize(query->ptr, (Py_ssize_t)query->len);
    if (bytes != NULL && query->len <= SL_AIO_CACHED_MAX)
        Py_XSETREF(*slot, Py_NewRef(bytes));
    return bytes;
}

PyObject *
sl_aio_method(struct sl_aio *aio, const struct sl_str *method)
{
    if (method->len == 3 && memcmp(method->ptr, "GET", 3) == 0)
        return Py_NewRef(aio->text_get);
    PyObject **slot = &aio->methods[sl_aio_mix(method->ptr, method->len) & 15];
    if (*slot != NULL && (size_t)PyUnicode_GET_LENGTH(*slot) == method->len &&
        memcmp(PyUnicode_1BYTE_DATA(*slot), method->ptr, method->len) == 0)
        return Py_NewRef(*slot);
    PyObject *text = PyUnicode_DecodeLatin1(method->ptr, (Py_ssize_t)method->len, NULL);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < method->len; i++) {
        if (method->ptr[i] >= 'a' && method->ptr[i] <= 'z') {
            /* The specification says upper case. */
            PyObject *upper = PyObject_CallMethod(text, "upper", NULL);
            Py_DECREF(text);
            return upper;
        }
    }
    if (method->len <= 32)
        Py_XSETREF(*slot, Py_NewRef(text));
    return text;
}

PyObject *
sl_aio_client(struct sl_aio *aio, const struct sl_peer *peer)
{
    if (peer->addr[0] == '\0')
        Py_RETURN_NONE;
    unsigned index = (peer->port >> 1) & (SL_AIO_CLIENTS - 1);
    PyObject *pair = aio->clients[index].pair;
    if (pair != NULL && aio->clients[index].port == peer->port) {
        Py_ssize_t len;
        const char *addr = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &len);
        if (addr != NULL && strcmp(addr, peer->addr) == 0)
            return Py_NewRef(pair);
    }
    pair = Py_BuildValue("(si)", peer->addr, (int)peer->port);
    if (pair != NULL) {
        aio->clients[index].port = peer->port;
        Py_XSETREF(aio->clients[index].pair, Py_NewRef(pair));
    }
    return pair;
}

/* ---- the scope ------------------------------------------------------------------------------- */

/* Keys stand in the order of the specification; those that differ hold None until they are set. */
static PyObject *
make_template(struct sl_aio *aio, const struct sl_peer *peer, bool https)
{
    PyObject *dict = PyDict_New();
    PyObject *server = peer->family == 1 /* AF_UNIX */
                           ? Py_BuildValue("(sO)", peer->local, Py_None)
                           : Py_BuildValue("(si)", peer->local, (int)peer->local_port);
    if (dict == NULL || server == NULL)
        goto error;
    if (PyDict_SetItem(dict, aio->text_type, aio->text_http) < 0 ||
        PyDict_SetItem(dict, aio->text_asgi, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_http_version, aio->text_v1_1) < 0 ||
        PyDict_SetItem(dict, aio->text_server, server) < 0 ||
        PyDict_SetItem(dict, aio->text_client, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_scheme, https ? aio->text_https : aio->text_http) < 0 ||
        PyDict_SetItem(dict, aio->text_method, aio->text_get) < 0 ||
        PyDict_SetItem(dict, aio->text_root_path, aio->root_path) < 0 ||
        PyDict_SetItem(dict, aio->text_path, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_raw_path, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_query_string, aio->empty_bytes) < 0 ||
        PyDict_SetItem(dict, aio->text_headers, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_state, Py_None) < 0 ||
        PyDict_SetItem(dict, aio->text_extensions, Py_None) < 0)
        goto error;
    Py_DECREF(server);
    return dict;
error:
    Py_XDECREF(dict);
    Py_XDECREF(server);
    return NULL;
}

static int
put_path(struct sl_aio *aio, PyObject *scope, const struct sl_aio_path *path)
{
    if (PyDict_SetItem(scope, aio->text_path, path->text) < 0)
        return -1;
    return PyDict_SetItem(scope, aio->text_raw_path, path->raw);
}

/* The same path comes often, one request after the other: it stays in the template. */
static PyObject *
copy_with_path(struct sl_aio *aio, struct sl_aio_template *t, const struct sl_aio_path *path)
{
    if (t->path != path || t->raw != path->raw) {
        t->path = NULL;
        if (put_path(aio, t->dict, path) < 0)
            return NULL;
        t->path = path;
        t->raw = path->raw;
    }
    return PyDict_Copy(t->dict);
}

static PyObject *
template_copy(struct sl_aio *aio, const struct sl_request *req, const struct sl_aio_path *path)
{
    const struct sl_peer *peer = req->peer;
    for (unsigned i = 0; i < aio->template_count; i++) {
        struct sl_aio_template *t = &aio->templates[i];
        if (t->local == peer->local && t->port == peer->local_port && t->https == req->https)
            return copy_with_path(aio, t, path);
    }
    PyObject *dict = make_template(aio, peer, req->https);
    if (dict != NULL && aio->template_count < SL_AIO_TEMPLATES) {
        struct sl_aio_template *t = &aio->templates[aio->template_count++];
        *t = (struct sl_aio_template){
            .local = peer->local, .port = peer->local_port, .https = req->https, .dict = dict};
        return copy_with_path(aio, t, path);
    }
    if (dict != NULL && put_path(aio, dict, path) < 0)
        Py_CLEAR(dict);
    return dict;
}

/* Steals value, which may be NULL. */
static int
set(PyObject *dict, PyObject *key, PyObject *value)
{
    if (value == NULL)
        return -1;
    int rc = PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return rc;
}

PyObject *
sl_asgi_scope_new(struct sl_asgi_request *request)
{
    struct sl_aio *aio = request->aio;
    const struct sl_request *req = request->req;
    struct sl_aio_path *path = path_objects(aio, req->path.ptr, req->path.len);
    PyObject *scope = path ? template_copy(aio, req, path) : NULL;
    if (scope == NULL)
        return NULL;
    request->path = Py_NewRef(path->text);
    request->method = sl_aio_method(aio, &req->method);
    if (request->method == NULL ||
        set(scope, aio->text_client, sl_aio_client(aio, req->peer)) < 0 ||
        set(scope, aio->text_headers, headers_list(aio, req)) < 0 ||
        set(scope, aio->text_asgi, PyDict_Copy(aio->asgi)) < 0 ||
        set(scope, aio->text_state, PyDict_Copy(aio->app_state)) < 0 ||
        set(scope, aio->text_extensions, PyDict_Copy(aio->extensions)) < 0)
        goto error;
    if (request->method != aio->text_get &&
        PyDict_SetItem(scope, aio->text_method, request->method) < 0)
        goto error;
    if (req->query.len > 0 &&
        set(scope, aio->text_query_string, query_object(aio, &req->query)) < 0)
        goto error;
    if (req->version_minor == 0 &&
        PyDict_SetItem(scope, aio->text_http_version, aio->text_v1_0) < 0)
        goto error;
    if (request->socket != NULL && sl_asgi_socket_scope(request, scope) < 0)
        goto error;
    return scope;
error:
    Py_DECREF(scope);
    return NULL;
}
