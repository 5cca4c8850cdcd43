"""The life of an application in numbers: how often it was loaded, started, cleaned up, and why it ended.

Every worker counts its steps in the scoreboard (Worker.step()); the arbiter keeps what a dead worker's slot says
and, with the setting lifecycle_report, prints it at the end. With trace_lifecycle each step is a line at once.
"""

import collections
import enum
import os
import signal

#: Workers whose single lives the report has; the sums are of all.
KEPT = 100

#: Steps of a life, in their order.
STEPS = ("load", "startup", "ready", "first request", "stop", "shutdown", "cleanup", "exit")


class Cause(enum.IntEnum):
    """Why a worker ends, as far as it knows itself."""

    STOP = 1
    ASKED = 2
    QUIT = 3
    LIMIT = 4
    FILES = 5
    ORPHANED = 6
    ABORTED = 7
    FAILED = 8
    PAYLOAD = 9

    @property
    def text(self):
        return _TEXTS[self]


_TEXTS = {
    Cause.STOP: "the server stops",
    Cause.ASKED: "asked to leave",
    Cause.QUIT: "INT or QUIT",
    Cause.LIMIT: "max_requests",
    Cause.FILES: "a file has changed",
    Cause.ORPHANED: "the arbiter is gone",
    Cause.ABORTED: "ABRT",
    Cause.FAILED: "an exception",
    Cause.PAYLOAD: "payload_exit",
}


def line(step, count, pid, generation, seconds, detail=""):
    """A line of the trace; generation 0 is the arbiter, seconds count from the fork."""
    where = f"generation:{generation}" if generation else "the arbiter"
    return f"Lifecycle: {step} {count} (pid:{pid}, {where}) after {seconds:.3f} s{detail and ': '}{detail}"


class Report:
    """What the arbiter knows of the lives of its workers."""

    def __init__(self):
        self.workers = 0
        self.generations = set()
        self.loads = 0  # in the arbiter
        self.totals = collections.Counter()
        self._lives = collections.deque(maxlen=KEPT)
        self._in_force = 1
        self._reloading = False

    def reload(self):
        """A new generation is being loaded: whoever is asked to leave makes room for it."""
        self._reloading = True

    def settle(self, accepted):
        """It is in force, or was given up."""
        self._reloading = False
        if accepted and self.generations:
            self._in_force = max(self.generations)

    def born(self, generation):
        """A worker of this generation is about to be forked."""
        self.generations.add(generation)

    def bury(self, worker, wait_status):
        """A worker was reaped; its slot still has what it said."""
        slot = worker.slot
        steps = slot.steps
        self.workers += 1
        self.totals.update({step: count for step, (count, _) in steps.items()})
        self.totals["requests"] += slot.requests
        self._lives.append(self._life(worker.pid, slot, steps, wait_status))

    def _life(self, pid, slot, steps, wait_status):
        parts = [f"load {steps['load'][0]}", f"startup {steps['startup'][0]}"]
        parts += [f"{step} after {steps[step][1]:.3f} s" for step in ("ready", "first request") if steps[step][0]]
        parts += [f"{slot.requests} requests", f"stop: {self._cause(slot)}"]
        parts += [f"{step} {steps[step][0]}" for step in ("shutdown", "cleanup")]
        parts += [f"lived {slot.age:.3f} s", how_it_ended(wait_status)]
        return f"Lifecycle of worker (pid:{pid}, generation:{slot.generation}): {', '.join(parts)}"

    def _cause(self, slot):
        cause = slot.cause
        if cause == Cause.ASKED and (self._reloading or slot.generation < self._in_force):
            return "a reload"
        return Cause(cause).text if cause else "it did not say"

    def lines(self, pid):
        """The report, one line after the other; pid is the arbiter's."""
        totals = self.totals
        yield (f"Lifecycle report of the arbiter (pid:{pid}): {self.workers} workers, "
               f"{len(self.generations)} generations, load {self.loads + totals['load']} ({self.loads} in the "
               f"arbiter), startup {totals['startup']}, cleanup {totals['cleanup']}, {totals['requests']} requests")
        if self.workers > len(self._lives):
            yield f"Lifecycle of {self.workers - len(self._lives)} workers before these: only counted"
        yield from self._lives


def how_it_ended(wait_status):
    """A wait status in words."""
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return f"exit status {os.waitstatus_to_exitcode(wait_status)}"
