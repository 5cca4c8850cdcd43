"""The pools of one arbiter: which there are, who has which id, what a worker inherits."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Any, Dict, List, Optional, Set, Tuple

from .output import Output
from .process import PoolProcess, forbid_loops
from .spec import Pool, read_pools


def open_descriptors() -> Set[int]:
    """Numbers of the descriptors this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            found.add(int(name))
    return found


class Pools:
    """Kept by the arbiter's object; arbiter process unless said otherwise."""

    def __init__(self, arbiter: Any):
        self._arbiter = arbiter
        self._loaded: Dict[int, Dict[str, Pool]] = {}  # generation -> its pools
        self._taken: Dict[Tuple[int, str], Set[int]] = {}
        self._next: Dict[str, Pool] = {}
        self._output: Optional[Output] = None
        self._loops: Optional[List[Any]] = None
        #: Descriptors that were open before the arbiter opened its own: the user's.
        self.inherited: Set[int] = set()

    # ---- groups ---------------------------------------------------------------------------------

    def load(self, cfg: Any) -> None:
        """Reads the setting of a configuration. ConfigError with one line."""
        self._next = {pool.name: pool for pool in read_pools(cfg.pools)}

    def rows(self, cfg: Any) -> List[tuple]:
        """The groups for the core."""
        return [pool.row(cfg) for pool in self._next.values()]

    def find(self, generation: int, name: str) -> Pool:
        """The pool of this name as a generation knows it."""
        return self._loaded.setdefault(generation, self._next)[name]

    def forget(self, keep: int) -> None:
        """Generations before this one make no worker any more."""
        self._loaded = {number: pools for number, pools in self._loaded.items() if number >= keep}

    # ---- workers --------------------------------------------------------------------------------

    def make(self, name: str, age: int, generation: int, cfg: Any) -> PoolProcess:
        """The worker object for the next free place."""
        pool = self.find(generation, name)
        taken = self._taken.setdefault((generation, name), set())
        worker_id = next((number for number in pool.ids if number not in taken), None)
        if worker_id is None:  # TTIN
            worker_id = max([*pool.ids, *taken], default=-1) + 1
        arbiter = self._arbiter
        if pool.capture:
            if self._output is None:
                self._output = Output(arbiter.log)
                for other in self._next.values():
                    self._output.aim(other.name, other.stdout, other.stderr)
            prefix = pool.prefix.replace("{name}", name).replace("{id}", str(worker_id))
            self._output.prepare((name, worker_id), prefix)
        worker = PoolProcess(self, pool, worker_id, age, arbiter.pid, arbiter.app, cfg, arbiter.log)
        worker.generation = generation
        taken.add(worker_id)
        self._find_loops()
        return worker

    def free(self, worker: PoolProcess, wait_status: int) -> None:
        """The worker was reaped, or never forked; its place is free unless it is not to come back."""
        restart = worker.pool.restart
        final = restart == "never" or (restart == "on-failure" and wait_status == 0)
        if not final or worker.pid == "[booting]":
            self._taken.get((worker.generation, worker.group), set()).discard(worker.worker_id)
        if self._output is not None:
            self._output.worker_gone((worker.group, worker.worker_id))

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
