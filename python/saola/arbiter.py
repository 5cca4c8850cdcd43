"""The arbiter as Python code sees it: gunicorn's `server` object in front of the C arbiter.

`Arbiter(app).run()` hands the process over to the C core (_saola.ArbiterCore), which decides,
spawns, reaps and sleeps. It calls back into this object, through the methods whose names start
with one underscore, to load generations, run hooks and live the workers' lives. No exception
leaves those methods on purpose: what user code raises is caught and logged here.
"""

import contextlib
import os
import signal
import sys
import threading
import time

import saola
from . import _saola, errors, lifecycle, native, staticfiles, successor, util, workerlife
from .errors import HaltServer
from .sock import wrap_listener
from .workers import advice
from .workers.base import Worker

# Hooks that get (server, worker); the others of the arbiter get (server).
_WITH_WORKER = frozenset(("pre_fork", "child_exit"))
# Hooks whose failure ends the start: their SystemExit decides the exit status.
_OF_START = frozenset(("on_starting", "when_ready"))

# Methods of gunicorn's arbiter that live in the C core: replacing them has no effect.
_IN_THE_CORE = frozenset("""spawn_worker spawn_workers manage_workers murder_workers reap_workers
    init_signals signal sleep maybe_promote_master handle_chld handle_hup handle_term handle_int
    handle_quit handle_ttin handle_ttou handle_usr1 handle_usr2 handle_winch""".split())


class _LoadFailed(Exception):
    """A generation was not loaded; the text is one line."""


class _Saved:
    """What a reload may change outside its own objects, to be put back when it fails."""

    def __init__(self, arbiter):
        self.cfg = arbiter.cfg
        self.app = dict(vars(arbiter.app))
        self.environ = dict(os.environ)
        self.env_before = arbiter._env_before
        self.path = list(sys.path)
        self.cwd = os.getcwd()

    def restore(self, arbiter):
        vars(arbiter.app).clear()
        vars(arbiter.app).update(self.app)
        for name in set(os.environ) - set(self.environ):
            del os.environ[name]
        for name, value in self.environ.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        arbiter._env_before = self.env_before
        sys.path[:] = self.path
        os.chdir(self.cwd)
        if arbiter.cfg is not self.cfg:
            arbiter._use(self.cfg)
            arbiter.log.setup(self.cfg)


