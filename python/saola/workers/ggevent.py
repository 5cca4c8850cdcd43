"""Worker class gevent: a WSGI application in greenlets, on the engine.

gevent's hub watches the engine's descriptor; the main greenlet turns the engine, and each request is
a greenlet of its own. Everything that blocks in Python lets others run: the standard library is
patched (gevent.monkey) in the worker, before the application is loaded.

Life: patched, application loaded, ready, accept; TERM: stop accepting, answer what is in progress, kill
the greenlets of what takes too long, drained.
"""

import asyncio
import importlib.util
import os
import time
from contextlib import contextmanager

from .. import _saola
from ..errors import ConfigError
from ..http.exchange import Gateway
from . import geventserver
from .base_async import AsyncWorker
from .serving import TICK

#: Seconds that greenlets have to end once they were killed.
KILLED_WAIT = 0.3


class Future:
    """What the engine lets a greenlet wait for."""

    __slots__ = ("_event", "_done")

    def __init__(self):
        from gevent.event import Event
        self._event = Event()
        self._done = False

    def __await__(self):
        yield self

    def done(self):
        """Whether the wait is over."""
        return self._done

    def set_result(self, result):
        """Ends the wait; called by the engine."""
        self._done = True
        self._event.set()

    def wait(self):
        """Lets others run until the wait is over."""
        self._event.wait()


def wait(call):
    """Result of a call of the engine's receive() or send(), for the greenlet that asks."""
    try:
        future = call.send(None)
        while True:
            future.wait()
            future = call.send(None)
    except StopIteration as done:
        return done.value


class Task:
    """A request's greenlet, with what the engine asks of a task."""

    def __init__(self, coroutine):
        import gevent
        self._coroutine = coroutine
        self._began = False
        self._greenlet = gevent.spawn(self._run)

    def _run(self):
        self._began = True
        try:
            self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            pass

    def cancel(self):
        """Kills the greenlet."""
        self._greenlet.kill(block=False)
        if not self._began:
            self._coroutine.close()


@contextmanager
def watched(hub, fd, callback, *args):
    """Context in which the hub calls callback whenever fd can be read."""
    watcher = hub.loop.io(fd, 1)
    watcher.start(callback, *args)
    try:
        yield
    finally:
        watcher.stop()
        watcher.close()


class Loop:
    """gevent's hub as the engine sees it: what makes futures, tasks and timers."""

    def __init__(self, hub):
        self._hub = hub

    def create_future(self):
        """See Future."""
        return Future()

    def create_task(self, coroutine):
        """See Task."""
        return Task(coroutine)

    def call_soon(self, callback, *args, context=None):
        """Calls callback in the hub; what is returned can cancel it."""
        return self.call_later(0, callback, *args)

    def call_later(self, seconds, callback, *args):
        """Calls callback in the hub, after so many seconds; what is returned can cancel it."""
        return Timer(self._hub.loop.timer(seconds), callback, args)


class Timer:
    """A call that can be cancelled."""

    def __init__(self, watcher, callback, args):
        self._watcher = watcher
        watcher.start(self._call, callback, args)

    def _call(self, callback, args):
        self.cancel()
        callback(*args)

    def cancel(self):
        """The call is not made any more."""
        self._watcher.stop()
        self._watcher.close()


