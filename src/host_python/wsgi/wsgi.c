/* The WSGI host (PEP 3333): calls the application for one request and gives its blocks to the
 * engine.
 *
 * Order of the end of a request, for every outcome: response ended, access log, close() of what the
 * application returned, post_request. */
#include "../clock.h"
#include "wsgi.h"
#include <string.h>

/* Types, keys and constant texts. */
int
sl_wsgi_init(struct sl_wsgi *wsgi, struct sl_py_engine *engine, struct sl_py_state *state,
             PyObject *app, PyObject *base)
{
    wsgi->engine = engine;
    wsgi->state = state;
    wsgi->app = Py_NewRef(app);
    wsgi->base = Py_NewRef(base);
#define ROW(field, text)                                                                           \
    if ((wsgi->key_##field = PyUnicode_InternFromString(text)) == NULL)                            \
        return -1;                                                                                 \
    if (PyObject_Hash(wsgi->key_##field) == -1)                                                    \
        return -1;
    SL_WSGI_KEYS(ROW)
#undef ROW
#define ROW(field, text)                                                                           \
    if ((wsgi->text_##field = PyUnicode_InternFromString(text)) == NULL)                           \
        return -1;
    SL_WSGI_TEXTS(ROW)
#undef ROW
    return 0;
}

int
sl_wsgi_traverse(struct sl_wsgi *wsgi, visitproc visit, void *arg)
{
    Py_VISIT(wsgi->app);
    Py_VISIT(wsgi->base);
    Py_VISIT(wsgi->on_error);
    Py_VISIT(wsgi->observer);
    Py_VISIT(wsgi->file_range);
    return 0;
}

void
sl_wsgi_release(struct sl_wsgi *wsgi)
{
    while (wsgi->free_calls != NULL) {
        struct sl_wsgi_call *call = wsgi->free_calls;
        wsgi->free_calls = call->next;
        sl_wsgi_call_free(call);
    }
    if (wsgi->state != NULL)
        sl_wsgi_headers_release(wsgi);
    Py_CLEAR(wsgi->app);
    Py_CLEAR(wsgi->base);
    Py_CLEAR(wsgi->on_error);
    Py_CLEAR(wsgi->observer);
    Py_CLEAR(wsgi->file_range);
    Py_CLEAR(wsgi->script_name);
#define ROW(field, text) Py_CLEAR(wsgi->key_##field);
    SL_WSGI_KEYS(ROW)
#undef ROW
#define ROW(field, text) Py_CLEAR(wsgi->text_##field);
    SL_WSGI_TEXTS(ROW)
#undef ROW
}

/* Without the interpreter's lock. */
static int
wait_for_client(struct sl_wsgi_call *call)
{
    PyThreadState *saved = sl_py_lock_release();
    int rc = sl_response_wait(call->res);
    sl_py_lock_restore(saved);
    return rc;
}

int
sl_wsgi_send(struct sl_wsgi_call *call, const char *data, size_t len, unsigned flags)
{
    int rc = sl_response_write(call->res, data, len, flags);
    if (rc == SL_EFULL)
        rc = wait_for_client(call);
    if (rc == SL_OK)
        return 0;
    call->client_gone = true;
    return -1;
}

static bool
is_head(const struct sl_wsgi_call *call)
{
    return call->req->method.len == 4 && memcmp(call->req->method.ptr, "HEAD", 4) == 0;
}

static int
check_started(struct sl_wsgi_call *call)
{
    if (sl_response_started(call->res))
        return 0;
    PyErr_SetString(PyExc_AssertionError,
                    "the application did not call start_response before its first block of body");
    return -1;
}

static int
check_bytes(PyObject *block)
{
    if (PyBytes_Check(block))
        return 0;
    PyErr_Format(PyExc_TypeError, "the application's body must be blocks of bytes, not %.100s (%R)",
                 Py_TYPE(block)->tp_name, block);
    return -1;
}

/* Sends a block. 0; 1: the client is gone, no exception; -1: exception. */
static int
send_block(struct sl_wsgi_call *call, PyObject *block, unsigned flags)
{
    if (sl_wsgi_send(call, PyBytes_AS_STRING(block), (size_t)PyBytes_GET_SIZE(block), flags) == 0)
        return 0;
    return PyErr_Occurred() ? -1 : 1;
}

static int
add_content_length(struct sl_wsgi_call *call, uint64_t length)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)length);
    int rc = sl_response_header(call->res, "Content-Length", 14, text, (size_t)len);
    if (rc == SL_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static bool
may_have_body(const struct sl_wsgi_call *call)
{
    int status = sl_response_status(call->res);
    return status >= 200 && status != 204 && status != 304;
}

/* The whole body is one block. The engine counts it, except where the body is not sent: HEAD says
 * the length that GET would. */
static int
send_only_block(struct sl_wsgi_call *call, PyObject *block, unsigned flags)
{
    if (is_head(call) && !call->has_length && may_have_body(call) &&
        add_content_length(call, (uint64_t)PyBytes_GET_SIZE(block)) < 0)
        return -1;
    return send_block(call, block, flags | SL_WRITE_LAST);
}

/* Nothing came: an empty body, whose length is 0 unless the answer is to HEAD. */
static int
respond_empty(struct sl_wsgi_call *call)
{
    if (check_started(call) < 0)
        return -1;
    if (!is_head(call) && !sl_response_committed(call->res))
        sl_wsgi_send(call, "", 0, SL_WRITE_LAST);
    return 0;
}

/* A list or tuple: everything is here, so the length is known and nothing is sent piecemeal. */
static int
respond_sequence(struct sl_wsgi_call *call, PyObject *sequence)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    if (count == 1) {
        PyObject *block = PySequence_Fast_GET_ITEM(sequence, 0);
        if (check_bytes(block) < 0)
            return -1;
        if (PyBytes_GET_SIZE(block) == 0)
            return respond_empty(call);
        if (check_started(call) < 0)
            return -1;
        Py_INCREF(block);
        int rc = send_only_block(call, block, 0);
        Py_DECREF(block);
        return rc;
    }
    uint64_t total = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *block = PySequence_Fast_GET_ITEM(sequence, i);
        if (check_bytes(block) < 0)
            return -1;
        total += (uint64_t)PyBytes_GET_SIZE(block);
    }
    if (total == 0)
        return respond_empty(call);
    if (check_started(call) < 0)
        return -1;
    if (!call->has_length && may_have_body(call) && !sl_response_committed(call->res) &&
        add_content_length(call, total) < 0)
        return -1;
    /* The list may change while a slow client lets others run. */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        PyObject *block = Py_NewRef(PySequence_Fast_GET_ITEM(sequence, i));
        int rc = check_bytes(block);
        if (rc == 0 && PyBytes_GET_SIZE(block) > 0)
            rc = send_block(call, block, 0);
        Py_DECREF(block);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* True if the iterable says that it has one block: its length is the body's length then. */
static bool
has_one_block(PyObject *iterable)
{
    PyTypeObject *type = Py_TYPE(iterable);
    if ((type->tp_as_sequence == NULL || type->tp_as_sequence->sq_length == NULL) &&
        (type->tp_as_mapping == NULL || type->tp_as_mapping->mp_length == NULL))
        return false;
    Py_ssize_t length = PyObject_Size(iterable);
    if (length < 0)
        PyErr_Clear();
    return length == 1;
}

/* Each block is on its way to the client before the next is asked for. */
static int
respond_iterable(struct sl_wsgi_call *call, PyObject *iterable)
{
    if (iterable == Py_None || PyUnicode_Check(iterable) || PyBytes_Check(iterable)) {
        PyErr_Format(
            PyExc_TypeError,
            "the application must return an iterable of bytes such as [b'...'], not %.100s",
            Py_TYPE(iterable)->tp_name);
        return -1;
    }
    PyObject *iterator = PyObject_GetIter(iterable);
    if (iterator == NULL)
        return -1;
    bool last = !call->has_length && has_one_block(iterable);
    bool sent = false;
    int rc = 0;
    PyObject *block;
    while (rc == 0 && (block = PyIter_Next(iterator)) != NULL) {
        rc = check_bytes(block);
        if (rc == 0 && PyBytes_GET_SIZE(block) > 0) {
            rc = check_started(call);
            if (rc == 0)
                rc = last ? send_only_block(call, block, SL_WRITE_FLUSH)
                          : send_block(call, block, SL_WRITE_FLUSH);
            last = false;
            sent = true;
        }
        Py_DECREF(block);
    }
    Py_DECREF(iterator);
    if (rc == 0 && PyErr_Occurred())
        rc = -1;
    if (rc == 0 && !sent)
        rc = respond_empty(call);
    return rc;
}

/* A file that the kernel can send. 0: done; 1: it cannot, iterate; -1: exception. */
static int
respond_file(struct sl_wsgi_call *call, PyObject *wrapper)
{
    PyObject *file = sl_wsgi_file_wrapper_file(wrapper);
    if (file == NULL || call->wsgi->file_range == NULL || !sl_response_started(call->res) ||
        sl_response_committed(call->res))
        return 1;
    PyObject *range = PyObject_CallOneArg(call->wsgi->file_range, file);
    if (range == NULL)
        return -1;
    int fd;
    long long offset, length;
    if (range == Py_None || !PyArg_ParseTuple(range, "iLL", &fd, &offset, &length)) {
        Py_DECREF(range);
        return PyErr_Occurred() ? -1 : 1;
    }
    Py_DECREF(range);
    if (offset < 0 || length < 0)
        return 1;
    if (length == 0)
        return respond_empty(call);
    if (!may_have_body(call) || is_head(call)) {
        if (!call->has_length && may_have_body(call))
            return add_content_length(call, (uint64_t)length);
        return 0;
    }
    uint64_t count = (uint64_t)length;
    if (!call->has_length && add_content_length(call, count) < 0)
        return -1;
    if (call->has_length && call->content_length < count)
        count = call->content_length;
    int rc = sl_response_sendfile(call->res, fd, (off_t)offset, count);
    if (rc == SL_EFULL)
        rc = wait_for_client(call);
    if (rc == SL_OK)
        return 0;
    if (rc == SL_ECLOSED || rc == SL_ETIMEOUT) {
        call->client_gone = true;
        return 0;
    }
    PyErr_Format(PyExc_OSError, "the file could not be sent (code %d)", rc);
    return -1;
}

static int
respond(struct sl_wsgi_call *call, PyObject *result)
{
    if (PyList_CheckExact(result) || PyTuple_CheckExact(result))
        return respond_sequence(call, result);
    if (Py_TYPE(result) == call->wsgi->state->file_wrapper_type) {
        int rc = respond_file(call, result);
        if (rc <= 0)
            return rc;
    }
    return respond_iterable(call, result);
}

/* Tells the log about an exception. */
static void
report(struct sl_wsgi_call *call, PyObject *exception)
{
    PyObject *method = sl_wsgi_text(&call->req->method), *target = sl_wsgi_text(&call->req->target);
    PyObject *done = NULL;
    if (method != NULL && target != NULL && call->wsgi->on_error != NULL)
        done = PyObject_CallFunctionObjArgs(call->wsgi->on_error, exception, method, target, NULL);
    if (done == NULL && PyErr_Occurred())
        PyErr_WriteUnraisable(call->wsgi->on_error);
    Py_XDECREF(done);
    Py_XDECREF(method);
    Py_XDECREF(target);
}

/* The exception that is set ends the request. */
static void
fail(struct sl_wsgi_call *call)
{
    PyObject *exception = sl_py_take_exception();
    if (exception == NULL)
        return;
    bool os_error = PyErr_GivenExceptionMatches(exception, PyExc_OSError);
    if (!PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
        /* SystemExit, KeyboardInterrupt: this request fails, the worker ends. */
        report(call, exception);
        sl_py_engine_exit(call->wsgi->engine, exception);
    } else if (!(os_error && (call->client_gone || call->read_error))) {
        /* What is the client's fault is no error of ours. */
        report(call, exception);
    }
    Py_DECREF(exception);
    int status = os_error && call->read_error ? call->read_error : 500;
    sl_response_fail(call->res, status, NULL);
}

/* close() of what the application returned; an exception in it is logged. */
static void
close_result(struct sl_wsgi_call *call, PyObject *result)
{
    if (result == NULL || PyList_CheckExact(result) || PyTuple_CheckExact(result))
        return;
    PyObject *close = PyObject_GetAttr(result, call->wsgi->text_close);
    if (close == NULL) {
        PyErr_Clear();
        return;
    }
    PyObject *done = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    if (done == NULL) {
        PyObject *exception = sl_py_take_exception();
        report(call, exception);
        if (!PyErr_GivenExceptionMatches(exception, PyExc_Exception))
            sl_py_engine_exit(call->wsgi->engine, exception);
        Py_DECREF(exception);
    }
    Py_XDECREF(done);
}

static PyObject *
call_app(struct sl_wsgi_call *call, PyObject *env)
{
    PyObject *args[3] = {NULL, env, call->start_response};
    return PyObject_Vectorcall(call->wsgi->app, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* The request with hooks and access log. */
static void
handle_observed(struct sl_wsgi_call *call)
{
    PyObject *observer = call->wsgi->observer;
    uint64_t began = sl_py_clock_ns(CLOCK_MONOTONIC);
    PyObject *env = NULL, *result = NULL;
    PyObject *view = sl_wsgi_observe_request(call);
    PyObject *before = view ? PyObject_CallMethod(observer, "before", "O", view) : NULL;
    if (before != NULL)
        env = sl_wsgi_environ_new(call);
    if (env != NULL)
        result = call_app(call, env);
    if (result != NULL)
        respond(call, result);
    if (PyErr_Occurred())
        fail(call);
    else
        sl_response_end(call->res);
    if (env == NULL)
        env = PyDict_New();
    if (view != NULL && env != NULL) {
        PyObject *response = sl_wsgi_observe_response(call, view, env, began);
        close_result(call, result);
        sl_wsgi_observe_after(call, view, env, response);
        Py_XDECREF(response);
    } else {
        close_result(call, result);
    }
    Py_XDECREF(result);
    Py_XDECREF(env);
    Py_XDECREF(before);
    Py_XDECREF(view);
}

int
sl_wsgi_handle(struct sl_wsgi *wsgi, struct sl_request *req, struct sl_response *res)
{
    struct sl_wsgi_call *call = sl_wsgi_call_begin(wsgi, req, res);
    if (call == NULL) {
        PyErr_WriteUnraisable(wsgi->app);
        return SL_ENOMEM;
    }
    if (wsgi->observer != NULL) {
        handle_observed(call);
    } else {
        PyObject *result = NULL;
        PyObject *env = sl_wsgi_environ_new(call);
        if (env != NULL)
            result = call_app(call, env);
        if (result == NULL || respond(call, result) < 0)
            fail(call);
        else
            sl_response_end(res);
        if (result != NULL) {
            close_result(call, result);
            Py_DECREF(result);
        }
        Py_XDECREF(env);
    }
    sl_wsgi_call_end(call);
    return 0;
}
