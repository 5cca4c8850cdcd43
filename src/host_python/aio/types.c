/* The types of the asynchronous host, and what asyncio is told of them. */
#include "task.h"

static int
find_cancelled_error(struct sl_py_state *state)
{
    if (state->cancelled_error != NULL)
        return 0;
    PyObject *module = PyImport_ImportModule("asyncio");
    if (module == NULL)
        return -1;
    state->cancelled_error = PyObject_GetAttrString(module, "CancelledError");
    Py_DECREF(module);
    return state->cancelled_error ? 0 : -1;
}

/* asyncio takes objects for coroutines that collections.abc says are. */
static int
register_coroutines(struct sl_py_state *state)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *coroutine = abc ? PyObject_GetAttrString(abc, "Coroutine") : NULL;
    PyTypeObject *types[] = {state->asgi_request_type, state->asgi_op_type};
    int rc = coroutine ? 0 : -1;
    for (int i = 0; rc == 0 && i < 2; i++) {
        PyObject *done = PyObject_CallMethod(coroutine, "register", "O", types[i]);
        rc = done ? 0 : -1;
        Py_XDECREF(done);
    }
    Py_XDECREF(coroutine);
    Py_XDECREF(abc);
    return rc;
}

int
sl_aio_types_meet_asyncio(struct sl_py_state *state)
{
    return find_cancelled_error(state) == 0 ? register_coroutines(state) : -1;
}

int
sl_py_aio_exec(PyObject *module)
{
    struct sl_py_state *state = sl_py_state(module);
    if (sl_py_type_add(module, &sl_aio_engine_spec, &state->async_engine_type) < 0 ||
        sl_py_type_add(module, &sl_asgi_request_spec, &state->asgi_request_type) < 0 ||
        sl_py_type_add(module, &sl_asgi_op_spec, &state->asgi_op_type) < 0 ||
        sl_py_type_add(module, &sl_aiohttp_writer_spec, &state->aiohttp_writer_type) < 0 ||
        sl_py_type_add(module, &sl_aio_stream_spec, &state->stream_type) < 0 ||
        sl_py_type_add(module, &sl_aio_done_spec, &state->done_type) < 0)
        return -1;
    return 0;
}
