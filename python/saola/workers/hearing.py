"""The wish of the arbiter that a worker leave, where the worker's signal handlers do not hear it.

- An event loop has the handlers and does not run yet: uvloop takes note of a signal, but acts upon it only when the
  next one comes.
- The application has put a handler of its own in the place of the worker's.
- The class has no handlers until its loop runs, and raises the signal again once it has served (uvicorn's).
- The class hands QUIT to handle_exit(), and its loop does not look at `alive` (uvicorn's).

Process: a worker. Thread: the main one, look() where notify() is called.
"""

import os
import signal

#: Seconds that a signal to leave may take until it counts as missed.
MISSED = 1.0


class Hearing:
    """What a worker has for it. leave: what the worker does upon TERM, without the class's own part."""

    def __init__(self, worker, leave):
        self.running = False  # in run()
        self._worker, self._leave = worker, leave
        self._early = None    # a signal that came in run() before the class took it

    def catch_up(self):
        """After init_signals(): handlers where there are none yet, and a loop that has them is rung once it runs."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._take_early)
        loop = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if loop is not self._worker and hasattr(loop, "call_soon"):
            loop.call_soon(self._ring)

    def look(self):
        """Whether the worker was asked to leave and is still here."""
        worker, early = self._worker, self._early
        if worker.slot is not None and worker.alive_value and (worker.slot.asked or 0.0) >= MISSED:
            worker.log.debug("Worker (pid:%s) has missed the signal to leave and leaves now", worker.pid)
            self._ring()
            self._leave()
        if early is not None and self._is_theirs(early):
            self._early = None
            signal.raise_signal(early)

    def pass_on(self):
        """QUIT came: whoever takes TERM gets that."""
        if self._is_theirs(signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)

    def _take_early(self, sig, frame):
        self._leave()
        if self.running:
            self._early = sig
        elif not self._worker._leaving:
            self._worker._exit_now(0)

    def _is_theirs(self, number):
        handler = signal.getsignal(number)
        return callable(handler) and getattr(handler, "__self__", None) not in (self, self._worker)

    def _ring(self):
        """Makes an event loop look at the signals that have come, by one that means nothing."""
        slot = self._worker.slot
        if slot is not None and signal.getsignal(slot.acknowledge_signal) == slot.acknowledge:
            os.kill(os.getpid(), slot.acknowledge_signal)
