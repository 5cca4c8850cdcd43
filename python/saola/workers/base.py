"""The base class of every worker written in Python: gunicorn's contract, on Saola's arbiter.

A worker object is made in the arbiter and lives in the process forked for it. There the arbiter
calls init_process(), which prepares the process and ends in run(). A subclass overrides run(); it
calls notify() more often than every `timeout` seconds and leaves once `alive` is false.
"""

import dis
import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import traceback

from .. import _saola, errors, lifecycle, native, successor, util
from ..lifecycle import Cause
from . import advice
from .hearing import Hearing
from .workertmp import WorkerTmp


class Worker:
    """One worker process.

    Constructor arguments, as the arbiter gives them (arbiter process, before the fork):
    age: how many workers this arbiter has made, this one included. ppid: the arbiter's pid.
    sockets: listeners, see saola.sock. app: the application object (saola.app.base).
    timeout: seconds within which notify() must be called, half of the setting. cfg: configuration
    of the worker's generation. log: the server's logger.
    """

    SIGNALS = [getattr(signal, f"SIG{name}")
               for name in "ABRT HUP QUIT INT TERM USR1 USR2 WINCH CHLD".split()]
    PIPE = []
    #: The application's cleanup is the hook worker_exit. False: the class takes that step itself.
    cleanup_is_exit_hook = True
    #: The base class leaves run() by SystemExit when INT or QUIT asks for a quick end, for loops
    #: that do not look at `alive` in time. A class whose loop always notices sets this to False.
    interrupt_on_quit = True
    #: Name of the group: "web", or the pool's.
    group = "web"

    def __init__(self, age, ppid, sockets, app, timeout, cfg, log):
        self.age = age
        self.pid = "[booting]"
        self.ppid = ppid
        self.sockets = sockets
        self.app = app
        self.timeout = timeout
        self.cfg = cfg
        self._booted = False
        self.aborted = False
        self.reloader = None
        self.nr = 0
        if cfg.max_requests > 0:
            self.max_requests = cfg.max_requests + random.randint(0, cfg.max_requests_jitter)
        else:
            self.max_requests = sys.maxsize
        self.alive_value = True      # behind `alive`
        self.alive_was_seen = False  # somebody has read that it is false
        self.log = log
        self.tmp = WorkerTmp(cfg)
        self.wsgi = None
        self._leaving = False    # run() is over: handlers only set flags from here on
        self._loading = False    # the application is imported: nothing of it runs that would notice `alive`
        self._quitting = False   # INT or QUIT was seen
        self._aborting = False
        self._exit = None        # the SystemExit that a handler has raised
        self._steps = set()      # of the life: those that are taken once
        self._ignored = set()
        self._orphaned = False
        self._boots_by_notify = False
        self._hearing = Hearing(self, lambda: Worker.handle_exit(self, signal.SIGTERM, None))

    def __str__(self):
        return f"<Worker {self.pid}>"

    @property
    def alive(self):
        """False once run() is to return: signal handlers, max_requests and the subclass clear it."""
        if not self.alive_value:
            self.alive_was_seen = True
        return self.alive_value

    @alive.setter
    def alive(self, value):
        self.alive_value = bool(value)

    @property
    def exit_timeout(self):
        """Seconds from the end of the drain to the end of the process; 0 is no limit."""
        return self.cfg.exit_timeout

    # ---- what the arbiter sees ------------------------------------------------------------------

    @property
    def slot(self):
        """The worker's record in the scoreboard (_saola.Slot), or None outside an arbiter."""
        return self.tmp.slot

    @slot.setter
    def slot(self, slot):
        self.tmp.slot = slot

    @property
    def booted(self):
        """True once the worker is ready; setting it tells the arbiter."""
        return self._booted

    @booted.setter
    def booted(self, value):
        self._booted = bool(value)
        if self._booted:
            successor.done()
        if self._booted and self.slot is not None:
            self.slot.ready()
            self._trace("ready")

    def notify(self):
        """Tells the arbiter that the worker lives, and notices when the arbiter is gone."""
        if self.is_copy():
            self._leave_as_copy()
            return
        if self._boots_by_notify and not self._booted:
            self.booted = True
        self.tmp.notify()
        if self.cfg.trace_lifecycle:
            self._look_for_first_request()
        if not self._orphaned and not self.is_parent_alive():
            self.alive = False
        self._hearing.look()

    def is_copy(self):
        """True in a process that the worker has forked and that runs the worker's code."""
        return isinstance(self.pid, int) and self.pid != os.getpid()

    def _leave_as_copy(self):
        if self.alive_value:
            self.log.error("%s", advice.of_copy(self))
        self.alive_value = False

    def is_parent_alive(self):
        """False, with one log line the first time, when the arbiter has died."""
        if self._orphaned or self.is_copy():
            return False
        if self.ppid == os.getppid() and not (self.slot is not None and self.slot.orphaned()):
            return True
        self._orphaned = True
        self._will_stop(Cause.ORPHANED)
        self.log.info("Parent changed, shutting down: %s", self)
        return False

    # ---- steps of the application's life --------------------------------------------------------

    def step(self, step, detail=""):
        """Counts a step (saola.lifecycle.STEPS) in the scoreboard; the trace has a line with detail."""
        if self.slot is not None:
            self.slot.take_step(step)
            self._trace(step, detail)

    def step_once(self, step, detail=""):
        """The same for what may come to pass in several ways, but only once."""
        if step not in self._steps:
            self._steps.add(step)
            self.step(step, detail)

    def _trace(self, step, detail=""):
        if self.cfg.trace_lifecycle:
            slot = self.slot
            count, seconds = slot.steps[step]
            self.log.info("%s", lifecycle.line(step, count, self.pid, slot.generation,
                                               seconds if count == 1 else slot.age, detail))

    def _look_for_first_request(self):
        if self.slot is not None and "first request" not in self._steps \
                and self.slot.steps["first request"][0]:
            self._steps.add("first request")
            self._trace("first request")

    def _will_stop(self, cause):
        """It is known that this worker ends; the first cause is the one that counts."""
        if self.slot is None:
            return
        self.slot.set_cause(cause)
        if self.cfg.trace_lifecycle:
            self._look_for_first_request()
        self.step_once("stop", Cause(self.slot.cause).text)

    def _end_of_requests(self):
        if self.cfg.trace_lifecycle:
            self._look_for_first_request()
        if self.booted and not self._aborting:
            self.step_once("shutdown")

    def _end_of_application(self):
        """The hook worker_exit has run."""
        if self.cleanup_is_exit_hook and "startup" in self._steps:
            self.step_once("cleanup")

    # ---- life -----------------------------------------------------------------------------------

    def init_process(self):
        """Prepares the forked process and runs it. Overriders call super().init_process() last."""
        for name, value in self.cfg.env.items():
            os.environ[name] = value
        self._drop_privileges()
        util.seed()

        self.PIPE = list(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        self.wait_fds = list(self.sockets) + [self.PIPE[0]]
        for listener in self.sockets:
            util.close_on_exec(listener)
        self.log.close_on_exec()

        self.init_signals()
        self._hearing.catch_up()
        self._make_reloader()
        self.app._on_load = lambda: self.step("load", getattr(self.app, "app_uri", None) or "")
        self.load_wsgi()
        if self.reloader:
            self.log.warning("Reloader is on. Use in development only!")
            self.reloader.start()
        self.cfg.post_worker_init(self)

        self._watch_aiohttps_cleanup()
        if type(self).run is Worker.run:
            self.run()  # raises before the worker counts as booted
        self._start()
        self.step_once("startup")
        self._listen()
        # A class of somebody else's that sets `booted` itself, when what it starts in run() is ready
        # (aiohttp.GunicornWebWorker): not before that is the worker. One that can end in run() with
        # Arbiter.WORKER_BOOT_ERROR (uvicorn's) has booted when it notifies for the first time.
        self._boots_by_notify = self._their_code_has("LOAD_ATTR", "WORKER_BOOT_ERROR")
        if not self._boots_by_notify and not self._their_code_has("STORE_ATTR", "booted"):
            self.booted = True
        self._hearing.running = True
        self.run()

    @classmethod
    def _their_code_has(cls, operation, name):
        """Whether methods of the class that are not ours use an attribute of this name so."""
        theirs = (c for c in cls.__mro__ if c is not object and not c.__module__.startswith("saola."))
        codes = (getattr(member, "__code__", None) for c in theirs for member in vars(c).values())
        return any(step.opname == operation and step.argval == name for code in codes
                   if code is not None and name in code.co_names for step in dis.get_instructions(code))

    def _watch_aiohttps_cleanup(self):
        """aiohttp's own worker classes clean the application up inside run(): the requests are over by then,
        and what counts from there on is exit_timeout."""
        if not any(c.__module__ == "aiohttp.worker" for c in type(self).__mro__):
            return
        from aiohttp.web import Application
        cleanup = Application.cleanup

        async def cleanup_on_its_own_clock(app):
            if self.slot is not None and not self.alive_value:
                self.slot.drained()
                self._end_of_requests()
            await cleanup(app)

        Application.cleanup = cleanup_on_its_own_clock

    def before_ready(self):
        """The application is loaded, nothing is accepted yet. What it raises, the boot has failed of.
        A place for worker classes with something to start."""

    def _listen(self):
        """With reuse_port the sockets are this worker's own, and bound only until it can serve."""
        if not self.cfg.reuse_port:
            return
        for listener in self.sockets:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.listen(self.cfg.backlog)

    def _drop_privileges(self):
        if self.slot is None:  # not below an arbiter
            util.set_owner_process(self.cfg.uid, self.cfg.gid, initgroups=self.cfg.initgroups)
            return
        try:
            _saola.drop_privileges()
        except OSError as exc:
            raise errors.ConfigError(str(exc)) from None

    def run(self):
        """Serves until `alive` is false. Subclasses implement it."""
        raise NotImplementedError(advice.without_run(self))

    def load_wsgi(self):
        """Loads the application into `wsgi`.

        With the setting reload a failure becomes an application that shows it, so that the worker
        lives and waits for the next change of a file.
        """
        self._loading = True
        try:
            self.wsgi = self.app.wsgi()
        except Exception as exc:
            if not self.cfg.reload or self.exit_behind(exc):
                raise
            self._wait_for_repair(exc, "loaded")
        finally:
            self._loading = False

    #: From a text, an application that answers everything with 500 and the text.
    make_fail_app = staticmethod(util.make_fail_app)

    def _wait_for_repair(self, exc, what):
        from ..reloader import files_to_repair
        text, _ = errors.describe_boot_failure(exc)
        self.log.error("The application cannot be %s; waiting for a change\n%s", what, text)
        if self.reloader is not None:
            for filename in files_to_repair(exc):
                self.reloader.add_extra_file(filename)
        self.wsgi = self.make_fail_app(text)

    def _start(self):
        """before_ready(); with the setting reload a failure is shown like one of load_wsgi()."""
        try:
            self.before_ready()
        except Exception as exc:
            if not self.cfg.reload or self.exit_behind(exc):
                raise
            self._wait_for_repair(exc, "started")
            self.before_ready()

    def _make_reloader(self):
        if not self.cfg.reload:
            return
        from ..reloader import reloader_engines

        def changed(filename):
            self.log.info("Worker reloading: %s modified", filename)
            if self.slot is not None:
                self.slot.set_cause(Cause.FILES)
            self.alive = False
            self.run_hook("worker_int", self)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

        engine = reloader_engines[self.cfg.reload_engine]
        files = [*self.cfg.reload_extra_files, *native.mounted_files(self.cfg)]
        self.reloader = engine(extra_files=files, callback=changed)

    def run_hook(self, name, *args):
        """Calls a hook of the configuration. A failure is logged and False is returned."""
        try:
            getattr(self.cfg, name)(*args)
        except Exception:
            self.log.exception("Exception in %s hook", name)
            return False
        return True

    def _watch_stacks(self):
        """From now on the arbiter can see the stacks of all threads, whatever the worker is doing: they
        are written by a handler in C, which needs neither the interpreter's lock nor its cooperation."""
        number, fd = self.slot.stacks
        if fd < 0:
            return
        faulthandler.register(number, file=fd, all_threads=True)
        self.slot.wrap_stacks()

    def _watch_arbiter(self):
        """From now on a worker that hangs in C, with the interpreter's lock, ends at once when the
        arbiter has died: it is known by this handler, which does not run."""
        number = self.slot.acknowledge_signal
        signal.signal(number, self.slot.acknowledge)
        signal.siginterrupt(number, False)
        self.slot.watch()

    # ---- signals --------------------------------------------------------------------------------

    def init_signals(self):
        """Installs the handlers; the first thing after privileges were dropped."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGWINCH, self.handle_winch)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.signal(signal.SIGABRT, self.handle_abort)
        signal.signal(signal.SIGHUP, self.handle_ignored)
        signal.signal(signal.SIGUSR2, self.handle_ignored)
        signal.siginterrupt(signal.SIGTERM, False)
        signal.siginterrupt(signal.SIGUSR1, False)
        if hasattr(signal, "set_wakeup_fd") and self.PIPE:
            signal.set_wakeup_fd(self.PIPE[1], warn_on_full_buffer=False)

    def handle_exit(self, sig, frame):
        """TERM: finish what is in progress, then leave. Also sent when the arbiter has died. A class that comes here
        with QUIT, but takes TERM itself (uvicorn's), gets that, too."""
        self.alive = False
        if self.is_parent_alive():  # says so in the log if it is not
            near = self.slot is not None and self.slot.server_ends()
            self._will_stop(Cause.STOP if near else Cause.ASKED)
        wake = getattr(self, "_notify_waiter_done", None)
        if wake is not None:  # aiohttp's classes look at `alive` once a second
            wake()
        if sig == signal.SIGQUIT:
            self._hearing.pass_on()

    def handle_quit(self, sig, frame):
        """INT, QUIT: leave at once. Only the first one does anything, and none once run() is over,
        so that no exit hook is ever interrupted."""
        self.alive = False
        if self._leaving or self._quitting:
            return
        self._quitting = True
        near = self.slot is not None and self.slot.server_ends()
        self._will_stop(Cause.STOP if near else Cause.QUIT)
        self.run_hook("worker_int", self)
        if self.interrupt_on_quit or self._loading:
            self._exit_now(0)

    def _exit_now(self, status):
        """Raises SystemExit out of a handler, through whatever code runs, which may make another exception of it
        (CPython 3.11 does, in __set_name__). Then it still counts as SystemExit: exit_behind()."""
        self._exit = SystemExit(status)
        raise self._exit

    def exit_behind(self, exc):
        """The SystemExit of a handler of ours if it is what exc came of, else None."""
        return self._exit if self._exit is not None and errors.comes_of(exc, self._exit) else None

    def handle_abort(self, sig, frame):
        """ABRT: the arbiter has found that the worker hangs. It has been shown where, by _watch_stacks();
        when somebody else has sent the signal it is shown now. Then leaves."""
        sentences = list(advice.of_abort(self))
        self.alive = False
        if self.slot is None or not self.slot.show_stacks():
            self.log.error("Stacks of worker (pid:%s):\n%s", self.pid, format_threads(frame))
        if self._leaving or self._aborting:
            return
        self._aborting = True
        self._will_stop(Cause.ABORTED)
        for sentence in sentences:
            self.log.error("%s", sentence)
        self.run_hook("worker_abort", self)
        self._exit_now(1)

    def handle_usr1(self, sig, frame):
        """USR1: open the log files anew."""
        self.log.reopen_files()

    def handle_winch(self, sig, frame):
        """WINCH: nothing; terminals send it to every process of theirs."""
        self.log.debug("worker: SIGWINCH ignored.")

    def handle_ignored(self, sig, frame):
        """HUP, USR2: meant for the arbiter. A terminal that hangs up sends HUP to all."""
        if sig not in self._ignored:
            self._ignored.add(sig)
            self.log.info("%s ignored in worker (pid:%s); send it to the arbiter (pid:%s)",
                          signal.Signals(sig).name, self.pid, self.ppid)

    # ---- errors of requests ------------------------------------------------------------------------

    def handle_error(self, req, client, addr, exc):
        """Logs a request that failed outside the application and answers 500 on a plain socket.

        Errors of Saola's own HTTP engine do not come here; worker classes that parse HTTP
        themselves call it.
        """
        self.log.exception("Error handling request %s", getattr(req, "uri", None) or "(no URI read)")
        if client is None:
            return
        try:
            util.write_error(client, 500, "Internal Server Error", "")
        except OSError:
            self.log.debug("Failed to send error message.")


def format_threads(main_frame=None):
    """The stacks of all Python threads of this process as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        if ident == threading.main_thread().ident and main_frame is not None:
            frame = main_frame
        parts.append(f"Thread {names.get(ident, ident)}:\n"
                     + "".join(traceback.format_stack(frame)).rstrip())
    return "\n".join(parts)
