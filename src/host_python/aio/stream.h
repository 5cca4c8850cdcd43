/* What the files of Stream share. stream.c receives and is the type, stream_output.c sends.
 *
 * Process, thread: as in aio.h. Where a function fails that returns int, it is -1 with an
 * exception.
 */
#ifndef SAOLA_HOST_PYTHON_STREAM_H
#define SAOLA_HOST_PYTHON_STREAM_H

#include "aio.h"

enum { SL_STREAM_HIGH = 65536, SL_STREAM_LOW = SL_STREAM_HIGH / 4 }; /* asyncio's */

struct sl_stream {
    PyObject_HEAD struct sl_aio *aio; /* of engine */
    PyObject *engine;                 /* the AsyncEngine; NULL: it has let go of everything */
    PyObject *loop, *context;         /* ... in which the protocol is called */
    PyObject *protocol, *receive;     /* ... and its data_received() */
    PyObject *emptied;                /* called once when nothing waits to be sent; or NULL */
    char *out;                        /* what waits: out_len bytes from out_at */
    size_t out_at, out_len, out_size;
    Py_ssize_t high, low;
    int fd;
    unsigned watched;
    bool started;
    bool paused;  /* the protocol does not want to read */
    bool ended;   /* the client sends no more */
    bool full;    /* the protocol was told to pause writing */
    bool eof;     /* it has written all it will */
    bool closing; /* nothing is received any more */
    bool lost;    /* nothing is sent any more; _lost() has run, or is about to */
};

/* ---- stream.c ------------------------------------------------------------------------------ */

/* Waits for what is wanted now. */
int sl_stream_update_watch(struct sl_stream *stream);
/* The exception that is set has come out of the protocol, or of a system call: the connection ends.
 * One that ends the process stays set. */
void sl_stream_fail(struct sl_stream *stream, const char *message);
/* Calls a method of its class in Python; argument NULL: without one. */
int sl_stream_tell(struct sl_stream *stream, const char *method, const char *argument);
/* Nothing is sent from now on; _lost(exception) in the loop's next step. */
int sl_stream_lose(struct sl_stream *stream, PyObject *exception);

/* ---- stream_output.c ----------------------------------------------------------------------- */

PyObject *sl_stream_write(PyObject *stream, PyObject *data);
PyObject *sl_stream_write_eof(PyObject *stream, PyObject *ignored);
/* There is room in the socket. */
void sl_stream_flush(struct sl_stream *stream);
/* Drops what waits. */
void sl_stream_drop(struct sl_stream *stream);
/* The protocol pauses if more waits than it may have. */
int sl_stream_pause_if_full(struct sl_stream *stream);

#endif
