"""A stateful service written for gunicorn, unchanged but for the address argument.

    python -m saola.gunicorn examples/counter/counter_gunicorn.py [HOST:PORT]

The program is that of the article "Running Gunicorn webserver from Python with state preserving
object". `python -m saola.gunicorn` lets `import gunicorn` mean saola. counter.py is the same service
in saola's own form.
"""

import sys

import gunicorn.app.base


class CustomUnicornApp(gunicorn.app.base.BaseApplication):
    """
    This gunicorn app class provides create and exit callbacks for workers,
    and runs gunicorn with a single worker and multiple gthreads
    """

    def __init__(self, create_app_callback, exit_app_callback, host_port):
        self._configBind = host_port
        self._createAppCallback = create_app_callback
        self._exitAppCallback = exit_app_callback
        super().__init__()

    @staticmethod
    def exitWorker(arbiter, worker):
        # worker.app provides us with a reference to "self", and we can call the
        # exit callback with the object created by the createAppCallback:
        self = worker.app
        self._exitAppCallback(self._createdApp)

    def load_config(self):
        self.cfg.set("bind", self._configBind)
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("workers", 1)
        self.cfg.set("threads", 4)
        self.cfg.set("worker_exit", CustomUnicornApp.exitWorker)
        # Try to uncomment and make 10 requests, to test correct restart of worker:
        # self.cfg.set("max_requests", 10)

    def load(self):
        # This function is invoked when a worker is booted
        self._createdApp = self._createAppCallback()
        return self._createdApp


# --- Stateful service example ---

import threading
from bottle import Bottle


class StatefulService():
    def __init__(self, value):
        print("Service starts, state: %d" % value)
        self.value = value

    @staticmethod
    def load(filename):
        try:
            with open(filename, "r") as f:
                value = int(f.read())
        except:
            value = 0
        return StatefulService(value)

    def save(self, filename):
        print("Saving state: %d" % self.value)
        with open(filename, "w") as f:
            f.write(str(self.value))

    def getValue(self):
        self.value += 1
        return self.value


# --- HTML and server

# The demo page has a button with inline javascript that fetches /getvalue endpoint
# and uses promises to update DOM:
demoHtml = """
<html><body>
<button onclick="fetch('/getvalue')
    .then(response => response.json())
    .then(response => this.innerHTML = 'Value: ' + response.value)">Click me</button>
</body></html>"""


def startServer():
    def create():
        app = Bottle()
        lock = threading.Lock()
        service = StatefulService.load("state.txt")

        @app.route("/")
        def getIndex():
            # Serve static content, no lock protection necessary:
            return demoHtml

        @app.route("/getvalue")
        def getValue():
            # Get value from the service, protected by a lock
            # as multiple threads may call this:
            with lock:
                value = service.getValue()
            return '{"value":%d}' % value

        # Store reference to the service in the bottle app object
        app.serviceObj = service
        return app

    def exit(app):
        # Get the service through the app object and save state
        app.serviceObj.save("state.txt")

    CustomUnicornApp(create, exit, sys.argv[1] if len(sys.argv) > 1 else "localhost:8001").run()


if __name__ == "__main__":
    startServer()
