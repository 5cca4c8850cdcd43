"""The worker's sign of life, under the name and with the methods that gunicorn gave it.

gunicorn keeps a temporary file whose time the arbiter reads. Here the heartbeat is a word in the
scoreboard, shared memory made before the fork; a file exists only for code that asks for one, and
what that does to its times or mode counts as notify().
"""

import os
import threading
import time

#: Seconds between two looks at the times of the file.
LOOK = 0.5


class WorkerTmp:
    """Heartbeat of one worker. Made in the arbiter, used in the worker."""

    def __init__(self, cfg=None):
        self.slot = None  # a _saola.Slot; the arbiter sets it
        self.beats = 0    # calls of notify()
        self._fd = -1
        self._made_in = os.getpid()
        self._watched = False
        self._last = time.monotonic()

    def notify(self):
        """Tells the arbiter that the worker lives. Cheap; any thread of the worker."""
        self._last = time.monotonic()
        self.beats += 1
        if self.slot is not None:
            self.slot.beat()

    def last_update(self):
        """Monotonic time in seconds of this process's last notify()."""
        return self._last

    def fileno(self):
        """Descriptor of a memory file. In the worker, code in C that beats by utimens() or fchmod() is
        heard: a thread looks at its times from now on."""
        if self._fd < 0:
            self._fd = os.memfd_create("saola-worker", os.MFD_CLOEXEC)
        if not self._watched and os.getpid() != self._made_in:
            self._watched = True
            threading.Thread(target=self._watch, args=(self._fd,), name="saola-tmp", daemon=True).start()
        return self._fd

    def _watch(self, fd):
        def times():
            status = os.fstat(fd)
            return status.st_mtime_ns, status.st_ctime_ns

        seen = times()
        while self._fd == fd:
            time.sleep(LOOK)
            try:
                now = times()
            except OSError:  # closed
                return
            if now != seen:
                seen = now
                self.notify()

    def close(self):
        """Gives the descriptor back; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
