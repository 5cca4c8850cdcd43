"""Worker class asgi: ASGI 3 applications on an event loop.

The loop is the worker's main thread. With asyncio the engine is the loop's selector, so one wait
serves both; other loops watch the engine's descriptor. Requests are genuine tasks.

Life: loop made, lifespan startup, ready, accept; TERM: stop accepting, answer what is in progress, cancel
what takes too long, drained, lifespan shutdown, the rest of the tasks cancelled, loop closed.
"""

import asyncio
import logging
import sys
import time

from .. import _saola
from ..aio.lifespan import Lifespan
from ..aio.loops import new_loop
from ..aio.observed import ObservedApp
from ..aio.payload import Payload
from ..lifecycle import Cause
from .serving import TICK, EngineWorker

#: Close codes of WebSockets (RFC 6455 section 7.4.1): the server stops; this worker makes room for another,
#: come back at once.
GOING_AWAY, SERVICE_RESTART = 1001, 1012

#: Seconds after which WebSockets whose clients have not answered that close are cut: the engine's limit, and a little.
GOODBYE = 1.05

#: Seconds between two looks at applications that run although all is answered, or at connections that aiohttp has
#: itself.
LOOK = 0.02

#: Seconds that tasks have to end once they were cancelled.
CANCELLED_WAIT = 0.3

#: Seconds that threads of the loop's executor may take at the end.
EXECUTOR_WAIT = 2.0

#: Exit status of a worker whose end shall be the server's (SL_EXIT_HALT), and of one that has failed.
HALT, FAILED = 5, 1


