"""Worker class aiohttp: an aiohttp.web application on the engine.

The application is a `web.Application`, an `AppRunner`, or a function (async or not) that makes one
of them. aiohttp's own AppRunner starts and cleans it up; requests come from the engine, see
saola.aio.web.

Life: loop made, on_startup and cleanup_ctx, ready, accept; TERM: stop accepting, on_shutdown, answer
what is in progress, cancel what takes too long, drained, on_cleanup, the rest of the tasks cancelled.
"""

import asyncio
import time

from .. import _saola
from ..aio.factory import need_aiohttp
from ..aio.loops import new_loop
from .asgi import CANCELLED_WAIT, LOOK, ASGIWorker
from .serving import Observer

#: Seconds after the stop when on_shutdown runs at the latest: connections are accepted till then.
SHUTDOWN_AFTER = 0.6


class AiohttpWorker(ASGIWorker):
    """Serves an aiohttp.web application (worker process, main thread)."""

    @classmethod
    def setup(cls):
        """Called when the configuration names this class: ConfigError when aiohttp is missing."""
        need_aiohttp()

    @staticmethod
    def make_fail_app(text):
        """See Worker.make_fail_app."""
        from aiohttp import web

        async def fail(request):
            return web.Response(status=500, text=text)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", fail)
        return app

    def _prepare(self):
        super()._prepare()
        self.life = None
        self._ending = None
        self._limit_told = False

    def engine_options(self):
        """The options of _saola.AsyncEngine, from the configuration."""
        options = super().engine_options()
        # Whether the task of a request is cancelled is aiohttp's business: handler_cancellation.
        options |= {"disconnect_grace": -1.0, "expect_to_host": True}
        return options

    def _observer(self):
        """Only for the hooks: access logs are aiohttp's business, or the engine's."""
        hooks = self._hook("pre_request"), self._hook("post_request")
        return None if hooks == (None, None) else Observer(self, *hooks, None)

    # ---- life ---------------------------------------------------------------------------------------

    def before_ready(self):
        """Makes the loop and runs the application's startup; nothing is accepted yet."""
        from ..aio.application import ApplicationLife
        fds = [listener.fileno() for listener in self.sockets]
        self.engine = _saola.AsyncEngine(None, fds, self.slot, self.engine_options())
        self.loop, self._pulse = new_loop(self.engine, self.cfg.asgi_loop)
        asyncio.set_event_loop(self.loop)
        self.lifespan = self.life = ApplicationLife(self)
        try:
            self.run_startup(self.life.startup)
        except BaseException:
            self._close_loop()
            raise

    @property
    def selector_engine(self):
        """The engine where it is the loop's selector; None under another loop."""
        return self.engine if self._pulse is None else None

    @property
    def nr(self):
        """Requests begun by this worker."""
        if self.engine is None:
            return self._nr
        return self.engine.requests + (self.life.own_requests if self.life is not None else 0)

    @nr.setter
    def nr(self, value):
        self._nr = value

    def count_request(self):
        """aiohttp has begun a request of a connection that it has itself."""
        if self.nr >= self.max_requests and not self._limit_told:
            self._limit_told = True
            self.limit_reached()

    def limit_reached(self):
        """max_requests: this process makes room for a new one."""
        self._limit_told = True
        super().limit_reached()

    async def _serve(self):
        await super()._serve()
        if self._ending is None:  # nothing was in progress
            self._stop_began = time.monotonic()
            self._ending = self.loop.create_task(self._end(), name="saola-end")
        await self._ending

    def _begin_stop(self):
        first = not self._stopping
        super()._begin_stop()
        if first and self._stopping:
            self._ending = self.loop.create_task(self._end(), name="saola-end")

    async def _end(self):
        """From the stop to the last answer: on_shutdown, then what aiohttp has itself."""
        await asyncio.wait([self._drained], timeout=SHUTDOWN_AFTER)
        patience = self.cfg.graceful_timeout
        left = self._stop_began + patience - min(1.0, patience / 4) - CANCELLED_WAIT - time.monotonic()
        await self.life.shutdown_signal(max(0.1, left))
        end = time.monotonic() + max(0.0, left)
        while self.life.close_idle() and time.monotonic() < end and not self._quitting:
            await asyncio.sleep(LOOK)
        await self.life.cut(CANCELLED_WAIT)
        await self._drained
