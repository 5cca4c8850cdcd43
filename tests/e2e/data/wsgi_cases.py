"""WSGI applications, one per path: what PEP 3333 asks of a server, and what applications do wrong."""

import gc
import gzip
import hashlib
import io
import json
import os
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

PLAIN = [("Content-Type", "text/plain")]
BIG = bytes(range(256)) * 4096  # 1 MiB
kept = []
barrier = threading.Barrier(4, timeout=20)


class Body:
    """An iterable whose close() is seen in the log; fail says at which block it raises."""

    def __init__(self, blocks, name, fail=None, close_fails=False):
        self.blocks, self.name, self.fail, self.close_fails = blocks, name, fail, close_fails
        self.closed = 0

    def __iter__(self):
        for number, block in enumerate(self.blocks):
            if number == self.fail:
                raise RuntimeError(f"{self.name} fails at {number}")
            yield block

    def close(self):
        self.closed += 1
        print(f"closed {self.name} {self.closed}", file=sys.stderr, flush=True)
        if self.close_fails:
            raise RuntimeError(f"{self.name} close fails")


def environ_json(environ, start_response):
    text = json.dumps({key: value if isinstance(value, (str, bool, int, tuple)) else
                       type(value).__name__ for key, value in environ.items()})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.encode()]


def one(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"one block"]


def several(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"several ", b"", b"blocks"]


def in_tuple(environ, start_response):
    start_response("200 OK", PLAIN)
    return (b"a ", b"tuple")


def empty(environ, start_response):
    start_response("200 OK", PLAIN)
    return []


def empty_generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b""


def generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b""
    yield b"gene"
    yield b"rator"


def late_start(environ, start_response):
    yield b""
    start_response("200 OK", PLAIN)
    yield b"late"


def with_length(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "6")])
    yield b"len"
    yield b"gth"


def too_long(environ, start_response):
    start_response("200 OK", PLAIN + [("content-length", "4")])
    return [b"four and more"]


def too_short(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "100")])
    return [b"short"]


def write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    send(b"written ")
    send(b"")
    return [b"returned"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def reset_content(environ, start_response):
    start_response("205 Reset Content", [("Content-Length", "16")])
    return [b"must not be sent"]


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return [b"must not be sent"]


def sized(environ, start_response):
    class One:
        def __len__(self):
            return 1

        def __iter__(self):
            return iter([b"sized"])
    start_response("200 OK", PLAIN)
    return One()


def keywords(environ, start_response):
    start_response(status="200 OK", headers=PLAIN, exc_info=None)
    return [b"keywords"]


# ---- errors ----------------------------------------------------------------------------------------


def raises(environ, start_response):
    raise ValueError("no luck")


def raises_after_start(environ, start_response):
    start_response("200 OK", PLAIN)
    raise ValueError("no luck")


def never_starts(environ, start_response):
    return [b"body"]


def never_starts_empty(environ, start_response):
    return []


def starts_twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"body"]


