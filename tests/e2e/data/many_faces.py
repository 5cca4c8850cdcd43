"""The same application for each worker class: / answers with the pid of its process, /slow after half a
second."""

import os
import time


def text():
    return f"pid {os.getpid()}"


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("slow begins", flush=True)
        time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text())))])
    return [text().encode()]


async def asgi(scope, receive, send):
    import asyncio
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    if scope["path"] == "/slow":
        print("slow begins", flush=True)
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text().encode()})


def make_aiohttp():
    import asyncio
    from aiohttp import web

    async def handle(request):
        if request.path == "/slow":
            print("slow begins", flush=True)
            await asyncio.sleep(0.5)
        return web.Response(text=text())

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    return app


def make_tornado():
    import asyncio
    from tornado import web, websocket

    class Handler(web.RequestHandler):
        async def get(self):
            if self.request.path == "/slow":
                print("slow begins", flush=True)
                await asyncio.sleep(0.5)
            self.write(text())

    class Echo(websocket.WebSocketHandler):
        def on_message(self, message):
            self.write_message(f"echo {message}")

        def on_close(self):
            print("websocket closed", flush=True)

    class Stream(web.RequestHandler):
        async def get(self):
            for i in range(3):
                self.write(f"{i}.")
                await self.flush()

        async def post(self):
            self.set_status(299, "Own words")
            self.add_header("X-Own", "1")
            self.add_header("X-Own", "2")
            self.write(f"{len(self.request.body)} {self.request.remote_ip} {self.request.query} "
                       f"{self.get_body_argument('a', '')}")

    class Forever(web.RequestHandler):
        async def get(self):
            print("forever begins", flush=True)
            self.gone = asyncio.Event()
            await self.gone.wait()

        def on_connection_close(self):
            print("client has gone", flush=True)
            self.gone.set()

    class Detaches(web.RequestHandler):
        async def get(self):
            if self.get_query_argument("flush", ""):
                self.write("begun")
                await self.flush()
            self.detach()

    return web.Application([("/detach", Detaches), ("/websocket", Echo), ("/stream", Stream), ("/forever", Forever), ("/.*", Handler)])


try:
    tornado = make_tornado()
except ImportError:
    pass
