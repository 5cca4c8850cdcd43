"""The application that every ASGI server of the benchmark runs; its paths are those of
app.py, and ``/wait``: 13 bytes after 10 ms. Every WebSocket is an echo."""

from __future__ import annotations

import asyncio

from bench.app import BODY_10K, BODY_256K, HELLO

WAITS = {"/sleep": 0.05, "/wait": 0.01}  # seconds


async def read_body(receive) -> bytes:
    """The whole request body."""
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


async def echo_messages(receive, send) -> None:
    """A WebSocket: each text comes back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def app(scope, receive, send) -> None:
    """ASGI 3."""
    if scope["type"] == "websocket":
        await echo_messages(receive, send)
        return
    if scope["type"] != "http":
        return
    path = scope["path"]
    status = 200
    if path == "/":
        body = HELLO
    elif path == "/10k":
        body = BODY_10K
    elif path == "/256k":
        body = BODY_256K
    elif path == "/echo":
        body = await read_body(receive)
    elif path in WAITS:
        await asyncio.sleep(WAITS[path])
        body = HELLO
    else:
        status, body = 404, b""
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
