"""The life of an aiohttp.web application in a worker: AppRunner's steps, each at most once.

Process: a worker. Thread: the main one, on its loop.
"""

import asyncio
import datetime

from ..glogging import Logger
from ..http.wsgi import Response
from . import web
from .factory import make, need_aiohttp
from .observed import aiohttp_request, environ_of, observe_server
from .selftest import same_as_public


class ApplicationLife:
    """Startup, shutdown and cleanup of a worker's application. worker: the AiohttpWorker."""

    def __init__(self, worker):
        self._worker, self._log = worker, worker.log
        self._loop = worker.loop
        self._runner = None
        self._shut_down = False
        self._requests = 0
        self.server = None
        self.adopter = None

    # ---- startup ---------------------------------------------------------------------------------

    async def startup(self):
        """on_startup and cleanup_ctx. What they raise passes, after what they had begun is cleaned up."""
        need_aiohttp()
        import aiohttp
        from aiohttp import web as aiohttp_web
        app = await make(self._worker.wsgi)
        plain = isinstance(app, aiohttp_web.Application)
        self._runner = runner = aiohttp_web.AppRunner(app, **self._arguments()) if plain else app
        self._take_over_shutdown(runner)
        if getattr(runner, "_handle_signals", False):
            runner._handle_signals = False  # the worker does
        try:
            await runner.setup()
        except BaseException:
            self._shut_down = True
            await self.shutdown()
            raise
        self.server = runner.server
        await self._connect(aiohttp.__version__, plain)

    def _arguments(self):
        cfg, log = self._worker.cfg, self._log
        wanted = getattr(log, "access_log_enabled", False) or type(log).access is not Logger.access
        return {
            "logger": log,
            "keepalive_timeout": cfg.keepalive,
            "access_log": log.access_log if wanted else None,
            "access_log_class": _access_logger(log) if wanted else aiohttp_access_logger(),
        }

    async def _connect(self, version, plain):
        """Decides how requests come to the application."""
        self.adopter = web.Adopter(self._loop, self.server, self._log, self._worker.selector_engine)
        web.let_engine_send_files(self._loop)
        if self._worker.observer is not None:
            observe_server(self.server, self._worker.observer)
        reason = await self._why_public(version, plain)
        if reason is None:
            self._log.info("aiohttp %s: requests are made by the engine", version)
        else:
            self._log.info("aiohttp %s: connections go to aiohttp's own protocol (%s)", version, reason)
        fast = web.Bridge(self.server, self._loop, self.adopter, True,
                          logged=self._worker.core_log is not None) if reason is None else None
        self._count_own_requests()
        self._worker.engine.set_aiohttp(
            fast or web.Bridge(self.server, self._loop, self.adopter, False))

    async def _why_public(self, version, plain):
        if not web.is_known(version):
            return "this release is not known"
        if not plain:
            return "the application brings its own AppRunner"
        try:
            difference = await same_as_public(self._loop, self._worker.engine_options(), self._log)
        except Exception as exc:
            return f"the check at the start failed: {exc!r}"
        return difference

    def _count_own_requests(self):
        factory = getattr(self.server, "request_factory", None)
        if factory is None:
            return

        def counting(*args):
            self._requests += 1
            self._worker.count_request()
            return factory(*args)

        self.server.request_factory = counting

    @property
    def own_requests(self):
        """Requests that aiohttp's own protocol has begun, without the first of each connection, which
        the engine has counted."""
        if self.adopter is None:
            return 0
        return max(0, self._requests - self.adopter.count)

    # ---- end ---------------------------------------------------------------------------------------

    def _take_over_shutdown(self, runner):
        """AppRunner.cleanup() sends on_shutdown; ours was sent when the stop began."""
        life = self

        class Once(type(runner)):
            __slots__ = ()

            async def shutdown(self):
                """on_shutdown, the first time."""
                if not life._shut_down:
                    life._shut_down = True
                    await super().shutdown()

        try:
            runner.__class__ = Once
        except TypeError:  # a runner of another build: on_shutdown comes with its cleanup
            pass

    async def shutdown_signal(self, seconds):
        """on_shutdown, once; it may take so long."""
        if self._runner is None or type(self._runner).__name__ != "Once":
            return
        try:
            await asyncio.wait_for(self._runner.shutdown(), seconds)
        except asyncio.TimeoutError:
            self._log.warning("on_shutdown did not end within graceful_timeout and is cancelled.")
        except Exception:
            self._log.exception("Exception in on_shutdown")

    def close_idle(self):
        """Closes idle connections that aiohttp has itself. True while others are left."""
        if self.server is None:
            return False
        close = getattr(self.server, "pre_shutdown", None)
        if close is not None:
            close()
        return bool(self._left() or self.adopter.busy)

    def _left(self):
        """Connections that aiohttp has itself, without those that have gone and wait for nothing but the rest
        of a body that will not come."""
        return [c for c in self.server.connections
                if getattr(c, "transport", None) is not None or getattr(c, "_request_in_progress", True)]

    async def cut(self, seconds):
        """Cancels the handlers of connections that aiohttp has itself."""
        if self.server is None or not self.server.connections:
            return
        left = len(self._left())
        if left:
            self._log.warning("%d connections did not end within graceful_timeout and are cut.", left)
        await self.server.shutdown(seconds)

    async def shutdown(self):
        """on_cleanup and the rest of cleanup_ctx, once. Failures are logged."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            await runner.cleanup()
        except Exception:
            self._log.exception("Exception in the application's cleanup")


# ---- access log of connections that aiohttp has itself ------------------------------------------


def aiohttp_access_logger():
    """aiohttp's default class, for a log that is off."""
    from aiohttp.web_log import AccessLogger
    return AccessLogger


def _access_logger(log):
    """A class of aiohttp's kind that writes our lines."""
    from aiohttp.abc import AbstractAccessLogger

    class AccessLogger(AbstractAccessLogger):
        enabled = True

        def __init__(self, logger, log_format=None):
            self.logger, self.log_format = logger, log_format

        def log(self, request, response, time):
            req = aiohttp_request(request)
            status = response.status
            resp = Response(req, f"{status} {response.reason or ''}", status,
                            list(response.headers.items()), response.body_length, False, False)
            log.access(resp, req, environ_of(req), datetime.timedelta(seconds=time))

    return AccessLogger
