"""A WSGI application for the worker class gevent, and for comparison sync."""

import json
import os
import socket
import threading
import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    handler = HANDLERS.get(path, show)
    return handler(environ, start_response)


def respond(start_response, body, status="200 OK", headers=()):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body if isinstance(body, bytes) else body.encode()]


def show(environ, start_response):
    shown = {key: value if isinstance(value, (str, bool)) else type(value).__name__ for key, value in environ.items()}
    return respond(start_response, json.dumps(shown))


def sleep(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    return respond(start_response, "slept")


def echo(environ, start_response):
    return respond(start_response, environ["wsgi.input"].read())


def lines(environ, start_response):
    return respond(start_response, "|".join(repr(line) for line in environ["wsgi.input"]))


def stream(environ, start_response):
    start_response("200 OK", [("X-Own", "1")])

    def parts():
        try:
            for i in range(3):
                time.sleep(0)
                yield f"{i}.".encode()
        finally:
            environ["wsgi.errors"].write("stream closed\n")

    class Parts:
        def __init__(self):
            self.parts = parts()

        def __iter__(self):
            return self.parts

        def close(self):
            self.parts.close()

    return Parts()


def write(environ, start_response):
    say = start_response("200 OK", [])
    say(b"written ")
    say(b"by hand ")
    return [b"and returned"]


def big(environ, start_response):
    start_response("200 OK", [])
    return (b"x" * 65536 for _ in range(256))


def boom(environ, start_response):
    raise ValueError("boom")


def boom_late(environ, start_response):
    start_response("200 OK", [])
    yield b"begin"
    raise ValueError("boom late")


def late_status(environ, start_response):
    start_response("200 OK", [])
    try:
        raise ValueError("before the head")
    except ValueError:
        import sys
        start_response("503 Service Unavailable", [("X-Own", "2")], sys.exc_info())
    return [b"sorry"]


def no_start(environ, start_response):
    return [b"never"]


def talk(environ, start_response):
    """A request to this server itself, which needs another greenlet."""
    with socket.create_connection(("127.0.0.1", int(environ["SERVER_PORT"]))) as sock:
        sock.sendall(b"GET /sleep?0.01 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while part := sock.recv(4096):
            data += part
    return respond(start_response, data.partition(b"\r\n\r\n")[2])


def thread(environ, start_response):
    found = []
    worker = threading.Thread(target=lambda: found.append(threading.current_thread().name))
    worker.start()
    worker.join()
    return respond(start_response, f"{len(found)} {os.getpid()}")


class Sent:
    """An open file that shows who reads it: the kernel, or Python."""

    def __init__(self):
        self._file = open(__file__, "rb", buffering=0)

    def fileno(self):
        return self._file.fileno()

    def tell(self):
        return 0

    def read(self, size):
        return b"read by Python"

    def close(self):
        self._file.close()
        print("file closed", flush=True)


def file(environ, start_response):
    length = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Length", length)] if length else [])
    return environ["wsgi.file_wrapper"](Sent())


def in_memory(environ, start_response):
    import io
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"1234567"), 3)


def reason(environ, start_response):
    return respond(start_response, "", environ["QUERY_STRING"].replace("+", " "))


def slow(environ, start_response):
    print("slow begins", flush=True)
    time.sleep(0.5)
    return respond(start_response, "slept")


def forever(environ, start_response):
    print("forever begins", flush=True)
    try:
        time.sleep(3600)
    finally:
        print("forever ends", flush=True)
    return respond(start_response, "never")


def block(environ, start_response):
    """Holds the hub, as code in C does."""
    import gevent.monkey
    gevent.monkey.get_original("time", "sleep")(60)


HANDLERS = {f"/{handler.__name__}": handler for handler in (
    show, sleep, echo, lines, stream, write, big, boom, boom_late, late_status, no_start, talk, thread, forever, block,
    file, in_memory, reason, slow)}
