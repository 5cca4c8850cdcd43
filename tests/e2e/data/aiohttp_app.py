"""aiohttp applications that the tests look at from outside. What happens is printed."""

import asyncio
import gc
import os
import time

from aiohttp import web

FILE = __file__
told = []


def say(text):
    os.write(1, f"{text} in {os.getpid()}\n".encode())  # in one piece, whoever else prints


async def hello(request):
    return web.Response(text="hello")


async def show(request):
    """What the application sees of a request."""
    peer = request.transport.get_extra_info("peername")
    return web.json_response({
        "method": request.method, "path": request.path, "query": dict(request.query), "raw": request.raw_path,
        "version": list(request.version), "host": request.host, "remote": request.remote,
        "peer": peer[0], "scheme": request.scheme,
        "name": request.match_info.get("name"), "headers": [list(item) for item in request.headers.items()],
        "raw_headers": [[name.decode(), value.decode("latin-1")] for name, value in request.raw_headers],
        "middleware": request.get("middleware"), "cookies": dict(request.cookies),
        "closing": request.transport.is_closing(), "body": request.can_read_body,
    })


async def echo(request):
    return web.Response(body=await request.read())


async def count(request):
    total = largest = 0
    async for chunk in request.content.iter_any():
        total += len(chunk)
        largest = max(largest, len(chunk))
        if "slow" in request.query:
            await asyncio.sleep(0)
    return web.Response(text=f"{total}")


async def form(request):
    data = await request.post()
    return web.Response(text=" ".join(f"{key}={value}" for key, value in data.items()))


async def ignore_body(request):
    return web.Response(text="did not read")


async def stream(request):
    response = web.StreamResponse(headers={"X-Own": "1"})
    if "length" in request.query:
        response.content_length = 6
    if "gzip" in request.query:
        response.enable_compression()
    await response.prepare(request)
    for i in range(3):
        await response.write(b"%d." % i)
        await asyncio.sleep(0.001 if "wait" in request.query else 0)
    if "eof" in request.query:
        await response.write_eof(b"end")
    return response


async def built(request):
    """A response as the query says."""
    query = request.query
    response = web.Response(status=int(query.get("status", 200)), reason=query.get("reason"),
                            body=query.get("body", "").encode() or None)
    for name in query.getall("header", ()):
        response.headers.add(*name.split(":", 1))
    if "cookie" in query:
        response.set_cookie("name", query["cookie"])
    if "gzip" in query:
        response.enable_compression()
    if "close" in query:
        response.force_close()
    return response


async def big(request):
    """64 blocks of 256 KiB, each told of when it was taken."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(bytes(1 << 18))
        told.append("block")
    return response


async def squeezed(request):
    response = web.Response(text="squeezed " * 100)
    response.enable_compression()
    return response


async def file(request):
    return web.FileResponse(FILE)


async def large_file(request):
    return web.FileResponse(os.environ["LARGE_FILE"])


async def boom(request):
    raise ValueError("boom")


async def boom_after(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"part")
    raise ValueError("boom after")


async def refused(request):
    raise web.HTTPForbidden(text="no", headers={"X-Why": "because"})


async def nothing(request):
    return None


async def close(request):
    response = web.Response(text="close")
    response.force_close()
    return response


async def abort(request):
    request.transport.abort()
    return web.Response(text="never seen")


async def slow(request):
    told.append("slow")
    await asyncio.sleep(0.3)
    return web.Response(text="slow")


async def forever(request):
    told.append("forever")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        told.append("cancelled")
        raise


async def write_forever(request):
    """Until the client has gone."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"tick")
            await asyncio.sleep(0.005)
    except ConnectionResetError as exc:
        told.append(type(exc).__name__)
        raise


async def block(request):
    time.sleep(30)


async def tell(request):
    """What was told since the last look."""
    text = " ".join(told)
    told.clear()
    return web.Response(text=text)


