"""A counter whose requests and whose saving take as long as a test wants, in two forms.

    python stateful.py saola|gunicorn HOST:PORT

/getvalue counts; /slow?s=SECONDS sleeps first. SAVE_SECONDS is how long saving takes: the file is
emptied at its beginning and written at its end, as careless programs do. SETTINGS: more settings, JSON.
"""

import json
import os
import sys
import threading
import time
from urllib.parse import parse_qs

STATE = "state.txt"
SETTINGS = {"hand_over": "exclusive", "threads": 4, "workers": 1,
            **json.loads(os.environ.get("SETTINGS", "{}"))}


class Counter:
    def __init__(self):
        try:
            with open(STATE) as file:
                self.value = int(file.read() or "-1000")  # torn: a test sees it
        except FileNotFoundError:
            self.value = 0
        self.lock = threading.Lock()
        os.write(1, b"loaded %d in %d\n" % (self.value, os.getpid()))

    def save(self):
        os.write(1, b"saving in %d\n" % os.getpid())
        with self.lock:
            value = self.value
        with open(STATE, "w") as file:
            time.sleep(float(os.environ.get("SAVE_SECONDS", "0")))
            file.write(str(value))
        os.write(1, b"saved %d in %d\n" % (value, os.getpid()))

    def __call__(self, environ, start_response):
        seconds = float(parse_qs(environ["QUERY_STRING"]).get("s", ["0"])[0])
        if seconds:
            os.write(1, b"sleeping in %d\n" % os.getpid())
        time.sleep(seconds)
        with self.lock:
            self.value += 1
            body = b"%d" % self.value
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def run_saola(bind):
    import saola
    saola.run(Counter, factory=True, bind=bind, on_exit=Counter.save, **SETTINGS)


def run_gunicorn(bind):
    from gunicorn.app.base import BaseApplication

    class Program(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", bind)
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("worker_exit", lambda server, worker: worker.app.counter.save())
            for name, value in SETTINGS.items():
                self.cfg.set(name, value)

        def load(self):
            self.counter = Counter()
            return self.counter

    Program().run()


if __name__ == "__main__":
    {"saola": run_saola, "gunicorn": run_gunicorn}[sys.argv[1]](sys.argv[2])
