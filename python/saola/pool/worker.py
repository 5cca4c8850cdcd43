"""WorkerBase: what a user's worker derives from. Everything here runs in the worker's process, on its main
thread unless said otherwise."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import select
import threading
import time
from typing import Any, Awaitable, Callable, List, Optional, Union

Callback = Callable[[], Union[None, Awaitable[None]]]


class Interrupted(BaseException):
    """Ends a plain main() when the worker is interrupted. Not for user code to catch."""


class WorkerBase:
    """One worker of a pool. Subclasses define main().

    Life, each step once:

        made --on_start callbacks--> running: main() --its end--> on_shutdown callbacks --> process ends
          `-- asked to stop meanwhile: main() is left out -------^

    TERM calls terminate(): is_running() turns False, main() ends by itself. INT and QUIT call interrupt():
    a coroutine main() is cancelled, a plain one left by an exception. on_shutdown callbacks run after every
    end of main(), also one by an exception or sys.exit(); an exception ends the process with status 1 and
    its traceback in the log.
    """

    logger = logging.getLogger("aioworkerpool.Worker")

    def __init__(self, worker_id: int, loop: asyncio.AbstractEventLoop):
        self._id = worker_id
        self._loop = loop
        self._start_callbacks: List[Callback] = []
        self._shutdown_callbacks: List[Callback] = []
        self._running = False
        self._asked = False        # to stop
        self._interrupted = False
        self._interruptible = False  # inside a plain main()
        self._interruption: Optional[Interrupted] = None  # what was raised in it
        self._plain: Optional[bool] = None  # whether main() is plain; None: as it looks
        self._task: Optional["asyncio.Task[Any]"] = None
        self._event = threading.Event()
        self._waiters: List["asyncio.Future[None]"] = []
        self._wake_fd = -1         # readable after a signal; the process gives it
        self._report: Callable[..., None] = self.logger.error

    # ---- for subclasses -------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """The worker's place in its pool; its successor has the same."""
        return self._id

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this process."""
        return self._loop

    def main(self) -> Any:
        """The worker's work: a coroutine function or a plain one, which ends soon after is_running() is
        False."""
        raise NotImplementedError(f"{type(self).__name__} does not define main()")

    def on_start(self, callback: Callback) -> None:
        """Adds a function or coroutine function to be run before main(). What it raises, the boot has failed
        of."""
        self._start_callbacks.append(callback)

    def on_shutdown(self, callback: Callback) -> None:
        """Adds a function or coroutine function to be run after main(), within exit_timeout. What one raises is
        logged, the others run all the same, and the process ends with status 1."""
        self._shutdown_callbacks.append(callback)

    def is_running(self) -> bool:
        """True from the end of the on_start callbacks until the worker is asked to stop. Any thread."""
        return self._running

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Sleeps, at most so many seconds (None: no limit), and wakes when the worker is asked to stop.
        Returns is_running(). For a plain main() and for threads."""
        end = None if seconds is None else time.monotonic() + seconds
        while self._running:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            if self._wake_fd < 0 or threading.current_thread() is not threading.main_thread():
                self._event.wait(left)
            elif self._wakes_within(left):
                self._drain_wake_fd()
        return self._running

    async def stopped(self, timeout: Optional[float] = None) -> bool:
        """As wait(), for a coroutine main(); True once the worker is asked to stop."""
        if self._running:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await asyncio.wait_for(waiter, timeout)
            except asyncio.TimeoutError:
                pass
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return not self._running

    # ---- requests -------------------------------------------------------------------------------

    def stop(self) -> None:
        """Marks the worker as stopping: is_running() is False from now on. Any thread, signal handlers too."""
        self._running = False
        self._asked = True
        self._event.set()
        try:
            self._loop.call_soon_threadsafe(self._wake_waiters)
        except RuntimeError:  # the loop is closed
            pass

    def terminate(self) -> None:
        """What TERM does: stop()."""
        self.stop()

    def interrupt(self) -> "asyncio.Future[None]":
        """What INT does: stop(), and main() is cancelled (a coroutine) or left by an exception. Returns a
        future that is done once the loop has turned."""
        self.stop()
        if not self._interrupted:
            self._interrupted = True
            if self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)
            elif self._interruptible:
                self._interruption = Interrupted()
                raise self._interruption
        future = self._loop.create_future()
        self._loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))
        return future

    def start(self) -> "asyncio.Future[int]":
        """Lives the whole life here and now, without a supervisor: returns a future with the exit status."""
        self._boot()
        status = self._work()
        status = self._shut_down() or status
        future: "asyncio.Future[int]" = self._loop.create_future()
        future.set_result(status)
        return future

    # ---- life, for the process ------------------------------------------------------------------

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wakes_within(self, seconds: Optional[float]) -> bool:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(0, round(seconds * 1000))))

    def _drain_wake_fd(self) -> None:
        try:
            while len(os.read(self._wake_fd, 512)) == 512:
                pass
        except BlockingIOError:
            pass

    def _call(self, callback: Callback) -> None:
        result = callback()
        if inspect.isawaitable(result):
            self._loop.run_until_complete(_awaited(result))

    def _boot(self) -> None:
        """Runs the on_start callbacks; what they raise comes out."""
        for callback in list(self._start_callbacks):
            self._call(callback)
        self._running = not self._asked

    def _is_plain(self) -> bool:
        if self._plain is None:
            self._plain = not inspect.iscoroutinefunction(self.main)
        return self._plain

    def _work(self) -> int:
        """Runs main(); returns the exit status of the process."""
        if not self._running:
            return 0
        try:
            try:
                self._interruptible = self._is_plain()
                result = self.main()
                self._interruptible = False
                if inspect.isawaitable(result):
                    self._run_task(result)
            finally:
                self._interruptible = False
        except asyncio.CancelledError:
            if not self._asked:
                self._report("main() of worker %s was cancelled, and not by a stop", self._id)
                return 1
        except SystemExit as exc:
            if isinstance(exc.code, int) or exc.code is None:
                return (exc.code or 0) & 0xff
            self._report("%s", exc.code)
            return 1
        except BaseException as exc:
            from ..errors import comes_of, format_app_traceback
            if self._interruption is not None and comes_of(exc, self._interruption):
                return 0
            self._report("Exception in main() of worker %s\n%s", self._id, format_app_traceback(exc))
            return 1
        finally:
            self._running = False
        return 0

    def _run_task(self, awaitable: Awaitable[Any]) -> None:
        self._task = self._loop.create_task(_awaited(awaitable))
        if self._interrupted:
            self._task.cancel()
        try:
            self._loop.run_until_complete(self._task)
        finally:
            self._task = None

    def _shut_down(self) -> int:
        """Runs all on_shutdown callbacks and closes the loop; returns the exit status for their failures."""
        status = 0
        callbacks, self._shutdown_callbacks = self._shutdown_callbacks, []
        for callback in callbacks:
            try:
                self._call(callback)
            except BaseException as exc:
                from ..errors import format_app_traceback
                self._report("Exception in an on_shutdown callback of worker %s\n%s", self._id,
                                  format_app_traceback(exc))
                status = 1
        return status

    def _close_loop(self) -> None:
        """Cancels what still runs in the loop, and closes it."""
        loop = self._loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
