"""Worker class tornado: a tornado.web.Application on the engine.

The application is what a tornado.httpserver.HTTPServer takes: a web.Application, a WSGIContainer, a
function of a request; a WSGI callable is put into a WSGIContainer. The engine is the heart of asyncio's
loop, on which Tornado runs; requests come to Tornado through its own interface for that
(tornado.httputil.HTTPConnection). Handshakes of WebSocket are given away, connection and all, to
Tornado's own HTTP.

Life: loop made, application loaded, ready, accept; TERM: stop accepting, answer what is in progress, cancel what
takes too long, close WebSockets, the rest of the tasks cancelled.
"""

import asyncio
import importlib.util
import socket

from .. import _saola, util
from ..aio.loops import new_loop
from ..errors import ConfigError
from .asgi import ASGIWorker


class TornadoWorker(ASGIWorker):
    """Serves a Tornado application (worker process, main thread)."""

    #: See Worker: for Tornado, as for WSGI, the hook worker_exit.
    make_fail_app = staticmethod(util.make_fail_app)

    @classmethod
    def setup(cls):
        """Called when the configuration names this class: ConfigError when tornado is missing."""
        if importlib.util.find_spec("tornado") is None:
            raise ConfigError("the worker class tornado needs the package tornado: pip install tornado")

    # ---- life ---------------------------------------------------------------------------------------

    def load_wsgi(self):
        """Makes the loop, which applications ask for while they are loaded, and loads."""
        fds = [listener.fileno() for listener in self.sockets]
        options = self.engine_options() | {"give_away": self._give_away, "disconnect_grace": -1.0}
        self.engine = _saola.AsyncEngine(self.observed(self._serve_request), fds, self.slot, options)
        self.loop, self._pulse = new_loop(self.engine, self.cfg.asgi_loop)
        asyncio.set_event_loop(self.loop)
        super().load_wsgi()

    def before_ready(self):
        """Gives the application to Tornado; nothing is accepted yet."""
        from .tornadohttp import Service
        self.lifespan = self.service = Service(self.wsgi)
        self.run_startup(self.service.startup)

    async def _serve_request(self, scope, receive, send):
        await self.service.serve(scope, receive, send)

    def _give_away(self, fd, data, peer):
        """Called by the engine: the connection is ours from now on. peer: whom a PROXY header told of."""
        self.service.adopt(socket.socket(fileno=fd), data, peer)