def text_block(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


def text_result(environ, start_response):
    start_response("200 OK", PLAIN)
    return "text"


def bytes_result(environ, start_response):
    start_response("200 OK", PLAIN)
    return b"bytes"


def none_result(environ, start_response):
    start_response("200 OK", PLAIN)


def bad_status(environ, start_response):
    start_response("OK 200", PLAIN)
    return [b"body"]


def upgrade(environ, start_response):
    start_response("101 Switching Protocols", [("Connection", "Upgrade"), ("Upgrade", "websocket")])
    return []


def bytes_status(environ, start_response):
    start_response(b"200 OK", PLAIN)
    return [b"body"]


def bad_header_value(environ, start_response):
    start_response("200 OK", [("X-A", "a\r\nX-B: b")])
    return [b"body"]


def bad_header_name(environ, start_response):
    start_response("200 OK", [("X A", "a")])
    return [b"body"]


def wide_header(environ, start_response):
    start_response("200 OK", [("X-A", "\u20ac")])
    return [b"body"]


def bytes_header(environ, start_response):
    start_response("200 OK", [(b"X-A", b"a")])
    return [b"body"]


def pair_header(environ, start_response):
    start_response("200 OK", [("X-A",)])
    return [b"body"]


def write_text(environ, start_response):
    start_response("200 OK", PLAIN)("text")
    return []


def replaced(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("503 Sorry", PLAIN, sys.exc_info())
    return [b"sorry"]


def too_late(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"on its way"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("503 Sorry", PLAIN, sys.exc_info())
    yield b"never"


def breaks_off(environ, start_response):
    start_response("200 OK", PLAIN)
    return Body([b"first", b"second"], "breaks_off", fail=1)


def fails_at_once(environ, start_response):
    start_response("200 OK", PLAIN)
    return Body([b"first"], "fails_at_once", fail=0)


def close_fails(environ, start_response):
    start_response("200 OK", PLAIN)
    return Body([b"body"], "close_fails", close_fails=True)


def exits(environ, start_response):
    raise SystemExit(0)


def pid(environ, start_response):
    start_response("200 OK", PLAIN)
    return [str(os.getpid()).encode()]


# ---- bodies -----------------------------------------------------------------------------------------


def peak_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def digest(environ, start_response):
    """Reads in blocks; answers length, digest and by how much the peak of memory grew."""
    before = peak_kib()
    total, state = 0, hashlib.md5()
    while block := environ["wsgi.input"].read(65536):
        total += len(block)
        state.update(block)
    start_response("200 OK", PLAIN)
    return [f"{total} {state.hexdigest()} {peak_kib() - before}".encode()]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return [body]


def reads(environ, start_response):
    """All ways to read."""
    source = environ["wsgi.input"]
    found = [source.read(0), source.read(3), source.readline(), source.readline(2),
             source.readline(), source.readlines(1), next(iter(source)), list(source), source.read(),
             source.read(10), source.readline(), source.readlines()]
    start_response("200 OK", PLAIN)
    return [repr(found).encode()]


def unread(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"not read"]


def upload_breaks(environ, start_response):
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        print(f"upload broke: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise
    start_response("200 OK", PLAIN)
    return [b"whole"]


def download(environ, start_response):
    """64 MiB, then the growth of the peak of memory into the log."""
    before = peak_kib()

    def blocks():
        for _ in range(64):
            yield BIG
        print(f"download grew {peak_kib() - before}", file=sys.stderr, flush=True)
    start_response("200 OK", PLAIN + [("Content-Length", str(64 * len(BIG)))])
    return blocks()


def big_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return [BIG] * 8


def endless(environ, start_response):
    start_response("200 OK", PLAIN)
    return Body(iter(lambda: BIG, b""), "endless")


def endless_write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    try:
        while True:
            send(BIG)
    except OSError as error:
        print(f"write broke: {type(error).__name__}", file=sys.stderr, flush=True)
        raise


def step(environ, start_response):
    """Yields, waits for the file ?name, yields again."""
    start_response("200 OK", PLAIN)
    yield b"first"
    end = time.monotonic() + 20
    while not os.path.exists(environ["QUERY_STRING"]) and time.monotonic() < end:
        time.sleep(0.005)
    yield b"second" if os.path.exists(environ["QUERY_STRING"]) else b"nobody came"


# ---- files ------------------------------------------------------------------------------------------


def make_file(data):
    file = tempfile.TemporaryFile()
    file.write(data)
    file.seek(0)
    return file


def file_whole(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](make_file(BIG))


def file_from_offset(environ, start_response):
    file = make_file(BIG)
    file.read(1000)
    start_response("200 OK", PLAIN + [("Content-Length", "5000")])
    return environ["wsgi.file_wrapper"](file, 512)


def file_object(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory" * 3), 9)


def file_gzip(environ, start_response):
    """A file-like whose descriptor holds other bytes than read() gives."""
    packed = make_file(gzip.compress(b"unpacked"))
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](gzip.GzipFile(fileobj=packed))


def file_closed(environ, start_response):
    class Watched(io.FileIO):
        def close(self):
            if not self.closed:
                print("closed the file", file=sys.stderr, flush=True)
            super().close()
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](Watched(__file__))


# ---- the rest ---------------------------------------------------------------------------------------


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    start_response("200 OK", PLAIN)
    return [b"hinted"]


def meet(environ, start_response):
    """Answers only when four requests are inside."""
    barrier.wait()
    start_response("200 OK", PLAIN)
    return [b"met"]


def keep(environ, start_response):
    """Keeps everything it was given."""
    kept.append((environ, start_response, environ["wsgi.input"], environ["wsgi.early_hints"],
                 start_response("200 OK", PLAIN)))
    return [environ["wsgi.input"].read()]


def use_kept(environ, start_response):
    """Uses what keep() has kept from other requests: each use must be an error."""
    found = []
    for old_environ, old_start, source, early_hints, send in kept:
        assert old_environ["PATH_INFO"] == "/keep"
        for use in (lambda: old_start("200 OK", PLAIN), source.read, lambda: early_hints([]),
                    lambda: send(b"x")):
            try:
                use()
                found.append("worked")
            except RuntimeError:
                found.append("refused")
    kept.clear()
    start_response("200 OK", PLAIN)
    return [" ".join(found).encode()]


def blocks(environ, start_response):
    """Allocated blocks of the interpreter, without garbage that waits for the collector."""
    gc.collect()
    start_response("200 OK", PLAIN)
    return [str(sys.getallocatedblocks()).encode()]


def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("to the error log\n")
    stream.writelines(["line 1\n", "line 2\n"])
    stream.flush()
    start_response("200 OK", PLAIN)
    return [b"logged"]


def valid_inner(environ, start_response):
    body = environ["wsgi.input"].read(1000)
    start_response("200 OK", PLAIN)
    return [b"valid " + body]


valid = validator(valid_inner)

CASES = {name: value for name, value in list(globals().items())
         if callable(value) and name[0] != "_" and name not in ("validator", "Body")}


def app(environ, start_response):
    return CASES[environ["PATH_INFO"].strip("/").partition("/")[0]](environ, start_response)
