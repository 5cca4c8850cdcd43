/* environ (PEP 3333, with gunicorn's additions): a copy of a template plus what this request says.
 *
 * A template holds everything that is the same for one listener and scheme, and this call's
 * wsgi.input and wsgi.early_hints. Keys that a request always or usually has stand in it with the
 * commonest value, so that setting them neither grows the table nor happens when the value is that.
 * gunicorn.socket is not there: the connection belongs to the engine.
 *
 * Setting a key costs about as much as copying ten. So when a client sends the same header fields
 * several times in a row, they go into a second template (hot) and need not be set; path and
 * address likewise. That they are the same is seen by the pointers that the caches of headers.c
 * give; and once a template is hot, by the bytes of all fields at once, without asking the caches.
 */
#include "wsgi.h"
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static int
set(PyObject *env, PyObject *key, PyObject *stolen_value)
{
    if (stolen_value == NULL)
        return -1;
    int result = PyDict_SetItem(env, key, stolen_value);
    Py_DECREF(stolen_value);
    return result;
}

/* PyDict_Copy() keeps the size of the source's table. A browser's request adds about ten headers to
 * our 22 keys; a table of 64 takes all without growing. It is got by 22 or more insertions; place
 * holders that are taken out again count. */
static int
make_room(PyObject *dict)
{
    char name[32];
    int count = 0;
    for (; PyDict_GET_SIZE(dict) < 24; count++) {
        snprintf(name, sizeof(name), "saola.%d", count);
        if (PyDict_SetItemString(dict, name, Py_None) < 0)
            return -1;
    }
    while (count-- > 0) {
        snprintf(name, sizeof(name), "saola.%d", count);
        if (PyDict_DelItemString(dict, name) < 0)
            return -1;
    }
    return 0;
}

static PyObject *
template_new(struct sl_wsgi_call *call)
{
    struct sl_wsgi *wsgi = call->wsgi;
    const struct sl_peer *peer = call->req->peer;
    PyObject *dict = PyDict_New();
    if (dict == NULL || PyDict_Update(dict, wsgi->base) < 0)
        goto error;
    if (PyDict_SetItem(dict, wsgi->key_input, call->input) < 0 ||
        PyDict_SetItem(dict, wsgi->key_early_hints, call->early_hints) < 0 ||
        PyDict_SetItem(dict, wsgi->key_request_method, wsgi->text_get) < 0 ||
        PyDict_SetItem(dict, wsgi->key_server_protocol, wsgi->text_http_1_1) < 0 ||
        PyDict_SetItem(dict, wsgi->key_query_string, wsgi->text_empty) < 0 ||
        PyDict_SetItem(dict, wsgi->key_script_name, wsgi->script_name) < 0 ||
        PyDict_SetItem(dict, wsgi->key_raw_uri, wsgi->text_empty) < 0 ||
        PyDict_SetItem(dict, wsgi->key_path_info, wsgi->text_empty) < 0 ||
        PyDict_SetItem(dict, wsgi->key_remote_addr, wsgi->text_empty) < 0 ||
        set(dict, wsgi->key_server_name, sl_wsgi_string(wsgi, peer->local, strlen(peer->local))) <
            0 ||
        set(dict, wsgi->key_url_scheme, PyUnicode_FromString(call->req->https ? "https" : "http")) <
            0)
        goto error;
    if (peer->family != AF_UNIX) {
        if (set(dict, wsgi->key_server_port, sl_wsgi_port(wsgi, peer->local_port)) < 0 ||
            PyDict_SetItem(dict, wsgi->key_remote_port, wsgi->text_empty) < 0)
            goto error;
    } else if (PyDict_SetItem(dict, wsgi->key_server_port, wsgi->text_empty) < 0) {
        goto error;
    }
    if (make_room(dict) < 0)
        goto error;
    return dict;
error:
    Py_XDECREF(dict);
    return NULL;
}

static void
release_fields(struct sl_wsgi_fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        Py_DECREF(fields->keys[i]);
        Py_DECREF(fields->values[i]);
    }
    fields->count = 0;
}

