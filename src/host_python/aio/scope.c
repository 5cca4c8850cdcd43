/* The ASGI scope of a request: a copy of a template with what differs. Bytes that came before
 * become the objects they became then; the caches are bounded, a slot holds the newest. */
#include "task.h"
#include "websocket.h"
#include <string.h>

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
    sl_aio_blocks_clear(&aio->blocks);
    sl_asgi_scope_forget(aio);
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
    struct sl_aio_field *slot = &aio->fields[sl_py_mix(raw, len) & (SL_AIO_HEADERS - 1)];
    if (slot->pair != NULL && slot->len == len && memcmp(slot->raw, raw, len) == 0 &&
        sl_aio_same_bytes(PyTuple_GET_ITEM(slot->pair, 1), header->value.ptr, header->value.len))
        return Py_NewRef(slot->pair);
    PyObject *pair = pair_of(header);
    if (pair != NULL && len <= sizeof(slot->raw) && header->value.len <= SL_AIO_CACHED_MAX) {
        Py_XSETREF(slot->pair, Py_NewRef(pair));
        slot->len = (uint8_t)len;
        memcpy(slot->raw, raw, len);
    }
    return pair;
}

static int
fill_block(void *ctx, struct sl_aio_block *block, const struct sl_request *req)
{
    PyObject *fields = PyTuple_New((Py_ssize_t)req->header_count);
    for (size_t i = 0; fields != NULL && i < req->header_count; i++) {
        PyObject *pair = field_object(ctx, &req->headers[i]);
        if (pair == NULL)
            Py_CLEAR(fields);
        else
            PyTuple_SET_ITEM(fields, (Py_ssize_t)i, pair);
    }
    block->fields = fields;
    return fields != NULL ? 0 : -1;
}

