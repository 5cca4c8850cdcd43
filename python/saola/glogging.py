"""Error and access log, on the standard logging module.

The loggers are named `gunicorn.error` and `gunicorn.access`, as users' logging configurations expect.
Two promises beyond gunicorn's contract: nothing that a client sends can end a log line or reach a
terminal as a control character, and a log that cannot be written (full disk, closed standard error)
never raises into the server: the line is dropped.

Used in every process; threads may log at once (logging's own locks).
"""

import base64
import binascii
import json
import logging
import logging.handlers
import os
import socket
import sys
import threading
import time
import traceback
from logging.config import dictConfig, fileConfig

from . import accessline, util

SYSLOG_FACILITIES = {
    "auth": 4, "authpriv": 10, "cron": 9, "daemon": 3, "ftp": 11, "kern": 0, "lpr": 6, "mail": 2,
    "news": 7, "security": 4, "syslog": 5, "user": 1, "uucp": 8,
    "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21,
    "local6": 22, "local7": 23,
}

# What logconfig_dict, logconfig_json and logconfig are laid over; public configurations rely on it.
CONFIG_DEFAULTS = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["error_console"], "propagate": True,
                           "qualname": "gunicorn.error"},
        "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": True,
                            "qualname": "gunicorn.access"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "generic",
                    "stream": "ext://sys.stdout"},
        "error_console": {"class": "logging.StreamHandler", "formatter": "generic",
                          "stream": "ext://sys.stderr"},
    },
    "formatters": {
        "generic": {"format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
                    "datefmt": "[%Y-%m-%d %H:%M:%S %z]", "class": "logging.Formatter"},
    },
}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

def loggers():
    """Every logger that exists in this process."""
    root = logging.root
    return [root] + [logging.getLogger(name) for name in root.manager.loggerDict]


class SafeAtoms(dict):
    """The values of one access log line: strings are escaped, what is missing is `-`."""

    def __init__(self, atoms):
        super().__init__((key, accessline.escape(value) if isinstance(value, str) else value)
                         for key, value in atoms.items())

    def __getitem__(self, key):
        if key.startswith("{"):
            key = key.lower()
        return super().get(key, "-")


