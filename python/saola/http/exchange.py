"""A WSGI application behind an engine that speaks in messages: receive() and send() of ASGI.

The application blocks as it likes; what its blocking means is the business of `wait`, which the
worker class gives: wait(awaitable) returns the awaitable's result and lets others run meanwhile.

Process: a worker. Thread: that of the loop.
"""

import io
import sys
import time
from urllib.parse import unquote_to_bytes

from .wsgi import FileWrapper

_ENTITY = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Gateway:
    """Calls a WSGI application for requests.

    app: the application. base: entries of environ that are the same for all. script_name: SCRIPT_NAME,
    or "". wait: see above. observer: saola.workers.serving.Observer, or None. file_range: what tells of a file that
    the kernel can send (saola.http.wsgi), or None.
    """

    def __init__(self, app, base, script_name, wait, observer=None, file_range=None):
        self.app = app
        self.base = base
        self.script_name = script_name
        self.wait = wait
        self.observer = observer
        self.file_range = file_range
        self._keys = {}  # name of a field -> its key in environ

    def serve(self, scope, receive, send):
        """Answers one request; returns when the response is complete. What the application raises before
        its response has begun, or in it, is raised."""
        Exchange(self, scope, receive, send).run()

    def key_of(self, name):
        """The key in environ of a header field, its name as lower-case bytes."""
        key = self._keys.get(name)
        if key is None:
            key = _ENTITY.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            if len(self._keys) < 1000:
                self._keys[name] = key
        return key


class Body(io.RawIOBase):
    """The request body, raw; wsgi.input is a BufferedReader of it."""

    def __init__(self, receive, wait):
        super().__init__()
        self._receive, self._wait = receive, wait
        self._rest = memoryview(b"")
        self._over = False

    def readable(self):
        """True."""
        return True

    def readinto(self, buffer):
        """See io.RawIOBase. OSError when the body cannot be had whole."""
        while not self._rest:
            if self._over:
                return 0
            message = self._wait(self._receive())
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away before the end of the request body")
            self._rest = memoryview(message.get("body", b""))
            self._over = not message.get("more_body", False)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def take_over(self):
        """There is no body: the request asks for another protocol."""
        self._over = True


class Exchange:
    """One request and its response."""

    def __init__(self, gateway, scope, receive, send):
        self._gateway = gateway
        self._scope = scope
        self._receive = receive
        self._send = send
        self._wait = gateway.wait
        self._status = None  # "200 OK"
        self._headers = None
        self._begun = False
        self._sent = 0
        self._chunked = False
        # A handshake of WebSocket is answered like any request, by a denial.
        self._prefix = "http.response"
        self._body = Body(receive, gateway.wait)
        if scope["type"] == "websocket":
            self._prefix = "websocket.http.response"
            self._body.take_over()

    def run(self):
        """See Gateway.serve()."""
        gateway, observer = self._gateway, self._gateway.observer
        if self._scope["type"] == "websocket":
            self._wait(self._receive())  # websocket.connect
        environ = self._environ()
        if observer is None:
            return self._call(gateway.app, environ)
        began, view = time.monotonic(), self._view(environ)
        try:
            observer.before(view)
            self._call(gateway.app, environ)
        finally:
            failed = sys.exc_info()[1] is not None
            status = "500" if failed and not self._begun else self._status or "500"
            response = observer.response(
                view, environ, status, int(status[:3]), self._headers, self._sent, self._chunked, not failed,
                int((time.monotonic() - began) * 1e6))
            observer.after(view, environ, response)

    # ---- request ------------------------------------------------------------------------------------

    def _environ(self):
        scope, gateway = self._scope, self._gateway
        environ = gateway.base.copy()
        script, key_of = gateway.script_name, gateway.key_of
        host = None
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            if name == b"script_name":  # only a trusted proxy's comes so far
                script = text
                continue
            key = key_of(name)
            if key in environ:
                text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
            environ[key] = text
            if name == b"host":
                host = text
        raw_path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        if script and not raw_path.startswith(script):
            raise ValueError(f"the request path does not start with SCRIPT_NAME {script!r}; set forwarder_headers and "
                             "the proxy, or the environment variable, to match")
        path = raw_path[len(script):]
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        client, server = scope["client"] or ("", None), scope["server"]
        environ["REQUEST_METHOD"] = scope.get("method", "GET")
        environ["SCRIPT_NAME"] = script
        environ["RAW_URI"] = f"{raw_path}?{query}" if query else raw_path
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = f"HTTP/{scope['http_version']}"
        environ["REMOTE_ADDR"] = client[0]
        if client[1] is not None:
            environ["REMOTE_PORT"] = str(client[1])
        environ["SERVER_NAME"], port = server
        if port is None:  # a unix socket: the Host header says who we are
            name, _, port = (host or "localhost").partition(":")
            environ["SERVER_NAME"], port = name, port or {"https": "443"}.get(scheme, "80")
        environ["SERVER_PORT"] = str(port)
        environ["wsgi.url_scheme"] = scheme
        environ["wsgi.input"] = io.BufferedReader(self._body)
        environ["wsgi.early_hints"] = self._early_hints
        return environ

    def _view(self, environ):
        scope = self._scope
        version = tuple(int(part) for part in scope["http_version"].split("."))
        headers = [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in scope["headers"]]
        peer = (environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT", 0)))
        return self._gateway.observer.request(
            environ["REQUEST_METHOD"], environ["RAW_URI"], scope["raw_path"].decode("latin-1"),
            environ["QUERY_STRING"], version, headers, environ["wsgi.url_scheme"], peer, None,
            environ["wsgi.input"], True)

    def _early_hints(self, headers):
        links = [value.encode("latin-1") for name, value in headers if name.lower() == "link"]
        self._wait(self._send({"type": "http.response.early_hint", "links": links}))

    # ---- response -----------------------------------------------------------------------------------

    def _start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no cycle
        elif self._status is not None:
            raise AssertionError("start_response() was called already")
        if not isinstance(status, str) or not status[:3].isdecimal() or not (len(status) == 3 or status[3] == " "):
            raise ValueError(f"status must be a str like '200 OK', not {status!r}")
        self._headers = list(headers)
        self._status = status
        return self._write

    def _begin(self):
        if self._status is None:
            raise RuntimeError("the application did not call start_response()")
        self._begun = True
        self._wait(self._send({
            "type": f"{self._prefix}.start", "status": self._status.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]}))

    def _write(self, data, more=True):
        if not self._begun:
            self._begin()
        self._chunked = self._chunked or more
        self._sent += len(data)
        self._wait(self._send({"type": f"{self._prefix}.body", "body": data, "more_body": more}))

    def _send_file(self, file):
        """Lets the kernel send it from where it stands. False: it cannot."""
        gateway = self._gateway
        found = gateway.file_range(file) if gateway.file_range is not None else None
        if found is None or self._begun or self._prefix != "http.response":
            return False
        descriptor, offset, count = found
        self._begin()
        self._wait(self._send({"type": "http.response.zerocopysend", "file": descriptor, "offset": offset,
                               "count": count}))
        self._sent += count
        return True

    def _call(self, app, environ):
        result = app(environ, self._start_response)
        try:
            if isinstance(result, (list, tuple)) and not self._begun:  # its length is known
                return self._write(result[0] if len(result) == 1 else b"".join(result), more=False)
            if isinstance(result, FileWrapper) and self._send_file(result.filelike):
                return None
            for data in result:
                if data:
                    self._write(data)
            self._write(b"", more=False)
        finally:
            if hasattr(result, "close"):
                result.close()
