"""What is said of a pool: class Pool, and how the setting `pools` is read."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from typing import Any, Callable, Iterable, List, Mapping, Optional, Sequence, Union

from .. import native, util
from ..errors import ConfigError
from .schedule import Cron, Every
from .worker import WorkerBase

RESTART = ("always", "on-failure", "never")  # enum sl_restart, in its order
HAND_OVER = ("overlap", "exclusive")
_NAME_MAX = 31


def worker_ids(workers: Union[int, Iterable[int]]) -> List[int]:
    """The ids that `workers` stands for: 0 to N-1 for a number N, else the ids themselves.

    Raises ValueError for anything that is neither.
    """
    if isinstance(workers, int) and not isinstance(workers, bool):
        if workers < 0:
            raise ValueError(f"workers is a number from 0 on, not {workers}")
        return list(range(workers))
    if isinstance(workers, (str, bytes)) or not isinstance(workers, Iterable):
        raise ValueError(f"workers is a number or several ids, not {workers!r}")
    ids = list(workers)
    for number in ids:
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"an id is a whole number, not {number!r}")
    if len(set(ids)) != len(ids):
        raise ValueError("an id is given twice")
    return ids


@dataclasses.dataclass
class Pool:
    """One pool. Used in the arbiter; its workers get a copy by fork.

    name: at most 31 letters, digits, "-", "_" and "."; not "web".
    run: a class derived from WorkerBase, a function (plain or coroutine; it gets the worker if it takes
        an argument), or the name of one: "package.module:name", imported in each worker;
        or a pool in C, "PATH.so[:NAME]" (<saola/pool.h>), whose table says what is left out here.
    settings: of a pool in C, those that its table declares.
    workers: how many, or their ids; one.
    every, cron: seconds from run to run, or a cron expression ("*/5 * * * *", local time; or six fields, the
        first of them seconds): then `run` is a function that is called at these times, by one worker.
    restart: "always", "on-failure" (an end with status 0 is final) or "never".
    hand_over: "overlap": a reload makes new workers, then the old ones leave. "exclusive": one worker, and
        never two of them at a time, in no reload, upgrade or restart.
    boot_timeout, timeout, graceful_timeout, exit_timeout: seconds, as the settings of these names, which
        are the defaults (timeout: 15). 0: no limit.
    max_lifetime: seconds after which a worker is replaced. max_memory: the same for bytes. 0: never.
    capture: whether output and log records of the workers come through the collector, lines whole.
    prefix: what stands before each captured line; {name} and {id} are replaced.
    preserve_fds: descriptors of the arbiter's that the workers keep; None: those that are inheritable.
    """

    name: str
    run: Union[str, Callable[..., Any]]
    workers: Union[int, Iterable[int], None] = None
    every: Optional[float] = None
    cron: Optional[str] = None
    restart: str = "always"
    hand_over: str = "overlap"
    boot_timeout: Optional[float] = None
    timeout: Optional[float] = None
    graceful_timeout: Optional[float] = None
    exit_timeout: Optional[float] = None
    max_lifetime: float = 0
    max_memory: int = 0
    capture: bool = True
    prefix: str = "[{name}/{id}] "
    preserve_fds: Optional[Sequence[int]] = None
    stdout: Any = None  # where captured output goes; None: the arbiter's own
    stderr: Any = None
    factory: bool = False  # run(worker_id, loop) makes the worker
    settings: Optional[Mapping[str, Any]] = None

    def __post_init__(self) -> None:
        self.sized = self.workers is not None  # else the table of a pool in C says how many
        if self.workers is None:
            self.workers = 1
        self._check()
        self.ids = worker_ids(self.workers)
        self.guest: Any = None  # _saola.GuestPool: it is in C

    def _check(self) -> None:
        name = self.name
        if not isinstance(name, str) or not name or len(name.encode()) > _NAME_MAX or name == "web" \
                or not all(c.isalnum() or c in "-_." for c in name):
            raise ConfigError(f"pool {name!r}: a name has 1 to {_NAME_MAX} letters, digits, '-', '_' and "
                              "'.', and is not 'web'")
        if not (callable(self.run) or isinstance(self.run, str)):
            raise self._error(f"run is a class, a function or \"module:name\", not {self.run!r}")
        for field, choices in (("restart", RESTART), ("hand_over", HAND_OVER)):
            if getattr(self, field) not in choices:
                raise self._error(f"{field} is one of {', '.join(choices)}, not {getattr(self, field)!r}")
        for field in ("boot_timeout", "timeout", "graceful_timeout", "exit_timeout", "max_lifetime",
                      "max_memory"):
            value = getattr(self, field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))
                                      or value < 0):
                raise self._error(f"{field} is a number from 0 on, not {value!r}")
        try:
            assert self.workers is not None
            ids = worker_ids(self.workers)
            self.workers = ids
            self.schedule = self._schedule()
        except ValueError as exc:
            raise self._error(str(exc)) from None
        if (self.hand_over == "exclusive" or self.schedule is not None) and len(ids) != 1:
            what = "a schedule" if self.schedule is not None else "exclusive"
            raise self._error(f"{what} means one worker, not {len(ids)}")
        if self.settings is not None and not self.is_native:
            raise self._error("settings are for pools in C")
        if self.schedule is not None and inspect.isclass(self.run):
            raise self._error("what runs at times is a function, not a class")

    @property
    def is_native(self) -> bool:
        """Whether `run` names a pool in C."""
        return native.is_shared_object(self.run)

    def _schedule(self) -> Union[Every, Cron, None]:
        if self.every is not None and self.cron is not None:
            raise ValueError("every or cron, not both")
        if self.every is not None:
            return Every(self.every)
        return Cron(self.cron) if self.cron is not None else None

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f"pool {self.name!r}: {text}")

    def row(self, cfg: Any) -> tuple:
        """The pool as the core wants it (struct sl_group; times in milliseconds)."""
        def ms(value: Optional[float], default: float) -> int:
            return int(1000 * (default if value is None else value))

        return (self.name, len(self.ids), self.hand_over == "exclusive", RESTART.index(self.restart),
                ms(self.boot_timeout, cfg.boot_timeout), ms(self.timeout, 15),
                ms(self.graceful_timeout, cfg.graceful_timeout), ms(self.exit_timeout, cfg.exit_timeout),
                ms(self.max_lifetime, 0), int(self.max_memory))

    def make_worker(self, worker_id: int, loop: Any) -> WorkerBase:
        """The worker object (worker process)."""
        run = util.import_app(self.run) if isinstance(self.run, str) else self.run
        if inspect.isclass(run) and self.schedule is not None:
            raise self._error("what runs at times is a function, not a class")
        if self.factory or inspect.isclass(run):
            worker = run(worker_id, loop)
            if not isinstance(worker, WorkerBase):
                raise self._error(f"{run!r} makes {type(worker).__name__}, which does not derive from "
                                  "saola.pool.WorkerBase")
            return worker
        from .function import FunctionWorker, ScheduledWorker
        if self.schedule is not None:
            return ScheduledWorker(worker_id, loop, run, self.schedule)
        return FunctionWorker(worker_id, loop, run)


def read_pools(value: Union[Mapping[str, Any], Iterable[Pool], None]) -> List[Pool]:
    """The pools of the setting `pools`, or of saola.run(pools=...). ConfigError with one line otherwise."""
    if not value:
        return []
    items = value.items() if isinstance(value, Mapping) else [(None, pool) for pool in value]
    pools: List[Pool] = []
    for name, given in items:
        if isinstance(given, str) and name is not None:
            given = {"run": given}
        if isinstance(given, Mapping):
            given = _from_mapping(name, given)
        if not isinstance(given, Pool):
            raise ConfigError(f"pools: {given!r} is neither a saola.pool.Pool nor a dictionary of options")
        if any(pool.name == given.name for pool in pools):
            raise ConfigError(f"pools: there are two of the name {given.name!r}")
        pools.append(given)
    return pools


def _from_mapping(name: Any, options: Mapping[str, Any]) -> Pool:
    options = {"name": name, **options}
    known = [field.name for field in dataclasses.fields(Pool)]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(str(option), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"pool {name!r}: there is no option {option!r}{hint}")
    if "run" not in options:
        raise ConfigError(f"pool {name!r}: the option run is missing")
    return Pool(**options)
