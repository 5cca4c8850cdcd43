"""gevent's own HTTP, for classes of the gevent worker that name a server or a handler of theirs.

    class MyWorker(GeventWorker):
        server_class = ...  # a gevent.pywsgi.WSGIServer, or what is made like one
        wsgi_handler = ...  # a gevent.pywsgi.WSGIHandler; packages for WebSocket over gevent bring one

Limits and clocks of the engine do not apply there, nor do pre_request and post_request. Process: a worker;
gevent is imported when it is used.
"""

import os
import time
from datetime import timedelta

from ..http.wsgi import Response, base_environ

#: Seconds that an idle connection may take to bring one more request once the worker leaves, and that greenlets
#: have to end once they were killed.
LINGER, KILLED_WAIT = 0.1, 1.0


def has_own_server(worker):
    """Whether the worker's class names one."""
    return worker.server_class is not None or worker.wsgi_handler is not None


class Servers:
    """A server for each listening socket of a worker."""

    def __init__(self, worker):
        from gevent import pywsgi
        self.worker = worker
        self.busy = 0  # requests in progress
        server_class = worker.server_class or pywsgi.WSGIServer
        handler = _counting(worker.wsgi_handler or server_class.handler_class or pywsgi.WSGIHandler, self)
        self._servers = [self._make(listener, server_class, handler) for listener in worker.sockets]

    def _make(self, listener, server_class, handler):
        from gevent import pool, socket
        worker = self.worker
        environ = base_environ(worker.cfg) | {"wsgi.multithread": True}
        environ["wsgi.errors"].use(worker.log)
        sock = socket.socket(listener.family, socket.SOCK_STREAM, fileno=os.dup(listener.fileno()))
        return server_class(sock, application=worker.wsgi, spawn=pool.Pool(worker.cfg.worker_connections),
                            handler_class=handler, environ=environ, log=None, error_log=worker.log.error_log)

    def start(self):
        """Accepts from here on."""
        for server in self._servers:
            if self.worker.cfg.workers > 1:
                server.max_accept = 1
            server.start()

    def stop_accepting(self):
        """Others take the connections that come."""
        for server in self._servers:
            server.stop_accepting()

    def close(self):
        """Ends what is left."""
        for server in self._servers:
            server.stop(timeout=LINGER)

    def log_access(self, handler):
        """A request of a handler is answered: the access log's line."""
        if handler.environ is None:  # no request that could be read
            return
        headers = [(_text(name), _text(value)) for name, value in handler.response_headers or ()]
        status = _text(handler.status)
        taken = timedelta(seconds=handler.time_finish - handler.time_start)
        sent = handler.response_length or 0
        resp = Response(None, status, int(status[:3]), headers, sent, handler.response_use_chunked,
                        not handler.close_connection)
        try:
            self.worker.log.access(resp, list(handler.headers.items()), handler.environ, taken)
        except Exception:
            self.worker.log.exception("Exception in the access log")


def _text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _counting(handler_class, servers):
    """The same handler, but it says when it is at work, and its access log is the server's."""
    from gevent import pywsgi
    own_log = handler_class.log_request is not pywsgi.WSGIHandler.log_request
    worker = servers.worker

    class Handler(handler_class):
        def handle_one_response(self):
            servers.busy += 1
            worker.nr += 1
            if worker.nr == worker.max_requests:
                worker.limit_reached()
            try:
                return super().handle_one_response()
            finally:
                servers.busy -= 1

        def get_environ(self):
            return super().get_environ() | {"RAW_URI": self.path, "gunicorn.sock": self.socket}

        def log_request(self):
            return super().log_request() if own_log else servers.log_access(self)

    return Handler


def run(worker):
    """Serves until the worker is told to stop, then lets the requests in progress end. worker: a GeventWorker, in
    its run()."""
    from gevent.event import Event
    servers, bell, limit = Servers(worker), Event(), None
    with worker.signals_ring(bell):
        servers.start()
        while True:
            now = time.monotonic()
            worker.notify()
            if limit is None and not worker.alive:
                servers.stop_accepting()
                limit = now + worker.cfg.graceful_timeout - KILLED_WAIT - LINGER
            if limit is not None and (not servers.busy or now >= limit or worker._quitting):
                break
            bell.wait(0.05 if limit is not None else min(1.0, worker.timeout or 1.0))
            bell.clear()
    if servers.busy and not worker._quitting:
        worker.log.warning("%d requests did not end within graceful_timeout and are killed.", servers.busy)
    servers.close()
