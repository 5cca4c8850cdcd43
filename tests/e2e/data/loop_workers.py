"""Worker classes of third parties that give self.sockets to a loop's own server."""

import asyncio
import os

from gunicorn.workers.base import Worker

ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Gevent(Worker):
    def init_process(self):
        from gevent import hub
        hub.reinit()
        super().init_process()

    def run(self):
        import gevent
        from gevent.server import StreamServer

        def handle(sock, address):
            sock.recv(65536)
            sock.sendall(ANSWER)

        servers = [StreamServer(listener, handle) for listener in self.sockets]
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            gevent.sleep(0.2)
        for server in servers:
            server.stop(1)


class GeventDetached(Gevent):
    """As gunicorn's own class does it: new sockets of gevent for the same descriptors."""

    def init_process(self):
        import gevent.socket
        sockets = []
        for s in self.sockets:
            sockets.append(gevent.socket.socket(s.FAMILY, gevent.socket.SOCK_STREAM, fileno=s.sock.detach()))
        self.sockets = sockets
        super().init_process()


class Tornado(Worker):
    def run(self):
        asyncio.run(self.serve())

    async def serve(self):
        from tornado import httpserver, web

        class Hello(web.RequestHandler):
            def get(self):
                self.write("ok")

        server = httpserver.HTTPServer(web.Application([("/", Hello)]))
        for listener in self.sockets:
            listener.setblocking(0)
            server.add_socket(listener)
        while self.alive:
            self.notify()
            await asyncio.sleep(0.2)
        server.stop()
        await server.close_all_connections()


class Streams(Worker):
    """asyncio's, and uvloop's where LOOP says so."""

    def run(self):
        if os.environ["LOOP"] == "uvloop":
            import uvloop
            uvloop.install()
        asyncio.run(self.serve())

    async def serve(self):
        async def handle(reader, writer):
            await reader.read(65536)
            writer.write(ANSWER)
            writer.close()

        servers = [await asyncio.start_server(handle, sock=listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            await asyncio.sleep(0.2)
        for server in servers:
            server.close()
