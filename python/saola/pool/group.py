"""The pools of one arbiter: which there are, who has which id, what a worker inherits."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from typing import Any, Dict, List, Optional, Set, Tuple

from .. import _saola
from ..errors import ConfigError
from . import guest
from .output import Output
from .process import PoolProcess, forbid_loops
from .spec import Pool, read_pools

_LOOK = 0.25  # seconds between two looks at the pipes


def open_descriptors() -> Set[int]:
    """Numbers of the descriptors this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            found.add(int(name))
    return found


class _Places:
    """Who has which id of a pool, in one generation."""

    def __init__(self) -> None:
        self._held: Set[int] = set()
        self._left: List[int] = []  # ids whose worker has ended; the likeliest to come back is the last

    def take(self, ids: List[int]) -> int:
        """The id of a new worker: one that nobody had yet, or the one that was left last; beyond all of them
        after TTIN."""
        new = [number for number in ids if number not in self._held and number not in self._left]
        back = [number for number in reversed(self._left) if number in ids]
        number = (new or back or [max([*ids, *self._held], default=-1) + 1])[0]
        if number in self._left:
            self._left.remove(number)
        self._held.add(number)
        return number

    def leave(self, number: int, final: bool) -> None:
        """Its worker has ended; final: and is not to come back."""
        self._held.discard(number)
        self._left.insert(0 if final else len(self._left), number)


