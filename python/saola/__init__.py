"""Saola: a pre-fork application server with its core in C."""

from ._saola import __version__

version_info = tuple(int(part) for part in __version__.split(".")[:3])
#: Value of the header Server, and of SERVER_SOFTWARE in the environment. May be assigned to.
SERVER = "saola"
SERVER_SOFTWARE = f"saola/{__version__}"


def run(app, *, bind="127.0.0.1:8000", workers=1, threads=None, on_exit=None, on_start=None,
        config=None, factory=None, pools=None, **settings):
    """Serves app until the program is told to stop, then exits with the server's status.

    app: a WSGI callable; or a function without parameters that makes one, called once in each
    worker; or "package.module:name". factory=True or False says which of the first two it is
    when that cannot be seen. on_start(app) runs in each worker after loading, on_exit(app) at its
    every orderly end, after the last request. pools: processes beside the web workers, a list of
    saola.pool.Pool or {name: {option: value}}; docs/pools.md. config: a configuration file. Other settings by
    name, as in the settings reference: max_requests=1000, timeout=60, ...

    Call it in the main thread of a script; it does not return.
    """
    from .script import ScriptApplication

    settings = {"bind": bind, "workers": workers, **settings}
    if threads is not None:
        settings["threads"] = threads
    if pools is not None:
        from .pool.spec import read_pools
        settings["pools"] = {pool.name: pool for pool in read_pools(pools)}
    ScriptApplication(app, factory, on_start, on_exit, config, settings).run()
