"""WSGI in Python: the response object of hooks and access log, wsgi.errors, environ's constants."""

import io
import os
import stat
import sys
from http import HTTPStatus

import saola
from .._saola import FileWrapper

__all__ = ["FileWrapper", "Response", "WSGIErrorsWrapper", "base_environ", "file_range"]


class Response:
    """What was answered, as gunicorn's access log and post_request know it.

    status: "200 OK". status_code: 200. headers: list of (name, value) that the application gave.
    sent, response_length: body bytes given to the client. chunked, headers_sent: bool.
    """

    __slots__ = ("req", "status", "status_code", "headers", "sent", "response_length", "chunked",
                 "headers_sent", "must_close", "_keep_alive", "__dict__")

    def __init__(self, req, status, code, headers, sent, chunked, keep_alive):
        if status[:3] != str(code):
            # The application failed; it may have named another status before.
            headers = []
        if status[:3] != str(code) or status == str(code):
            status = _status_line(code)
        self.req = req
        self.status = status
        self.status_code = code
        self.headers = headers or []
        self.sent = sent
        self.response_length = sent
        self.chunked = chunked
        self.headers_sent = True
        self.must_close = not keep_alive
        self._keep_alive = keep_alive

    def should_close(self):
        """True when the connection was closed after this response."""
        return not self._keep_alive

    def __repr__(self):
        return f"<Response {self.status}>"


def _status_line(code):
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


class WSGIErrorsWrapper(io.RawIOBase):
    """wsgi.errors: text written to it appears where the error log is written.

    Takes str as the PEP says, and bytes as gunicorn does.
    """

    def __init__(self, cfg):
        super().__init__()
        self._log = None
        if cfg is not None and getattr(cfg, "errorlog", "-") == "-":
            self._fixed = [sys.stderr]
        else:
            self._fixed = None

    def use(self, log):
        """From here on the streams are those of the handlers of this logger's error_log."""
        self._log = log
        return self

    def _streams(self):
        handlers = getattr(getattr(self._log, "error_log", None), "handlers", ())
        found = [handler.stream for handler in handlers if getattr(handler, "stream", None)]
        return found or self._fixed or [sys.stderr]

    def write(self, data):
        """Writes str (or bytes) to every stream of the error log; returns its length."""
        text = data.decode("utf-8", "replace") if isinstance(data, (bytes, bytearray)) else data
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(data).__name__}")
        for stream in self._streams():
            stream.write(text)
            stream.flush()
        return len(data)

    def writelines(self, lines):
        """Writes each of the lines."""
        for line in lines:
            self.write(line)

    def flush(self):
        """Writes out what the streams hold back."""
        for stream in self._streams():
            stream.flush()

    def writable(self):
        """True."""
        return True


def base_environ(cfg):
    """The entries of environ that are the same for every request of a worker."""
    return {
        "wsgi.errors": WSGIErrorsWrapper(cfg),
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": cfg.workers > 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "SERVER_SOFTWARE": saola.SERVER_SOFTWARE,
    }


def file_range(filelike):
    """(descriptor, offset, length) if the kernel may send this open file from its position to its
    end; None for everything else.

    Wrappers whose descriptor does not hold the bytes that read() returns (gzip, text, zip members)
    are None: only plain binary files, and objects that are not of the io module but have fileno()
    and tell(), count.
    """
    if isinstance(filelike, io.IOBase):
        raw = getattr(filelike, "raw", filelike)
        if not isinstance(raw, io.FileIO):
            return None
    try:
        descriptor = filelike.fileno()
        offset = filelike.tell()
        status = os.fstat(descriptor)
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    inner = getattr(filelike, "file", None)
    if inner is not None and inner is not filelike and isinstance(inner, io.IOBase):
        raw = getattr(inner, "raw", inner)
        if not isinstance(raw, io.FileIO):
            return None
    if not stat.S_ISREG(status.st_mode) or not isinstance(offset, int):
        return None
    return descriptor, offset, max(0, status.st_size - offset)