static void
template_free(struct sl_wsgi_call *call, struct sl_wsgi_template *template)
{
    call->dict_count -= template->hot != NULL ? 2 : 1;
    Py_DECREF(template->dict);
    Py_XDECREF(template->hot);
    release_fields(&template->seen);
    PyMem_Free(template);
}

void
sl_wsgi_templates_release(struct sl_wsgi_call *call)
{
    while (call->template_count > 0)
        template_free(call, call->templates[--call->template_count]);
}

static struct sl_wsgi_template *
template_find(struct sl_wsgi_call *call)
{
    const struct sl_peer *peer = call->req->peer;
    for (unsigned i = 0; i < call->template_count; i++) {
        struct sl_wsgi_template *t = call->templates[i];
        if (t->local == peer->local && t->port == peer->local_port && t->https == call->req->https)
            return t;
    }
    struct sl_wsgi_template *t = PyMem_Calloc(1, sizeof(*t));
    if (t == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    t->local = peer->local;
    t->port = peer->local_port;
    t->https = call->req->https;
    t->dict = template_new(call);
    if (t->dict == NULL) {
        PyMem_Free(t);
        return NULL;
    }
    if (call->template_count == SL_WSGI_TEMPLATES)
        template_free(call, call->templates[--call->template_count]);
    call->templates[call->template_count++] = t;
    call->dict_count++;
    return t;
}

/* Percent-decoded latin-1. */
static PyObject *
unquote(struct sl_wsgi *wsgi, const char *ptr, size_t len)
{
    if (len == 0 || memchr(ptr, '%', len) == NULL)
        return sl_wsgi_string(wsgi, ptr, len);
    char small[512];
    char *out = small;
    if (len > sizeof(small)) {
        out = PyMem_Malloc(len);
        if (out == NULL)
            return PyErr_NoMemory();
    }
    size_t n = sl_py_percent_decode(out, ptr, len);
    PyObject *text = sl_wsgi_string(wsgi, out, n);
    if (out != small)
        PyMem_Free(out);
    return text;
}

/* A name that came twice: "first,second" as gunicorn joins them. */
static int
join(PyObject *env, PyObject *key, PyObject *first, PyObject *second)
{
    return set(env, key, PyUnicode_FromFormat("%U,%U", first, second));
}

/* What the header fields say about where the request goes. */
struct routing {
    PyObject *host; /* new references or NULL */
    PyObject *script;
};

static int
add_field(PyObject *env, PyObject *key, PyObject *value)
{
    Py_ssize_t before = PyDict_GET_SIZE(env);
    PyObject *there = PyDict_SetDefault(env, key, value);
    if (there == NULL)
        return -1;
    return PyDict_GET_SIZE(env) == before ? join(env, key, there, value) : 0;
}

static int
add_fields(PyObject *env, const struct sl_wsgi_fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        if (add_field(env, fields->keys[i], fields->values[i]) < 0)
            return -1;
    }
    return 0;
}

/* The request's fields from number *at on, as many as fit. */
static int
collect(struct sl_wsgi_call *call, size_t *at, struct sl_wsgi_fields *fields,
        struct routing *routing)
{
    const struct sl_request *req = call->req;
    fields->count = 0;
    while (*at < req->header_count && fields->count < SL_WSGI_HOT_FIELDS) {
        unsigned i = fields->count;
        enum sl_wsgi_name_kind kind;
        if (sl_wsgi_header_objects(call->wsgi, &req->headers[*at], &fields->keys[i],
                                   &fields->values[i], &kind) < 0)
            return -1;
        fields->count++;
        ++*at;
        if (kind == SL_WSGI_NAME_HOST)
            Py_XSETREF(routing->host, Py_NewRef(fields->values[i]));
        else if (kind == SL_WSGI_NAME_SCRIPT)
            Py_XSETREF(routing->script, Py_NewRef(fields->values[i]));
    }
    return 0;
}

static bool
same_fields(const struct sl_wsgi_fields *a, const struct sl_wsgi_fields *b)
{
    size_t size = a->count * sizeof(a->keys[0]);
    return a->count == b->count && memcmp(a->values, b->values, size) == 0 &&
           memcmp(a->keys, b->keys, size) == 0;
}

