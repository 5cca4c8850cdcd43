"""A web application whose main payload is a background task, embedded: the program of the question "What is a
lifecycle of Aiohttp application when used together with Gunicorn?", completed. docs/aiohttp.md answers it.

    python -m saola.gunicorn examples/payload/payload.py [HOST:PORT] [WORKERS] [WORKER_CLASS]

`python -m saola.gunicorn` lets `import gunicorn` mean saola. GET / shows what the payload has done.
"""

import asyncio
import os
import sys

import gunicorn.app.base
from aiohttp import web


def say(text):
    os.write(1, f"{text} in {os.getpid()}\n".encode())  # one write: several processes print


class PayloadClass:
    def __init__(self):
        self.rounds = 0

    async def run(self):
        while True:
            self.rounds += 1
            await asyncio.sleep(0.1)


async def start_app(app: web.Application) -> None:
    say("start_app")
    app["payload_obj"] = PayloadClass()
    app["payload_task"] = asyncio.create_task(app["payload_obj"].run())


async def stop_app(app: web.Application) -> None:
    app["payload_task"].cancel()
    say("stop_app")


async def show(request: web.Request) -> web.Response:
    return web.json_response({"pid": os.getpid(), "rounds": request.app["payload_obj"].rounds})


def create_aiohttp_app() -> web.Application:
    app = web.Application()
    app["payload_obj"] = app["payload_task"] = None  # once started it takes no new keys
    app.router.add_get("/", show)
    app.on_startup.append(start_app)
    app.on_cleanup.append(stop_app)
    return app


class GunicornApp(gunicorn.app.base.Application):
    def __init__(self, options):
        self._options = options
        super().__init__()

    def load_config(self):
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self):
        say("load()")
        return create_aiohttp_app()


if __name__ == "__main__":
    address, workers, kind, *rest = [*sys.argv[1:], *("127.0.0.1:8000", "1", "aiohttp")[len(sys.argv) - 1:]]
    GunicornApp({"bind": address, "workers": int(workers), "worker_class": kind,
                 **dict(word.split("=", 1) for word in rest)}).run()