class Arbiter:
    """Keeps the workers of one application alive. Make it and call run() in the main thread.

    Attributes as in gunicorn: app, cfg, log, pid, address, num_workers, WORKERS (pid -> worker),
    LISTENERS, worker_age, master_pid, reexec_pid, proc_name, timeout, worker_class, START_CTX.
    """

    #: Exit status of a worker whose boot failed, and of one whose application is not usable.
    WORKER_BOOT_ERROR = 3
    APP_LOAD_ERROR = 4

    START_CTX = {}
    LISTENERS = []
    WORKERS = {}

    def __init__(self, app):
        os.environ["SERVER_SOFTWARE"] = saola.SERVER_SOFTWARE
        self.app = app
        self.cfg = None
        self.log = None
        self.pid = os.getpid()
        self._started = time.monotonic()
        self.worker_age = 0
        self.systemd = os.environ.get("LISTEN_PID") == str(os.getpid())
        self.LISTENERS = []
        self.WORKERS = {}
        self.START_CTX = {
            0: sys.executable,
            "args": [sys.executable, *(sys.orig_argv[1:] or sys.argv)],
            "cwd": util.START_DIR,
        }
        self._script = util.script_with_interpreter()
        self._core = None
        self._warned_of_threads = False
        self._told = set()        # of worker classes, once each
        self._saved = None        # before the generation that is not settled yet
        self._loaded_by = {}      # number of a generation -> its cfg
        self._env_before = {}     # raw_env: name -> value it replaced, or None
        self._exit_status = None  # decided by user code; otherwise the core's
        self._settled = False
        self._lives = lifecycle.Report()
        self._pools = None  # saola.pool.group.Pools, once there are any
        # One byte in a pipe: who reads it tells the whole reason of a failed boot, others in short.
        self._boot_report = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        successor.take()
        self.setup(app)
        self._core = _saola.ArbiterCore(self)

    # ---- surface for hooks and scripts ------------------------------------------------------------

    def setup(self, app):
        """Takes over the configuration of app (start and reload)."""
        self.app = app
        self._use(app.cfg)
        self.cfg.to_core()  # settings that do not go together are refused before anything is loaded
        logger_class = self.cfg.logger_class  # one that cannot be had refuses a reload, too
        if self.log is None:
            self.log = logger_class(app.cfg)
        else:
            self.log.setup(app.cfg)
        check = getattr(self.worker_class, "check_config", None)
        if check is not None:
            check(self.cfg, self.log)
        staticfiles.open_files(self.cfg)  # refused here, not in each worker
        native.check_mounts(self.cfg)
        for name in getattr(self.worker_class, "overrides_without_effect", list)():
            self.log.warning("%s.%s() is never called: requests are read and answered in C; use the "
                             "hooks pre_request and post_request or a WSGI middleware instead",
                             self.worker_class.__name__, name)
        if self.cfg.pools or self.cfg.native_pools or self._pools is not None:
            from .pool.group import Pools  # only who has pools pays for asyncio
            self._pools = self._pools or Pools(self)
            self._pools.load(self.cfg)
        self._apply_env()
        self.log.debug("Current configuration:\n%s", _Settings(self.cfg))

    def run(self):
        """Serves until told to stop, then exits the program. Does not return."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the server needs the main thread: call run() there, and start "
                               "your own threads beside it")
        self._warn_of_overrides()
        sys.exit(self._run())

    def _run(self):
        return self._close(self._core.run())

    def _close(self, status):
        """After the core has ended. Returns the exit status of the program."""
        if self.cfg.lifecycle_report:
            for line in self._lives.lines(self.pid):
                self.log.info("%s", line)
        for listener in self.LISTENERS:
            listener._let_go()
        for fd in self._boot_report:
            os.close(fd)
        if self._pools is not None:
            self._pools.close()
        return status if self._exit_status is None else self._exit_status

    def _idle(self):
        """Between two turns of the core's loop."""
        if self._pools is not None:
            self._pools.idle()

    def _warn_of_overrides(self):
        for name in sorted(_IN_THE_CORE.intersection(dir(self))):
            self.log.warning("%s.%s() is never called: this part of the arbiter is in C; use a "
                             "server hook instead", type(self).__name__, name)

    def start(self):
        """Called when the sockets listen, before the hook when_ready; for code that replaces it."""

    @property
    def num_workers(self):
        """Workers wanted. Setting it calls the hook nworkers_changed and spawns or retires."""
        if self._core is None or not self._core.running:
            return self.cfg.workers
        return self._core.workers_wanted

    @num_workers.setter
    def num_workers(self, value):
        self._core.set_workers(value)

    @property
    def address(self):
        """The addresses of the setting bind."""
        return self.cfg.address

    @property
    def pidfile(self):
        """Name of the pid file, or None."""
        return self.cfg.pidfile

    @property
    def reexec_pid(self):
        """Pid of the arbiter that USR2 started, or 0."""
        return self._core.reexec_pid

    @property
    def master_pid(self):
        """Pid of the arbiter that started this one by USR2, or 0."""
        return self._core.master_pid

    def wakeup(self):
        """Nothing to do: whatever the arbiter is asked for wakes it."""

    def reload(self):
        """As HUP."""
        self._core.signal(signal.SIGHUP)

    def reexec(self):
        """As USR2."""
        self._core.signal(signal.SIGUSR2)

    def stop(self, graceful=True):
        """As TERM, or QUIT when not graceful. Returns at once; the arbiter then ends in order."""
        self._core.signal(signal.SIGTERM if graceful else signal.SIGQUIT)

    def kill_worker(self, pid, sig):
        """Sends a signal to one worker; one that is gone is no error."""
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass

    def kill_workers(self, sig):
        """Sends a signal to every worker."""
        for pid in list(self.WORKERS):
            self.kill_worker(pid, sig)

    def halt(self, reason=None, exit_status=0):
        """Stops the server and exits with exit_status. Returns at once."""
        if reason is not None:
            self.log.error("Reason: %s", reason)
        self._exit_status = exit_status
        self.stop()

    # ---- generations (arbiter) --------------------------------------------------------------------

    def _use(self, cfg):
        worker_class = cfg.worker_class
        if not issubclass(worker_class, Worker):
            raise RuntimeError(f"worker class {cfg.worker_class_str}: {worker_class.__name__} does "
                               "not derive from saola.workers.base.Worker (a program that means "
                               "Saola's by `gunicorn` calls saola.gunicorn.install() first)")
        self.cfg = cfg
        self.worker_class = worker_class
        self.timeout = cfg.timeout
        self.proc_name = cfg.proc_name

    def _apply_env(self):
        self._env_before = {name: os.environ.get(name) for name in self.cfg.env}
        os.environ.update(self.cfg.env)

    def _undo_env(self):
        for name, value in self._env_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._env_before = {}

    def _generation_load(self, reload):
        """Returns the core's configuration; raises with one line when there is none."""
        self._refill_boot_report()
        if not reload:
            self._preload()
            self._open_pools()
            return self.cfg.core
        saved = _Saved(self)
        self._lives.reload()
        try:
            self._undo_env()
            self.app.reload()
            self.setup(self.app)
            if self.cfg.preload_app:
                self.log.info("preload_app: the application stays as it was loaded at the start; "
                              "send USR2 to load new code")
            self._preload()
            self._open_pools()
        except BaseException as exc:
            saved.restore(self)
            self._lives.settle(False)
            raise _LoadFailed(self._explain(exc)) from None
        self._saved = saved
        return self.cfg.core

    def _preload(self):
        if not self.cfg.preload_app:
            return
        self.app._on_load = self._loaded_here
        try:
            self.app.wsgi()
        except Exception as exc:
            raise _LoadFailed(self._explain(exc)) from None
        self._warn_of_threads()

    def _open_pools(self):
        try:
            if self._pools is not None:
                self._pools.open()
        except errors.ConfigError as exc:
            raise _LoadFailed(str(exc)) from None

    def _loaded_here(self):
        self._lives.loads += 1
        if self.cfg.trace_lifecycle:
            self.log.info("%s", lifecycle.line("load", self._lives.loads, self.pid, 0,
                                               time.monotonic() - self._started))

    def _warn_of_threads(self):
        """Once: a fork copies only the thread that forks, and every lock as it is at that moment."""
        names = [thread.name for thread in threading.enumerate()
                 if thread is not threading.current_thread()]
        if names and not self._warned_of_threads:
            self._warned_of_threads = True
            self.log.warning("preload_app: %d thread(s) run beside the main one: %s. They will not exist "
                             "in workers, and locks that they hold there are never released; start "
                             "threads in post_worker_init.", len(names), ", ".join(names))

    def _explain(self, exc):
        """One line; a failure inside user code is logged with its traceback first."""
        if isinstance(exc, _LoadFailed):
            return str(exc)
        if isinstance(exc, SystemExit):
            if isinstance(exc.code, str):
                return exc.code
            return f"the program asked to exit with status {exc.code or 0}"
        if isinstance(exc, RuntimeError) and exc.__traceback__ is not None:
            self.log.debug("%s", errors.format_app_traceback(exc))
            return " ".join(str(exc).split())
        text, _ = errors.describe_boot_failure(exc)
        lines = text.splitlines()
        if len(lines) > 1:
            self.log.error("%s", text)
        return lines[-1].strip() if lines else type(exc).__name__

    def _generation_settle(self, accepted):
        saved, self._saved = self._saved, None
        self._lives.settle(accepted)
        if accepted:
            self._settled = True
            successor.done()
            self._refill_boot_report()
        elif saved is not None:
            saved.restore(self)
        # No worker is made of the other generation any more.
        self._loaded_by = {number: cfg for number, cfg in self._loaded_by.items()
                           if cfg is self.cfg}

    def _refill_boot_report(self):
        with contextlib.suppress(OSError):
            os.read(self._boot_report[0], 1 << 16)  # all that it holds, else there may be no room
        with contextlib.suppress(OSError):
            os.write(self._boot_report[1], b"1")

    def _worker_class_name(self):
        return self.cfg.worker_class_str

    def _exec_argv(self):
        """The program that USR2 starts and its argv; user code may have changed START_CTX."""
        program, *argv = self.START_CTX[0], *self.START_CTX["args"]
        if self._script and program == argv[0] == sys.executable:
            # As the script's first line says now: its environment may have been replaced.
            program = argv[0] = util.interpreter_of(
                os.path.join(self._exec_dir(), self._script)) or program
        return [program, *argv]

    def _exec_dir(self):
        return self.START_CTX["cwd"]

    def _listeners_changed(self, listeners):
        """listeners: pairs of descriptor and name. Wrappers of those that stay are kept."""
        before = {(old.fileno(), str(old)): old for old in self.LISTENERS}
        # A new list: workers made before keep theirs.
        self.LISTENERS = [before.pop((fd, name), None) or wrap_listener(fd, name)
                          for fd, name in listeners]
        for old in before.values():
            old._let_go()

    def _arbiter_named(self, suffix):
        """suffix is ".2" while the arbiter that started this one by USR2 lives, else ""."""
        self.proc_name = self.cfg.proc_name + suffix
        util._setproctitle(f"master [{self.proc_name}]")

    # ---- hooks and logs ---------------------------------------------------------------------------

    def _log(self, level, message):
        if self.log is None:
            print(message, file=sys.stderr, flush=True)
        else:
            getattr(self.log, level)("%s", message)

    def _unexpected(self, where, exc):
        """An exception came out of a callback; a defect of Saola or of a subclass."""
        self.log.error("Exception in %s", where, exc_info=(type(exc), exc, exc.__traceback__))

    def _reopen_logs(self):
        self.log.reopen_files()
        if self._pools is not None:
            self._pools.reopen_logs()

    def _hook(self, name, worker, new, old):
        """Runs one hook of the arbiter's side. False: it failed, and the log says how."""
        cfg = self.cfg
        args = (self,)
        if name == "nworkers_changed":
            args = (self, new, None if old < 0 else old)
        elif name in _WITH_WORKER:
            args = (self, worker)
            cfg = getattr(worker, "cfg", cfg)
        if name == "child_exit":
            self.WORKERS.pop(worker.pid, None)
        elif name == "pre_exec":
            self._undo_env()
        try:
            if name == "when_ready":
                _forget_inherited()
                self.start()
            getattr(cfg, name)(*args)
        except HaltServer as exc:
            self.halt(exc.reason, exc.exit_status)
        except SystemExit as exc:
            self.log.error("%s hook asked to exit", name)
            if name in _OF_START:
                self._exit_status = workerlife.status_of(exc)
        except BaseException as exc:
            self.log.error("Exception in %s hook\n%s", name, errors.format_app_traceback(exc))
        else:
            return True
        return False

    # ---- workers ----------------------------------------------------------------------------------

    def _worker_new(self, group, age, generation, slot):
        cfg = self._loaded_by.setdefault(generation, self.cfg)
        self.worker_age = age
        if group != "web":
            worker = self._pools.make(group, age, generation, cfg)
            worker.slot = slot
            return worker
        worker = self._construct(cfg, age)
        worker.slot = slot
        self._lives.born(generation)
        return worker

    def _construct(self, cfg, age):
        cls, threads = cfg.worker_class, threading.enumerate()
        try:
            worker = cls(age, self.pid, self.LISTENERS, self.app, cfg.timeout / 2.0, cfg, self.log)
            if not hasattr(worker, "tmp"):
                raise TypeError(f"{cls.__name__}.__init__() does not call super().__init__(*args, **kwargs)")
        except Exception as exc:
            # Here, in the arbiter, it would fail for each worker again.
            where = f"{advice.name_of(cls)}.__init__()"
            if where not in self._told:
                self._told.add(where)
                self.log.error("Exception in %s, which runs in the arbiter\n%s", where,
                               errors.format_app_traceback(exc))
            if not self._settled:
                self.halt("Worker failed to boot.", self.WORKER_BOOT_ERROR)
            raise
        sentence = advice.of_threads(cls, threads)
        if sentence is not None and sentence not in self._told:
            self._told.add(sentence)
            self.log.warning("%s", sentence)
        return worker

    def _worker_forked(self, worker, pid, in_child):
        worker.pid = pid
        if not in_child:
            self.WORKERS[pid] = worker

    def _worker_aborted(self, worker):
        worker.aborted = True

    def _worker_free(self, worker, pid, wait_status):
        self.WORKERS.pop(pid, None)
        if pid and worker.group == "web":
            self._lives.bury(worker, wait_status)
        worker.tmp.close()
        if worker.group != "web":
            self._pools.free(worker, wait_status)

    def _child_gone(self, pid, wait_status):
        if self._pools is not None:
            self._pools.child_gone(pid, wait_status)

    def _groups(self):
        """(rows of the pools, whether there are web workers) of the generation just loaded."""
        rows = [] if self._pools is None else self._pools.rows(self.cfg)
        return rows, getattr(self.app, "serves_web", True)

    def _worker_main(self, worker):
        """The whole life of a worker process. Returns its exit status."""
        return workerlife.live(self, worker)


def _forget_inherited():
    """The core has taken these out of the environment; os.environ must not pass them on."""
    for name in ("SAOLA_FD", "GUNICORN_PID", "GUNICORN_FD", "LISTEN_PID", "LISTEN_FDS",
                 "LISTEN_FDNAMES"):
        os.environ.pop(name, None)


class _Settings:
    """The configuration as text, made only when the debug log wants it."""

    def __init__(self, cfg):
        self._cfg = cfg

    def __str__(self):
        return str(self._cfg)
