/* What the options of an AsyncEngine say of its requests. */
#include "aio.h"

int
sl_aio_take_number(PyObject *options, const char *key, double *ret_value)
{
    PyObject *value = PyDict_GetItemString(options, key);
    if (value == NULL)
        return 0;
    *ret_value = PyFloat_AsDouble(value);
    return PyErr_Occurred() ? -1 : PyDict_DelItemString(options, key);
}

static int
take_websocket(struct sl_aio *aio, PyObject *options)
{
    struct sl_ws_options *ws = &aio->websocket;
    double size = 0, controls = 0, ping = 0, pong = 0, deflate = 1;
    if (sl_aio_take_number(options, "websocket_max_size", &size) < 0 ||
        sl_aio_take_number(options, "websocket_max_controls", &controls) < 0 ||
        sl_aio_take_number(options, "websocket_ping_interval", &ping) < 0 ||
        sl_aio_take_number(options, "websocket_ping_timeout", &pong) < 0 ||
        sl_aio_take_number(options, "websocket_deflate", &deflate) < 0)
        return -1;
    sl_ws_options_init(ws);
    ws->max_message = (uint64_t)size;
    ws->max_controls_per_s = (uint32_t)controls;
    ws->deflate.on = deflate != 0 && sl_ws_deflate_available();
    aio->ping_after_ms = (uint64_t)(ping * 1e3);
    aio->pong_within_ms = (uint64_t)(pong * 1e3);
    return 0;
}

int
sl_aio_take_options(struct sl_aio *aio, PyObject *options)
{
    double limit = 0;
    aio->grace = -1;
    if (sl_py_take_option(options, "on_error", &aio->on_error) < 0 ||
        sl_py_take_option(options, "on_fault", &aio->on_fault) < 0 ||
        sl_py_take_option(options, "give_away", &aio->give_away) < 0 ||
        sl_py_take_text(options, "root_path", &aio->root_path) < 0 ||
        sl_aio_take_number(options, "disconnect_grace", &aio->grace) < 0 ||
        sl_aio_take_number(options, "concurrency", &limit) < 0)
        return -1;
    aio->limit = limit > 0 && limit < 1e9 ? (unsigned)limit : 0;
    if (take_websocket(aio, options) < 0)
        return -1;
    aio->root_raw = PyUnicode_AsUTF8String(aio->root_path);
    aio->app_state = PyDict_New();
    return aio->root_raw && aio->app_state ? 0 : -1;
}