static void
copy_fields(struct sl_wsgi_fields *to, const struct sl_wsgi_fields *from)
{
    release_fields(to);
    for (unsigned i = 0; i < from->count; i++) {
        to->keys[i] = Py_NewRef(from->keys[i]);
        to->values[i] = Py_NewRef(from->values[i]);
    }
    to->count = from->count;
}

/* How far p is behind base; what lies elsewhere gets a distance that no raw block has. */
static inline size_t
distance(const char *base, const char *p)
{
    return (size_t)((uintptr_t)p - (uintptr_t)base);
}

/* Keeps the bytes of the request's fields, which are as many as seen has. */
static void
keep_raw(struct sl_wsgi_raw *raw, const struct sl_request *req)
{
    raw->len = 0;
    if (req->header_count == 0)
        return;
    const char *base = req->headers[0].name.ptr;
    const struct sl_str *last = &req->headers[req->header_count - 1].value;
    size_t len = distance(base, last->ptr) + last->len;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_header *h = &req->headers[i];
        size_t name = distance(base, h->name.ptr), value = distance(base, h->value.ptr);
        if (len > sizeof(raw->bytes) || name > len || h->name.len > len - name || value > len ||
            h->value.len > len - value)
            return; /* too long, or not all in one piece of memory */
        raw->places[i].name = name;
        raw->places[i].name_len = h->name.len;
        raw->places[i].value = value;
        raw->places[i].value_len = h->value.len;
    }
    memcpy(raw->bytes, base, len);
    raw->len = len;
}

/* Are the request's fields those of the hot template, byte by byte? The places come first: the last
 * of them says that there are raw->len bytes to compare. */
static bool
is_raw(const struct sl_wsgi_template *t, const struct sl_request *req)
{
    const struct sl_wsgi_raw *raw = &t->raw;
    if (t->hot == NULL || raw->len == 0 || req->header_count != t->seen.count)
        return false;
    const char *base = req->headers[0].name.ptr;
    size_t different = 0;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_header *h = &req->headers[i];
        different |= distance(base, h->name.ptr) ^ raw->places[i].name;
        different |= h->name.len ^ raw->places[i].name_len;
        different |= distance(base, h->value.ptr) ^ raw->places[i].value;
        different |= h->value.len ^ raw->places[i].value_len;
    }
    return different == 0 && memcmp(base, raw->bytes, raw->len) == 0;
}

static int
heat(struct sl_wsgi_call *call, struct sl_wsgi_template *t, const struct routing *routing)
{
    PyObject *hot = PyDict_Copy(t->dict);
    if (hot == NULL || add_fields(hot, &t->seen) < 0) {
        Py_XDECREF(hot);
        return -1;
    }
    PyObject *empty = call->wsgi->text_empty;
    t->uri.there = t->path.there = t->addr.there = empty;
    t->uri.last = t->path.last = t->addr.last = NULL;
    t->hot = hot;
    t->host = routing->host;
    t->script = routing->script;
    keep_raw(&t->raw, call->req);
    call->dict_count++;
    return 0;
}

/* Are these the fields of the hot dict? 1, 0, or -1 with an exception. Learns on the way. */
static int
is_hot(struct sl_wsgi_call *call, struct sl_wsgi_template *t, const struct sl_wsgi_fields *fields,
       const struct routing *routing)
{
    if (same_fields(fields, &t->seen)) {
        t->misses = 0;
        if (t->hot != NULL)
            return 1;
        if (++t->streak < SL_WSGI_HOT_AFTER)
            return 0;
        return heat(call, t, routing) < 0 ? -1 : 1;
    }
    if (t->hot == NULL || ++t->misses >= SL_WSGI_COLD_AFTER) {
        if (t->hot != NULL) {
            Py_CLEAR(t->hot);
            call->dict_count--;
        }
        t->streak = t->misses = 0;
        copy_fields(&t->seen, fields);
    }
    return 0;
}

/* Sets a key of a copy of the hot dict, unless that has the value. What comes twice in a row goes
 * into the hot dict. */
