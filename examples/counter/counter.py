"""A counter that survives the restarts of its worker: the demo of `make run`.

    python examples/counter/counter.py [HOST:PORT]

One worker process with four threads holds one Counter. create() runs in each new worker and reads
state.txt of the current directory; save() runs when a worker ends and writes it. Set MAX_REQUESTS=10
and click: the worker is replaced after every tenth request and the value goes on. hand_over="exclusive"
makes sure that there are never two workers with a counter each, whatever happens.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import saola

STATE = Path("state.txt")
PAGE = Path(__file__).with_name("page.html")


class Counter:
    """A value that is never handed out twice."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.lock = threading.Lock()
        print(f"Service starts, state: {value}", flush=True)

    @classmethod
    def load(cls, path: Path) -> "Counter":
        """Reads the value; a missing file means 0. A damaged one is an error: it is not overwritten."""
        return cls(int(path.read_text()) if path.exists() else 0)

    def save(self, path: Path) -> None:
        """Replaces the file as a whole: a crash leaves the old value or the new one, never half."""
        print(f"Saving state: {self.value}", flush=True)
        beside = path.with_suffix(".new")
        with open(beside, "w") as file:
            file.write(str(self.value))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)

    def next(self) -> int:
        with self.lock:
            self.value += 1
            return self.value


class Application:
    """The WSGI application (PEP 3333): the page, and the value as JSON."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.page = PAGE.read_bytes()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/":
            return self.answer(start_response, "200 OK", "text/html; charset=utf-8", self.page)
        if path == "/getvalue":
            return self.value(start_response, self.counter.next())
        if path == "/value":
            return self.value(start_response, self.counter.value)
        return self.answer(start_response, "404 Not Found", "text/plain", b"There is no such page.\n")

    def value(self, start_response, value: int):
        body = json.dumps({"value": value, "worker": os.getpid()}).encode()
        return self.answer(start_response, "200 OK", "application/json", body)

    @staticmethod
    def answer(start_response, status: str, content_type: str, body: bytes):
        start_response(status, [("Content-Type", content_type), ("Cache-Control", "no-store"),
                                ("Content-Length", str(len(body)))])
        return [body]


def create() -> Application:
    return Application(Counter.load(STATE))


def save(application: Application) -> None:
    application.counter.save(STATE)


if __name__ == "__main__":
    saola.run(create, bind=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000",
              workers=1, threads=4, max_requests=int(os.environ.get("MAX_REQUESTS", "0")),
              on_exit=save, hand_over="exclusive")
