"""The arbiter's worker object for a pool: lives a WorkerBase's life in the forked process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from typing import Any, List, Optional

from .. import util
from ..workers.base import Worker
from .function import FunctionWorker
from .spec import Pool
from .worker import Interrupted, WorkerBase


class PoolProcess(Worker):
    """A worker process of a pool. `group` is the pool's name, `worker_id` its place in it, `worker` the
    user's WorkerBase (in the process only)."""

    interrupt_on_quit = False

    def __init__(self, pools: Any, pool: Pool, worker_id: int, age: int, ppid: int, app: Any, cfg: Any,
                 log: Any):
        limit = 15.0 if pool.timeout is None else float(pool.timeout)
        super().__init__(age, ppid, [], app, limit / 2, cfg, log)
        self.pool = pool
        self.group = pool.name
        self.worker_id = worker_id
        self.worker: Optional[WorkerBase] = None
        self._pools = pools
        self._beat = min(limit / 4, 5.0) if limit else 0.0
        self._ended = threading.Event()

    @property
    def exit_timeout(self) -> float:
        return float(self.cfg.exit_timeout if self.pool.exit_timeout is None else self.pool.exit_timeout)

    def __str__(self) -> str:
        return f"<Worker {self.pid} of pool {self.group}, id {self.worker_id}>"

    # ---- life -----------------------------------------------------------------------------------

    def init_process(self) -> None:
        """The whole life but the exit hooks. Ends by SystemExit with the status of the process."""
        os.environ.update(self.cfg.env)
        util._setproctitle(f"{self.group}/{self.worker_id} [{self.cfg.proc_name}]")
        self._before_output()
        self._pools.enter_worker(self)
        self._drop_privileges()
        util.seed()
        self.PIPE = list(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        self.init_signals()
        self.log.debug("Pool %s: worker %s has pid %s", self.group, self.worker_id, self.pid)
        self._live()

    def _before_output(self) -> None:
        """Standard output and error are still the arbiter's."""

    def _live(self) -> None:
        """From the user's code on."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.add_reader(self.PIPE[0], self._drain_wake)
        self._make_reloader()
        worker = self._booted_worker(loop)
        if self.reloader is not None:
            self.reloader.start()
        self.cfg.post_worker_init(self)
        self.booted = True
        self._start_beat(worker)
        status = worker._work()
        self._leaving = True  # from here on handlers only set flags
        self._ended.set()
        self.slot.drained()
        sys.exit(self._end(worker) or status)

    def _booted_worker(self, loop: asyncio.AbstractEventLoop) -> WorkerBase:
        """The user's worker, or with the setting reload one that waits for the next change of a file."""
        try:
            worker = self._prepare(self.pool.make_worker(self.worker_id, loop))
            worker._boot()
        except Exception as exc:
            if not self.cfg.reload or self.exit_behind(exc):
                raise
            self._wait_for_repair(exc, "started")
            worker = self._prepare(FunctionWorker(self.worker_id, loop, WorkerBase.wait))
            worker._boot()
        return worker

    def _prepare(self, worker: WorkerBase) -> WorkerBase:
        worker._wake_fd = self.PIPE[0]
        worker._report = self.log.error
        if not self.alive:  # TERM came before there was a worker
            worker.stop()
        self.worker = worker
        return worker

    def _end(self, worker: WorkerBase) -> int:
        status = worker._shut_down()
        try:
            worker._close_loop()
        except BaseException:
            self.log.error("The loop of %s does not close\n%s", self, traceback.format_exc())
            status = status or 1
        return status

    # ---- heartbeat ------------------------------------------------------------------------------

    def _start_beat(self, worker: WorkerBase) -> None:
        """A coroutine main() shares its loop with the heart: a loop that stands still is found. A plain one may
        compute as long as it likes: a thread beats for it."""
        if not self._beat:
            return
        if not worker._is_plain():
            self._beat_in(worker.loop)
            return
        thread = threading.Thread(target=self._beat_on, name="saola-heartbeat", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:  # signals are for the main thread
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _beat_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self.tmp.notify()
        if not self._leaving:
            loop.call_later(self._beat, self._beat_in, loop)

    def _beat_on(self) -> None:
        while not self._ended.wait(self._beat):
            self.tmp.notify()

    def _drain_wake(self) -> None:
        try:
            os.read(self.PIPE[0], 512)
        except OSError:
            pass

    # ---- signals --------------------------------------------------------------------------------

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        if self.worker is not None:
            self.worker.terminate()

    def handle_quit(self, sig: int, frame: Any) -> None:
        super().handle_quit(sig, frame)
        if self.worker is not None and not self._leaving:
            self.worker.interrupt()


def forbid_loops(loops: List[Any]) -> None:
    """In a worker: loops that were made in the arbiter say so when they are used."""
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("this event loop is the supervisor's and does nothing in a worker: use self.loop, "
                           "and make what belongs to a loop in an on_start callback")

    for loop in loops:
        for name in ("call_soon", "call_later", "call_at", "call_soon_threadsafe", "create_task",
                     "run_until_complete", "run_forever", "run_in_executor", "add_reader", "add_writer",
                     "add_signal_handler", "create_server", "create_connection", "sock_accept"):
            try:
                setattr(loop, name, refuse)
            except (AttributeError, TypeError):  # a loop that takes no attributes
                break


__all__ = ["PoolProcess", "Interrupted", "forbid_loops"]
