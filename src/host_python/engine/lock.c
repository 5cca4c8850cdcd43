/* The interpreter's lock on an engine's threads, taken at the first handler of a batch and given
 * back when the engine is about to sleep: a busy engine passes the lock once per batch, not per
 * request. */
#include "engine.h"

/* What this thread is to the interpreter. Thread-local, so that no callback needs to look it up. */
struct lock {
    bool engine;          /* inside sl_engine_turn(), or a pool thread */
    bool held;            /* meaningful when engine */
    volatile bool rests;  /* others serve; it turns the engine and does nothing of the user's */
    PyThreadState *saved; /* of this thread, when engine and not held */
    PyGILState_STATE gil; /* of a pool thread */
};

static __thread struct lock lock;

void
sl_py_lock_enter(void)
{
    lock.engine = true;
    lock.held = true;
}

void
sl_py_lock_leave(void)
{
    sl_py_lock_take();
    lock.engine = false;
}

void
sl_py_lock_take(void)
{
    if (lock.engine && !lock.held) {
        PyEval_RestoreThread(lock.saved);
        lock.held = true;
    }
}

void
sl_py_lock_drop(void)
{
    if (lock.engine && lock.held) {
        lock.saved = PyEval_SaveThread();
        lock.held = false;
    }
}

bool
sl_py_lock_mine(void)
{
    return lock.engine && lock.held;
}

void
sl_py_lock_rest(bool rests)
{
    lock.rests = rests;
}

/* In C code for long, with the lock; or one who has nothing else to do waits for the lock. Where it
 * waits does not matter: on a busy machine the lock may have been taken from it between two
 * instructions of the worker's loop. */
bool
sl_py_lock_stuck(bool this_thread_ran)
{
    return this_thread_ran ? PyGILState_Check() : lock.rests;
}

void
sl_py_lock_attach(void)
{
    lock.gil = PyGILState_Ensure();
    sl_py_lock_enter();
    sl_py_lock_drop();
}

void
sl_py_lock_detach(void)
{
    sl_py_lock_leave();
    PyGILState_Release(lock.gil);
}

PyThreadState *
sl_py_lock_release(void)
{
    PyThreadState *saved = PyEval_SaveThread();
    lock.saved = saved;
    lock.held = false;
    return saved;
}

void
sl_py_lock_restore(PyThreadState *saved)
{
    /* The engine may have taken the lock itself if it served others in the meantime. */
    if (!lock.held)
        PyEval_RestoreThread(saved);
    lock.held = true;
}
