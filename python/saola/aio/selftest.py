"""The check before the fast path of aiohttp is taken: synthetic requests, answered both ways by an
application of our own on an engine of their own, must give the same bytes.

Process: a worker, at its start. Thread: the main one, inside its loop. Takes some milliseconds.
"""

import asyncio
import socket

from .. import _saola
from . import web

#: Seconds that all of it may take; then the public path is taken.
LIMIT = 2.0

REQUESTS = (
    b"GET /text?a=b HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX-Own: \xc3\xa9\r\n\r\nhello",
    b"POST /stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HEAD /text HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n",
    b"GET /text HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
    b"GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /304 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /text HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /missing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
)


def _handler(aiohttp_web):
    async def handle(request):
        headers = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "X-Seen": f"{request.method} {request.rel_url}"}
        if request.path == "/missing":
            raise aiohttp_web.HTTPNotFound(headers=headers)
        if request.path == "/stream":
            response = aiohttp_web.StreamResponse(headers=headers)
            await response.prepare(request)
            async for chunk in request.content.iter_any():
                await response.write(chunk)
                await response.write(b"-" * 3000)
            return response
        if request.path in ("/empty", "/304"):
            return aiohttp_web.Response(status=304 if request.path == "/304" else 200, headers=headers)
        body = await request.read()
        response = aiohttp_web.Response(body=body or b"Hello, World!", headers=headers)
        response.headers["X-Sent"] = repr(sorted(request.headers.items()))
        if "Accept-Encoding" in request.headers:
            response.enable_compression()
        return response

    return handle


async def _answers(loop, options, log, fast):
    """All bytes that a client gets for REQUESTS."""
    from aiohttp import web as aiohttp_web
    listener = socket.socket()
    client = socket.socket()
    engine = None
    server = aiohttp_web.Server(_handler(aiohttp_web), loop=loop, logger=log, access_log=None)
    try:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        engine = _saola.AsyncEngine(None, [listener.fileno()], None, options)
        engine.set_loop(loop, False)
        engine.set_aiohttp(web.Bridge(server, loop, web.Adopter(loop, server, log), fast))
        engine.accept()
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        await loop.sock_sendall(client, b"".join(REQUESTS))
        return await _read_all(loop, engine, client)
    finally:
        if engine is not None:
            engine.close()
        client.close()
        listener.close()
        await server.shutdown(0)


async def _read_all(loop, engine, client):
    """Until the end of file; the last request asks for it."""
    answers = b""
    reading = loop.create_task(loop.sock_recv(client, 65536), name="saola-selftest")
    while True:
        engine.turn()
        await asyncio.sleep(0)
        if not reading.done():
            continue
        data = reading.result()
        if not data:
            return answers
        answers += data
        reading = loop.create_task(loop.sock_recv(client, 65536), name="saola-selftest")


async def same_as_public(loop, options, log):
    """None when both ways give the same bytes, else what differs, in a few words."""
    drop = ("on_limit", "on_drained", "access_log", "files", "on_bad_request")
    options = {key: value for key, value in options.items() if key not in drop}
    options |= {"max_requests": 0, "proxy_protocol": 0}
    both = []
    for fast in (False, True):
        try:
            both.append(await asyncio.wait_for(_answers(loop, options, log, fast), LIMIT))
        except asyncio.TimeoutError:
            return "the check at the start took too long"
    if both[0] == both[1] and both[0].count(b"Server: ") == len(REQUESTS):
        return None
    log.debug("aiohttp answers %r, the fast path %r", *both)
    return "its responses are not what they should be"
