"""Supervisor: a pool by itself, with the names and the meaning of aioworkerpool's."""

from __future__ import annotations

import asyncio
import collections
import inspect
import logging
import os
import signal
import sys
import threading
from typing import Any, Awaitable, Callable, Deque, Dict, Iterable, List, Optional, Sequence, Union

from .. import util
from ..app.base import BaseApplication
from ..arbiter import Arbiter
from ..errors import ConfigError, fail
from .group import open_descriptors
from .process import PoolProcess
from .spec import Pool, worker_ids

Callback = Callable[[], Union[None, Awaitable[None]]]


class PoolApplication(BaseApplication):
    """The arbiter's application object of a deployment without HTTP."""

    serves_web = False

    def __init__(self, pools: Sequence[Pool], settings: Dict[str, Any]):
        self._pools = pools
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        self.cfg.set("default_proc_name", os.path.basename(sys.argv[0]) if sys.argv else "saola")
        self.cfg.set("bind", [])
        self.cfg.set("pools", {pool.name: pool for pool in self._pools})
        for name, value in self._settings.items():
            self._set(name, value, "Supervisor()")

    def load(self) -> Any:
        raise ConfigError("a pool serves no HTTP")


class _Arbiter(Arbiter):
    """An arbiter that takes requests of its Supervisor between two turns."""

    def __init__(self, app: Any, supervisor: "Supervisor"):
        self._supervisor = supervisor
        super().__init__(app)

    def _idle(self) -> None:
        super()._idle()
        self._supervisor._take_requests()

    def _worker_forked(self, worker: Any, pid: int, in_child: bool) -> None:
        super()._worker_forked(worker, pid, in_child)
        if not in_child:
            self._supervisor._forked(worker)

    def _worker_free(self, worker: Any, pid: int, wait_status: int) -> None:
        super()._worker_free(worker, pid, wait_status)
        if pid:
            self._supervisor._exited(worker)


