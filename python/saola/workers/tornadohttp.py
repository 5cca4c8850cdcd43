"""Tornado's side of the worker class tornado: requests of the engine for a tornado HTTPServer.

Process: a worker. Thread: the main one, on its loop. Tornado is imported when it is used.
"""

import asyncio


class Service:
    """A tornado.httpserver.HTTPServer without listening sockets."""

    def __init__(self, app):
        from tornado import httpserver, httputil, web, wsgi
        kinds = (web.Application, wsgi.WSGIContainer, httputil.HTTPServerConnectionDelegate)
        if not isinstance(app, kinds):
            app = wsgi.WSGIContainer(app)
        self.server = httpserver.HTTPServer(app)
        self._headers, self._start_line = httputil.HTTPHeaders, httputil.RequestStartLine

    async def startup(self):
        """Nothing: Tornado's applications have no startup."""

    async def shutdown(self):
        """Closes what Tornado serves itself."""
        await self.server.close_all_connections()

    def adopt(self, sock, data, peer=None):
        """Serves a connection of which the engine has received data; peer: its address, if the socket does
        not know it."""
        sock.setblocking(False)
        self.server.handle_stream(_stream(sock, data), peer or sock.getpeername())

    async def serve(self, scope, receive, send):
        """One request. Returns when the response is complete, or the client has gone."""
        connection = Connection(scope, send)
        delegate = self.server.start_request(self, connection)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = self._headers()
        for name, value in scope["headers"]:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        start = self._start_line(scope["method"], target.decode("latin-1"), f"HTTP/{scope['http_version']}")
        await _ready(delegate.headers_received(start, headers))
        more = True
        while more and not connection.over.done():
            message = await receive()
            if message["type"] == "http.disconnect":
                connection.close()
                break
            more = message["more_body"]
            if message["body"]:
                await _ready(delegate.data_received(message["body"]))
        if not more and not connection.over.done():
            delegate.finish()
        if not connection.over.done():
            await self._wait(connection, receive)
        if connection.closed:
            delegate.on_connection_close()

    async def _wait(self, connection, receive):
        """Until the response is complete; a client that goes away is told to the handler."""
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((gone, connection.over), return_when=asyncio.FIRST_COMPLETED)
            if not connection.over.done():
                connection.close()
        finally:
            gone.cancel()


async def _ready(result):
    """Tornado's delegates return None or something to wait for."""
    if result is not None:
        await result


def _stream(sock, first):
    """A tornado.iostream.IOStream whose first bytes have been read already."""
    from tornado.iostream import IOStream

    class Adopted(IOStream):
        def read_from_fd(self, buf):
            nonlocal first
            if not first:
                return super().read_from_fd(buf)
            size = min(len(buf), len(first))
            buf[:size], first = first[:size], first[size:]
            return size

    return Adopted(sock)


class _Context:
    """What Tornado asks of a connection to describe its requests."""

    def __init__(self, scope):
        self.remote_ip = scope["client"][0] if scope["client"] else "0.0.0.0"
        self.address = scope["client"] or scope["server"]
        self.protocol = scope["scheme"]


class Connection:
    """A tornado.httputil.HTTPConnection: the response to one request, as Tornado's handlers write it.

    over: a future, done when the response is complete or the client has gone (closed).
    """

    def __init__(self, scope, send):
        self.context = _Context(scope)
        self.no_keep_alive = False
        self.over = asyncio.get_running_loop().create_future()
        self.closed = False
        self._send = send
        self._started = self._complete = False
        self._on_close = None

    # ---- what handlers call -----------------------------------------------------------------------------

    def write_headers(self, start_line, headers, chunk=None):
        """See tornado.httputil.HTTPConnection."""
        self._started = True
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.get_all()]
        done = self._push({"type": "http.response.start", "headers": pairs,
                           "status": f"{start_line.code} {start_line.reason}".encode()})
        if chunk is None:
            return done
        # The usual response, all of it at once.
        self._complete = headers.get("Content-Length") == str(len(chunk))
        return self._push({"type": "http.response.body", "body": chunk, "more_body": not self._complete})

    def write(self, chunk):
        """See tornado.httputil.HTTPConnection."""
        return self._push({"type": "http.response.body", "body": chunk, "more_body": True})

    def finish(self):
        """See tornado.httputil.HTTPConnection."""
        if not self._complete:
            self._complete = True
            self._push({"type": "http.response.body"})
        self._end()

    def set_close_callback(self, callback):
        """Calls it when the client goes away."""
        self._on_close = callback

    def set_max_body_size(self, size):
        """Nothing: limit_request_body holds."""

    def set_body_timeout(self, seconds):
        """Nothing: body_timeout holds."""

    def detach(self):
        """There is no stream to be had of a plain request: 501, and a line in the log. Tornado takes a detached
        request for finished and would answer nothing."""
        from tornado import httputil, web
        if not self._started:
            self.write_headers(httputil.ResponseStartLine("HTTP/1.1", 501, "Not Implemented"),
                               httputil.HTTPHeaders({"Content-Length": "0"}), b"")
        self.finish()
        raise web.HTTPError(501, "detach(): the connection of a plain request is the engine's, only that of a WebSocket "
                                 "can be detached; answer by write() and flush(), or see docs/from-gunicorn.md")

    # ---- what the engine says ----------------------------------------------------------------------------

    def close(self):
        """The client has gone."""
        if self.closed or self.over.done():
            return
        self.closed = True
        callback, self._on_close = self._on_close, None
        if callback is not None:
            callback()
        self._end()

    def _end(self):
        if not self.over.done():
            self.over.set_result(None)

    def _push(self, message):
        """Sends now; what is returned is done when the client has room for more."""
        call = self._send(message)
        loop = self.over.get_loop()
        done = loop.create_future()
        try:
            if self.closed:
                raise ConnectionResetError("the client has closed the connection")
            waited = call.send(None)
        except StopIteration:
            done.set_result(None)
        except ConnectionResetError as exc:
            done.set_exception(_closed(exc))
            done.exception()  # nobody need ask
        else:
            waited._asyncio_future_blocking = False  # it is waited for by a task from here on
            return loop.create_task(_rest(call))
        return done


async def _rest(call):
    try:
        await call
    except ConnectionResetError as exc:
        raise _closed(exc) from None


def _closed(exc):
    from tornado.iostream import StreamClosedError
    return StreamClosedError(real_error=exc)
