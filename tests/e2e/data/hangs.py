"""Ways to hang: /python sleeps, /c never leaves C and keeps the interpreter's lock, /sleep?s=N sleeps N
seconds; everything else answers the pid. With HANG_AT_IMPORT naming a file that exists, the import hangs."""

import collections
import itertools
import os
import time
from urllib.parse import parse_qs


def sleep_for_ever():
    while True:
        time.sleep(1)


def count_for_ever():
    collections.deque(itertools.repeat(0), maxlen=0)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/python":
        sleep_for_ever()
    if path == "/c":
        count_for_ever()
    if path == "/sleep":
        time.sleep(float(parse_qs(environ["QUERY_STRING"])["s"][0]))
    body = b"%d\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


if os.path.exists(os.environ.get("HANG_AT_IMPORT", "")):
    sleep_for_ever()
