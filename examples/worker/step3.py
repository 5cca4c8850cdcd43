"""A complete worker class: the application's answers, one request at a time. See docs/writing-a-worker.md.

    saola -k step3.MyWorker app:app

HTTP is the standard library's here; with Saola's own engine derive from saola.workers.sync.SyncWorker.
"""

import os
import selectors
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from saola.workers.base import Worker


class MyWorker(Worker):

    @classmethod
    def check_config(cls, cfg, log):
        """In the arbiter, at the start and at each reload, which a RuntimeError ends."""
        if cfg.threads > 1:
            raise RuntimeError("threads: MyWorker serves one request at a time; leave it out")

    def __init__(self, *args, **kwargs):
        """In the arbiter, before the fork: no threads, no loops, no connections."""
        super().__init__(*args, **kwargs)
        self.selector = None

    def init_process(self):
        """In the worker. What super().init_process() does ends in run(), so it comes last."""
        self.selector = selectors.DefaultSelector()
        super().init_process()

    def run(self):
        for listener in self.sockets:
            listener.setblocking(False)
            self.selector.register(listener.fileno(), selectors.EVENT_READ, listener)
        self.selector.register(self.PIPE[0], selectors.EVENT_READ)  # a signal has come
        while self.alive:
            self.notify()  # also notices when the arbiter has died
            for key, _ in self.selector.select(min(1.0, self.timeout or 1.0)):
                if key.data is None:
                    os.read(self.PIPE[0], 4096)
                elif self.alive:
                    self.accept(key.data)
        self.selector.close()

    def accept(self, listener):
        try:
            client, address = listener.accept()
        except BlockingIOError:  # another worker was faster
            return
        with client:
            client.settimeout(5)  # one at a time: a slow client must not hold up the others
            try:
                Answer(client, address or ("", 0), self)
            except OSError as exc:
                self.log.debug("client %s: %s", address, exc)

    def begin_request(self):
        self.nr += 1
        if self.nr >= self.max_requests:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    # ---- signals, after what the base class does with them

    def handle_exit(self, sig, frame):
        """TERM. `alive` is false from here on."""
        super().handle_exit(sig, frame)
        self.log.debug("%s leaves after %d requests", self, self.nr)


class Answer(WSGIRequestHandler):
    """One connection with one request."""

    base_environ = {"SERVER_NAME": "localhost", "SERVER_PORT": "80"}

    def __init__(self, client, address, worker):
        self.worker = worker
        super().__init__(client, address, self)  # the "server" that wsgiref asks for base_environ

    def handle(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        self.worker.begin_request()
        handler = ServerHandler(self.rfile, self.wfile, self.get_stderr(), self.get_environ(),
                                multithread=False, multiprocess=self.worker.cfg.workers > 1)
        handler.request_handler = self
        handler.run(self.worker.wsgi)

    def address_string(self):
        return self.client_address[0]

    def log_message(self, format, *args):
        self.worker.log.access_log.info("%s %s", self.address_string(), format % args)