def parse_syslog_address(addr):
    """`unix://PATH[#dgram|#stream]`, `udp://HOST[:PORT]`, `tcp://HOST[:PORT]` for SysLogHandler.

    Returns (socket type or None, address). Raises RuntimeError with one line.
    """
    if addr.startswith("unix://"):
        path, _, kind = addr[7:].partition("#")
        kinds = {"": None, "dgram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
        if kind not in kinds:
            raise RuntimeError(f"syslog address {addr!r}: #{kind} is neither #dgram nor #stream")
        return kinds[kind], path
    if addr.startswith("udp://"):
        kind = socket.SOCK_DGRAM
    elif addr.startswith("tcp://"):
        kind = socket.SOCK_STREAM
    else:
        raise RuntimeError(f"invalid syslog address {addr!r}: it begins with udp://, tcp:// or "
                           "unix://")
    netloc = addr[6:]
    if netloc.startswith("[") and "]" in netloc:
        host, _, port = netloc[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = netloc.partition(":")
    port = port or "514"
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise RuntimeError(f"{port!r} is not a valid port number.")
    return kind, (host.lower() or "localhost", int(port))


# ---- handlers that cannot hurt the server ----------------------------------------------------


class _Quiet:
    """A line that cannot be written is dropped; logging would print a traceback instead."""

    def handleError(self, record):  # noqa: N802 (logging's name)
        exc = sys.exc_info()[1]
        if isinstance(exc, OSError):
            return
        if hasattr(self, "stream") and getattr(self.stream, "closed", True):
            return  # closed, or None: the process was started without standard error
        try:
            super().handleError(record)
        except Exception:
            pass


class StreamHandler(_Quiet, logging.StreamHandler):
    """Standard output or standard error."""


class FileHandler(_Quiet, logging.FileHandler):
    """A log file, opened for appending; reopen() is for log rotation."""

    def reopen(self):
        """Opens the file again by its name. When that fails the old one stays in use; OSError."""
        fresh = self._open()
        self.acquire()
        try:
            old, self.stream = self.stream, fresh
        finally:
            self.release()
        _close_quietly(old)


class SysLogHandler(_Quiet, logging.handlers.SysLogHandler):
    """syslog over UDP, TCP or a local socket."""


def _close_quietly(stream):
    try:
        if stream is not None:
            stream.close()
    except (OSError, ValueError):
        pass


# ---- the logger ------------------------------------------------------------------------------


class Logger:
    """What a server logs with; `logger_class` names a replacement.

    Constructed with the configuration; subclasses override setup, access, atoms or now.
    """

    LOG_LEVELS = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
    loglevel = logging.INFO

    error_fmt = r"%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = r"[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class = SafeAtoms

    def __init__(self, cfg):
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.error_handlers = []
        self.access_handlers = []
        self.logfile = None
        self.lock = threading.Lock()
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg):
        """Applies a configuration. RuntimeError with one line when it cannot be used; the loggers
        then are as they were before."""
        before = [(log, log.level, log.propagate, list(log.handlers))
                  for log in (self.error_log, self.access_log)]
        cfg_before, level_before = self.cfg, self.loglevel
        try:
            self._apply(cfg)
        except BaseException:
            self.cfg, self.loglevel = cfg_before, level_before
            for log, level, propagate, handlers in before:
                for handler in log.handlers:
                    if handler not in handlers:
                        _close_quietly(handler)
                log.setLevel(level)
                log.propagate = propagate
                log.handlers[:] = handlers
            raise
        for log, _, _, handlers in before:
            for handler in handlers:
                if getattr(handler, "_gunicorn", False) and handler not in log.handlers:
                    _close_quietly(handler)

    def _apply(self, cfg):
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get((cfg.loglevel or "").lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        self._set_handler(self.error_log, cfg.errorlog, logging.Formatter(self.error_fmt,
                                                                          self.datefmt))
        self._set_handler(self.access_log, cfg.accesslog, logging.Formatter(self.access_fmt),
                          stream=sys.stdout)
        if cfg.capture_output and cfg.errorlog not in (None, "-"):
            self._capture_output(cfg.errorlog)
        if cfg.syslog:
            self._set_syslog_handler(self.error_log, cfg, self.syslog_fmt, "error")
            if not cfg.disable_redirect_access_to_syslog:
                self._set_syslog_handler(self.access_log, cfg, self.syslog_fmt, "access")
        else:
            for log in (self.error_log, self.access_log):
                self._drop(log, lambda h: isinstance(h, SysLogHandler))
        self._logging_config(cfg)
        if self.access_log_enabled and type(self).access is Logger.access:
            self._check_access_format(cfg.access_log_format)
            accessline.check(getattr(cfg, "access_log_exclude", None))

    def _check_access_format(self, text):
        """A format that can never be filled is said once, not once a request."""
        try:
            text % self.atoms_wrapper_class({})
        except ValueError as exc:
            raise RuntimeError(f"access_log_format {text!r}: {exc}") from None
        except (TypeError, KeyError):
            pass  # `%(T)d` wants a number; a subclass may give it

    def _logging_config(self, cfg):
        try:
            if cfg.logconfig_dict:
                name = "logconfig_dict"
                dictConfig({**CONFIG_DEFAULTS, **cfg.logconfig_dict})
            elif cfg.logconfig_json:
                name = f"log config {cfg.logconfig_json!r}"
                with open(cfg.logconfig_json, encoding="utf-8") as file:
                    dictConfig({**CONFIG_DEFAULTS, **json.load(file)})
            elif cfg.logconfig:
                name = f"log config {cfg.logconfig!r}"
                if not os.path.exists(cfg.logconfig):
                    raise FileNotFoundError("it does not exist")
                defaults = {**CONFIG_DEFAULTS, "__file__": cfg.logconfig,
                            "here": os.path.dirname(os.path.abspath(cfg.logconfig))}
                fileConfig(cfg.logconfig, defaults=defaults, disable_existing_loggers=False)
        except Exception as exc:
            cause = f" ({exc.__cause__})" if exc.__cause__ else ""
            text = " ".join(f"{exc}{cause}".split())
            raise RuntimeError(f"Error: {name}: {type(exc).__name__}: {text}") from exc

    # -- error log

    def critical(self, msg, *args, **kwargs):
        """Logs at that level; the arguments are logging's."""
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg, *args, **kwargs):
        """Logs at that level; the arguments are logging's."""
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg, *args, **kwargs):
        """Logs at that level; the arguments are logging's."""
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg, *args, **kwargs):
        """Logs at that level; the arguments are logging's."""
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg, *args, **kwargs):
        """Logs at that level; the arguments are logging's."""
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg, *args, **kwargs):
        """Logs at level error with the traceback of the exception being handled."""
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl, msg, *args, **kwargs):
        """Logs at a level given as number or name; an unknown name means info."""
        if isinstance(lvl, str):
            lvl = self.LOG_LEVELS.get(lvl.lower(), logging.INFO)
        self.error_log.log(lvl, msg, *args, **kwargs)

    # -- access log

    @property
    def access_log_enabled(self):
        """True when access() writes anything."""
        cfg = self.cfg
        return bool(cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json
                    or (cfg.syslog and not cfg.disable_redirect_access_to_syslog))

    def atoms(self, resp, req, environ, request_time):
        """The values for access_log_format, unescaped.

        resp has status, sent (body bytes) and headers; req has headers (pairs); environ is WSGI's;
        request_time is a timedelta. Subclasses add keys to the returned dict.
        """
        atoms = self._line_atoms(resp, environ, request_time)
        headers = getattr(req, "headers", req)
        atoms.update(_braced(headers, "i"))
        atoms.update(_braced(getattr(resp, "headers", None), "o"))
        atoms.update(_braced(environ, "e"))
        return atoms

    def _line_atoms(self, resp, environ, request_time):
        status = resp.status
        if isinstance(status, str):
            status = status.split(None, 1)[0] if status.strip() else "-"
        sent = getattr(resp, "sent", None)
        get = environ.get
        seconds = request_time.days * 86400 + request_time.seconds
        micro = request_time.microseconds
        return {
            "h": get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": self._get_user(environ) or "-",
            "t": self.now(),
            "r": f"{get('REQUEST_METHOD')} {get('RAW_URI')} {get('SERVER_PROTOCOL')}",
            "s": status,
            "m": get("REQUEST_METHOD"),
            "U": get("PATH_INFO"),
            "q": get("QUERY_STRING"),
            "H": get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": get("HTTP_REFERER", "-"),
            "a": get("HTTP_USER_AGENT", "-"),
            "T": seconds,
            "D": seconds * 1_000_000 + micro,
            "M": seconds * 1000 + micro // 1000,
            "L": f"{seconds}.{micro:06d}",
            "p": f"<{os.getpid()}>",
        }

    def access(self, resp, req, environ, request_time):
        """Writes one line of the access log, when it is enabled. Never raises."""
        if not self.access_log_enabled:
            return
        try:
            line = self.cfg.access_log_format
            exclude = getattr(self.cfg, "access_log_exclude", None)
            if exclude and accessline.is_excluded(exclude, environ.get("PATH_INFO") or "",
                                                 str(resp.status)[:3]):
                return
            if line in accessline.STRUCTURED:
                atoms = self._line_atoms(resp, environ, request_time)
                self.access_log.info("%s", accessline.structured_line(line, atoms))
                return
            # A format without {...} needs no header by name; unless a subclass has its own atoms.
            if "{" not in line and type(self).atoms is Logger.atoms:
                atoms = self._line_atoms(resp, environ, request_time)
            else:
                atoms = self.atoms(resp, req, environ, request_time)
            self.access_log.info(line, self.atoms_wrapper_class(atoms))
        except Exception:
            self.error("%s", traceback.format_exc())

    def now(self):
        """Local time as `[21/Nov/2026:00:26:26 +0000]`, whatever the locale."""
        now = time.localtime()
        return (f"[{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:"
                f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} {time.strftime('%z', now)}]")

    def _get_user(self, environ):
        """User name of HTTP basic authentication, or None."""
        header = environ.get("HTTP_AUTHORIZATION")
        if not header or header[:6].lower() != "basic ":
            return None
        try:
            text = base64.b64decode(header[6:].strip().encode("utf-8"), validate=True)
            return text.decode("utf-8", "replace").partition(":")[0] or None
        except (binascii.Error, ValueError):
            return None

    # -- files

    def reopen_files(self):
        """Opens every log file of this process again (USR1, after rotation). A file that cannot be
        opened is reported and its old descriptor stays in use."""
        cfg = self.cfg
        if cfg.capture_output and cfg.errorlog not in (None, "-"):
            try:
                self._capture_output(cfg.errorlog)
            except (OSError, RuntimeError) as exc:
                self.error("Cannot reopen %s: %s", cfg.errorlog, exc)
        for handler in self._file_handlers():
            try:
                if isinstance(handler, FileHandler):
                    handler.reopen()
                    self._give_to_user(handler)  # or the workers could not open it after us
                else:
                    _reopen_foreign(handler)
            except OSError as exc:
                self.error("Cannot reopen %s: %s", handler.baseFilename, exc.strerror or exc)

    def _give_to_user(self, handler):
        try:
            os.chown(handler.baseFilename, self.cfg.user, self.cfg.group)
        except (OSError, TypeError):
            pass  # not root: the file stays ours, which is what was asked for

    def close_on_exec(self):
        """Log files are not inherited by programs that the application starts."""
        for handler in self._file_handlers():
            handler.acquire()
            try:
                if handler.stream:
                    util.close_on_exec(handler.stream.fileno())
            except (OSError, ValueError):
                pass
            finally:
                handler.release()

    def _file_handlers(self):
        found = {}
        for log in loggers():
            for handler in getattr(log, "handlers", ()):
                if isinstance(handler, logging.FileHandler):
                    found[id(handler)] = handler
        return found.values()

    def _capture_output(self, path):
        """Standard output and standard error of this process become the error log."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        util.check_is_writable(path)
        file = open(path, "ab", buffering=0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        _close_quietly(self.logfile)
        self.logfile = file

    def _get_gunicorn_handler(self, log):
        for handler in log.handlers:
            if getattr(handler, "_gunicorn", False):
                return handler
        return None

    def _drop(self, log, matches):
        log.handlers[:] = [h for h in log.handlers
                           if not (getattr(h, "_gunicorn", False) and matches(h))]

    def _set_handler(self, log, output, fmt, stream=None):
        """Replaces our handler of log. output is None, `-` (stream, default stderr) or a path."""
        self._drop(log, lambda h: not isinstance(h, SysLogHandler))
        if output is None:
            return
        if output == "-":
            handler = StreamHandler(stream)
        else:
            util.check_is_writable(output)
            handler = FileHandler(output)
            self._give_to_user(handler)
        handler.setFormatter(fmt)
        handler._gunicorn = True
        log.addHandler(handler)

    def _set_syslog_handler(self, log, cfg, fmt, name):
        """Adds syslog with the ident `gunicorn.PREFIX.NAME`."""
        prefix = cfg.syslog_prefix or (cfg.proc_name or "").replace(":", ".")
        ident = f"gunicorn.{prefix}.{name}"
        facility = SYSLOG_FACILITIES.get((cfg.syslog_facility or "").lower())
        if facility is None:
            raise RuntimeError(f"unknown facility name {cfg.syslog_facility!r} (known: "
                               f"{', '.join(sorted(SYSLOG_FACILITIES))})")
        kind, addr = parse_syslog_address(cfg.syslog_addr)
        try:
            handler = SysLogHandler(address=addr, facility=facility,
                                    **({} if kind is None else {"socktype": kind}))
        except OSError as exc:
            raise RuntimeError(f"syslog at {cfg.syslog_addr} cannot be reached: "
                               f"{exc.strerror or exc}") from None
        handler.setFormatter(logging.Formatter(f"{ident}: {fmt}"))
        handler._gunicorn = True
        self._drop(log, lambda h: isinstance(h, SysLogHandler))
        log.addHandler(handler)


def _reopen_foreign(handler):
    """Reopens a logging.FileHandler that the user's logging configuration made."""
    handler.acquire()
    try:
        if handler.stream:
            fresh = handler._open()
            old, handler.stream = handler.stream, fresh
            _close_quietly(old)
    finally:
        handler.release()


def _braced(pairs, letter):
    """`{name}i` -> value, names in lower case, for headers or environ."""
    if pairs is None:
        return {}
    if hasattr(pairs, "items"):
        pairs = pairs.items()
    return {"{%s}%s" % (name.lower(), letter): value for name, value in pairs}