class Pools:
    """Kept by the arbiter's object; arbiter process unless said otherwise."""

    def __init__(self, arbiter: Any):
        self._arbiter = arbiter
        self._loaded: Dict[int, Dict[str, Pool]] = {}  # generation -> its pools
        self._places: Dict[Tuple[int, str], _Places] = {}
        self._next: Dict[str, Pool] = {}
        self._output: Optional[Output] = None
        self._loops: Optional[List[Any]] = None
        self._look_at = 0.0
        self._waiting: Set[Optional[Tuple[str, int]]] = set()  # at the last look, places of full pipes
        self._reloader = _saola.Reloader()  # of shared objects; what workers import they watch themselves
        self._opened: Set[int] = set()  # tables of pools in C whose open() was called
        #: Descriptors that were open before the arbiter opened its own: the user's.
        self.inherited: Set[int] = set()

    # ---- groups ---------------------------------------------------------------------------------

    def load(self, cfg: Any) -> None:
        """Reads the settings pools and native_pools of a configuration. ConfigError with one line."""
        pools = [self._load(pool, cfg, True) for pool in read_pools(cfg.pools)]
        pools += [self._load(pool, cfg, False) for pool in guest.named(cfg)]
        self._next = {pool.name: pool for pool in pools}
        for pool in pools:
            if self._next[pool.name] is not pool:
                raise ConfigError(f"pools: there are two of the name {pool.name!r}")

    def _load(self, pool: Pool, cfg: Any, own_name: bool) -> Pool:
        """With the setting reload the file of a pool in C is watched from now on, also when it cannot be loaded at the
        start."""
        if not pool.is_native:
            return pool
        if cfg.reload:
            self._reloader.watch(guest.path_of(pool))
        try:
            return guest.load(pool, cfg, own_name)
        except ConfigError as exc:
            if not cfg.reload or self._arbiter._core is not None:
                raise
            self._arbiter.log.error("%s; waiting for a change", exc)
            return guest.stand_in(pool)

    def open(self) -> None:
        """What workers in C share is opened, once for each table. ConfigError with one line."""
        for pool in self._next.values():
            table = pool.guest.table()["address"] if pool.guest is not None else 0
            if table and table not in self._opened:
                try:
                    pool.guest.open()
                except ValueError as exc:
                    raise pool._error(str(exc)) from None
                self._opened.add(table)

    def rows(self, cfg: Any) -> List[tuple]:
        """The groups for the core."""
        return [pool.row(cfg) for pool in self._next.values()]

    def find(self, generation: int, name: str) -> Pool:
        """The pool of this name as a generation knows it."""
        return self._loaded.setdefault(generation, self._next)[name]

    def _processes(self) -> List[PoolProcess]:
        return [worker for worker in self._arbiter.WORKERS.values() if worker.group != "web"]

    def _forget_old(self) -> None:
        """What nobody needs any more: generations without workers, places that are gone."""
        workers = self._processes()
        newest = max(self._loaded)
        kept = {newest, *(worker.generation for worker in workers)}
        self._loaded = {number: pools for number, pools in self._loaded.items() if number in kept}
        self._places = {key: places for key, places in self._places.items() if key[0] in kept}
        if self._output is None:
            return
        wanted = {(worker.group, worker.worker_id) for worker in workers}
        for name, pool in {**self._loaded[newest], **self._next}.items():
            wanted.update((name, number) for number in pool.ids)
        for key in self._output.places() - wanted:
            self._output.forget(key)

    # ---- workers --------------------------------------------------------------------------------

    def make(self, name: str, age: int, generation: int, cfg: Any) -> PoolProcess:
        """The worker object for the next free place."""
        pool = self.find(generation, name)
        worker_id = self._places.setdefault((generation, name), _Places()).take(pool.ids)
        arbiter = self._arbiter
        if pool.capture:
            if self._output is None:
                self._output = Output(arbiter.log)
                for other in self._next.values():
                    self._output.aim(other.name, other.stdout, other.stderr)
            prefix = pool.prefix.replace("{name}", name).replace("{id}", str(worker_id))
            self._output.prepare((name, worker_id), prefix)
        kind = PoolProcess if pool.guest is None else guest.GuestProcess
        worker = kind(self, pool, worker_id, age, arbiter.pid, arbiter.app, cfg, arbiter.log)
        worker.generation = generation
        self._find_loops()
        return worker

    def free(self, worker: PoolProcess, wait_status: int) -> None:
        """The worker was reaped, or never forked."""
        restart = worker.pool.restart
        final = restart == "never" or (restart == "on-failure" and wait_status == 0)
        asked = worker.slot is not None and worker.slot.cause != 0
        self._places[worker.generation, worker.group].leave(
            worker.worker_id, final and not asked and worker.pid != "[booting]")
        if self._output is not None:
            self._output.worker_gone((worker.group, worker.worker_id))
        self._forget_old()

    def idle(self) -> None:
        """Between two turns of the arbiter. Whoever waits for a slow reader of its output cannot beat, and does not
        hang: the arbiter beats for it. Once more when the reader has come, since that may be just before the
        heartbeat is due."""
        path = self._reloader.look()
        if path is not None:
            self._arbiter.log.info("Reloading: %s has changed", path)
            self._arbiter.reload()
        now = time.monotonic()
        if self._output is None or now < self._look_at:
            return
        self._look_at = now + _LOOK
        self._output.tell_rest()
        before, self._waiting = self._waiting, self._output.waiting()
        waiting = self._waiting | before
        if waiting:
            for worker in self._processes():
                if worker.slot is not None and (
                        None in waiting or (worker.group, worker.worker_id) in waiting):
                    worker.slot.beat()

    def child_gone(self, pid: int, wait_status: int) -> None:
        """Another child was reaped."""
        if self._output is not None:
            self._output.child_gone(pid, wait_status)

    def reopen_logs(self) -> None:
        """The log files are opened anew."""
        if self._output is not None:
            self._output.reopen()

    def close(self) -> None:
        """The arbiter ends."""
        if self._output is not None:
            self._output.close()

    # ---- in a worker ----------------------------------------------------------------------------

    def leave_arbiter(self) -> None:
        """(web worker) What is the pools' is not its own."""
        if self._output is not None:
            self._output.leave()

    def enter_worker(self, worker: PoolProcess) -> None:
        """(pool's worker) Its output, and the descriptors meant for it."""
        for listener in self._arbiter.LISTENERS:  # clients are the web workers'
            with contextlib.suppress(OSError):
                listener.close()
        if worker.pool.preserve_fds is not None:
            self._cover(self.inherited - set(worker.pool.preserve_fds) - {0, 1, 2})
        if self._output is not None:
            if worker.pool.capture:
                self._output.enter((worker.group, worker.worker_id))
            else:
                self._output.leave()
        if self._loops:
            forbid_loops(self._loops)

    def _cover(self, fds: Set[int]) -> None:
        """Closes what is under these numbers, and keeps the numbers: objects copied from the arbiter own them and
        may close them at any time."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        kept = self._log_files()
        for fd in fds - kept:
            with contextlib.suppress(OSError):
                os.dup2(null, fd, inheritable=False)
        os.close(null)

    def _log_files(self) -> Set[int]:
        found = set()
        for logger in (self._arbiter.log.error_log, self._arbiter.log.access_log):
            for handler in logger.handlers:
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    found.add(handler.stream.fileno())
        return found

    def _find_loops(self) -> None:
        if self._loops is None and "asyncio" in sys.modules:
            kind = sys.modules["asyncio"].AbstractEventLoop
            self._loops = [found for found in gc.get_objects() if isinstance(found, kind)]
