"""One WSGI application a kind of request, and /refs: how many references and objects there are."""

import gc
import io
import sys
import tempfile

PLAIN = [("Content-Type", "text/plain")]
kept = []
file = tempfile.TemporaryFile()
file.write(b"x" * 5000)
file.flush()


class Shared:
    """The file for one response: has a descriptor, and a close() that leaves the file open."""

    def __init__(self):
        file.seek(0)
        self.read, self.tell, self.seek, self.fileno = file.read, file.tell, file.seek, file.fileno

    def close(self):
        pass


def refs(environ, start_response):
    del kept[:]
    for _ in range(3):
        gc.collect()
    start_response("200 OK", PLAIN)
    total = getattr(sys, "gettotalrefcount", lambda: 0)()
    return [b"%d %d" % (total, sys.getallocatedblocks())]


def one(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"one"]


def several(environ, start_response):
    start_response(headers=PLAIN + [("X-N", str(id(environ)))], status="201 Made")
    return (b"a", b"", b"tuple")


def generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"a"
    yield b"b"


def write(environ, start_response):
    put = start_response("200 OK", PLAIN)
    put(b"a")
    put(b"b")
    return []


def read(environ, start_response):
    data = environ["wsgi.input"].read(7) + environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return [str(len(data)).encode()]


def lines(environ, start_response):
    stream = environ["wsgi.input"]
    first = [stream.readline(), next(stream)]
    first += stream.readlines()
    start_response("200 OK", PLAIN)
    return [str(len(first)).encode()]


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
    start_response("200 OK", PLAIN)
    return [b""]


def sent_file(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](Shared())


def wrapped(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"y" * 20000))


def keeps(environ, start_response):
    """Holds on to everything until the next request; the server must make new ones."""
    kept[:] = [environ, start_response, start_response("200 OK", PLAIN), environ["wsgi.input"]]
    return [b"kept"]


def cycle(environ, start_response):
    environ["myself"] = environ
    start_response("200 OK", PLAIN)
    return [b"cycle"]


def again(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise KeyError("again")
    except KeyError:
        start_response("500 Sorry", PLAIN, sys.exc_info())
    return [b"sorry"]


def fails(environ, start_response):
    raise KeyError("before")


def fails_late(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"a"
    raise KeyError("late")


def no_bytes(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


def no_iterable(environ, start_response):
    start_response("200 OK", PLAIN)
    return 5


def bad_header(environ, start_response):
    start_response("200 OK", [("X-Bad", "a\nb")])
    return [b""]


def bad_status(environ, start_response):
    start_response("\u20ac", PLAIN)
    return [b""]


class Closing(list):
    """Its close() fails."""

    def close(self):
        raise KeyError("close")


def close_fails(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"a"])


def app(environ, start_response):
    return globals()[environ["PATH_INFO"].split("/")[1]](environ, start_response)


def before(worker, req):
    """pre_request of the run with hooks."""
    req.uri, req.headers, req.body, worker.pid


def after(worker, req, environ, resp):
    """post_request of the run with hooks."""
    resp.status, resp.headers, resp.sent, environ.get("PATH_INFO")
