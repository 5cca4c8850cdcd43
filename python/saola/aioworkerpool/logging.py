"""aioworkerpool.logging: the handler that carries records to the supervisor's process."""

from __future__ import annotations

from typing import Any

from ..pool import logs

__all__ = ["PickleStreamHandler"]


class _Instance:
    def __get__(self, obj: Any, owner: Any) -> logs.SocketHandler:
        if logs.handler is None:
            raise RuntimeError("PickleStreamHandler.instance is the worker's: use it in an on_start callback")
        return logs.handler


class PickleStreamHandler:
    """In a worker, `instance` is the handler that all loggers have there; for a logger that a program sets up
    anew. (The records travel as JSON: nothing is pickled.)"""

    instance = _Instance()
