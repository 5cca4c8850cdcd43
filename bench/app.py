"""The application that every Python server of the benchmark runs.

Paths: ``/`` 13 bytes, ``/10k`` 10 KB, ``/256k`` 256 KB, ``/echo`` the request body, ``/sleep`` 13 bytes after 50 ms.
"""

from __future__ import annotations

import time

HELLO = b"Hello, World!"
BODY_10K = b"x" * 10240
BODY_256K = b"x" * (256 << 10)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/":
        body = HELLO
    elif path == "/10k":
        body = BODY_10K
    elif path == "/256k":
        body = BODY_256K
    elif path == "/echo":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    elif path == "/sleep":
        time.sleep(0.05)
        body = HELLO
    else:
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    start_response(
        "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    )
    return [body]
