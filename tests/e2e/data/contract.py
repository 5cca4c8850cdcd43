"""A worker class that looks at everything gunicorn promises it, at each step of its life."""

import json
import logging
import os
import socket
import sys

from gunicorn.workers.base import Worker


class Contract(Worker):
    seen = {}

    @classmethod
    def setup(cls):
        cls.seen["setup"] = os.getpid()

    @classmethod
    def check_config(cls, cfg, log):
        cls.seen["check_config"] = [os.getpid(), cfg.workers]

    def __init__(self, age, ppid, sockets, app, timeout, cfg, log):
        super().__init__(age, ppid, sockets, app, timeout, cfg, log)
        self.note("init", self.facts())

    def facts(self):
        return {
            "here": os.getpid(), "age": self.age, "ppid": self.ppid, "timeout": self.timeout, "pid": self.pid,
            "booted": self.booted, "aborted": self.aborted, "alive": self.alive, "nr": self.nr,
            "max_requests": self.max_requests, "wsgi": callable(self.wsgi), "text": str(self),
            "reloader": self.reloader, "pipe": len(self.PIPE), "sockets": len(self.sockets),
            "env": os.environ.get("MARK"),
        }

    def note(self, step, facts):
        self.seen[step] = facts

    def init_process(self):
        self.note("init_process", self.facts())
        super().init_process()

    def init_signals(self):
        self.note("init_signals", self.facts())
        super().init_signals()

    def load_wsgi(self):
        self.note("before load", self.facts())
        super().load_wsgi()
        self.note("load", self.facts())

    def run(self):
        self.note("run", self.facts())
        sock, cfg, log = self.sockets[0], self.cfg, self.log
        tmp = os.fstat(self.tmp.fileno())
        self.note("more", {
            "socket": [sock.family == socket.AF_INET, sock.type == socket.SOCK_STREAM, sock.getsockname()[0],
                       sock.FAMILY == sock.family, sock.sock.fileno() == sock.fileno(), sock.gettimeout(),
                       sock.cfg_addr == sock.getsockname(), os.get_inheritable(sock.fileno()), str(sock)],
            "list": isinstance(self.sockets, list), "wait_fds": self.wait_fds == self.sockets + [self.PIPE[0]],
            "tmp": tmp.st_size, "signals": [int(number) for number in self.SIGNALS] != [],
            "loggers": [log.error_log.name, log.access_log.name,
                        isinstance(log.error_log, logging.Logger) and len(log.error_log.handlers) > 0],
            "cfg": [cfg.is_ssl, cfg.keepalive, cfg.settings["backlog"].value, cfg.ssl_options.get("ciphers"),
                    cfg.forwarded_allow_ips, cfg.access_log_format[:4], cfg.graceful_timeout, cfg.accesslog,
                    cfg.logconfig, cfg.worker_connections, cfg.certfile, cfg.keyfile, cfg.ca_certs, cfg.ciphers,
                    int(cfg.cert_reqs), callable(cfg.worker_int), callable(cfg.worker_abort)],
        })
        print("CONTRACT", json.dumps(self.seen), flush=True)
        while self.alive:
            self.notify()
            try:
                import select
                select.select([self.PIPE[0]], [], [], 1)
            except OSError:
                sys.exit(9)
