"""A WSGI application for tests of stops and reloads."""

import os
import time
from urllib.parse import parse_qs

BLOCK = b"x" * 65536


def wait_for(path):
    """Until the test has made a file of that name; a minute at most."""
    end = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.01)


def stream(path):
    """Some blocks, then nothing until the gate opens, then the end."""
    for _ in range(4):
        yield BLOCK
    wait_for(path)
    yield b"end"


class Closed:
    """Blocks without a length; says in the log when it is closed."""

    def __init__(self, count):
        self.left = count

    def __iter__(self):
        return self

    def __next__(self):
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        return BLOCK

    def close(self):
        os.write(2, b"body closed\n")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    body = b"%d" % os.getpid()
    if path == "/gate":
        os.write(2, b"at the gate\n")
        wait_for(query["file"])
    elif path == "/sleep":
        time.sleep(float(query["s"]))
    elif path == "/stream":
        start_response("200 OK", [])
        return stream(query["file"])
    elif path == "/closed":
        start_response("200 OK", [])
        return Closed(int(query["n"]))
    elif path == "/big":
        body = BLOCK * 200
    elif path == "/echo":
        body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
