"""A WSGI application that crashes for real, in C: /SEGV, /BUS, /ILL, /FPE, /ABRT; /hold never ends."""

import ctypes
import mmap
import os
import platform
import signal
import tempfile
import time

C = ctypes.CDLL(None)
ON_X86 = platform.machine() in ("x86_64", "AMD64")


def app(environ, start_response):
    what = environ["PATH_INFO"][1:]
    if what in WAYS:
        WAYS[what]()
    pid = b"%d\n" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(pid) + (what == "hold")))])
    return hold(pid) if what == "hold" else [pid]


def hold(pid):
    yield pid
    time.sleep(3600)


def segv():
    ctypes.string_at(0)


def bus():
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        view = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        view[0]


def ill():
    if not ON_X86:
        C["raise"](signal.SIGILL)
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x0f\x0b")  # ud2
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def fpe():
    if not ON_X86:
        C["raise"](signal.SIGFPE)
    C.div(1, 0)


WAYS = {"SEGV": segv, "BUS": bus, "ILL": ill, "FPE": fpe, "ABRT": C.abort}
