"""The life of a worker process: from the fork through Worker.init_process() to its last step.

Process: the worker. What user code raises ends here, in the log and in an exit status.
"""

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from _thread import allocate_lock, start_new_thread

from . import errors, lifecycle, successor, util
from .workers import advice

#: Seconds that a worker serves at least whose end, unasked, is no failure.
SETTLED = 1.0


def live(arbiter, worker):
    """The whole life of a worker process, from the fork on. Returns its exit status."""
    for number in (signal.SIGHUP, signal.SIGUSR2):  # nothing for a worker, also while it boots
        signal.signal(number, signal.SIG_IGN)
    worker.pid = os.getpid()
    if worker.group == "web" and arbiter._pools is not None:
        arbiter._pools.leave_arbiter()
    worker._watch_stacks()
    worker._watch_arbiter()
    # A handler raises at most once, and never after _leaving is set: two nets hold it.
    try:
        try:
            status = _run(arbiter, worker)
        except SystemExit as exc:
            status = status_of(exc)
        worker._leaving = True
    except SystemExit as exc:
        status = status_of(exc)
    worker._leaving = True
    return _end(arbiter, worker, status)


def _run(arbiter, worker):
    arbiter.cfg = arbiter.app.cfg = worker.cfg
    try:
        util._setproctitle(f"worker [{worker.cfg.proc_name}]")
        arbiter.log.info("Booting worker with pid: %s", worker.pid)
        worker.cfg.post_fork(arbiter, worker)
        worker.init_process()
        return _left_unasked(arbiter, worker, advice.of_return(worker), 0)
    except BaseException as exc:
        asked = exc if isinstance(exc, SystemExit) else worker.exit_behind(exc)
        if asked is not None:
            status = status_of(asked)
            return _left_unasked(arbiter, worker, advice.of_exit(worker, status), status)
        worker._will_stop(lifecycle.Cause.FAILED)
        if worker.booted:
            arbiter.log.error("Exception in worker process\n%s", errors.format_app_traceback(exc))
            return 255
        return _boot_failed(arbiter, exc)


def _left_unasked(arbiter, worker, sentence, status):
    """Exit status of a worker whose run() is over. One that ends at once, and with 0, would be started
    again and again without a pause."""
    if sentence is None or worker.is_copy():
        return status
    arbiter.log.error("%s", sentence)
    age = worker.slot.age - worker.slot.steps["ready"][1]
    return status or (1 if age < SETTLED else 0)


def _boot_failed(arbiter, exc):
    text, status = errors.describe_boot_failure(exc)
    if isinstance(exc, errors.AppImportError):
        arbiter.log.debug("Exception while loading the application", exc_info=exc)
    else:
        text = f"Exception in worker process\n{text}"
    try:
        os.read(arbiter._boot_report[0], 1)
    except BlockingIOError:  # told already
        say = arbiter.log.error if arbiter._settled else arbiter.log.debug
        say("Worker failed to boot again: %s", text.splitlines()[-1].strip())
    else:
        arbiter.log.error("%s", text)
        successor.tell(text)
    return status


def _end(arbiter, worker, status):
    if worker.is_copy():
        if worker.alive_value:
            arbiter.log.error("%s", advice.of_copy(worker))
        os._exit(status)
    arbiter.log.info("Worker exiting (pid: %s)", worker.pid)
    limit, drained_at = worker.exit_timeout, time.monotonic()
    try:
        worker.slot.drained()
        worker._end_of_requests()
        for listener in worker.sockets:  # clients are for those who still serve
            listener.close()
        worker.tmp.close()
        worker.cfg.worker_exit(arbiter, worker)
    except BaseException:
        arbiter.log.warning("Exception during worker exit:\n%s", traceback.format_exc())
    worker._end_of_application()
    if limit:  # a little less than what the arbiter still gives
        limit = max(0.1, 0.9 * (drained_at + limit - time.monotonic()))
    _end_interpreter(arbiter.log, limit, status)
    worker.step_once("exit", f"status {status}")
    return status


def status_of(exc):
    """Exit status of a SystemExit, as the interpreter takes it."""
    if exc.code is None:
        return 0
    if isinstance(exc.code, int):
        return exc.code & 0xff
    print(exc.code, file=sys.stderr, flush=True)
    return 1


def _end_interpreter(log, limit, status):
    """What the interpreter does at its end, without its end: joins threads (at most limit seconds; 0 is
    no limit), runs atexit functions, flushes. The worker then leaves by _exit(), so that nothing of the
    arbiter's stack is unwound here and signals cannot kill it half-way."""
    def give_up():
        names = ", ".join(thread.name for thread in threading.enumerate()
                          if not thread.daemon and thread is not threading.main_thread())
        log.warning("Worker (pid:%s) left behind after %.3g s: %s", os.getpid(), limit,
                    f"thread {names}" if names else "its atexit functions")
        os._exit(status)

    # A thread of the system's, also where gevent has put greenlets in their place.
    over = allocate_lock()
    over.acquire()
    try:
        if limit:
            start_new_thread(lambda: over.acquire(timeout=limit) or give_up(), ())
    except RuntimeError:  # no thread to be had: the arbiter's own clock ends a worker, too
        pass
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        log.warning("Exception at the worker's end:\n%s", traceback.format_exc())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    over.release()
