"""An application whose requests hang or are busy in all the ways that matter when the arbiter dies."""

import collections
import hashlib
import itertools
import os
import time
from pathlib import Path
from urllib.parse import parse_qs


def hang():
    """For ever in C, with the interpreter's lock."""
    collections.deque(itertools.repeat(0), maxlen=0)


def spin(seconds):
    """Python code that never waits."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def hash_it(seconds):
    """C code, without the interpreter's lock, in calls of some hundred milliseconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 300_000)


def app(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    if "mark" in query:
        Path(query["mark"]).touch()
    seconds = float(query.get("s", 0))
    what = environ["PATH_INFO"]
    {"/hang": lambda _: hang(), "/spin": spin, "/hash": hash_it, "/sleep": time.sleep}.get(
        what, lambda _: None)(seconds)
    body = f"{what} {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
