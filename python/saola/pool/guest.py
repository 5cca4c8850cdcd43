"""Pools in C below the arbiter of Python: `"run": "./pool.so:NAME"`.

The arbiter loads the table (struct sl_pool, <saola/pool.h>), as the one of C does: it must know who is to
be made, and open() runs there. Process, output, user and clocks are those of every pool; what a worker does
between start() and stop() is done in C, without the interpreter.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, List, Optional

from .. import _saola
from ..errors import ConfigError
from .process import PoolProcess
from .spec import RESTART, Pool
from .worker import WorkerBase


def _seconds(own: Optional[float], said: int) -> Optional[float]:
    """A clock: the pool's own, else the table's (0: as the setting says, -1: no limit)."""
    if own is not None or said == 0:
        return own
    return max(said, 0)


def path_of(pool: Pool) -> str:
    """The file of such a pool."""
    return os.path.abspath(str(pool.run).partition(":")[0])


def named(cfg: Any) -> List[Pool]:
    """The pools of the setting native_pools. Their tables have the names, which load() puts in place of these."""
    return [Pool(f"broken-{number}", text) for number, text in enumerate(cfg.native_pools)]


def load(pool: Pool, cfg: Any, own_name: bool = True) -> Pool:
    """(arbiter) The pool with what its table says of it and it does not say itself. ConfigError with one line.
    own_name: else it is called as its table says, and has of the setting app_settings what that declares."""
    if pool.schedule is not None:
        raise pool._error("when it runs is said by its table, not by every or cron")
    settings = [f"{name}={str(value).lower() if isinstance(value, bool) else value}"
                for name, value in (pool.settings or {}).items()] if own_name else None
    try:
        guest = _saola.GuestPool(cfg.to_core(), pool.run, settings)
    except ValueError as exc:
        raise (pool._error(str(exc)) if own_name else ConfigError(f"pool: {exc}")) from None
    said = guest.table()
    clocks = {name: _seconds(getattr(pool, name), said[name])
              for name in ("boot_timeout", "timeout", "graceful_timeout", "exit_timeout")}
    filled = dataclasses.replace(
        pool, name=pool.name if own_name else said["name"], workers=pool.ids if pool.sized else said["workers"],
        hand_over="exclusive" if said["exclusive"] else pool.hand_over,
        restart=RESTART[said["restart"]] if pool.restart == "always" else pool.restart,
        max_lifetime=pool.max_lifetime or said["max_lifetime"], max_memory=pool.max_memory or said["max_memory"],
        capture=pool.capture and said["capture"], **clocks)
    if said["scheduled"] and len(filled.ids) != 1:
        raise pool._error(f"a schedule means one worker, not {len(filled.ids)}")
    filled.guest = guest
    return filled


def stand_in(pool: Pool) -> Pool:
    """What waits in the place of one that cannot be loaded for its being built anew (setting reload)."""
    return Pool(pool.name, WorkerBase.wait)


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
            failure = ConfigError(str(exc))
            # As the host of C: later a reload is refused that does not work.
            if not self.cfg.reload or self.generation != 1:
                raise failure from None
            self._wait_for_repair(failure, "started")
        self.cfg.post_worker_init(self)
        self.booted = True
        status = guest.main()
        self._leaving = True
        self.slot.drained()
        guest.stop()
        sys.exit(status)
