"""Worker class sync: one request at a time, on the main thread, keep-alive all the same."""

from .serving import EngineWorker


class SyncWorker(EngineWorker):
    """One request at a time. Connections that wait cost nothing but their socket."""
