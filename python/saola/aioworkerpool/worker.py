"""aioworkerpool.worker: the base class of workers."""

from ..pool.worker import WorkerBase

__all__ = ["WorkerBase"]
