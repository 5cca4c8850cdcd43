"""An application that keeps memory, up to a bound (test_memory.py)."""

import os
import threading

KEPT = []
BOUND = 160  # MB


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/leak" and len(KEPT) < BOUND:
        KEPT.append(b"x" * (1 << 20))
    if path == "/hoard":
        while len(KEPT) < BOUND:
            KEPT.append(b"x" * (1 << 20))
        threading.Event().wait(300)
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
