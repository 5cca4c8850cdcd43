"""Small WSGI applications for the tests."""

import os
import time

from urllib.parse import parse_qs


def app(environ, start_response):
    """Says who served it: "pid=N value=V"."""
    body = f"pid={os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def slow(environ, start_response):
    """Sleeps ?s=SECONDS before and between two parts of the answer."""
    seconds = float(parse_qs(environ["QUERY_STRING"]).get("s", ["0"])[0])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    yield b"begin"
    time.sleep(seconds)
    yield b"\nend\n"
