/* Options of an engine, from a Python dict, and calls of the functions among them. */
#ifndef SAOLA_HOST_PYTHON_OPTIONS_H
#define SAOLA_HOST_PYTHON_OPTIONS_H

#include "../state.h"
#include <saola/engine.h>

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

/* Call a function that was among the options (borrowed; NULL: nothing is done) from a callback of
 * the engine, in its thread; they take the interpreter's lock. What it raises is printed. */
void sl_py_tell(PyObject *function);
void sl_py_tell_bad_request(PyObject *function, const struct sl_request *req,
                            const struct sl_peer *peer, int status, const char *sentence);

#endif
