"""The application that every aiohttp server of the benchmark runs; its paths are those of
app.py, ``/wait``: 13 bytes after 10 ms, and ``/ws``: a WebSocket that is an echo."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bench.app import BODY_10K, HELLO


async def hello(request: web.Request) -> web.Response:
    """13 bytes."""
    return web.Response(body=HELLO, content_type="text/plain")


async def ten_k(request: web.Request) -> web.Response:
    """10 KiB."""
    return web.Response(body=BODY_10K, content_type="text/plain")


async def echo(request: web.Request) -> web.Response:
    """The request's body."""
    return web.Response(body=await request.read(), content_type="text/plain")


async def sleep(request: web.Request) -> web.Response:
    """50 ms later."""
    await asyncio.sleep(0.05)
    return web.Response(body=HELLO, content_type="text/plain")


async def wait(request: web.Request) -> web.Response:
    """10 ms later."""
    await asyncio.sleep(0.01)
    return web.Response(body=HELLO, content_type="text/plain")


async def echo_messages(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket: each text comes back."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


def make() -> web.Application:
    """The application."""
    application = web.Application()
    application.router.add_get("/", hello)
    application.router.add_get("/10k", ten_k)
    application.router.add_post("/echo", echo)
    application.router.add_get("/sleep", sleep)
    application.router.add_get("/wait", wait)
    application.router.add_get("/ws", echo_messages)
    return application


app = make()
