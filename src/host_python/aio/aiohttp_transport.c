/* What the transport of an aiohttp request (saola.aio.web.EngineTransport) asks its writer to do.
 */
#include "aiohttp.h"
#include <unistd.h>

PyObject *
sl_aiohttp_pause_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct sl_aiohttp_writer *)self)->request->reading_paused = true;
    Py_RETURN_NONE;
}

PyObject *
sl_aiohttp_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_asgi_request *r = ((struct sl_aiohttp_writer *)self)->request;
    r->reading_paused = false;
    if (r->payload != NULL)
        sl_aiohttp_pump(r);
    Py_RETURN_NONE;
}

/* The application closes the connection: at once when it has not answered, else behind the answer.
 */
PyObject *
sl_aiohttp_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    struct sl_asgi_request *r = w->request;
    if (!sl_aiohttp_is_closed(w) && !r->complete) {
        r->gone = true;
        sl_response_close(r->res);
        sl_response_fail(r->res, 500, NULL);
        sl_asgi_end_exchange(r);
    }
    Py_RETURN_NONE;
}

PyObject *
sl_aiohttp_sendfile(PyObject *self, PyObject *args)
{
    struct sl_aiohttp_writer *w = (struct sl_aiohttp_writer *)self;
    int fd;
    long long offset, length;
    if (!PyArg_ParseTuple(args, "iLL:sendfile", &fd, &offset, &length))
        return NULL;
    if (offset < 0 || length < 0) {
        PyErr_SetString(PyExc_ValueError, "offset and length must not be negative");
        return NULL;
    }
    int own = dup(fd);
    if (own < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (sl_aiohttp_is_closed(w)) {
        close(own);
        sl_aiohttp_raise_closed(w);
        return NULL;
    }
    int rc = sl_response_give_file(w->request->res, own, (off_t)offset, (uint64_t)length);
    if (rc == SL_ECLOSED) {
        sl_aiohttp_raise_closed(w);
        return NULL;
    }
    if (rc < 0) {
        PyErr_Format(PyExc_OSError, "the file could not be sent (code %d)", rc);
        return NULL;
    }
    w->output_size += (Py_ssize_t)length;
    Py_RETURN_NONE;
}
