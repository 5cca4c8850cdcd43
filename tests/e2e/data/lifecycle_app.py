"""One application in three worlds, whose payload runs from startup to cleanup: ASGI, aiohttp, WSGI.
WHAT in the environment: raise or hang in startup. What happens is printed."""

import asyncio
import os
import time

payload = None


def say(text):
    os.write(1, f"{text} in {os.getpid()}\n".encode())


async def run_payload():
    say("payload begins")
    try:
        await asyncio.Event().wait()
    finally:
        say("payload ends")


async def start_app(app=None):
    global payload
    say("startup")
    what = os.environ.get("WHAT")
    if what and os.path.exists(what):  # a file: from now on
        what = open(what).read().strip()
    if what == "raise":
        raise ValueError("no database")
    if what == "hang":
        await asyncio.Event().wait()
    payload = asyncio.get_running_loop().create_task(run_payload())


async def stop_app(app=None):
    payload.cancel()
    await asyncio.wait([payload])
    say("cleanup")


async def answer(path):
    if path == "/block":
        time.sleep(1000)
    if path == "/forever":
        say("request")
        await asyncio.Event().wait()
    return "hello"


async def lifespan(receive, send):
    await receive()
    await start_app()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop_app()
    await send({"type": "lifespan.shutdown.complete"})


def make_asgi():
    say("load")

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        body = (await answer(scope["path"])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    return app


def make_aiohttp():
    from aiohttp import web

    async def handle(request):
        return web.Response(text=await answer(request.path))

    say("load")
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    app.on_startup.append(start_app)
    app.on_cleanup.append(stop_app)
    return app


def make_wsgi():
    say("load")

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/block":
            time.sleep(1000)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
    return app
