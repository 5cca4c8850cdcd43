"""Saola: a pre-fork application server with its core in C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NoReturn

from ._saola import __version__

if TYPE_CHECKING:
    from .pool import Pool

version_info = tuple(int(part) for part in __version__.split(".")[:3])
#: Value of the header Server, and of SERVER_SOFTWARE in the environment. May be assigned to.
SERVER = "saola"
SERVER_SOFTWARE = f"saola/{__version__}"


def run(app: Any, *, bind: str | list[str] = "127.0.0.1:8000", workers: int = 1, threads: int | None = None,
        on_exit: Callable[[Any], Any] | None = None, on_start: Callable[[Any], Any] | None = None,
        config: str | None = None, factory: bool | None = None,
        pools: Iterable[Pool] | Mapping[str, Mapping[str, Any]] | None = None, **settings: Any) -> NoReturn:
    """Serves app until the program is told to stop, then exits with the server's status.

    app: a WSGI callable; or a function without parameters that makes one, called once in each
    worker; or "package.module:name". factory=True or False says which of the first two it is
    when that cannot be seen. on_start(app) runs in each worker after loading, on_exit(app) at its
    every orderly end, after the last request. pools: processes beside the web workers, a list of
    saola.pool.Pool or {name: {option: value}}; docs/pools.md. config: a configuration file. Other
    settings by name, as in the settings reference: max_requests=1000, timeout=60, ...

    Call it in the main thread of a script; it does not return.
    """
    from .errors import ConfigError, fail
    from .script import ScriptApplication

    settings = {"bind": bind, "workers": workers, **settings}
    if threads is not None:
        settings["threads"] = threads
    if pools is not None:
        from .pool.spec import read_pools
        try:
            settings["pools"] = {pool.name: pool for pool in read_pools(pools)}
        except ConfigError as exc:
            fail(f"saola.run(): {exc}")
    ScriptApplication(app, factory, on_start, on_exit, config, settings).run()
