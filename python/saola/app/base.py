"""Base classes of applications: the order in which settings arrive, and what run() does with them.

BaseApplication is for programs that embed the server: no command line, no files. Application reads
the configuration file, SAOLA_CMD_ARGS/GUNICORN_CMD_ARGS and the command line. Both live in the
arbiter; load() runs in each worker after the fork unless preload_app is set.
"""

import os
import shlex
import sys
import traceback

from .. import successor, util
from ..errors import (ConfigError, UsageError, describe_boot_failure, fail, format_app_traceback,
                      has_user_frame, is_server_frame)
from . import usage
from .configfile import ConfigFile
from .locate import check_interface

DEFAULT_FILES = ("./saola.conf.py", "./gunicorn.conf.py")
# Later ones win.
ENVIRONMENT = ("GUNICORN_CMD_ARGS", "SAOLA_CMD_ARGS")


class BaseApplication:
    """An application with its configuration. Subclasses define load_config() and load().

    Attributes that subclasses need in load_config() are set before super().__init__().
    """

    _reloading = False

    _on_load = None  # told of each call of load()

    def __init__(self, usage=None, prog=None):
        self.usage = usage
        self.cfg = None
        self.callable = None
        self.prog = prog
        self.logger = None
        self.do_load_config()

    # ---- configuration

    def do_load_config(self):
        """Loads the configuration; a failure is one line on standard error and exit code 1 (2 for
        the command line). During reload() it raises ConfigError instead."""
        try:
            self.load_default_config()
            self.load_config()
        except Exception as exc:
            message = _one_line(exc)
            if self._reloading:
                raise ConfigError(message) from exc
            fail(message, 2 if isinstance(exc, UsageError) else 1)

    def load_default_config(self):
        """A configuration with every default."""
        from ..config import Config
        self.cfg = Config(self.usage, prog=self.prog)

    def init(self, parser, opts, args):
        """Settings that a subclass of Application derives from the parsed command line, as a dict."""
        raise NotImplementedError

    def load(self):
        """Returns the callable that is served."""
        raise NotImplementedError

    def load_config(self):
        """Fills self.cfg with cfg.set()."""
        raise NotImplementedError

    def reload(self):
        """Loads the configuration again (HUP). On failure ConfigError is raised and self.cfg is what
        it was."""
        before, module = self.cfg, sys.modules.get("__config__")
        self._reloading = True
        try:
            self.do_load_config()
        except BaseException as exc:
            self.cfg = before
            if module is not None:
                sys.modules["__config__"] = module
            if isinstance(exc, SystemExit):
                raise ConfigError(f"the configuration ended the program ({exc.code})") from exc
            raise
        finally:
            self._reloading = False
        if self.cfg.spew:
            _start_spew()

    def wsgi(self):
        """The callable, loaded at the first call. Raises what load() raises, and AppImportError for
        an application of another interface than the worker class serves."""
        if self.callable is None:
            loaded = self.load()
            if self._on_load is not None:
                self._on_load()
            if loaded is not None:
                name = getattr(self, "app_uri", None) or "the application"
                check_interface(loaded, name, self.cfg)
            self.callable = loaded
        return self.callable

    def run(self):
        """Serves until a signal ends it; the process exits here. Main thread only."""
        from ..arbiter import Arbiter
        try:
            Arbiter(self).run()
        except (RuntimeError, ConfigError) as exc:
            sys.stdout.flush()
            fail(_plain(exc), 1)
        except Exception as exc:
            # A logger or worker class of the user's; what is ours is shown in full.
            if not has_user_frame(exc):
                raise
            text = f"cannot start:\n{format_app_traceback(exc)}"
            successor.tell(text)
            print(f"saola: {text}", file=sys.stderr)
            sys.exit(1)

    # ---- for subclasses of ours

    def _set(self, name, value, source):
        """cfg.set() that says where the value came from and names the setting in its error."""
        try:
            self.cfg.set(name, value, source=source)
        except Exception as exc:
            raise ConfigError(f"{source}: {_about(name, exc)}") from exc


