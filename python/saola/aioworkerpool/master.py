"""aioworkerpool.master: the Supervisor."""

from ..pool.supervisor import Supervisor

__all__ = ["Supervisor"]
