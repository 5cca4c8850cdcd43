/* The recycled record of one request and the objects made with it. */
#include "wsgi.h"

PyObject *
sl_wsgi_part_new(PyTypeObject *type, vectorcallfunc vectorcall, struct sl_wsgi_call *call)
{
    struct sl_wsgi_part *part = PyObject_New(struct sl_wsgi_part, type);
    if (part == NULL)
        return NULL;
    part->vectorcall = vectorcall;
    part->call = call;
    return (PyObject *)part;
}

void
sl_wsgi_part_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

struct sl_wsgi_call *
sl_wsgi_part_call(PyObject *self, const char *name)
{
    struct sl_wsgi_call *call = ((struct sl_wsgi_part *)self)->call;
    if (call == NULL || call->req == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s was used after its request had ended", name);
        return NULL;
    }
    return call;
}

/* Cuts a part off from the call: whoever still holds it gets an error when using it. */
static void
cut(PyObject **slot)
{
    if (*slot != NULL) {
        ((struct sl_wsgi_part *)*slot)->call = NULL;
        Py_CLEAR(*slot);
    }
}

void
sl_wsgi_call_free(struct sl_wsgi_call *call)
{
    sl_wsgi_templates_release(call);
    cut(&call->start_response);
    cut(&call->write);
    cut(&call->input);
    cut(&call->early_hints);
    Py_CLEAR(call->status);
    Py_CLEAR(call->headers);
    PyMem_Free(call);
}

static int
fill(struct sl_wsgi_call *call)
{
    struct sl_py_state *state = call->wsgi->state;
    if (call->start_response == NULL)
        call->start_response =
            sl_wsgi_part_new(state->start_response_type, sl_wsgi_start_response_call, call);
    if (call->write == NULL)
        call->write = sl_wsgi_part_new(state->write_type, sl_wsgi_write_call, call);
    if (call->input == NULL)
        call->input = sl_wsgi_part_new(state->input_type, NULL, call);
    if (call->early_hints == NULL)
        call->early_hints =
            sl_wsgi_part_new(state->early_hints_type, sl_wsgi_early_hints_call, call);
    return call->start_response && call->write && call->input && call->early_hints ? 0 : -1;
}

struct sl_wsgi_call *
sl_wsgi_call_begin(struct sl_wsgi *wsgi, struct sl_request *req, struct sl_response *res)
{
    struct sl_wsgi_call *call = wsgi->free_calls;
    if (call != NULL) {
        wsgi->free_calls = call->next;
    } else {
        call = PyMem_Calloc(1, sizeof(*call));
        if (call == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        call->wsgi = wsgi;
    }
    call->req = req;
    call->res = res;
    call->has_length = false;
    call->client_gone = false;
    call->read_error = 0;
    if (call->early_hints == NULL || call->input == NULL || call->start_response == NULL ||
        call->write == NULL) {
        if (fill(call) < 0) {
            sl_wsgi_call_free(call);
            return NULL;
        }
    }
    return call;
}

void
sl_wsgi_call_end(struct sl_wsgi_call *call)
{
    struct sl_wsgi *wsgi = call->wsgi;
    call->req = NULL;
    call->res = NULL;
    if (call->status != NULL)
        Py_CLEAR(call->status);
    if (call->headers != NULL)
        Py_CLEAR(call->headers);
    if (Py_REFCNT(call->start_response) != 1)
        cut(&call->start_response);
    if (Py_REFCNT(call->write) != 1)
        cut(&call->write);
    /* These two also stand in every template's dicts. */
    Py_ssize_t own = 1 + (Py_ssize_t)call->dict_count;
    if (Py_REFCNT(call->input) != own || Py_REFCNT(call->early_hints) != own) {
        sl_wsgi_templates_release(call);
        cut(&call->input);
        cut(&call->early_hints);
    }
    call->next = wsgi->free_calls;
    wsgi->free_calls = call;
}
