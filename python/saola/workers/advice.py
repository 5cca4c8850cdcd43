"""What a worker class of somebody else's does wrong, in sentences that say what to write instead.

A class that forgets its part of the contract (docs/writing-a-worker.md) otherwise looks like a server
that hangs, or one that starts processes for ever.
"""

import os
import threading

from ..errors import is_server_frame


def name_of(cls):
    """module.Class, as it is written after -k."""
    return f"{cls.__module__}.{cls.__qualname__}"


def has_own_run(worker):
    """Whether run() is the code of somebody else, who has to notify and to look at alive."""
    code = getattr(type(worker).run, "__code__", None)
    return code is not None and not is_server_frame(code.co_filename)


def without_run(worker):
    """The sentence for a class without run()."""
    limit = f" more often than every {worker.timeout:g} seconds" if worker.timeout else ""
    return (f"{name_of(type(worker))} has no method run(). Write `def run(self)`: it accepts connections from "
            f"self.sockets and answers them while self.alive is true, and calls self.notify(){limit} "
            "(docs/writing-a-worker.md)")


def of_abort(worker):
    """Sentences for a worker that is being aborted, none if its class has done its part."""
    if not has_own_run(worker) or not worker.booted:
        return
    name = name_of(type(worker))
    if not worker.alive_value:
        if not worker.alive_was_seen:
            yield (f"{name} was asked to leave and did not look at self.alive since: run() must return soon "
                   "after it has become false.")
    elif not worker.tmp.beats:
        yield (f"{name} has never called self.notify(): run() must call it more often than every "
               f"{worker.timeout:g} seconds, or the worker counts as hanging.")


def of_return(worker):
    """What is to be said of a run() that has returned, or None."""
    if not has_own_run(worker) or not worker.alive_value or worker.cfg.max_requests:
        return None
    return (f"{name_of(type(worker))}.run() returned although nobody has asked the worker to leave (self.alive is "
            "true); it is replaced. run() serves until self.alive is false.")


def of_exit(worker, status):
    """The same for SystemExit out of run()."""
    if not has_own_run(worker) or not worker.booted or not worker.alive_value or worker.cfg.max_requests:
        return None
    return (f"{name_of(type(worker))}.run() has ended the worker with exit status {status} although nobody has asked "
            "it to leave; it is replaced.")


def of_threads(cls, before):
    """What is to be said of threads that the constructor of a worker has started, or None; before is what
    threading.enumerate() was."""
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    if not names:
        return None
    return (f"{name_of(cls)}.__init__() has started {len(names)} thread(s): {', '.join(names)}. It runs in the "
            "arbiter, before the fork: they do not exist in the worker, and locks that they hold there are never "
            "released. Start threads in init_process() or run().")


def of_copy(worker):
    """What is to be said in a process that the worker has forked and that lives on as if it were the worker."""
    return (f"Process {os.getpid()} is a fork of {worker} and goes on as if it were the worker: it ends here, without "
            "the worker's exit hooks. A child of a worker must leave by os._exit(), or be started by subprocess or "
            "multiprocessing.")
