/* Requests for aiohttp's own application object, made from our parser's.
 *
 * Plain requests become aiohttp's Request and are answered through our writer (aiohttp_writer.c).
 * All others (upgrades, Expect, compressed bodies, targets that are no paths) are given away with
 * their connection: aiohttp's own protocol, on a transport of the loop, goes on with it. With a
 * bridge that has no `serve` that happens to all, which needs nothing but public API of aiohttp.
 */
#include "aiohttp.h"
#include "message.h"
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

int
sl_aiohttp_new(struct sl_aio *aio, PyObject *bridge)
{
    if (aio->aiohttp != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "set_aiohttp() was called before");
        return -1;
    }
    struct sl_aiohttp *web = PyMem_Calloc(1, sizeof *web);
    if (web == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    aio->aiohttp = web;
#define ROW(name)                                                                                  \
    if ((web->name = PyObject_GetAttrString(bridge, #name)) == NULL)                               \
        goto error;
    SL_AIOHTTP_BRIDGE(ROW)
#undef ROW
#define ROW(name)                                                                                  \
    if ((web->text_##name = PyUnicode_InternFromString(#name)) == NULL)                            \
        goto error;
    SL_AIOHTTP_TEXTS(ROW)
#undef ROW
    web->reader_kwnames = PyTuple_Pack(1, web->text_loop);
    web->empty_text = PyUnicode_FromString("");
    web->done = aio->state->done_type->tp_alloc(aio->state->done_type, 0);
    if (web->reader_kwnames == NULL || web->empty_text == NULL || web->done == NULL)
        goto error;
    return 0;
error:
    sl_aiohttp_free(aio);
    return -1;
}

void
sl_aiohttp_free(struct sl_aio *aio)
{
    struct sl_aiohttp *web = aio->aiohttp;
    if (web == NULL)
        return;
    aio->aiohttp = NULL;
#define ROW(name) Py_CLEAR(web->name);
    SL_AIOHTTP_BRIDGE(ROW)
#undef ROW
#define ROW(name) Py_CLEAR(web->text_##name);
    SL_AIOHTTP_TEXTS(ROW)
#undef ROW
    Py_CLEAR(web->reader_kwnames);
    Py_CLEAR(web->empty_text);
    Py_CLEAR(web->done);
    Py_CLEAR(web->sockname);
    Py_CLEAR(web->date_text);
    while (web->protocol_count > 0)
        Py_DECREF(web->protocols[--web->protocol_count]);
    sl_aio_blocks_clear(&web->blocks);
    for (size_t i = 0; i < SL_AIOHTTP_URLS; i++) {
        Py_CLEAR(web->urls[i].target);
        Py_CLEAR(web->urls[i].url);
    }
    PyMem_Free(web);
}

int
sl_aiohttp_traverse(struct sl_aio *aio, visitproc visit, void *arg)
{
    struct sl_aiohttp *web = aio->aiohttp;
    if (web == NULL)
        return 0;
#define ROW(name) Py_VISIT(web->name);
    SL_AIOHTTP_BRIDGE(ROW)
#undef ROW
    for (unsigned i = 0; i < web->protocol_count; i++)
        Py_VISIT(web->protocols[i]);
    return 0;
}

/* ---- the fields of a request ------------------------------------------------------------------
 */

static PyObject *
raw_fields(const struct sl_request *req)
{
    PyObject *fields = PyTuple_New((Py_ssize_t)req->header_count);
    for (size_t i = 0; fields != NULL && i < req->header_count; i++) {
        const struct sl_header *h = &req->headers[i];
        PyObject *pair = Py_BuildValue("(y#y#)", h->name.ptr, (Py_ssize_t)h->name.len,
                                       h->value.ptr ? h->value.ptr : "", (Py_ssize_t)h->value.len);
        if (pair == NULL)
            Py_CLEAR(fields);
        else
            PyTuple_SET_ITEM(fields, (Py_ssize_t)i, pair);
    }
    return fields;
}

static bool
is_named(const struct sl_header *h, const char *name, size_t len)
{
    return h->name.len == len && strncasecmp(h->name.ptr, name, len) == 0;
}

/* Nothing in the fields asks for more than a plain exchange. */
static bool
are_plain(const struct sl_request *req)
{
    for (size_t i = 0; i < req->header_count; i++) {
        const struct sl_header *h = &req->headers[i];
        if (is_named(h, "upgrade", 7) || is_named(h, "expect", 6) ||
            is_named(h, "content-encoding", 16) || is_named(h, "sec-websocket-key1", 18))
            return false;
    }
    return true;
}

static int
fill_block(void *ctx, struct sl_aio_block *block, const struct sl_request *req)
{
    struct sl_aiohttp *web = ctx;
    PyObject *raw = raw_fields(req);
    PyObject *headers = raw ? PyObject_CallOneArg(web->make_headers, raw) : NULL;
    if (headers == NULL) {
        Py_XDECREF(raw);
        return -1;
    }
    block->fields = raw;
    block->headers = headers;
    block->plain = are_plain(req);
    return 0;
}

/* ---- giving away -------------------------------------------------------------------------------
 */

static PyObject *
peer_name(struct sl_aio *aio, const struct sl_peer *peer)
{
    if (peer->addr[0] == '\0')
        return Py_NewRef(aio->aiohttp->empty_text);
    if (strchr(peer->addr, ':') != NULL)
        return Py_BuildValue("(siii)", peer->addr, (int)peer->port, 0, 0);
    return sl_aio_client(aio, peer);
}

int
sl_aio_give_away(struct sl_aio *aio, PyObject *taker, struct sl_request *req,
                 struct sl_response *res)
{
    int fd;
    const char *data;
    size_t len;
    int rc = sl_request_detach(req, &fd, &data, &len);
    if (rc < 0) {
        sl_response_fail(res, 503,
                         rc == SL_EBUSY ? "This request cannot wait behind an unread response."
                                        : "There is no descriptor left.");
        return 0;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    /* The socket knows who has connected, not whom a PROXY header has told of. */
    bool proxied = req->peer->proxied && req->peer->addr[0] != '\0';
    PyObject *told = proxied ? peer_name(aio, req->peer) : Py_NewRef(Py_None);
    PyObject *done = bytes && told ? PyObject_CallFunction(taker, "iOO", fd, bytes, told) : NULL;
    Py_XDECREF(told);
    Py_XDECREF(bytes);
    if (done == NULL) {
        PyErr_WriteUnraisable(taker);
        close(fd);
    }
    Py_XDECREF(done);
    return 0;
}

bool
sl_aiohttp_give_away(struct sl_aio *aio, struct sl_request *req, struct sl_response *res,
                     int *ret_code)
{
    struct sl_aiohttp *web = aio->aiohttp;
    /* An absolute target is no plain request. */
    if (web->serve != Py_None && req->target.len > 0 && req->target.ptr[0] == '/') {
        web->block = sl_aio_block_find(&web->blocks, req, fill_block, web);
        if (web->block == NULL) {
            PyErr_WriteUnraisable(web->make_headers);
            *ret_code = SL_ENOMEM;
            return true;
        }
        if (web->block->plain)
            return false;
    }
    *ret_code = sl_aio_give_away(aio, web->give_away, req, res);
    return true;
}

/* ---- the message -------------------------------------------------------------------------------
 */

static PyObject *
decode(const struct sl_str *s)
{
    return PyUnicode_DecodeUTF8(s->ptr, (Py_ssize_t)s->len, "surrogateescape");
}

/* target and url of the request, both new references. */
static int
find_url(struct sl_aiohttp *web, const struct sl_str *target, PyObject **ret_target,
         PyObject **ret_url)
{
    struct sl_aiohttp_url *slot =
        &web->urls[sl_py_mix(target->ptr, target->len) & (SL_AIOHTTP_URLS - 1)];
    Py_ssize_t len;
    if (slot->target != NULL && PyUnicode_IS_ASCII(slot->target) &&
        (size_t)PyUnicode_GET_LENGTH(slot->target) == target->len &&
        memcmp(PyUnicode_AsUTF8AndSize(slot->target, &len), target->ptr, target->len) == 0) {
        *ret_target = Py_NewRef(slot->target);
        *ret_url = Py_NewRef(slot->url);
        return 0;
    }
    PyObject *text = decode(target);
    PyObject *url = text ? PyObject_CallOneArg(web->make_url, text) : NULL;
    if (url == NULL) {
        Py_XDECREF(text);
        return -1;
    }
    if (target->len <= SL_AIO_CACHED_MAX) {
        Py_XSETREF(slot->target, Py_NewRef(text));
        Py_XSETREF(slot->url, Py_NewRef(url));
    }
    *ret_target = text;
    *ret_url = url;
    return 0;
}

static PyObject *
make_message(struct sl_asgi_request *r)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    const struct sl_request *req = r->req;
    PyObject *target = NULL, *url = NULL;
    r->method = sl_aio_method(r->aio, &req->method);
    if (r->method == NULL || find_url(web, &req->target, &target, &url) < 0)
        return NULL;
    r->path = target;
    PyObject *args[11] = {NULL,
                          r->method,
                          target,
                          req->version_minor == 0 ? web->version10 : web->version11,
                          web->block->headers,
                          web->block->fields,
                          req->keep_alive ? Py_False : Py_True,
                          Py_None,
                          Py_False,
                          req->body == SL_BODY_CHUNKED ? Py_True : Py_False,
                          url};
    PyObject *message =
        PyObject_Vectorcall(web->message_type, args + 1, 10 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(url);
    return message;
}

/* ---- the protocol ------------------------------------------------------------------------------
 */

static PyObject *
socket_name(struct sl_aiohttp *web, const struct sl_peer *peer)
{
    if (web->sockname == NULL || web->local != peer->local || web->local_port != peer->local_port) {
        PyObject *name;
        if (peer->addr[0] == '\0')
            name = PyUnicode_DecodeFSDefault(peer->local);
        else if (strchr(peer->local, ':') != NULL)
            name = Py_BuildValue("(siii)", peer->local, (int)peer->local_port, 0, 0);
        else
            name = Py_BuildValue("(si)", peer->local, (int)peer->local_port);
        if (name == NULL)
            return NULL;
        Py_XSETREF(web->sockname, name);
        web->local = peer->local;
        web->local_port = peer->local_port;
    }
    return Py_NewRef(web->sockname);
}

/* Steals value, which may be NULL. */
static int
set(PyObject *object, PyObject *name, PyObject *value)
{
    int rc = value != NULL ? PyObject_SetAttr(object, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

/* A protocol for this request, its transport connected to writer. */
static PyObject *
take_protocol(struct sl_asgi_request *r, PyObject *writer)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    const struct sl_peer *peer = r->req->peer;
    PyObject *protocol = web->protocol_count > 0 ? web->protocols[--web->protocol_count]
                                                 : PyObject_CallNoArgs(web->make_protocol);
    PyObject *transport = protocol ? PyObject_GetAttr(protocol, web->text_own_transport) : NULL;
    if (transport == NULL || PyObject_SetAttr(transport, web->text_writer, writer) < 0 ||
        set(protocol, web->text_peername, peer_name(r->aio, peer)) < 0 ||
        set(protocol, web->text_sockname, socket_name(web, peer)) < 0 ||
        PyObject_SetAttr(protocol, web->text_transport, transport) < 0)
        Py_CLEAR(protocol);
    Py_XDECREF(transport);
    return protocol;
}

/* It serves again unless somebody has kept it or its transport. */
static void
give_protocol(struct sl_aio *aio, PyObject *protocol)
{
    struct sl_aiohttp *web = aio->aiohttp;
    PyObject *transport = web ? PyObject_GetAttr(protocol, web->text_own_transport) : NULL;
    /* References to the protocol: ours and its transport's. To the transport: two attributes of the
     * protocol, and ours. */
    if (transport != NULL && PyObject_SetAttr(transport, web->text_writer, Py_None) == 0 &&
        Py_REFCNT(protocol) == 2 && Py_REFCNT(transport) == 3 &&
        web->protocol_count < SL_AIOHTTP_PROTOCOLS)
        web->protocols[web->protocol_count++] = Py_NewRef(protocol);
    else if (transport != NULL && !PyErr_Occurred())
        (void)PyObject_SetAttr(protocol, web->text_transport, Py_None);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(protocol);
    Py_XDECREF(transport);
    Py_DECREF(protocol);
}

void
sl_aiohttp_end(struct sl_asgi_request *r)
{
    PyObject *protocol = r->protocol;
    if (protocol == NULL)
        return;
    r->protocol = NULL;
    Py_CLEAR(r->payload);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    give_protocol(r->aio, protocol);
    PyErr_Restore(type, value, trace);
}

/* ---- the body ----------------------------------------------------------------------------------
 */

static void
fail_body(struct sl_asgi_request *r, int rc)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    PyObject *payload = r->payload;
    r->payload = NULL;
    bool malformed = rc == SL_EPROTO || rc == SL_ETIMEOUT;
    PyObject *done =
        PyObject_CallFunctionObjArgs(web->fail_body, payload, malformed ? Py_True : Py_False, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(web->fail_body);
    Py_XDECREF(done);
    Py_DECREF(payload);
    if (malformed)
        sl_asgi_refuse_body(r, rc);
}

/* 1: there may be more, 0: not now, or never; -1 with an exception. */
static int
pump_once(struct sl_asgi_request *r)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    PyObject *done = NULL;
    PyObject *bytes = sl_asgi_take_body(r->req);
    if (bytes != NULL) {
        done = PyObject_CallMethodOneArg(r->payload, web->text_feed_data, bytes);
        Py_DECREF(bytes);
        if (done == NULL)
            return -1;
        Py_DECREF(done);
    } else if (PyErr_Occurred()) {
        return -1;
    }
    if (sl_request_body_done(r->req)) {
        PyObject *payload = r->payload;
        r->payload = NULL; /* feed_eof() may resume reading */
        done = PyObject_CallMethodNoArgs(payload, web->text_feed_eof);
        Py_DECREF(payload);
        Py_XDECREF(done);
        return done ? 0 : -1;
    }
    if (bytes != NULL)
        return 1;
    int rc = sl_request_more(r->req);
    if (rc < 0 && rc != SL_EAGAIN)
        fail_body(r, rc);
    return rc == SL_OK;
}

void
sl_aiohttp_pump(struct sl_asgi_request *r)
{
    int rc = 1;
    while (rc == 1 && r->payload != NULL && r->req != NULL && !r->reading_paused)
        rc = pump_once(r);
    if (rc < 0)
        PyErr_WriteUnraisable(r->aio->owner);
}

static PyObject *
make_payload(struct sl_asgi_request *r)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    if (r->req->body == SL_BODY_NONE)
        return Py_NewRef(web->empty_payload);
    PyObject *args[4] = {NULL, r->protocol, web->reader_limit, r->aio->loop};
    PyObject *payload = PyObject_Vectorcall(
        web->reader_type, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, web->reader_kwnames);
    if (payload != NULL) {
        r->payload = Py_NewRef(payload);
        sl_aiohttp_pump(r);
    }
    return payload;
}

/* ---- the request -------------------------------------------------------------------------------
 */

PyObject *
sl_aiohttp_call(struct sl_asgi_request *r)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    PyObject *message = make_message(r), *payload = NULL, *coroutine = NULL;
    PyObject *writer = message ? sl_aiohttp_writer_new(r) : NULL;
    if (writer != NULL)
        r->protocol = take_protocol(r, writer);
    if (r->protocol != NULL)
        payload = make_payload(r);
    if (payload != NULL) {
        PyObject *args[5] = {NULL, message, payload, r->protocol, writer};
        coroutine =
            PyObject_Vectorcall(web->serve, args + 1, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(message);
    Py_XDECREF(payload);
    Py_XDECREF(writer);
    return coroutine;
}

void
sl_aiohttp_event(struct sl_asgi_request *r, unsigned what)
{
    if (what & (SL_ON_GONE | SL_ON_CLOSED)) {
        PyObject *done = PyObject_CallMethodOneArg(r->protocol, r->aio->aiohttp->text_lost,
                                                   what & SL_ON_CLOSED ? Py_True : Py_False);
        if (done == NULL)
            PyErr_WriteUnraisable(r->protocol);
        Py_XDECREF(done);
    }
    if (r->payload == NULL)
        return;
    if (what & SL_ON_CLOSED) {
        fail_body(r, SL_ECLOSED);
    } else if (what & SL_ON_BODY) { /* which may end the exchange: not from in here */
        PyObject *pump = PyObject_GetAttrString((PyObject *)r, "_pump");
        PyObject *done =
            pump ? PyObject_CallMethodOneArg(r->aio->loop, r->aio->text_call_soon, pump) : NULL;
        if (done == NULL)
            PyErr_WriteUnraisable((PyObject *)r);
        Py_XDECREF(pump);
        Py_XDECREF(done);
    }
}
