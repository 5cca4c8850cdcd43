"""An application whose requests are logged twice, by the core and by Python (test_access_log.py)."""

import threading

from saola import glogging


class PythonLogger(glogging.Logger):
    """Makes its lines in Python, because it overrides access()."""

    def access(self, resp, req, environ, request_time):
        super().access(resp, req, environ, request_time)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise RuntimeError("this one fails")
    if path == "/empty":
        start_response("204 No Content", [("X-Trace", "none")])
        return []
    if path == "/pieces":
        start_response("200 OK", [("X-Trace", 'a "quoted" \xe9'), ("X-Trace", "last")])
        return iter([b"one", b"two"])
    body = str(threading.get_ident()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
