"""The hooks pre_request and post_request, and the access log of other logger classes than ours, for
applications on an event loop: a wrapper around the application, made only where somebody asks for it.

Process: a worker. Thread: the main one, on its loop.
"""

import time
from urllib.parse import unquote

from ..http.message import Request


def environ_of(req):
    """The part of a WSGI environ that hooks and access logs look at; req: saola.http.message.Request."""
    environ = {"REQUEST_METHOD": req.method, "RAW_URI": req.uri, "PATH_INFO": unquote(req.path, "latin-1"),
               "QUERY_STRING": req.query, "SERVER_PROTOCOL": "HTTP/%d.%d" % req.version,
               "REMOTE_ADDR": req.remote_addr[0]}
    for name, value in req.headers:
        environ["HTTP_" + name.replace("-", "_")] = value
    return environ


def _text(raw):
    return bytes(raw).decode("latin-1")


def _request_of(scope):
    path, query = _text(scope["raw_path"]), _text(scope["query_string"])
    headers = [(_text(name).upper(), _text(value)) for name, value in scope["headers"]]
    version = tuple(map(int, scope["http_version"].split(".")))
    return Request(scope["method"], f"{path}?{query}" if query else path, path, query, version, headers,
                   scope["scheme"], tuple(scope["client"] or ("", 0)), None, None, True)


class _Exchange:
    """One request: what is sent is noted, and the observer told once of its end."""

    def __init__(self, observer, req, send):
        self._observer, self._req, self._send = observer, req, send
        self._began = time.monotonic()
        self._status, self._headers, self._sent, self._over = "500", [], 0, False

    async def send(self, message):
        """ASGI's send()."""
        await self._send(message)
        kind = message["type"]
        if kind == "http.response.start":
            status = message["status"]
            self._status = _text(status) if isinstance(status, bytes) else str(status)
            self._headers = [(_text(name), _text(value)) for name, value in message.get("headers", ())]
        elif kind == "http.response.body":
            self._sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.end()

    def end(self):
        """The response is complete, or the application has ended without one."""
        if not self._over:
            self._over = True
            tell(self._observer, self._req, self._status, self._headers, self._sent, self._began)


def tell(observer, req, status, headers, sent, began):
    """Access log and post_request. status: text, with a reason or without; sent: bytes of the body; began: time.monotonic()."""
    environ = environ_of(req)
    micro = int((time.monotonic() - began) * 1e6)
    resp = observer.response(req, environ, status, int(status[:3]), headers, sent, False, True, micro)
    observer.after(req, environ, resp)


class ObservedApp:
    """An ASGI application whose HTTP requests are seen by an Observer (saola.workers.serving)."""

    def __init__(self, app, observer):
        self._app, self._observer = app, observer

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        req = _request_of(scope)
        exchange = _Exchange(self._observer, req, send)
        try:
            self._observer.before(req)
            await self._app(scope, receive, exchange.send)
        finally:
            exchange.end()


# ---- aiohttp ------------------------------------------------------------------------------------


def aiohttp_request(request):
    """The same of a request of aiohttp's."""
    path, _, query = request.raw_path.partition("?")
    headers = [(name.upper(), value) for name, value in request.headers.items()]
    return Request(request.method, request.raw_path, path, query, (request.version[0], request.version[1]),
                   headers, request.scheme, (request.remote or "", 0), None, None, request.keep_alive)


def observe_server(server, observer):
    """Makes the observer see every request of a web.Server; before it makes protocols. A response is told of when
    its handler has returned it."""
    from aiohttp.web import HTTPException
    handler = server.request_handler

    async def observed(request):
        req, began, resp = aiohttp_request(request), time.monotonic(), None
        try:
            observer.before(req)
            resp = await handler(request)
            return resp
        except HTTPException as exc:
            resp = exc
            raise
        finally:
            status = str(getattr(resp, "status", 500))
            headers = list(getattr(resp, "headers", {}).items())
            sent = getattr(resp, "body_length", 0) or getattr(resp, "content_length", 0) or 0
            tell(observer, req, status, headers, sent, began)

    server.request_handler = observed
