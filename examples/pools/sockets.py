"""Four processes answer on one socket: python examples/pools/sockets.py [port], then curl http://127.0.0.1:8080/

Needs aiohttp. The socket is opened in the supervisor and shared by its descriptor; each worker has a loop, an
aiohttp application and its clean end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from aiohttp import web

from saola.pool import Supervisor, WorkerBase


def open_socket(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


class Web(WorkerBase):
    def __init__(self, worker_id: int, loop: asyncio.AbstractEventLoop):
        super().__init__(worker_id, loop)
        self.on_start(self.serve)
        self.on_shutdown(self.cleanup)

    async def pong(self, request: web.Request) -> web.Response:
        return web.Response(text=f"pong from #{self.id} {os.getpid()}!\n")

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_get("/", self.pong)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.SockSite(self.runner, sock).start()

    async def cleanup(self) -> None:
        await self.runner.cleanup()

    async def main(self) -> None:
        await self.stopped()


if __name__ == "__main__":
    sock = open_socket(int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
    print("pong at http://{}:{}/".format(*sock.getsockname()), flush=True)
    Supervisor(Web, workers=4, preserve_fds=[sock.fileno()]).main()
