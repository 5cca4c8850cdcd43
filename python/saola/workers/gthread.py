"""Worker class gthread: up to `threads` requests at a time, on a pool of C threads.

The main thread only waits: it beats for the arbiter and runs Python's signal handlers.
"""

from .serving import EngineWorker


class ThreadWorker(EngineWorker):
    """Up to `threads` requests at a time."""

    multithread = True

    def thread_count(self):
        return max(1, self.cfg.threads)
