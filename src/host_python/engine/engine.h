/* What both HTTP engines of Python workers have: _saola.Engine (wsgi/) and _saola.AsyncEngine
 * (aio/).
 *
 * The hosts see this folder, and not each other.
 */
#ifndef SAOLA_HOST_PYTHON_ENGINE_H
#define SAOLA_HOST_PYTHON_ENGINE_H

#include "../state.h"
#include <saola/http.h>

/* ---- lock.c -------------------------------------------------------------------------------- */

/* The interpreter's lock on an engine's thread is taken lazily: an engine that sleeps gives it
 * back, the first handler after that takes it. */
void sl_py_lock_enter(void);      /* a thread that holds the lock is about to run the engine */
void sl_py_lock_leave(void);      /* it comes back from it: holds the lock again */
void sl_py_lock_take(void);       /* takes it unless this thread holds it */
void sl_py_lock_drop(void);       /* gives it back if this is an engine's thread that holds it */
void sl_py_lock_rest(bool rests); /* from now on this thread only turns the engine, or not */
bool sl_py_lock_mine(void);       /* is this an engine's thread that holds it? */
void
sl_py_lock_attach(void); /* a pool thread begins: gets a thread state, does not hold the lock */
void sl_py_lock_detach(void); /* a pool thread ends */
/* Around a call that blocks, on any thread that holds the lock. */
PyThreadState *sl_py_lock_release(void);
void sl_py_lock_restore(PyThreadState *saved);

/* ---- access_log.c -------------------------------------------------------------------------- */

extern PyType_Spec sl_py_access_log_spec;
/* The log inside an AccessLog (NULL when it is closed), or NULL with TypeError. */
struct sl_access_log *sl_py_access_log_get(PyTypeObject *type, PyObject *object);

/* ---- options.c ----------------------------------------------------------------------------- */

enum { SL_PY_KEPT_BLOCKS = 16 };

/* What the engine's option strings and arrays live in. */
struct sl_py_kept {
    PyObject *objects; /* list of the str objects */
    void *blocks[SL_PY_KEPT_BLOCKS];
    unsigned block_count;
};

/* Fills out (zeroed or preset by the caller) from options (str -> value) and fds (sequence of int).
 * 0, or -1 with an exception; kept is released by the caller either way. */
int sl_py_options_read(PyObject *options, PyObject *fds, struct sl_engine_options *out,
                       struct sl_py_kept *kept);
void sl_py_kept_release(struct sl_py_kept *kept);

/* Takes key out of options, if it is there: *slot gets a new reference, and stays what it is for
 * None. 0, or -1 with an exception. */
int sl_py_take_option(PyObject *options, const char *key, PyObject **slot);
/* The same for a str; "" when it is not there, or None. */
int sl_py_take_text(PyObject *options, const char *key, PyObject **slot);

/* ---- percent.c ----------------------------------------------------------------------------- */

/* Writes what ptr[0..len) means to out, which has room for len bytes; returns how many it is. A '%'
 * without two digits stays as it is (urllib's rule). */
size_t sl_py_percent_decode(char *out, const char *ptr, size_t len);

/* ---- engine.c ------------------------------------------------------------------------------ */

/* The head of either object. */
struct sl_py_engine {
    PyObject_HEAD struct sl_engine *engine; /* NULL: closed, or never opened */
    PyObject *on_exit; /* an application raised SystemExit or KeyboardInterrupt: it stands here */
    PyObject *on_bad_request; /* on_bad_request(addr, status, sentence, method, uri) */
    PyObject *on_limit;       /* on_limit(): calls stop() or has a successor made */
    PyObject *access_log;     /* AccessLog, or NULL */
    PyObject *files;          /* Files or Mounts, or NULL */
    struct sl_py_kept kept;
};

/* (constructor) Takes what is above out of options, a dict of the caller's own, and reads the rest
 * of it, fds and slot into out, whose callbacks get the engine as ctx. The host has taken its own
 * options before. 0, or -1 with an exception. */
int sl_py_engine_prepare(struct sl_py_engine *self, PyObject *options, PyObject *fds,
                         PyObject *slot, struct sl_engine_options *out);
/* After sl_engine_open(): -1 with an exception if that has failed with rc. */
int sl_py_engine_opened(struct sl_py_engine *self, const struct sl_engine_options *out, int rc,
                        const struct sl_error *err);

/* tp_traverse; what tp_clear does once nothing calls back any more. */
int sl_py_engine_traverse(struct sl_py_engine *self, visitproc visit, void *arg);
void sl_py_engine_clear(struct sl_py_engine *self);

/* SystemExit or KeyboardInterrupt has left an application: the first one leaves by the turn, which
 * ends soon. With the lock. */
void sl_py_engine_exit(struct sl_py_engine *self, PyObject *exception);
/* Raises what stands in on_exit; -1. */
int sl_py_engine_raise_exit(struct sl_py_engine *self);

/* Callbacks of the engine (sleep_begin, sleep_end), for a thread that turns it and holds the lock:
 * a handler of a signal that came while the engine was busy runs before the sleep, not after it;
 * the lock is taken again by the first handler after the sleep. */
void sl_py_engine_sleep_begin(void *ctx);
void sl_py_engine_sleep_end(void *ctx);

/* Calls a function that was among the options (borrowed; NULL: nothing is done) from a callback of
 * the engine, in its thread; takes the lock. What it raises is printed. */
void sl_py_tell(PyObject *function);

/* Methods and attributes. */
PyObject *sl_py_engine_stop(PyObject *self, PyObject *ignored);
PyObject *sl_py_engine_wake(PyObject *self, PyObject *ignored);
PyObject *sl_py_engine_fileno(PyObject *self, PyObject *ignored);
PyObject *sl_py_engine_get_requests(PyObject *self, void *closure);
PyObject *sl_py_engine_get_connections(PyObject *self, void *closure);

#define SL_PY_ENGINE_METHODS                                                                       \
    {"wake", sl_py_engine_wake, METH_NOARGS, "wake()\n--\n\nMake a waiting turn return."},         \
    {                                                                                              \
        "fileno", sl_py_engine_fileno, METH_NOARGS,                                                \
            "fileno()\n--\n\nDescriptor that is readable when a turn has something to do."         \
    }
#define SL_PY_ENGINE_ATTRIBUTES                                                                    \
    {"requests", sl_py_engine_get_requests, NULL, "Requests begun since the engine was opened.",   \
     NULL},                                                                                        \
    {                                                                                              \
        "connections", sl_py_engine_get_connections, NULL, "Connections open now.", NULL           \
    }

#endif
