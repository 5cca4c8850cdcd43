"""What saola.run() serves: an application given as an object, a factory or a name."""

import functools
import inspect
import os
import sys
import threading

from . import banner, errors, gunicorn, util
from .app.base import Application, BaseApplication
from .app.locate import check_interface

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
               inspect.Parameter.VAR_POSITIONAL)


def is_factory(app):
    """True for a function that takes no positional argument: it cannot be a WSGI application."""
    target = app
    while isinstance(target, functools.partial):
        target = target.func
    if not (inspect.isfunction(target) or inspect.ismethod(target)):
        return False
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    return not any(p.kind in _POSITIONAL for p in parameters)


class ScriptApplication(BaseApplication):
    """The application object behind saola.run(); its arguments are those of saola.run()."""

    def __init__(self, app, factory, on_start, on_exit, config, settings):
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("saola.run() needs the main thread: call it there, and start your "
                               "own threads beside it")
        if not (callable(app) or isinstance(app, str)):
            errors.fail("saola.run(): the application is a callable, a factory or a string "
                        f"\"module:name\", not {type(app).__name__}")
        for name, function in (("on_start", on_start), ("on_exit", on_exit)):
            if not (function is None or callable(function)):
                errors.fail(f"saola.run(): {name} is a function of the application, not "
                            f"{type(function).__name__}")
        self._app = app
        self._factory = factory
        self._on_start = on_start
        self._on_exit = on_exit
        self._config_file = config
        self._settings = settings
        self._served = None  # in the worker: what on_exit gets
        # Worker classes of third parties import gunicorn.workers.base.
        if "gunicorn" not in sys.modules:
            gunicorn.install()
        super().__init__()

    @property
    def app_uri(self):
        """What is served, for people: "module:name", or the name of the object."""
        if isinstance(self._app, str):
            return self._app
        return getattr(self._app, "__qualname__", None) or type(self._app).__qualname__

    def run(self):
        banner.attach(self)
        super().run()

    def load_config(self):
        # In process titles: the script that serves.
        script = os.path.basename(sys.argv[0]) if sys.argv else ""
        self.cfg.set("default_proc_name", script or "saola")
        if self._config_file is not None:
            Application.load_config_from_module_name_or_filename(self, str(self._config_file))
        for name, value in self._settings.items():
            self._set(name, value, "saola.run()")
        self.cfg.set("post_worker_init", self._wrap_start(self.cfg.post_worker_init))
        self.cfg.set("worker_exit", self._wrap_exit(self.cfg.worker_exit))

    def _wrap_start(self, hook):
        def post_worker_init(worker):
            if self._on_start is not None and worker.group == "web":
                self._on_start(self._served)
            hook(worker)
        return post_worker_init

    def _wrap_exit(self, hook):
        def worker_exit(server, worker):
            try:
                # Nothing was served by a worker whose application did not load.
                if self._on_exit is not None and self._served is not None and worker.group == "web":
                    self._on_exit(self._served)
            finally:
                hook(server, worker)
        return worker_exit

    def load(self):
        app = self._app
        name = "the application"
        if isinstance(app, str):
            name, app = app, util.import_app(app)
        if self._factory or (self._factory is None and is_factory(app)):
            name = f"what {getattr(app, '__qualname__', 'the factory')}() returned"
            app = app()
            if not callable(app):
                raise errors.AppImportError(f"{name} is not a WSGI application but "
                                            f"{type(app).__name__}")
        check_interface(app, name, self.cfg)
        self._served = app
        return app
