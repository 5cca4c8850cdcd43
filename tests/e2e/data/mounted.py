"""The Python application beside a mounted one."""

import ctypes
import os


def app(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        # A call that keeps the interpreter's lock until somebody writes into the pipe.
        fd = os.open(environ["QUERY_STRING"], os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        ctypes.PyDLL(None).poll(ctypes.create_string_buffer(bytes([fd, 0, 0, 0, 1, 0, 0, 0]), 8), 1, -1)
        os.close(fd)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"python"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"python"})