class Supervisor:
    """Keeps the workers of one pool alive. Make it and call main(), in the main thread.

    worker_factory: called as worker_factory(worker_id, loop) in each worker's process, usually a class
        derived from WorkerBase.
    loop: the event loop of this process, for callbacks and whatever runs beside the pool; a new one if needed.
    workers: how many (ids from 0), or their ids.
    check_interval: accepted; deaths are noticed when they happen.
    worker_timeout: seconds without a heartbeat after which a worker hangs; 0: no limit.
    preserve_fds: descriptors that the workers keep; all others but 0, 1 and 2 are closed there.
    stdout, stderr: where the workers' output goes, line by line (objects with write() and flush(); used in the
        collector's process); None: it is not captured.
    prefix: stands before each line; {name} and {id} are replaced.
    name: of the pool, for logs and process titles.
    boot_timeout, graceful_timeout, exit_timeout, restart: as in saola.pool.Pool.
    Other settings by name: user, group, umask, chdir, errorlog, loglevel, ...
    """

    #: Of this class's own messages; those of the arbiter are the logger "gunicorn.error"'s.
    logger = logging.getLogger("aioworkerpool.Supervisor")

    def __init__(self, worker_factory: Callable[..., Any], *,
                 loop: Optional[asyncio.AbstractEventLoop] = None,
                 workers: Union[int, Iterable[int]] = 2, check_interval: float = 1.0,
                 worker_timeout: float = 15.0, preserve_fds: Sequence[int] = (),
                 stdout: Any = sys.stdout, stderr: Any = sys.stderr, prefix: str = "[{id}] ",
                 name: str = "pool", boot_timeout: Optional[float] = None,
                 graceful_timeout: Optional[float] = None, exit_timeout: Optional[float] = None,
                 restart: str = "always", **settings: Any):
        if not callable(worker_factory):
            raise TypeError(f"worker_factory makes a worker from (worker_id, loop); {worker_factory!r} "
                            "cannot be called")
        self._given_loop = self._loop = loop
        self._start_callbacks: List[Callback] = []
        self._shutdown_callbacks: List[Callback] = []
        self._requests: Deque[Callable[[], None]] = collections.deque()
        self._workers: Dict[int, PoolProcess] = {}
        self._leaving: Dict[int, "asyncio.Future[None]"] = {}
        self._arbiter: Optional[_Arbiter] = None
        self._handle: Optional[asyncio.TimerHandle] = None
        self._watched: List[int] = []
        self._done: Optional["asyncio.Future[int]"] = None
        self.check_interval = check_interval
        self._pool = Pool(
            name=name, run=worker_factory, workers=worker_ids(workers), restart=restart,
            boot_timeout=boot_timeout, timeout=worker_timeout, graceful_timeout=graceful_timeout,
            exit_timeout=exit_timeout, capture=stdout is not None or stderr is not None, prefix=prefix,
            preserve_fds=list(preserve_fds), stdout=stdout, stderr=stderr, factory=True)
        self._app = PoolApplication([self._pool], settings)

    # ---- for the program ------------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the supervisor's process, made when it is first asked for."""
        if self._loop is None:
            self._loop = self._given_loop = asyncio.new_event_loop()
        return self._loop

    def on_start(self, callback: Callback) -> None:
        """Adds a function or coroutine function to be run in this process before the first worker is made."""
        self._start_callbacks.append(callback)

    def on_shutdown(self, callback: Callback) -> None:
        """Adds a function or coroutine function to be run in this process after the last worker has ended."""
        self._shutdown_callbacks.append(callback)

    def main(self, daemonize: bool = False, pidfile: str = "aioworkerpool.pid") -> None:
        """Runs the pool until it is told to stop. pidfile is written by a daemon. Returns after an orderly end;
        otherwise the program ends with the status that says why."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the supervisor needs the main thread: call main() there")
        try:
            if daemonize:
                self._app.cfg.set("pidfile", os.path.abspath(pidfile))
                self._app._settings.update(pidfile=os.path.abspath(pidfile), daemon=True)
                self._app.cfg.set("daemon", True)
                util.daemonize(True)
            status = self._run()
        except (RuntimeError, ConfigError) as exc:
            fail(" ".join(str(exc).split()), 1)
        if status:
            sys.exit(status)

    def start(self) -> "asyncio.Future[int]":
        """Starts the pool inside a running loop, the supervisor's; returns a future that has the exit status once
        all is over."""
        self._prepare()
        loop = self.loop
        self._done = loop.create_future()
        loop.create_task(self._start())
        return self._done

    def stop(self) -> None:
        """Ends the pool: workers are asked to stop, as by TERM. Returns at once. Any thread."""
        self._signal(signal.SIGTERM)

    def terminate(self) -> None:
        """As TERM: stop()."""
        self._signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """As INT: workers are interrupted. Returns at once. Any thread."""
        self._signal(signal.SIGINT)

    def add_worker(self, worker_id: int) -> None:
        """One worker more, with this id. ValueError when there is one."""
        if worker_id in self._pool.ids:
            raise ValueError(f"there is a worker {worker_id}")
        self._pool.ids.append(worker_id)
        if self._arbiter is not None:
            count = len(self._pool.ids)
            self._request(lambda: self._resize(count))

    def remove_worker(self, worker_id: int, sig: int = signal.SIGTERM) -> Any:
        """One worker less, this one: it gets the signal (TERM, or INT for a quick end) and is not replaced. Returns
        a future that is done when it has ended, or None outside of the loop. KeyError when there is none."""
        if worker_id not in self._pool.ids:
            raise KeyError(worker_id)
        self._pool.ids.remove(worker_id)
        future: Any = None
        if self._loop is not None:
            future = self._loop.create_future()
            if self._workers.get(worker_id) is None:
                future.set_result(None)
            else:
                self._leaving[worker_id] = future
        if self._arbiter is not None:
            count = len(self._pool.ids)
            self._request(lambda: self._remove(worker_id, sig, count))
        return future

    @property
    def workers(self) -> Dict[int, Optional[int]]:
        """Ids of the pool and the pids of their workers, None for one that is being made."""
        return {number: getattr(self._workers.get(number), "pid", None) for number in self._pool.ids}

    # ---- requests to the arbiter ------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        if self._arbiter is not None:
            self._arbiter._core.signal(number)

    def _request(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        self._signal(signal.SIGCHLD)  # wakes it

    def _take_requests(self) -> None:
        while self._requests:
            self._requests.popleft()()

    def _resize(self, count: int) -> None:
        assert self._arbiter is not None
        self._arbiter._core.resize(self._pool.name, count)

    def _remove(self, worker_id: int, sig: int, count: int) -> None:
        assert self._arbiter is not None
        worker = self._workers.get(worker_id)
        quick = signal.SIGQUIT if sig in (signal.SIGINT, signal.SIGQUIT) else signal.SIGTERM
        if worker is not None and self._arbiter._core.remove(worker.pid, quick) \
                and sig not in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            os.kill(worker.pid, sig)
        self._resize(count)  # also when it was leaving already, to be replaced

    def _forked(self, worker: PoolProcess) -> None:
        self._workers[worker.worker_id] = worker

    def _exited(self, worker: PoolProcess) -> None:
        if self._workers.get(worker.worker_id) is worker:
            del self._workers[worker.worker_id]
        future = self._leaving.pop(worker.worker_id, None)
        if future is not None and not future.done():
            future.set_result(None)

    # ---- running ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if "umask" in self._app._settings:
            os.umask(self._app.cfg.umask)
        inherited = open_descriptors()
        self._arbiter = _Arbiter(self._app, self)
        assert self._arbiter._pools is not None
        self._arbiter._pools.inherited = inherited

    def _run(self) -> int:
        if self._given_loop is None and not self._start_callbacks and not self._shutdown_callbacks:
            self._prepare()
            assert self._arbiter is not None
            return self._arbiter._run()
        loop = self.loop
        asyncio.set_event_loop(loop)

        async def run() -> int:
            return await self.start()

        return loop.run_until_complete(run())

    async def _call(self, callback: Callback) -> None:
        result = callback()
        if inspect.isawaitable(result):
            await result

    async def _start(self) -> None:
        assert self._arbiter is not None and self._done is not None
        before = open_descriptors()
        try:
            for callback in self._start_callbacks:
                await self._call(callback)
        except BaseException as exc:
            self._done.set_exception(exc)
            return
        self._arbiter._pools.inherited |= open_descriptors() - before
        # Turns are no part of a task: a worker is forked inside one, and has no task of ours.
        self.loop.call_soon(self._begin)

    def _begin(self) -> None:
        assert self._arbiter is not None
        if self._arbiter._core.begin() != 0:
            self._finish()
        else:
            self._rest()

    def _rest(self) -> None:
        """Until the next turn."""
        assert self._arbiter is not None
        fds, limit_ms = self._arbiter._core.wait_for()
        for fd in set(self._watched) - set(fds):
            self.loop.remove_reader(fd)
        for fd in set(fds) - set(self._watched):
            self.loop.add_reader(fd, self._turn)
        self._watched = fds
        if limit_ms >= 0:
            self._handle = self.loop.call_later(limit_ms / 1000 + 0.0005, self._turn)

    def _turn(self) -> None:
        assert self._arbiter is not None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._watched:
            return
        if self._arbiter._core.turn():
            self._rest()
        else:
            self._finish()

    def _finish(self) -> None:
        for fd in self._watched:
            self.loop.remove_reader(fd)
        self._watched = []
        self.loop.create_task(self._shut_down())

    async def _shut_down(self) -> None:
        assert self._arbiter is not None and self._done is not None
        status = self._arbiter._close(self._arbiter._core.end())
        for callback in self._shutdown_callbacks:
            try:
                await self._call(callback)
            except Exception:
                self.logger.exception("Exception in an on_shutdown callback of the supervisor")
                status = status or 1
        self._done.set_result(status)
