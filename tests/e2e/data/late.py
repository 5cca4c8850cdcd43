"""Worker classes, and an application, that miss the signal to leave."""

import asyncio
import signal
import time

from gunicorn.workers.base import Worker
from many_faces import asgi, make_aiohttp, wsgi  # noqa: F401


def until_asked(worker):
    """Waits until the arbiter has asked the worker to leave, and its signal has come."""
    print("at the gate", flush=True)
    while worker.slot.asked is None:
        time.sleep(0.01)
    time.sleep(0.1)


class Gate:
    """Asked to leave when the handlers are there and the loop does not run yet."""

    def load_wsgi(self):
        super().load_wsgi()
        until_asked(self)


try:
    from aiohttp import GunicornUVLoopWebWorker, GunicornWebWorker
except ImportError:
    pass
else:
    class Aiohttp(Gate, GunicornWebWorker):
        """Stock asyncio."""

    class AiohttpUvloop(Gate, GunicornUVLoopWebWorker):
        """uvloop drops the signal."""

try:
    from uvicorn_worker import UvicornWorker
except ImportError:
    pass
else:
    class Uvicorn(Gate, UvicornWorker):
        """Its handlers come with its loop: until then the signal ends the process."""


class Own(Worker):
    """A loop of its own, whose handlers nobody but the class can know of before run()."""

    def run(self):
        import uvloop
        loop = uvloop.new_event_loop()
        loop.add_signal_handler(signal.SIGTERM, self.handle_exit, signal.SIGTERM, None)
        until_asked(self)

        async def serve():
            while self.alive:
                self.notify()
                await asyncio.sleep(0.1)

        loop.run_until_complete(serve())
        loop.close()


def hears_nothing():
    """A handler of the application's in the place of the worker's."""
    signal.signal(signal.SIGTERM, lambda number, frame: print("mine", flush=True))
    return wsgi


def wraps():
    """Takes long, and makes an exception of its own of whatever ends it, as imports of classes do (__set_name__)."""
    try:
        try:
            print("loading", flush=True)
            time.sleep(60)
        except BaseException as exc:
            raise RuntimeError("Error calling __set_name__") from exc
    except RuntimeError:
        raise ImportError("not my fault") from None


def sleeps():
    """Takes long."""
    print("loading", flush=True)
    time.sleep(60)