class Application(BaseApplication):
    """An application with a command line and a configuration file.

    Sources, later ones win: defaults, the dict of init(), the file, GUNICORN_CMD_ARGS,
    SAOLA_CMD_ARGS, command line.
    """

    # What was read, for the banner; None without a file.
    config_source = None

    def chdir(self):
        """Enters cfg.chdir and makes it importable."""
        os.chdir(self.cfg.chdir)
        if self.cfg.chdir not in sys.path:
            sys.path.insert(0, self.cfg.chdir)

    def get_config_from_filename(self, filename):
        """Executes a file as module `__config__` and returns its globals. ConfigError otherwise."""
        return ConfigFile.of_path(filename).values

    def get_config_from_module_name(self, module_name):
        """Imports a module and returns its globals. ConfigError otherwise."""
        return ConfigFile.of_module(module_name).values

    def load_config_from_module_name_or_filename(self, location):
        """Applies `python:MODULE`, `file:PATH` or PATH and returns its globals."""
        if location.startswith("python:"):
            file = ConfigFile.of_module(location[7:])
        else:
            file = ConfigFile.of_path(location.removeprefix("file:"))
        for name, value in file.values.items():
            if name not in self.cfg.settings:
                continue
            try:
                self.cfg.set(name, value, source=f"file {file.name}")
            except Exception as exc:
                raise ConfigError(f"{file.where(name)}: {_about(name, exc)}") from exc
        self.config_source = file.name
        self._file = file
        return file.values

    def load_config_from_file(self, filename):
        """As load_config_from_module_name_or_filename()."""
        return self.load_config_from_module_name_or_filename(location=filename)

    def load_config(self):
        """Reads every source in order, see the class."""
        self._file = None
        parser = self.cfg.parser()
        given = usage.parse(parser, sys.argv[1:])
        by_environment = [(name, usage.parse(parser, _environment_args(name), name))
                          for name in ENVIRONMENT if os.environ.get(name)]

        for name, value in (self.init(parser, given, given.args) or {}).items():
            self._set(name.lower(), value, "application")
        self.chdir()

        location = given.config
        for _, parsed in by_environment:
            location = location if given.config else parsed.config or location
        if location is None:
            location = next((path for path in DEFAULT_FILES if os.path.exists(path)), None)
        if location is not None:
            self.load_config_from_file(location)

        for source, parsed in by_environment:
            self._apply(parsed, source)
        self._apply(given, "command line")
        self.chdir()
        if self._file is not None:
            self._report_unknown_names(self._file)

    def _apply(self, parsed, source):
        for name, value in vars(parsed).items():
            if value is not None and name != "args":
                self._set(name.lower(), value, source)

    def _report_unknown_names(self, file):
        """Names in the file that were surely meant as settings: a warning, an error when checking."""
        strict = self.cfg.check_config
        findings = file.unknown_names(self.cfg.settings, strict)
        if strict and findings:
            raise ConfigError(findings[0])
        for text in findings:
            if self._reloading:
                import logging
                logging.getLogger("gunicorn.error").warning("%s", text)
            else:
                print(f"saola: warning: {text}", file=sys.stderr)

    def reload(self):
        super().reload()
        self._extend_path()

    def run(self):
        """Prints or checks the configuration when asked; else serves (see BaseApplication)."""
        cfg = self.cfg
        util.open_standard_streams()
        self._extend_path()
        if cfg.print_config:
            self._print_config()
        if cfg.print_config or cfg.check_config:
            self._check()
            sys.exit(0)
        if cfg.spew:
            _start_spew()
        self._before_start()
        if cfg.daemon:
            if os.environ.get("NOTIFY_SOCKET"):
                util.warn("daemon = True together with systemd's Type=notify: systemd loses the "
                          "process. Run in the foreground there.")
            util.daemonize(cfg.enable_stdio_inheritance)
        super().run()

    def _extend_path(self):
        for path in reversed((self.cfg.pythonpath or "").split(",")):
            path = os.path.abspath(path) if path else ""
            if path and path not in sys.path:
                sys.path.insert(0, path)

    def _before_start(self):
        """Finds out now, with one line and no process started, what would fail later."""
        cfg = self.cfg
        try:
            for name in ("worker_class", "logger_class", "env"):  # imported, or put together
                getattr(cfg, name)
            cfg.to_core()
            for bind in cfg.settings["bind"].get():
                try:
                    util.parse_address(util.bytes_to_str(bind))
                except RuntimeError as exc:
                    raise ConfigError(f"bind {bind!r}: {_plain(exc)}") from None
        except (RuntimeError, ConfigError, ImportError) as exc:
            fail(_plain(exc), 1)

    def _print_config(self):
        printer = getattr(self.cfg, "print_config_text", None)
        print(printer() if callable(printer) else str(self.cfg))
        sys.stdout.flush()

    def _check(self):
        self._before_start()
        try:
            self.wsgi()
        except Exception as exc:
            text, _ = describe_boot_failure(exc)
            if text.startswith("Traceback") or "\n" in text:
                print(f"saola: error while loading the application:\n{text}", file=sys.stderr)
                sys.exit(1)
            fail(text, 1)


# ---- wording ---------------------------------------------------------------------------------


def _environment_args(name):
    try:
        return shlex.split(os.environ[name])
    except ValueError as exc:
        raise UsageError(f"{name}: {exc}") from None


def _plain(exc):
    return " ".join(str(exc).split()).removeprefix("Error: ") or type(exc).__name__


def _about(name, exc):
    text = _plain(exc)
    return text if name in text else f"invalid value for {name}: {text}"


def _one_line(exc):
    """The failure with the place in the user's code where it happened."""
    if isinstance(exc, ConfigError):
        return _plain(exc)
    frames = [f for f in traceback.extract_tb(exc.__traceback__)
              if not is_server_frame(f.filename)]
    place = f"{os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno}: " if frames else ""
    if isinstance(exc, RuntimeError):
        return place + _plain(exc)
    return f"{place}{type(exc).__name__}: {_plain(exc)}"


def _start_spew():
    """Prints every line that is executed (a debugging aid of gunicorn's)."""
    def trace(frame, event, arg):
        if event == "line":
            import linecache
            code = frame.f_code
            text = linecache.getline(code.co_filename, frame.f_lineno).rstrip()
            print(f"{frame.f_globals.get('__name__')}:{frame.f_lineno}: {text}")
        return trace
    sys.settrace(trace)