static int
set_hot(struct sl_wsgi_template *t, struct sl_wsgi_hot_value *hot, PyObject *env, PyObject *key,
        PyObject *value)
{
    if (value == hot->there)
        return 0;
    if (value == hot->last) {
        if (PyDict_SetItem(t->hot, key, value) < 0)
            return -1;
        hot->there = value; /* the dict holds it */
    }
    hot->last = value;
    return PyDict_SetItem(env, key, value);
}

/* One environ in the making. */
struct making {
    struct sl_wsgi_call *call;
    struct sl_wsgi_template *hot; /* NULL: environ is a copy of a cold template */
    PyObject *env;
};

/* Steals value, which may be NULL with an exception. */
static int
put(struct making *m, size_t hot_offset, PyObject *key, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result;
    if (m->hot != NULL)
        result = set_hot(m->hot, (void *)((char *)m->hot + hot_offset), m->env, key, value);
    else
        result = PyDict_SetItem(m->env, key, value);
    Py_DECREF(value);
    return result;
}

#define HOT(name) offsetof(struct sl_wsgi_template, name)

/* PATH_INFO, and SCRIPT_NAME where a proxy or the environment sets one. */
static int
add_path(struct making *m, PyObject *header_script, PyObject *raw_uri)
{
    struct sl_wsgi *wsgi = m->call->wsgi;
    const struct sl_request *req = m->call->req;
    PyObject *env = m->env;
    const char *path = req->path.ptr;
    size_t len = req->path.len;
    PyObject *script = header_script ? header_script : wsgi->script_name;
    size_t script_len = (size_t)PyUnicode_GET_LENGTH(script);
    if (script_len > 0) {
        const char *bytes = sl_py_latin1(script, "SCRIPT_NAME", &script_len);
        if (bytes == NULL)
            return -1;
        if (len < script_len || memcmp(path, bytes, script_len) != 0) {
            PyErr_Format(
                PyExc_ValueError,
                "the request path does not start with SCRIPT_NAME %R; set forwarder_headers "
                "and the proxy, or the environment variable, to match",
                script);
            return -1;
        }
        path += script_len;
        len -= script_len;
        if (header_script != NULL && PyDict_SetItem(env, wsgi->key_script_name, script) < 0)
            return -1;
    } else if (header_script != NULL && PyDict_SetItem(env, wsgi->key_script_name, script) < 0) {
        return -1;
    }
    if (path == req->target.ptr && len == req->target.len && memchr(path, '%', len) == NULL)
        return put(m, HOT(path), wsgi->key_path_info, Py_NewRef(raw_uri));
    return put(m, HOT(path), wsgi->key_path_info, unquote(wsgi, path, len));
}

static int
add_peer(struct making *m)
{
    struct sl_wsgi *wsgi = m->call->wsgi;
    const struct sl_peer *peer = m->call->req->peer;
    PyObject *env = m->env;
    if (put(m, HOT(addr), wsgi->key_remote_addr,
            sl_wsgi_string(wsgi, peer->addr, strlen(peer->addr))) < 0)
        return -1;
    if ((peer->family != AF_UNIX || peer->proxied) &&
        set(env, wsgi->key_remote_port, sl_wsgi_port(wsgi, peer->port)) < 0)
        return -1;
    if (!peer->proxied)
        return 0;
    if (set(env, wsgi->key_proxy_protocol,
            PyUnicode_FromString(strchr(peer->addr, ':') ? "TCP6" : "TCP4")) < 0 ||
        set(env, wsgi->key_proxy_addr, PyUnicode_FromString(peer->dest_addr)) < 0 ||
        set(env, wsgi->key_proxy_port, sl_wsgi_port(wsgi, peer->dest_port)) < 0)
        return -1;
    return 0;
}

