"""What the classes sync and gthread have in common: a worker that runs the C engine."""

import logging
import os
import time
from datetime import timedelta
from urllib.parse import unquote

import saola
from .. import _saola, accessline, accesslog, native, staticfiles
from ..app.locate import is_aiohttp, is_asgi, is_free_to_choose
from ..glogging import Logger
from ..http.message import Request
from ..http.wsgi import Response, base_environ, file_range
from ..lifecycle import Cause
from . import base

#: Seconds between two looks at the world while nothing happens; less with a very short `timeout`.
TICK = 1.0

#: Seconds that the access log's file may take for the last lines of a worker.
LAST_LINES = 2.0

# Methods of gunicorn's sync and gthread workers whose work is done in C.
_IN_THE_ENGINE = frozenset("""accept enqueue_req finish_request get_thread_pool handle handle_error
    handle_request is_already_handled murder_keepalived run_for_multiple run_for_one timeout_ctx wait""".split())


def spool_directory():
    """Where request bodies lie that are too large for memory: TMPDIR, or /var/tmp, which is a disk
    where /tmp may not be; None if nothing can be written there."""
    for directory in (os.environ.get("TMPDIR"), "/var/tmp", "/tmp"):
        if directory and os.access(directory, os.W_OK | os.X_OK):
            return directory
    return None


class Observer:
    """The slow path of a request, used only when a hook is set or the access log is on.

    The engine calls request(), before(), response() and after(), in this order, for every request;
    the first makes the object that the others get.
    """

    def __init__(self, worker, pre_request, post_request, access):
        self.worker = worker
        self.log = worker.log
        self.pre_request = pre_request
        self.post_request = post_request
        self.access = access

    request = Request

    def before(self, req):
        """pre_request; what it raises fails the request."""
        if self.worker.engine is None:
            self.worker.nr += 1  # the pool serves already while the engine is being made
        if self.pre_request is not None:
            self.pre_request(self.worker, req)

    def response(self, req, environ, status, code, headers, sent, chunked, keep_alive, micro):
        """Writes the access log; returns the object for post_request."""
        resp = Response(req, status, code, headers, sent, chunked, keep_alive)
        if self.access is not None:
            try:
                self.access(resp, req, environ, timedelta(microseconds=micro))
            except Exception:
                self.log.exception("Exception in the access log")
        return resp

    def after(self, req, environ, resp):
        """post_request; what it raises is logged."""
        if self.post_request is not None:
            try:
                self.post_request(self.worker, req, environ, resp)
            except Exception:
                self.log.exception("Exception in post_request hook")