async def objects(request):
    gc.collect()
    names = [type(o).__name__ for o in gc.get_objects()]
    kinds = ("Request", "ASGIRequest", "AiohttpWriter", "Task", "StreamReader", "Response")
    found = {kind: names.count(kind) for kind in kinds}
    found["fds"] = len(os.listdir("/proc/self/fd"))
    return web.json_response(found)


async def expect(request):
    """An expect handler that refuses what it is told to."""
    if "refuse" in request.query:
        raise web.HTTPExpectationFailed(text="refused")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def websocket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    request.app["sockets"].add(ws)
    try:
        async for message in ws:
            if message.type == web.WSMsgType.TEXT:
                await ws.send_str("echo " + message.data)
            elif message.type == web.WSMsgType.BINARY:
                await ws.send_bytes(message.data)
    finally:
        request.app["sockets"].discard(ws)
        say("websocket over")
    return ws


@web.middleware
async def middleware(request, handler):
    request["middleware"] = "went through"
    response = await handler(request)
    if isinstance(response, web.Response) and not response.prepared:
        response.headers["X-Middleware"] = "1"
    return response


async def on_prepare(request, response):
    response.headers["X-Prepared"] = "1"


async def context(app):
    say("context up")
    yield
    await asyncio.sleep(float(os.environ.get("CLEANUP", "0")))
    say("context down")


async def startup(app):
    say("startup")


async def shutdown(app):
    say("shutdown")
    for ws in set(app["sockets"]):
        await ws.close(code=1001, message=b"going away")


async def cleanup(app):
    say("cleanup")


def make(name="app", hook=True):
    app = web.Application(middlewares=[middleware], client_max_size=1 << 20)
    app["sockets"] = set()
    app.cleanup_ctx.append(context)
    app.on_startup.append(startup)
    app.on_shutdown.append(shutdown)
    app.on_cleanup.append(cleanup)
    if hook:
        app.on_response_prepare.append(on_prepare)
    for handler in (hello, show, stream, built, big, squeezed, file, large_file, boom, boom_after, refused, nothing,
                    close, abort, slow, forever, write_forever, block, tell, objects, websocket):
        app.router.add_get(f"/{handler.__name__}", handler)
    for handler in (echo, count, form, ignore_body):
        app.router.add_post(f"/{handler.__name__}", handler)
    app.router.add_post("/expect", echo, expect_handler=expect)
    app.router.add_get("/named/{name}", show)
    app.router.add_static("/static", os.path.dirname(FILE))
    say("made")
    return app


async def make_async(name="app"):
    await asyncio.sleep(0)
    return make(name)


async def make_runner():
    """The public path: the application brings its own runner."""
    return web.AppRunner(make(), access_log=None)


async def make_unhooked():
    """Nobody wants to see responses before they are sent."""
    return make(hook=False)


async def make_unhooked_runner():
    return web.AppRunner(make(hook=False))


def make_sync_runner():
    return web.AppRunner(make())


async def make_cancelling():
    return web.AppRunner(make(), handler_cancellation=True)


def needs_arguments(one):
    return make()


async def make_nothing():
    return 42


async def failing():
    app = make()

    async def fail(app):
        if os.environ["HOW"] == "hang":
            await asyncio.Event().wait()
        raise ValueError("no database")

    app.on_startup.append(fail)
    return app


async def payload():
    """An application with a background task that ends, as HOW says, when END is asked for."""
    app = make()
    end = asyncio.Event()

    async def run():
        say("payload runs")
        try:
            await end.wait()
        except asyncio.CancelledError:
            say("payload cancelled")
            raise
        if os.environ["HOW"] == "raise":
            raise ValueError("payload failed")

    async def start(app):
        app["payload"] = asyncio.create_task(run(), name="payload")

    async def stop(app):
        app["payload"].cancel()

    async def finish(request):
        end.set()
        return web.Response(text="finish")

    app.on_startup.append(start)
    app.on_cleanup.append(stop)
    app.router.add_get("/finish", finish)
    return app


def __getattr__(name):
    """The instance is made only where it is asked for."""
    if name in ("app", "application"):
        return make()
    raise AttributeError(name)
