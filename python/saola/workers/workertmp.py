"""The worker's sign of life, under the name and with the methods that gunicorn gave it.

gunicorn keeps a temporary file whose time the arbiter reads. Here the heartbeat is a word in the
scoreboard, shared memory made before the fork; a file exists only for code that asks for one.
"""

import os
import time


class WorkerTmp:
    """Heartbeat of one worker. Made in the arbiter, used in the worker."""

    def __init__(self, cfg=None):
        self.slot = None  # a _saola.Slot; the arbiter sets it
        self._fd = -1
        self._last = time.monotonic()

    def notify(self):
        """Tells the arbiter that the worker lives. Cheap; any thread of the worker."""
        self._last = time.monotonic()
        if self.slot is not None:
            self.slot.beat()

    def last_update(self):
        """Monotonic time in seconds of this process's last notify()."""
        return self._last

    def fileno(self):
        """Descriptor of a memory file of this process. Its times are not looked at."""
        if self._fd < 0:
            self._fd = os.memfd_create("saola-worker", os.MFD_CLOEXEC)
        return self._fd

    def close(self):
        """Gives the descriptor back; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
