"""One application for each kind of host that says what it was given, and streams (probe.c is the one in C).

/report (and any other path) answers in JSON: who the client is said to be, the scheme, and the header fields by name, in lower
case with dashes. /stream?DIR gives piece after piece; after each one it waits, without giving anything back
to the server, until DIR/NUMBER exists. /status?CODE answers with that status, and gives a body whether there may
be one or not.
"""

import json
import os
import time

PIECES = [1, 100, 20_000, 70_000]
LENGTH = sum(PIECES)


def piece(number):
    return bytes([97 + number]) * PIECES[number]


def wait_for(directory, name):
    """Blocks, loop and all: only what is on its way already reaches the client meanwhile."""
    end = time.monotonic() + 60
    while not os.path.exists(f"{directory}/{name}"):
        if time.monotonic() > end:
            raise TimeoutError(f"nobody has made {name}")
        time.sleep(0.002)


def dashed(headers):
    return {name.lower().replace("_", "-"): value for name, value in headers}


# ---- WSGI ----------------------------------------------------------------------------------------------


def blocks(directory):
    for number in range(len(PIECES)):
        yield piece(number)
        wait_for(directory, number)


def wsgi(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if not path.startswith(("/stream", "/status")):
        report = {key.lower(): environ.get(key) for key in (
            "REMOTE_ADDR", "REMOTE_PORT", "PROXY_PROTOCOL", "PROXY_ADDR", "PROXY_PORT", "SCRIPT_NAME")}
        report |= {"scheme": environ["wsgi.url_scheme"], "headers": dashed(
            (key[5:], value) for key, value in environ.items() if key.startswith("HTTP_"))}
        start_response("200 OK", [])
        return [json.dumps(report).encode()]
    if path == "/status":
        start_response(f"{query} Whatever", [])
        return [b"a body"]
    length = [("Content-Length", str(LENGTH))] if path == "/stream_length" else []
    write = start_response("200 OK", length)
    if path != "/stream_write":
        return blocks(query)
    for number in range(len(PIECES)):
        write(piece(number))
        wait_for(query, number)
    return []


# ---- ASGI ----------------------------------------------------------------------------------------------


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    path, query = scope["path"], scope["query_string"].decode()
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if not path.startswith(("/stream", "/status")):
        client = scope["client"] or (None, None)
        report = {"remote_addr": client[0], "remote_port": client[1] and str(client[1]), "scheme": scope["scheme"],
                  "headers": dashed((name.decode(), value.decode()) for name, value in scope["headers"])}
        await send(start)
        await send({"type": "http.response.body", "body": json.dumps(report).encode()})
        return
    if path == "/status":
        await send(start | {"status": int(query), "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"a ", "more_body": True})
        await send({"type": "http.response.body", "body": b"body"})
        return
    if path == "/stream_length":
        start["headers"] = [(b"content-length", str(LENGTH).encode())]
    await send(start | {"trailers": path == "/stream_trailers"})
    if path == "/stream_head":
        await send({"type": "http.response.body", "more_body": True})
        wait_for(query, "head")
    for number in range(len(PIECES)):
        last = path == "/stream_trailers" and number == len(PIECES) - 1
        await send({"type": "http.response.body", "body": piece(number), "more_body": not last})
        wait_for(query, number)
    if path == "/stream_trailers":
        await send({"type": "http.response.trailers", "headers": [(b"sum", b"42")]})
    else:
        await send({"type": "http.response.body"})


# ---- aiohttp -------------------------------------------------------------------------------------------


def make_aiohttp(own_runner=False):
    from aiohttp import web

    async def report(request):
        peer = request.transport.get_extra_info("peername")
        return web.json_response({
            "remote_addr": request.remote, "remote_port": str(peer[1]) if peer else None, "scheme": request.scheme,
            "headers": dashed(request.headers.items())})

    async def status(request):
        return web.Response(status=int(request.query_string), body=b"a body")

    async def stream(request):
        response = web.StreamResponse()
        if request.path == "/stream_length":
            response.content_length = LENGTH
        await response.prepare(request)
        if request.path == "/stream_head":
            wait_for(request.query_string, "head")
        for number in range(len(PIECES)):
            await response.write(piece(number))
            wait_for(request.query_string, number)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/status", status)
    app.router.add_get("/{stream:stream.*}", stream)
    app.router.add_route("*", "/{other:.*}", report)
    return web.AppRunner(app) if own_runner else app


async def aiohttp_runner():
    return make_aiohttp(own_runner=True)
