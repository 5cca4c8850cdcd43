/* The extension module's state, and what its files offer each other.
 *
 * One file a noun. Types and functions are added to the module by exec functions, which module.c
 * calls in order; sl_py_wsgi_exec() in wsgi/engine.c makes all types of the WSGI host. No static
 * PyObject *: every object that C code keeps is a row of SL_PY_STATE_OBJECTS. Types are final, so
 * that PyType_GetModuleState(Py_TYPE(self)) finds the state.
 */
#ifndef SAOLA_HOST_PYTHON_STATE_H
#define SAOLA_HOST_PYTHON_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <saola/config.h>
#include <saola/engine.h>
#include <saola/host.h>

/* One row an object: type, name, file that fills it. */
#define SL_PY_STATE_OBJECTS(ROW)                                                                   \
    ROW(PyTypeObject, arbiter_type)        /* arbiter.c */                                         \
    ROW(PyTypeObject, slot_type)           /* slot.c */                                            \
    ROW(PyTypeObject, files_type)          /* files.c */                                           \
    ROW(PyTypeObject, mounts_type)         /* mounts.c */                                          \
    ROW(PyTypeObject, guest_type)          /* guest.c */                                           \
    ROW(PyTypeObject, reloader_type)       /* reloader.c */                                        \
    ROW(PyTypeObject, engine_type)         /* wsgi/engine.c */                                     \
    ROW(PyTypeObject, access_log_type)     /* access_log.c */                                      \
    ROW(PyTypeObject, start_response_type) /* start_response.c */                                  \
    ROW(PyTypeObject, write_type)                                                                  \
    ROW(PyTypeObject, early_hints_type)                                                            \
    ROW(PyTypeObject, input_type)        /* input.c */                                             \
    ROW(PyTypeObject, file_wrapper_type) /* filewrapper.c */                                       \
    ROW(PyTypeObject, async_engine_type) /* aio/engine.c */                                        \
    ROW(PyTypeObject, asgi_request_type)                                                           \
    ROW(PyTypeObject, asgi_op_type)                                                                \
    ROW(PyTypeObject, aiohttp_writer_type) /* aio/aiohttp.c */                                     \
    ROW(PyTypeObject, stream_type)                                                                 \
    ROW(PyTypeObject, done_type)                                                                   \
    ROW(PyObject, cancelled_error) /* asyncio.CancelledError, once asyncio is used */

struct sl_py_state {
#define ROW(type, name) type *name;
    SL_PY_STATE_OBJECTS(ROW)
#undef ROW
    struct sl_title title; /* process.c */
    bool titled;           /* title was looked for */
};

/* The state; never NULL after the module's exec. */
static inline struct sl_py_state *
sl_py_state(PyObject *module)
{
    return (struct sl_py_state *)PyModule_GetState(module);
}

/* ---- exec functions, one a file: 0, or -1 with an exception ---------------------------------- */

int sl_py_slot_exec(PyObject *module);
int sl_py_files_exec(PyObject *module);
int sl_py_mounts_exec(PyObject *module);
int sl_py_guest_exec(PyObject *module);
int sl_py_reloader_exec(PyObject *module);
int sl_py_arbiter_exec(PyObject *module);
int sl_py_process_exec(PyObject *module);
int sl_py_config_exec(PyObject *module);
int sl_py_wsgi_exec(PyObject *module);
int sl_py_aio_exec(PyObject *module);

/* ---- config.c ------------------------------------------------------------------------------ */

/* The core configuration inside a _saola.CoreConfig; borrowed. NULL with TypeError for any other
 * object. */
struct sl_config *sl_py_config_get(PyObject *object);

/* ---- slot.c -------------------------------------------------------------------------------- */

/* A _saola.Slot for a scoreboard slot (NULL: a slot that counts for nobody). New reference. */
PyObject *sl_py_slot_new(PyObject *module, struct sl_slot *slot, unsigned index);
/* The slot inside a _saola.Slot; NULL for anything else, without an exception. */
struct sl_slot *sl_py_slot_get(PyObject *module, PyObject *object);

/* ---- files.c ------------------------------------------------------------------------------- */

/* What is inside a _saola.Files or _saola.Mounts, as long as that lives; NULL with TypeError for
 * anything else. */
const struct sl_front *sl_py_files_front(PyObject *module, PyObject *object);

/* ---- mounts.c ------------------------------------------------------------------------------ */

/* What is inside a _saola.Mounts; NULL, without an exception, for anything else. */
const struct sl_front *sl_py_mounts_front(PyObject *module, PyObject *object);

/* ---- arbiter.c ----------------------------------------------------------------------------- */

/* fork(2) as CPython needs it. ctx is not used. */
pid_t sl_py_fork(void *ctx);

/* ---- engine/lock.c ------------------------------------------------------------------------- */

/* See sl_worker_watch() in <saola/host.h>. */
bool sl_py_lock_stuck(bool this_thread_ran);

/* ---- object.c ------------------------------------------------------------------------------ */

/* Makes a heap type from spec, adds it to the module under its last name component and stores a new
 * reference in *slot (a field of the state). 0, or -1 with an exception. */
int sl_py_type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **slot);

/* The exception that is set, with its traceback; clears it. New reference or NULL. */
PyObject *sl_py_take_exception(void);

/* Text of the exception that is set, "Type: message" when with_type; clears it. Never fails. */
void sl_py_error_text(char *ret_text, size_t size, bool with_type);

/* Bytes of a str that is latin-1, inside the object. NULL with TypeError or ValueError that names
 * what. */
const char *sl_py_latin1(PyObject *text, const char *what, size_t *ret_len);

#endif
