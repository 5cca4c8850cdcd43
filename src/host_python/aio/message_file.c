/* Messages that name a file as the body: http.response.pathsend, and the one behind
 * wsgi.file_wrapper. */
#include "message.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int
open_file(PyObject *path, struct stat *ret_info)
{
    PyObject *encoded = NULL;
    if (!PyUnicode_FSConverter(path, &encoded))
        return -1;
    int fd = open(PyBytes_AS_STRING(encoded), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool good = fd >= 0 && fstat(fd, ret_info) == 0;
    if (good && !S_ISREG(ret_info->st_mode)) {
        errno = EINVAL;
        good = false;
    }
    if (!good) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    Py_DECREF(encoded);
    return fd;
}

static int
send_range(struct sl_asgi_request *r, int fd, off_t offset, uint64_t count)
{
    int rc = sl_response_sendfile(r->res, fd, offset, count);
    if (rc == SL_ECLOSED)
        return sl_asgi_client_gone(r);
    if (rc < 0) {
        PyErr_Format(PyExc_OSError, "the file could not be sent (code %d)", rc);
        return -1;
    }
    return sl_asgi_complete(r);
}

int
sl_asgi_send_path(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    struct stat info;
    if (!r->started || sl_response_committed(r->res) || r->wants_trailers)
        return sl_asgi_unexpected(type, "it comes in place of 'http.response.body'");
    PyObject *path = PyDict_GetItemWithError(message, r->aio->text_path);
    if (path == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_KeyError, "the ASGI message has no 'path'");
        return -1;
    }
    int fd = open_file(path, &info);
    if (fd < 0)
        return -1;
    int rc = send_range(r, fd, 0, (uint64_t)info.st_size);
    close(fd);
    return rc;
}

int
sl_asgi_send_open_file(struct sl_asgi_request *r, PyObject *type, PyObject *message)
{
    if (!r->started || sl_response_committed(r->res) || r->wants_trailers)
        return sl_asgi_unexpected(type, "it comes in place of 'http.response.body'");
    PyObject *file = PyDict_GetItemString(message, "file");
    PyObject *offset = PyDict_GetItemString(message, "offset");
    PyObject *count = PyDict_GetItemString(message, "count");
    if (file == NULL || offset == NULL || count == NULL) {
        PyErr_SetString(PyExc_KeyError, "'file', 'offset' and 'count' are needed");
        return -1;
    }
    int fd = PyObject_AsFileDescriptor(file);
    long long from = fd < 0 ? -1 : PyLong_AsLongLong(offset);
    long long bytes = PyErr_Occurred() ? -1 : PyLong_AsLongLong(count);
    if (PyErr_Occurred())
        return -1;
    if (from < 0 || bytes < 0) {
        PyErr_SetString(PyExc_ValueError, "'offset' and 'count' must not be negative");
        return -1;
    }
    return send_range(r, fd, (off_t)from, (uint64_t)bytes);
}