static PyObject *
query_object(struct sl_aio *aio, const struct sl_str *query)
{
    if (query->len == 0)
        return Py_NewRef(aio->empty_bytes);
    PyObject **slot = &aio->queries[sl_py_mix(query->ptr, query->len) & (SL_AIO_PATHS - 1)];
    if (*slot != NULL && sl_aio_same_bytes(*slot, query->ptr, query->len))
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
    PyObject **slot = &aio->methods[sl_py_mix(method->ptr, method->len) & 15];
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

static struct sl_aio_template *
find_template(struct sl_aio *aio, const struct sl_request *req)
{
    const struct sl_peer *peer = req->peer;
    for (unsigned i = 0; i < aio->template_count; i++) {
        struct sl_aio_template *t = &aio->templates[i];
        if (t->local == peer->local && t->port == peer->local_port && t->https == req->https)
            return t;
    }
    PyObject *dict = make_template(aio, peer, req->https);
    if (dict == NULL)
        return NULL;
    if (aio->template_count == SL_AIO_TEMPLATES) { /* so many are no use */
        sl_asgi_scope_forget(aio);
        Py_CLEAR(aio->templates[--aio->template_count].dict);
    }
    struct sl_aio_template *t = &aio->templates[aio->template_count++];
    *t = (struct sl_aio_template){
        .local = peer->local, .port = peer->local_port, .https = req->https, .dict = dict};
    return t;
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

/* The same, unless it is what the scope has already. */
static int
put(PyObject *dict, PyObject *key, PyObject **now, PyObject *value)
{
    if (value != *now) {
        *now = value;
        return set(dict, key, value);
    }
    Py_XDECREF(value);
    return value != NULL ? 0 : -1;
}

/* ---- the scope of the request before -----------------------------------------------------------
 *
 * Making a scope and freeing it is a sixth of a small request. If the application has neither kept
 * nor changed any part of it, it is the next one's, but for what differs. Before CPython 3.14 a
 * dict has a number that changes with it.
 */

#if PY_VERSION_HEX < 0x030e0000 && !defined(Py_GIL_DISABLED)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static uint64_t
tag_of(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#pragma GCC diagnostic pop
enum { TAGGED = true };
#else
static uint64_t
tag_of(PyObject *Py_UNUSED(dict))
{
    return 0;
}
enum { TAGGED = false };
#endif

static void
note_tags(struct sl_aio *aio)
{
    struct sl_aio_scope *s = &aio->scope;
    s->tag = tag_of(s->dict);
    s->asgi_tag = tag_of(s->asgi);
    s->state_tag = tag_of(s->state);
    s->extensions_tag = tag_of(s->extensions);
    s->app_state_tag = tag_of(aio->app_state);
}

static bool
are_fields(PyObject *list, PyObject *fields)
{
    Py_ssize_t count = PyTuple_GET_SIZE(fields);
    if (Py_REFCNT(list) != 1 || PyList_GET_SIZE(list) != count)
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyList_GET_ITEM(list, i) != PyTuple_GET_ITEM(fields, i))
            return false;
    }
    return true;
}

static bool
is_as_left(const struct sl_aio_scope *s)
{
    return TAGGED && Py_REFCNT(s->dict) == 1 && tag_of(s->dict) == s->tag &&
           Py_REFCNT(s->asgi) == 1 && tag_of(s->asgi) == s->asgi_tag && Py_REFCNT(s->state) == 1 &&
           tag_of(s->state) == s->state_tag && Py_REFCNT(s->extensions) == 1 &&
           tag_of(s->extensions) == s->extensions_tag && are_fields(s->headers, s->fields);
}

void
sl_asgi_scope_forget(struct sl_aio *aio)
{
    Py_CLEAR(aio->scope.dict);
    Py_CLEAR(aio->scope.fields);
}

void
sl_asgi_scope_settle(struct sl_aio *aio)
{
    if (aio->scope.dict != NULL && !is_as_left(&aio->scope))
        sl_asgi_scope_forget(aio);
}

/* ---- ... and of this one -----------------------------------------------------------------------
 */

static int
renew(struct sl_aio *aio, struct sl_aio_template *t, const struct sl_aio_path *path)
{
    struct sl_aio_scope *s = &aio->scope;
    sl_asgi_scope_forget(aio);
    *s = (struct sl_aio_scope){.dict = copy_with_path(aio, t, path),
                               .from = t,
                               .path = path->text,
                               .client = Py_None,
                               .method = aio->text_get,
                               .query = aio->empty_bytes,
                               .version = aio->text_v1_1};
    return s->dict != NULL && put(s->dict, aio->text_asgi, &s->asgi, PyDict_Copy(aio->asgi)) == 0 &&
                   put(s->dict, aio->text_state, &s->state, PyDict_Copy(aio->app_state)) == 0 &&
                   put(s->dict, aio->text_extensions, &s->extensions,
                       PyDict_Copy(aio->extensions)) == 0
               ? 0
               : -1;
}

static int
put_headers(struct sl_aio *aio, const struct sl_request *req)
{
    struct sl_aio_scope *s = &aio->scope;
    struct sl_aio_block *block = sl_aio_block_find(&aio->blocks, req, fill_block, aio);
    if (block == NULL)
        return -1;
    if (block->fields == s->fields)
        return 0;
    Py_XSETREF(s->fields, Py_NewRef(block->fields));
    return put(s->dict, aio->text_headers, &s->headers, PySequence_List(block->fields));
}

static int
put_what_differs(struct sl_asgi_request *request, const struct sl_aio_path *path)
{
    struct sl_aio *aio = request->aio;
    struct sl_aio_scope *s = &aio->scope;
    const struct sl_request *req = request->req;
    PyObject *version = req->version_minor == 0 ? aio->text_v1_0 : aio->text_v1_1;
    if (s->path != path->text && put_path(aio, s->dict, path) < 0)
        return -1;
    s->path = path->text;
    return put(s->dict, aio->text_client, &s->client, sl_aio_client(aio, req->peer)) == 0 &&
                   put(s->dict, aio->text_method, &s->method, Py_NewRef(request->method)) == 0 &&
                   put(s->dict, aio->text_query_string, &s->query,
                       query_object(aio, &req->query)) == 0 &&
                   put(s->dict, aio->text_http_version, &s->version, Py_NewRef(version)) == 0
               ? put_headers(aio, req)
               : -1;
}

PyObject *
sl_asgi_scope_new(struct sl_asgi_request *request)
{
    struct sl_aio *aio = request->aio;
    struct sl_aio_scope *s = &aio->scope;
    const struct sl_request *req = request->req;
    struct sl_aio_path *path = sl_aio_path_find(aio, req->path.ptr, req->path.len);
    struct sl_aio_template *t = path != NULL ? find_template(aio, req) : NULL;
    if (t == NULL)
        return NULL;
    request->path = Py_NewRef(path->text);
    request->method = sl_aio_method(aio, &req->method);
    bool known = s->dict != NULL && s->from == t && s->app_state_tag == tag_of(aio->app_state);
    if (request->method == NULL || (!known && renew(aio, t, path) < 0) ||
        put_what_differs(request, path) < 0) {
        sl_asgi_scope_forget(aio);
        return NULL;
    }
    note_tags(aio);
    PyObject *scope = Py_NewRef(s->dict);
    if (request->socket != NULL) { /* which makes another one of it */
        sl_asgi_scope_forget(aio);
        if (sl_asgi_socket_scope(request, scope) < 0)
            Py_CLEAR(scope);
    }
    return scope;
}