/* A unix socket has no port and its path is no host name: the Host header says who we are. */
static int
add_server_from_host(struct sl_wsgi_call *call, PyObject *env, PyObject *host)
{
    struct sl_wsgi *wsgi = call->wsgi;
    Py_ssize_t len = PyUnicode_GET_LENGTH(host);
    Py_ssize_t colon = PyUnicode_FindChar(host, ':', 0, len, -1);
    Py_ssize_t bracket = PyUnicode_FindChar(host, ']', 0, len, -1);
    if (colon <= bracket)
        colon = -1;
    PyObject *port = colon < 0 ? PyUnicode_FromString(call->req->https ? "443" : "80")
                               : PyUnicode_Substring(host, colon + 1, len);
    if (set(env, wsgi->key_server_port, port) < 0)
        return -1;
    return set(env, wsgi->key_server_name, PyUnicode_Substring(host, 0, colon < 0 ? len : colon));
}

static bool
is_get(const struct sl_str *method)
{
    return method->len == 3 && memcmp(method->ptr, "GET", 3) == 0;
}

static int
add_request(struct making *m, struct routing *routing)
{
    struct sl_wsgi *wsgi = m->call->wsgi;
    const struct sl_request *req = m->call->req;
    PyObject *env = m->env;
    if (!is_get(&req->method) && set(env, wsgi->key_request_method,
                                     sl_wsgi_string(wsgi, req->method.ptr, req->method.len)) < 0)
        return -1;
    if (req->version_major != 1 || req->version_minor != 1) {
        PyObject *version =
            req->version_major == 1 && req->version_minor == 0
                ? Py_NewRef(wsgi->text_http_1_0)
                : PyUnicode_FromFormat("HTTP/%d.%d", req->version_major, req->version_minor);
        if (set(env, wsgi->key_server_protocol, version) < 0)
            return -1;
    }
    if (req->query.len > 0 &&
        set(env, wsgi->key_query_string, sl_wsgi_string(wsgi, req->query.ptr, req->query.len)) < 0)
        return -1;
    PyObject *raw_uri = sl_wsgi_string(wsgi, req->target.ptr, req->target.len);
    if (raw_uri == NULL)
        return -1;
    int result = put(m, HOT(uri), wsgi->key_raw_uri, Py_NewRef(raw_uri));
    if (result == 0)
        result = add_path(m, routing->script, raw_uri);
    Py_DECREF(raw_uri);
    if (result < 0 || add_peer(m) < 0)
        return -1;
    if (req->peer->family == AF_UNIX && routing->host != NULL)
        return add_server_from_host(m->call, env, routing->host);
    return 0;
}

/* A copy of the right template with the header fields in it. */
static int
begin(struct making *m, struct routing *routing)
{
    struct sl_wsgi_call *call = m->call;
    struct sl_wsgi_fields fields;
    size_t at = 0;
    int hot = 0;
    struct sl_wsgi_template *t = template_find(call);
    if (t == NULL)
        return -1;
    if (is_raw(t, call->req)) {
        t->misses = 0;
        routing->host = Py_XNewRef(t->host);
        routing->script = Py_XNewRef(t->script);
        m->hot = t;
        m->env = PyDict_Copy(t->hot);
        return m->env == NULL ? -1 : 0;
    }
    int result = collect(call, &at, &fields, routing);
    if (result == 0 && at == call->req->header_count)
        hot = is_hot(call, t, &fields, routing);
    if (result < 0 || hot < 0) {
        release_fields(&fields);
        return -1;
    }
    m->hot = hot ? t : NULL;
    m->env = PyDict_Copy(hot ? t->hot : t->dict);
    result = m->env == NULL ? -1 : 0;
    if (!hot && result == 0)
        result = add_fields(m->env, &fields);
    release_fields(&fields);
    while (result == 0 && at < call->req->header_count) {
        result = collect(call, &at, &fields, routing);
        if (result == 0)
            result = add_fields(m->env, &fields);
        release_fields(&fields);
    }
    return result;
}

PyObject *
sl_wsgi_environ_new(struct sl_wsgi_call *call)
{
    struct making m = {.call = call};
    struct routing routing = {NULL, NULL};
    if (begin(&m, &routing) < 0 || add_request(&m, &routing) < 0)
        Py_CLEAR(m.env);
    Py_XDECREF(routing.host);
    Py_XDECREF(routing.script);
    return m.env;
}
