"""Workers whose main() is a function: permanent, or called at times."""

from __future__ import annotations

import inspect
import time
from typing import Any, Callable

from .worker import WorkerBase

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _takes_worker(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.kind in _POSITIONAL and p.default is p.empty for p in parameters)


class FunctionWorker(WorkerBase):
    """Its main() is a function; the worker's life is the call's."""

    def __init__(self, worker_id: int, loop: Any, function: Callable[..., Any]):
        super().__init__(worker_id, loop)
        self._function = function
        self._args = (self,) if _takes_worker(function) else ()
        self._plain = not inspect.iscoroutinefunction(function)

    def main(self) -> Any:
        return self._function(*self._args)


class ScheduledWorker(FunctionWorker):
    """Calls the function at the times of a schedule; never two calls at once. A time that comes while it still
    runs, or while nobody is there, is left out. What it raises is logged, and the next time comes all the
    same."""

    def __init__(self, worker_id: int, loop: Any, function: Callable[..., Any], schedule: Any):
        super().__init__(worker_id, loop, function)
        self._schedule = schedule
        self._plain = True

    def main(self) -> None:
        due = self._schedule.after(time.time())
        while self.is_running():
            left = due - time.time()
            if left > 0:
                self.wait(min(left, 3600.0))  # the machine's clock may be set
                continue
            self._call()
            due = self._schedule.after(max(time.time(), due))

    def _call(self) -> None:
        try:
            result = self._function(*self._args)
            if inspect.isawaitable(result):
                self.loop.run_until_complete(result)
        except Exception:
            self.logger.exception("The run at its time failed")