class EngineWorker(base.Worker):
    """Serves a WSGI application with the C engine (worker process, main thread)."""

    #: wsgi.multithread.
    multithread = False

    def __init__(self, *args, **kwargs):
        self.engine = None
        self.abandoned = None
        self.core_log = None
        self.files = None
        self._dropped = 0
        super().__init__(*args, **kwargs)
        self._stop_at = None
        self.worker_connections = self.cfg.worker_connections

    @property
    def nr(self):
        """Requests begun by this worker."""
        return self._nr if self.engine is None else self.engine.requests

    @nr.setter
    def nr(self, value):
        self._nr = value

    @classmethod
    def overrides_without_effect(cls):
        """Methods of gunicorn's workers that a subclass defines and that the engine never calls."""
        theirs = [c for c in cls.__mro__ if not c.__module__.startswith("saola.")]
        names = {name for c in theirs for name in vars(c)}
        if "run" in names and "run" not in _names_in(cls.run):
            return []  # a loop of its own, which may call what it likes
        return sorted(names & _IN_THE_ENGINE)

    # ---- the engine ---------------------------------------------------------------------------------

    def thread_count(self):
        """Threads of the engine's pool; 0 runs requests on the main thread."""
        return 0

    def _hook(self, name):
        """The user's hook, or None when it is the default one and nobody would see what it does."""
        setting = self.cfg.settings[name]
        hook = setting.get()
        if not setting.is_default():
            return hook
        visible = self.log.error_log.isEnabledFor(logging.DEBUG)
        return hook if visible and name == "pre_request" else None

    def _observer(self):
        log, access = self.log, None
        enabled = getattr(log, "access_log_enabled", True)
        if self.core_log is None and (enabled or type(log).access is not Logger.access):
            access = log.access
        pre_request, post_request = self._hook("pre_request"), self._hook("post_request")
        if access is None and pre_request is None and post_request is None:
            return None
        return Observer(self, pre_request, post_request, access)

    def engine_options(self):
        """The options of _saola.Engine, from the configuration."""
        cfg = self.cfg
        environ = base_environ(cfg)
        environ["wsgi.errors"].use(self.log)
        environ["wsgi.multithread"] = self.multithread
        if getattr(self.log, "access_log_enabled", False):
            self.core_log = accesslog.open_core_log(self.log, os.environ.get("SCRIPT_NAME"))
        if self.core_log is not None:  # USR1 may have come before it had a name
            accesslog.reopen_core_log(self.core_log, self.log)
        limit = self.max_requests if cfg.max_requests > 0 else 0
        return {
            "environ": environ,
            "script_name": os.environ.get("SCRIPT_NAME", ""),
            "on_error": self.log_error,
            "on_bad_request": self.log_bad_request,
            "on_limit": self.limit_reached,
            "access_log": self.core_log,
            "observer": self._observer(),
            "files": self._open_files(),
            "file_range": file_range if cfg.sendfile is not False else None,
            "threads": self.thread_count(),
            "keepalive_ms": int(cfg.keepalive * 1000),
            # As long as ever, but well within the time that a leaving worker has.
            "retire_linger_ms": int(min(cfg.keepalive, cfg.graceful_timeout / 3, 10) * 1000),
            "header_timeout_ms": int(getattr(cfg, "header_timeout", 10) * 1000),
            "body_timeout_ms": int(getattr(cfg, "body_timeout", 30) * 1000),
            "min_body_rate": cfg.min_body_rate,
            "min_response_rate": cfg.min_response_rate,
            "max_body": cfg.limit_request_body,
            "body_buffer": cfg.body_buffer,
            "response_buffer": cfg.response_buffer,
            "spool_dir": spool_directory(),
            "spool_limit": cfg.spool_limit,
            "max_connections": cfg.worker_connections,
            "max_requests": limit,
            "own_listeners": cfg.reuse_port,
            "multiple_workers": cfg.workers > 1,
            "server_name": self._server_name(),
            "proxy_protocol": _proxy_protocol(cfg.proxy_protocol),
            "proxy_allow": _addresses(cfg.proxy_allow_ips),
            "forwarded_allow": _addresses(cfg.forwarded_allow_ips),
            "scheme_headers": {str(k).upper(): str(v)
                               for k, v in cfg.secure_scheme_headers.items()},
            "forwarder_headers": [name.upper() for name in _words(cfg.forwarder_headers)],
            "header_map": cfg.header_map,
            "limit_request_line": cfg.limit_request_line,
            "limit_request_fields": cfg.limit_request_fields,
            "limit_request_field_size": cfg.limit_request_field_size,
            "limit_request_head": cfg.limit_request_head,
            "permit_obsolete_folding": cfg.permit_obsolete_folding,
            "strip_header_spaces": cfg.strip_header_spaces,
            "permit_unconventional_http_method": cfg.permit_unconventional_http_method,
            "permit_unconventional_http_version": cfg.permit_unconventional_http_version,
            "casefold_http_method": cfg.casefold_http_method,
        }

    def _server_name(self):
        """saola.SERVER when a program assigned to it (gunicorn's custom), else the setting."""
        if saola.SERVER != "saola":
            return saola.SERVER
        name = getattr(self.cfg, "server_header", None)
        return saola.SERVER if name is None else name

    # ---- what the engine reports (any thread of the pool) --------------------------------------------

    def log_error(self, exc, method, uri):
        """An exception left the application."""
        if isinstance(exc, SystemExit) and not self.alive or self.exit_behind(exc):
            return  # our own signal handler, through the application's frames
        self.log.exception("Error handling request %s %s", method, uri, exc_info=exc)

    def log_bad_request(self, addr, status, sentence, method, uri):
        """A request was refused before the application."""
        self.log.warning("Invalid request from ip=%s: %s", addr, sentence)
        observer = getattr(self, "_engine_observer", None)
        if method is None or observer is None or observer.access is None:
            return
        req = Request(method, uri, uri.partition("?")[0], uri.partition("?")[2], (1, 1), [],
                      "http", (addr, 0), None, None, False)
        path = unquote(accessline.path_of(uri), "latin-1")
        environ = {"REQUEST_METHOD": method, "RAW_URI": uri, "QUERY_STRING": req.query,
                   "PATH_INFO": path, "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": addr}
        observer.response(req, environ, str(status), status, [], 0, False, False, 0)

    def limit_reached(self):
        """max_requests: this process makes room for a new one.

        It serves on until its successor is ready and the arbiter sends TERM. An only worker leaves
        at once: programs that keep state in it, written for gunicorn, rely on its exit hook having
        run before the next one loads. So does the worker of an exclusive group.
        """
        if self.slot is not None:
            self.slot.set_cause(Cause.LIMIT)
        alone = self.cfg.workers == 1 or self.cfg.hand_over == "exclusive"
        if self.slot is not None and not alone:
            self.log.info("Worker (pid:%s) has served max_requests and is replaced.", self.pid)
            self.slot.spent()
            return
        self.log.info("Autorestarting worker after current request.")
        self._will_stop(Cause.LIMIT)
        self.alive = False
        if self.engine is not None:
            self.engine.stop()

    # ---- life ---------------------------------------------------------------------------------------

    def load_wsgi(self):
        """Loads the application. When nobody chose a worker class and it is an ASGI or aiohttp
        application, this becomes a worker of that class."""
        super().load_wsgi()
        self._open_files()
        ours = type(self).__module__ in ("saola.workers.sync", "saola.workers.gthread")
        if not ours or not is_free_to_choose(self.cfg):
            return
        if is_aiohttp(self.wsgi):
            from .gaiohttp import AiohttpWorker
            self.log.info("The application is aiohttp's: worker class aiohttp")
            self.__class__ = AiohttpWorker
            self._prepare()
        elif is_asgi(self.wsgi):
            from .asgi import ASGIWorker
            self.log.info("The application speaks ASGI: worker class asgi")
            self.__class__ = ASGIWorker
            self._prepare()

    def _open_files(self):
        """What answers in front of the application, opened once, while the boot can still fail."""
        if self.files is None:
            self.files = native.open_mounts(self.cfg, staticfiles.open_files(self.cfg, self.log.error))
        return self.files

    def handle_exit(self, sig, frame):
        """TERM: finish what is in progress, then leave."""
        super().handle_exit(sig, frame)
        if self.engine is not None:
            self.engine.stop()

    def handle_quit(self, sig, frame):
        """INT, QUIT: leave at once."""
        if self.engine is not None:
            self.engine.wake()
        super().handle_quit(sig, frame)

    def run(self):
        """Serves until told to stop, then lets the requests in progress end."""
        options = self.engine_options()
        self._engine_observer = options["observer"]
        fds = [listener.fileno() for listener in self.sockets]
        self.engine = _saola.Engine(self.wsgi, fds, self.slot, options)
        engine = self.engine
        try:
            while engine.serve(self._tick()):
                self.notify()
                if self.core_log is not None:
                    self._tell_dropped()
                if self.alive:
                    continue
                engine.stop()
                if self._stop_at is None:
                    self._stop_at = time.monotonic() + self.cfg.graceful_timeout
                elif time.monotonic() >= self._stop_at:
                    break
        finally:
            self.nr = engine.requests
            if not engine.close(0.1 if self._quitting or self._aborting else 0.5):
                self.abandoned = engine  # a thread is inside: it stays as long as the process
            self.engine = None
            self._close_core_log()

    def _close_core_log(self):
        """The last lines of the access log."""
        if self.core_log is None:
            return
        if self.abandoned is not None:
            self.core_log.flush()  # the thread that is inside may write another
        elif not self.core_log.close(LAST_LINES):
            self.log.warning("The access log takes no lines: the last ones are lost.")

    def handle_usr1(self, sig, frame):
        """USR1: open the log files anew."""
        super().handle_usr1(sig, frame)
        native.reopen_logs(self.files)
        if self.core_log is not None:
            accesslog.reopen_core_log(self.core_log, self.log)

    def _tell_dropped(self):
        dropped = self.core_log.dropped
        if dropped > self._dropped:
            self.log.warning("The access log lost %d lines: its file takes none, or not fast enough.",
                             dropped - self._dropped)
            self._dropped = dropped

    def _tick(self):
        """Seconds until the next beat is due, or until the drain is over."""
        tick = min(TICK, self.timeout) if self.timeout else TICK
        if self._stop_at is None:
            return tick if self.alive else 0.0  # asked to leave while it booted
        return min(tick, max(0.0, self._stop_at - time.monotonic()))


def _names_in(function):
    """Names of globals and attributes that a function's code mentions."""
    return getattr(getattr(function, "__code__", None), "co_names", ())


def _addresses(value):
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _words(value):
    if isinstance(value, str):
        value = value.split(",")
    return [word.strip() for word in value if word.strip()]


def _proxy_protocol(value):
    """The setting as the engine wants it: 0 off, 1, 2, 3 either."""
    modes = {"off": 0, "v1": 1, "v2": 2, "auto": 3, "both": 3, "": 0, "false": 0, "true": 3}
    if value is True:
        return 3
    if not value:
        return 0
    return modes[str(value).lower()]
