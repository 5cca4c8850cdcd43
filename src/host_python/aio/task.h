/* Tasks of requests, and what of asyncio they are made with.
 *
 * Process, thread: as in aio.h.
 */
#ifndef SAOLA_HOST_PYTHON_TASK_H
#define SAOLA_HOST_PYTHON_TASK_H

#include "aio.h"

/* ---- awaitable.c: of coroutines in C ------------------------------------------------------- */

/* An awaitable that is done, any number of times. */
extern PyType_Spec sl_aio_done_spec;
/* send() and __next__() by am_send. */
PyObject *sl_aio_coroutine_send(PyObject *self, PyObject *value);
PyObject *sl_aio_coroutine_next(PyObject *self);
/* Raises the arguments of throw(). */
void sl_aio_raise_thrown(PyObject *args);

#define SL_AIO_COROUTINE_METHODS                                                                   \
    {                                                                                              \
        "send", sl_aio_coroutine_send, METH_O, NULL                                                \
    }
#define SL_AIO_COROUTINE_SLOTS(send)                                                               \
    {Py_tp_iter, (void *)(uintptr_t)PyObject_SelfIter},                                            \
        {Py_tp_iternext, (void *)(uintptr_t)sl_aio_coroutine_next},                                \
        {Py_am_await, (void *)(uintptr_t)PyObject_SelfIter},                                       \
    {                                                                                              \
        Py_am_send, (void *)(uintptr_t)send                                                        \
    }

/* ---- task.c -------------------------------------------------------------------------------- */

int sl_aio_set_loop(struct sl_aio *aio, PyObject *loop, bool own);
/* Lets go of it. */
void sl_aio_leave_loop(struct sl_aio *aio);
/* The timer of our own loop that is due first, borrowed; NULL: there is none. Only to be compared.
 */
const void *sl_aio_first_timer(struct sl_aio *aio);
/* True: our own loop has nothing to do; it would only come back to wait, for as long as before.
 * first: what sl_aio_first_timer() was then. */
bool sl_aio_loop_rests(struct sl_aio *aio, const void *first);
/* A turn begins: looks what kind of tasks the loop makes. */
void sl_aio_look_at_loop(struct sl_aio *aio);
/* Starts the request in a task of its own, in a copy of the base context; its first step has been
 * run where that is possible. New reference to the task, or NULL with an exception. */
PyObject *sl_aio_start_task(struct sl_aio *aio, struct sl_asgi_request *request);
/* Constructs a task. New reference, or NULL with an exception. */
PyObject *sl_aio_make_task(struct sl_aio *aio, PyObject *coroutine, PyObject *context);

/* ---- hook.c: asyncio's functions before CPython 3.12 --------------------------------------- */

/* get_debug() of the loop in C. 0 or -1. */
int sl_aio_hasten_debug(PyObject *loop_dict);
int sl_aio_hook_loop(struct sl_aio *aio);
void sl_aio_unhook(struct sl_aio *aio);
/* Puts the entry of a task into the set of all, takes it out. 0 or -1. */
int sl_aio_list_task(struct sl_aio *aio, PyObject *entry);
int sl_aio_unlist_task(struct sl_aio *aio, PyObject *entry);

/* ---- standby.c ----------------------------------------------------------------------------- */

/* Looks for what it needs of asyncio; without it, aio->current_tasks stays NULL. */
void sl_aio_standby_init(struct sl_aio *aio);
void sl_aio_standby_clear(struct sl_aio_standby *standby);
/* sl_aio_start_task() before 3.12 on our own loop. */
PyObject *sl_aio_standby_start(struct sl_aio *aio, struct sl_asgi_request *request);

#endif