class GeventWorker(AsyncWorker):
    """Serves a WSGI application in greenlets (worker process, main thread)."""

    interrupt_on_quit = False
    multithread = True
    #: A server, or a handler, of gevent's HTTP in the engine's place: see saola.workers.geventserver.
    server_class = None
    wsgi_handler = None

    @classmethod
    def setup(cls):
        """Called when the configuration names this class: ConfigError when gevent is missing."""
        if importlib.util.find_spec("gevent") is None:
            raise ConfigError("the worker class gevent needs the package gevent: pip install gevent")

    def patch(self):
        """Makes the standard library cooperate; before the application is loaded."""
        from gevent import monkey
        monkey.patch_all()

    def init_process(self):
        """See Worker."""
        self.patch()
        from gevent import hub
        hub.reinit()
        super().init_process()

    # ---- the engine ---------------------------------------------------------------------------------

    def engine_options(self):
        """The options of _saola.AsyncEngine, from the configuration."""
        options = super().engine_options()
        self._gateway = Gateway(self.wsgi, options.pop("environ"), options.pop("script_name"), wait,
                                options.pop("observer"), options.pop("file_range"))
        del options["threads"]
        # A request whose client has gone is not cancelled, as it is not under other WSGI servers.
        return options | {"on_fault": self._log_fault, "on_drained": self._on_drained, "root_path": "",
                          "disconnect_grace": -1.0, "concurrency": 0, "body_buffer": 0}

    def _log_fault(self, text, method, path):
        self.log.error("Error handling request %s %s: %s", method, path, text)

    async def _serve_request(self, scope, receive, send):
        from gevent import GreenletExit
        try:
            self._gateway.serve(scope, receive, send)
        except GreenletExit:
            raise asyncio.CancelledError from None  # as the engine knows it

    def _on_drained(self):
        self._drained = True

    # ---- life ---------------------------------------------------------------------------------------

    def run(self):
        """Serves until told to stop, then lets the requests in progress end."""
        if geventserver.has_own_server(self):
            return geventserver.run(self)
        import gevent
        from gevent.event import Event
        self._hub = hub = gevent.get_hub()
        fds = [listener.fileno() for listener in self.sockets]
        options = self.engine_options()
        self._drained = False
        self._engine_observer = self._gateway.observer
        self.engine = engine = _saola.AsyncEngine(self._serve_request, fds, self.slot, options)
        engine.set_loop(Loop(hub), False)
        bell = Event()
        try:
            with watched(hub, engine.fileno(), bell.set), self.signals_ring(bell):
                engine.accept()
                self._turn_until_drained(engine, bell)
        finally:
            self.nr = engine.requests
            engine.close()
            self.engine = None
            self._close_core_log()

    def signals_ring(self, bell):
        """Context in which a signal sets bell, a gevent.event.Event."""
        import gevent
        return watched(gevent.get_hub(), self.PIPE[0], self._signalled, bell)

    def _signalled(self, bell):
        try:
            os.read(self.PIPE[0], 4096)
        except BlockingIOError:
            pass
        bell.set()

    def _turn_until_drained(self, engine, bell):
        tick = min(TICK, self.timeout) if self.timeout else TICK
        beat_at = 0.0
        limit = None    # when the requests that are left are killed, once asked to leave
        killed = False  # they are: now it is when connections are cut
        while True:
            engine.turn()
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + tick
                self.notify()
                if self.core_log is not None:
                    self._tell_dropped()
            if limit is None and not self.alive:
                engine.stop()
                engine.turn()
                patience = self.cfg.graceful_timeout
                limit = now + patience - min(1.0, patience / 4) - KILLED_WAIT
            if self._quitting and not killed:
                limit = now
            if self._drained or (killed and now >= limit):
                return
            if limit is not None and now >= limit:
                killed = True
                limit = now + (KILLED_WAIT if self._kill_requests(engine) else 0)
            self._sleep(bell, engine, beat_at if limit is None else min(beat_at, limit))

    def _sleep(self, bell, engine, until):
        """Lets greenlets run until the engine has something to do, a signal came, or it is time."""
        patience, seconds = engine.patience(), until - time.monotonic()
        bell.clear()
        # Not a gevent.Timeout: one that is on its way when a signal's handler ends the wait would
        # be raised at the next.
        alarm = self._hub.loop.timer(max(0.0, seconds if patience is None else min(seconds, patience)))
        alarm.start(bell.set)
        try:
            bell.wait()
        finally:
            alarm.stop()
            alarm.close()

    def _kill_requests(self, engine):
        count = engine.cancel_all()
        if count and not self._quitting:
            self.log.warning("%d requests did not end within graceful_timeout and are killed.", count)
        return count


class GeventPyWSGIWorker(GeventWorker):
    """gunicorn's name for the class with gevent's own HTTP; here the engine's."""