class ASGIWorker(EngineWorker):
    """Serves an ASGI application on an event loop (worker process, main thread)."""

    interrupt_on_quit = False
    cleanup_is_exit_hook = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._prepare()

    @staticmethod
    def make_fail_app(text):
        """See Worker.make_fail_app."""
        body = text.encode(errors="replace")

        async def fail_app(scope, receive, send):
            if scope["type"] == "lifespan":
                for _ in range(2):
                    await send({"type": (await receive())["type"] + ".complete"})
                return
            kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
            await send({"type": f"{kind}.start", "status": 500,
                        "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
            await send({"type": f"{kind}.body", "body": body})

        return fail_app

    def _prepare(self):
        self.interrupt_on_quit = False
        self.cleanup_is_exit_hook = False
        self.loop = None
        self.lifespan = None
        self.observer = None
        self._pulse = None
        self._drained = None
        self._stopping = False
        self._limit = None
        self._stop_began = None  # time.monotonic()
        self._exit_status = 0
        self._all_answered = False
        self._given_up = False
        self.payload = Payload(self.cfg.payload_exit, self.log, self._payload_ended)

    # ---- the engine ---------------------------------------------------------------------------------

    def engine_options(self):
        """The options of _saola.AsyncEngine, from the configuration."""
        options = super().engine_options()
        self.observer = options.pop("observer")
        for name in ("environ", "script_name", "file_range", "threads"):
            del options[name]
        cfg = self.cfg
        options |= {
            "on_fault": self.log_fault,
            "on_drained": self._on_drained,
            "root_path": cfg.root_path or "",
            "disconnect_grace": cfg.asgi_disconnect_grace_period,
            "concurrency": cfg.limit_concurrency,
            "websocket_max_size": cfg.websocket_max_size,
            "websocket_max_controls": cfg.websocket_max_controls,
            "websocket_ping_interval": cfg.websocket_ping_interval,
            "websocket_ping_timeout": cfg.websocket_ping_timeout,
            "websocket_deflate": cfg.websocket_deflate,
            "body_buffer": 0,  # a slow upload holds no thread here, and is wanted as a stream
        }
        return options

    def observed(self, app):
        """An ASGI application, seen by the hooks and the access log of whoever wants to. After engine_options()."""
        self._engine_observer = self.observer
        return app if self.observer is None else ObservedApp(app, self.observer)

    def log_fault(self, text, method, path):
        """The application broke ASGI's rules in a way that it did not notice itself."""
        self.log.error("Error handling request %s %s: %s", method, path, text)

    # ---- life ---------------------------------------------------------------------------------------

    def before_ready(self):
        """Makes the loop and runs the application's startup; nothing is accepted yet."""
        fds = [listener.fileno() for listener in self.sockets]
        options = self.engine_options()
        self.engine = _saola.AsyncEngine(self.observed(self.wsgi), fds, self.slot, options)
        self.loop, self._pulse = new_loop(self.engine, self.cfg.asgi_loop)
        asyncio.set_event_loop(self.loop)
        self.lifespan = Lifespan(self.wsgi, self.cfg.asgi_lifespan, self.engine.state, self.log)
        try:
            self.run_startup(self.lifespan.startup)
        except BaseException:
            self._close_loop()
            raise

    def run_startup(self, startup):
        """Runs the coroutine function, and watches the tasks that it leaves running."""
        async def run():
            self.payload.before_startup(self.loop)
            await startup()
            self.payload.after_startup(self.loop)

        self.loop.run_until_complete(run())

    def _payload_ended(self, policy, task):
        """payload_exit is restart or halt, and a background task has ended."""
        if self.slot is not None:
            self.slot.set_cause(Cause.PAYLOAD)
        alone = self.cfg.workers == 1 or self.cfg.hand_over == "exclusive"
        if policy == "restart" and self.slot is not None and not alone:
            self.log.info("Worker (pid:%s) is replaced, as payload_exit says.", self.pid)
            self.slot.spent()
            return
        self._exit_status = HALT if policy == "halt" else FAILED
        self.log.info("Worker (pid:%s) leaves, as payload_exit says.", self.pid)
        self._will_stop(Cause.PAYLOAD)
        self.alive = False
        self._begin_stop()

    def run(self):
        """Serves until told to stop, then lets the requests in progress end and cleans up."""
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.nr = self.engine.requests
            if not self._aborting:
                self._clean_up()
        if self._exit_status:
            sys.exit(self._exit_status)

    async def _serve(self):
        self._drained = self.loop.create_future()
        if self._all_answered:
            self._drained.set_result(None)
        self.engine.accept()
        self._tick_on()
        await self._drained
        while self.engine.active and not self._given_up:  # background tasks, and what a WebSocket leaves to be done
            await asyncio.sleep(LOOK)

    def _tick_on(self):
        """Once a second: it is the loop that beats, so a blocked one is noticed."""
        self.notify()
        if self.core_log is not None:
            self._tell_dropped()
        if not self.alive:
            self._begin_stop()
        self.engine.tend_websockets()
        loop = asyncio.get_running_loop()  # also while _close_loop() has taken it
        loop.call_later(min(TICK, self.timeout) if self.timeout else TICK, self._tick_on)

    def _begin_stop(self):
        if self._drained is None or self._drained.done():
            return
        self.payload.stop()
        self.engine.stop()
        self.engine.close_websockets(GOING_AWAY if self._ends_for_good() else SERVICE_RESTART)
        if self._pulse is not None:
            self._pulse.hasten()
        if not self._stopping:
            self._stopping = True
            self._stop_began = time.monotonic()
            self.loop.call_later(GOODBYE, self._end_websockets)
            patience = self.cfg.graceful_timeout
            # Well before the arbiter's own patience ends: the application is to be cleaned up.
            self._limit = self.loop.call_later(
                patience - min(1.0, patience / 4) - CANCELLED_WAIT, self._give_up)
        if self._quitting:
            self._limit.cancel()
            self._give_up()

    def _end_websockets(self):
        self.engine.tend_websockets()
        if self._pulse is not None:
            self._pulse.hasten()

    def _ends_for_good(self):
        """Nobody takes this worker's place: the server stops."""
        return self._orphaned or (self.slot is not None and self.slot.server_ends())

    def _give_up(self):
        """Requests that do not end are cancelled, and their connections cut."""
        count = self.engine.cancel_all()
        if count and not self._quitting:
            self.log.warning("%d requests did not end within graceful_timeout and are cancelled.", count)
        self._limit = self.loop.call_later(CANCELLED_WAIT if count else 0, self._cut)

    def _cut(self):
        self._given_up = True
        self.engine.cut()
        self._on_drained()

    def _on_drained(self):
        self._all_answered = True  # perhaps before there was anything to answer: asked to stop while it booted
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _clean_up(self):
        """After the last answer; the clock is exit_timeout now."""
        self.payload.stop()
        if self.slot is not None:
            self.slot.drained()
        self.step_once("shutdown")
        if self._limit is not None:
            self._limit.cancel()
        try:
            self.loop.run_until_complete(self.lifespan.shutdown())
        finally:
            self._close_loop()
        self.step_once("cleanup")

    def _close_loop(self):
        loop, self.loop = self.loop, None
        if loop is None:
            return
        try:
            _cancel_tasks(loop, self.log)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(_end_executor(loop))
        finally:
            if self._pulse is not None:
                self._pulse.close()
            asyncio.set_event_loop(None)
            loop.close()
            self.engine.close()
            self._close_core_log()

    # ---- signals --------------------------------------------------------------------------------

    def _ask_to_stop(self):
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._begin_stop)

    def handle_exit(self, sig, frame):
        """TERM: finish what is in progress, then leave."""
        super().handle_exit(sig, frame)
        self._ask_to_stop()

    def handle_quit(self, sig, frame):
        """INT, QUIT: cancel what is in progress, clean up, leave."""
        super().handle_quit(sig, frame)
        self._ask_to_stop()

    def limit_reached(self):
        """max_requests: this process makes room for a new one."""
        super().limit_reached()
        if not self.alive:
            self._ask_to_stop()


def _cancel_tasks(loop, log):
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    loop.run_until_complete(asyncio.wait(tasks, timeout=EXECUTOR_WAIT))
    for task in tasks:
        if not task.done():
            log.warning("Task %s did not end when it was cancelled", task.get_name())
        elif not task.cancelled() and task.exception() is not None:
            log.log(logging.ERROR, "Exception in task %s at the end", task.get_name(),
                    exc_info=task.exception())


async def _end_executor(loop):
    try:
        await asyncio.wait_for(loop.shutdown_default_executor(), EXECUTOR_WAIT)
    except asyncio.TimeoutError:
        pass
