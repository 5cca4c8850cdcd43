"""A WSGI application with faults of its own, one a path."""

import ctypes
import fcntl
import os
import stat
import time


def app(environ, start_response):
    text = WAYS[environ["PATH_INFO"]]().encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def tell_pid() -> str:
    return str(os.getpid())


def hang() -> str:
    time.sleep(3600)
    return ""


def recurse() -> str:
    return recurse() + "."


def recurse_in_c() -> str:
    """The C library's parser of regular expressions goes one level deeper for each parenthesis."""
    pattern = b"(" * 5_000_000
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), pattern, 1)
    return "the stack was large enough"


def fill_pipes() -> str:
    """Writes to each pipe this process can write to until it is full; their names."""
    names = set()
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            flags, mode = fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_mode
        except OSError:
            continue  # the one that listed the directory
        if not stat.S_ISFIFO(mode) or flags & os.O_ACCMODE == os.O_RDONLY:
            continue
        if not flags & os.O_NONBLOCK:
            continue
        names.add(os.readlink(f"/proc/self/fd/{name}"))
        try:
            while True:
                os.write(fd, b"x")
        except BlockingIOError:
            pass
    return " ".join(names)


WAYS = {"/": tell_pid, "/hang": hang, "/recurse": recurse, "/recurse-in-c": recurse_in_c,
        "/fill-pipes": fill_pipes}
