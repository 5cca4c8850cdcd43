"""A worker class as a third party would write it for gunicorn: its own loop, one request at a time."""

import os
import select

from gunicorn.workers.base import Worker


class TinyWorker(Worker):
    """Answers every request with its pid and two variables of its environment."""

    def run(self):
        for listener in self.sockets:
            listener.setblocking(False)
        while self.alive:
            self.notify()
            ready, _, _ = select.select([*self.sockets, self.PIPE[0]], [], [], 0.5)
            for listener in ready:
                if listener is self.PIPE[0]:
                    os.read(listener, 64)
                    continue
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    continue
                self.serve(client)

    def serve(self, client):
        with client:
            client.setblocking(True)
            client.recv(65536)
            body = "pid=%d env=%s leak=%s\n" % (
                os.getpid(), os.environ.get("MARK", "none"), os.environ.get("LEAK", "none"))
            body = body.encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                           % (len(body), body))


class NoRun(Worker):
    """Forgot to implement run()."""
