/* Hooks and access log: what the C side tells a worker's observer (workers/serving.py) about a
 * request. Nothing here runs unless a hook is set or the access log is on. */
#include "../clock.h"
#include "wsgi.h"

PyObject *
sl_wsgi_text(const struct sl_str *s)
{
    return PyUnicode_DecodeLatin1(s->ptr ? s->ptr : "", (Py_ssize_t)s->len, NULL);
}

static PyObject *
header_list(const struct sl_request *req)
{
    PyObject *list = PyList_New((Py_ssize_t)req->header_count);
    for (size_t i = 0; list != NULL && i < req->header_count; i++) {
        PyObject *name = sl_wsgi_text(&req->headers[i].name),
                 *value = sl_wsgi_text(&req->headers[i].value);
        PyObject *upper = name ? PyObject_CallMethod(name, "upper", NULL) : NULL;
        PyObject *pair = upper && value ? PyTuple_Pack(2, upper, value) : NULL;
        Py_XDECREF(name);
        Py_XDECREF(value);
        Py_XDECREF(upper);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    return list;
}

/* observer.request(method, uri, path, query, version, headers, scheme, peer, proxy, body,
 * keep_alive) */
PyObject *
sl_wsgi_observe_request(struct sl_wsgi_call *call)
{
    const struct sl_request *req = call->req;
    const struct sl_peer *peer = req->peer;
    PyObject *headers = header_list(req);
    if (headers == NULL)
        return NULL;
    PyObject *proxy = peer->proxied ? Py_BuildValue("(sisi)", peer->dest_addr, peer->dest_port,
                                                    peer->proxy_addr, peer->proxy_port)
                                    : Py_NewRef(Py_None);
    return PyObject_CallMethod(
        call->wsgi->observer, "request", "NNNN(ii)Ns(si)NOO", sl_wsgi_text(&req->method),
        sl_wsgi_text(&req->target), sl_wsgi_text(&req->path), sl_wsgi_text(&req->query),
        req->version_major, req->version_minor, headers, req->https ? "https" : "http", peer->addr,
        peer->port, proxy, call->input, req->keep_alive ? Py_True : Py_False);
}

/* Calls a method whose result and failure matter to nobody. New reference, or NULL. */
static PyObject *
observe_done(struct sl_wsgi_call *call, PyObject *result)
{
    if (result == NULL)
        PyErr_WriteUnraisable(call->wsgi->observer);
    return result;
}

/* observer.response(req, environ, status, headers, sent, chunked, keep_alive, microseconds) */
PyObject *
sl_wsgi_observe_response(struct sl_wsgi_call *call, PyObject *view, PyObject *env, uint64_t began)
{
    const struct sl_response *res = call->res;
    PyObject *status = call->status ? Py_NewRef(call->status)
                                    : PyUnicode_FromFormat("%d", sl_response_status(res));
    int code = sl_response_status(res);
    return observe_done(
        call,
        PyObject_CallMethod(call->wsgi->observer, "response", "OONiOKOOK", view, env, status, code,
                            call->headers ? call->headers : Py_None,
                            (unsigned long long)sl_response_body_bytes(res),
                            sl_response_chunked(res) ? Py_True : Py_False,
                            sl_response_keep_alive(res) ? Py_True : Py_False,
                            (unsigned long long)(sl_py_clock_ns(CLOCK_MONOTONIC) - began) / 1000));
}

/* observer.after(req, environ, response) */
void
sl_wsgi_observe_after(struct sl_wsgi_call *call, PyObject *view, PyObject *env, PyObject *response)
{
    Py_XDECREF(observe_done(call, PyObject_CallMethod(call->wsgi->observer, "after", "OOO", view,
                                                      env, response ? response : Py_None)));
}
