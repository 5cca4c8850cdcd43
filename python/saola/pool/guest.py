"""Pools in C below the arbiter of Python: `"run": "./pool.so:NAME"`.

The arbiter loads the table (struct sl_pool, <saola/pool.h>), as the one of C does: it must know who is to
be made, and open() runs there. Process, output, user and clocks are those of every pool; what a worker does
between start() and stop() is done in C, without the interpreter.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Optional

from .. import _saola
from ..errors import ConfigError
from .process import PoolProcess
from .spec import RESTART, Pool


def _seconds(own: Optional[float], said: int) -> Optional[float]:
    """A clock: the pool's own, else the table's (0: as the setting says, -1: no limit)."""
    if own is not None or said == 0:
        return own
    return max(said, 0)


def load(pool: Pool, cfg: Any) -> Pool:
    """(arbiter) The pool with what its table says of it and it does not say itself. ConfigError with one line."""
    if pool.schedule is not None:
        raise pool._error("when it runs is said by its table, not by every or cron")
    settings = [f"{name}={str(value).lower() if isinstance(value, bool) else value}"
                for name, value in (pool.settings or {}).items()]
    try:
        guest = _saola.GuestPool(cfg.to_core(), pool.run, settings)
    except ValueError as exc:
        raise pool._error(str(exc)) from None
    said = guest.table()
    clocks = {name: _seconds(getattr(pool, name), said[name])
              for name in ("boot_timeout", "timeout", "graceful_timeout", "exit_timeout")}
    filled = dataclasses.replace(
        pool, workers=pool.ids if pool.sized else said["workers"],
        hand_over="exclusive" if said["exclusive"] else pool.hand_over,
        restart=RESTART[said["restart"]] if pool.restart == "always" else pool.restart,
        max_lifetime=pool.max_lifetime or said["max_lifetime"], max_memory=pool.max_memory or said["max_memory"],
        capture=pool.capture and said["capture"], **clocks)
    if said["scheduled"] and len(filled.ids) != 1:
        raise pool._error(f"a schedule means one worker, not {len(filled.ids)}")
    filled.guest = guest
    return filled


class GuestProcess(PoolProcess):
    """A worker of such a pool."""

    def _before_output(self) -> None:
        try:
            self.pool.guest.enter()
        except ValueError as exc:
            raise ConfigError(str(exc)) from None

    def _live(self) -> None:
        guest = self.pool.guest
        assert self.slot is not None
        try:  # from here on signals are C's
            guest.start(self.slot, self.group, self.age, self.generation, self.worker_id)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        self.cfg.post_worker_init(self)
        self.booted = True
        status = guest.main()
        self._leaving = True
        self.slot.drained()
        guest.stop()
        sys.exit(status)
