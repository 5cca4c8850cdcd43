/* What a Stream sends: at once what the socket takes, the rest when there is room. */
#include "stream.h"
#include <errno.h>
#include <sys/socket.h>

void
sl_stream_drop(struct sl_stream *s)
{
    PyMem_Free(s->out);
    s->out = NULL;
    s->out_at = s->out_len = s->out_size = 0;
}

int
sl_stream_pause_if_full(struct sl_stream *s)
{
    if (s->full || s->out_len <= (size_t)s->high)
        return 0;
    s->full = true;
    return sl_stream_tell(s, "_tell", "pause_writing");
}

/* How much of it the socket has taken; -1 with an exception. */
static ssize_t
send_now(struct sl_stream *s, const char *data, size_t len)
{
    ssize_t n = send(s->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
keep(struct sl_stream *s, const char *data, size_t len)
{
    if (s->out_at + s->out_len + len > s->out_size) {
        if (s->out_len > 0)
            memmove(s->out, s->out + s->out_at, s->out_len);
        s->out_at = 0;
        size_t size = s->out_len + len;
        if (size > s->out_size) {
            size += size / 2;
            char *grown = PyMem_Realloc(s->out, size);
            if (grown == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            s->out = grown;
            s->out_size = size;
        }
    }
    memcpy(s->out + s->out_at + s->out_len, data, len);
    s->out_len += len;
    return 0;
}

/* All is sent that was written. */
static int
settle(struct sl_stream *s)
{
    sl_stream_drop(s);
    if (sl_stream_update_watch(s) < 0)
        return -1;
    PyObject *emptied = s->emptied;
    s->emptied = NULL;
    PyObject *done = emptied ? PyObject_CallNoArgs(emptied) : Py_NewRef(Py_None);
    Py_XDECREF(emptied);
    if (done == NULL)
        return -1;
    Py_DECREF(done);
    if (s->closing)
        return sl_stream_lose(s, Py_None);
    if (s->eof)
        (void)shutdown(s->fd, SHUT_WR); /* who has gone is noticed by recv() */
    return 0;
}

void
sl_stream_flush(struct sl_stream *s)
{
    ssize_t n = send_now(s, s->out + s->out_at, s->out_len);
    int rc = n < 0 ? -1 : 0;
    if (rc == 0) {
        s->out_at += (size_t)n;
        s->out_len -= (size_t)n;
        if (s->full && s->out_len <= (size_t)s->low) {
            s->full = false;
            rc = sl_stream_tell(s, "_tell", "resume_writing"); /* which may write */
        }
    }
    if (rc == 0 && s->out_len == 0 && !s->lost)
        rc = settle(s);
    if (rc < 0)
        sl_stream_fail(s, "Fatal write error on socket transport");
}

/* 0, or -1 with an exception; that a connection is broken is none. */
static int
put(struct sl_stream *s, const char *data, size_t len)
{
    ssize_t sent = s->out_len == 0 ? send_now(s, data, len) : 0;
    if (sent < 0) {
        sl_stream_fail(s, "Fatal write error on socket transport");
        return PyErr_Occurred() ? -1 : 0;
    }
    if ((size_t)sent == len)
        return 0;
    if (keep(s, data + sent, len - (size_t)sent) < 0 || sl_stream_update_watch(s) < 0)
        return -1;
    return sl_stream_pause_if_full(s);
}

PyObject *
sl_stream_write(PyObject *self, PyObject *data)
{
    struct sl_stream *s = (struct sl_stream *)self;
    Py_buffer view;
    if (s->eof) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot call write() after write_eof()");
        return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int rc = s->lost || view.len == 0 ? 0 : put(s, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
sl_stream_write_eof(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct sl_stream *s = (struct sl_stream *)self;
    if (!s->eof && !s->closing) {
        s->eof = true;
        if (s->out_len == 0)
            (void)shutdown(s->fd, SHUT_WR);
    }
    Py_RETURN_NONE;
}
