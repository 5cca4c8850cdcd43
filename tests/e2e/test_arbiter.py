"""The Python side of the arbiter: hooks, exit codes, reload, signals, saola.run() and the shim.

Workers are of a class written as a third party would write it, so nothing here depends on an HTTP
engine unless the test says so.
"""

import json
import re
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from harness import DATA, TOP, Server, is_alive, wait_until

TINY = "tiny.TinyWorker"

HOOKS = {
    "nworkers_changed": "server, new, old", "on_starting": "server", "when_ready": "server",
    "on_reload": "server", "pre_fork": "server, worker", "post_fork": "server, worker",
    "post_worker_init": "worker", "worker_int": "worker", "worker_abort": "worker",
    "pre_exec": "server", "child_exit": "server, worker", "worker_exit": "server, worker",
    "on_exit": "server",
}


@pytest.fixture
def events(tmp_path: Path):
    """Configuration text whose hooks note (hook, pid, details) in a file, and a reader of it."""
    file = tmp_path / "events"
    lines = ["import json, os", f"def note(*what):\n    with open({str(file)!r}, 'a') as f:\n"
             "        f.write(json.dumps(what) + '\\n')"]
    for name, args in HOOKS.items():
        detail = "new, old" if name == "nworkers_changed" else (
            "str(worker.pid), worker.age" if "worker" in args else "server.pid, None")
        lines.append(f"def {name}({args}):\n    note({name!r}, os.getpid(), {detail})")

    def read():
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text().splitlines()]
    read.config = "\n".join(lines) + "\n"
    return read


@pytest.fixture
def tiny(serve):
    """Starts `saola` with the worker class above."""
    def start(app="hello:app", **options) -> Server:
        return serve(app, worker_class=TINY, **options)
    return start


def served_by(server: Server) -> int:
    return int(re.match(r"pid=(\d+)", server.get().text)[1])


# ---- hooks -----------------------------------------------------------------------------------------


def test_hooks_run_in_their_processes_and_in_gunicorns_order(tiny, events):
    server = tiny(config=events.config)
    first = served_by(server)
    server.signal(signal.SIGHUP)
    server.wait_log("Booting worker", 2)
    wait_until(lambda: not is_alive(first), "the first worker's end")
    second, = server.wait_workers(1)
    assert server.stop() == 0
    names = {server.pid: "arbiter", first: "one", second: "two"}
    seen = [(name, names[pid]) for name, pid, *_ in events()]

    def of(where):
        return [name for name, process in seen if process == where]
    assert of("one") == ["post_fork", "post_worker_init", "worker_exit"]
    assert of("two") == ["post_fork", "post_worker_init", "worker_exit"]
    arbiter = [name for name in of("arbiter") if name != "nworkers_changed"]
    assert arbiter == ["on_starting", "when_ready", "pre_fork", "on_reload", "pre_fork",
                       "child_exit", "child_exit", "on_exit"]
    assert seen[0] == ("nworkers_changed", "arbiter")
    assert [event[2:] for event in events() if event[0] == "nworkers_changed"][0] == [1, None]
    details = {(name, pid): (a, b) for name, pid, a, b in events()}
    assert details["post_fork", first] == (str(first), 1)
    assert details["worker_exit", second] == (str(second), 2)
    forks = [event[2:] for event in events() if event[0] == "pre_fork"]
    assert forks == [["[booting]", 1], ["[booting]", 2]]
    assert [e[2] for e in events() if e[0] == "child_exit"] == [str(first), str(second)]
    # The old one leaves only once the new one serves, and its exit hook runs before it is reaped.
    order = [(name, process) for name, process in seen]
    assert order.index(("post_worker_init", "two")) < order.index(("worker_exit", "one"))
    assert order.index(("worker_exit", "one")) < order.index(("child_exit", "arbiter"))


@pytest.mark.fault("M30")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("hook", ["on_reload", "child_exit", "nworkers_changed", "on_exit"])
def test_a_hook_that_raises_in_the_arbiter_is_logged_and_nothing_else(tiny, hook):
    args = HOOKS[hook]
    server = tiny(config=f"def {hook}({args}):\n    raise ValueError('from the hook')\n")
    first = served_by(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not is_alive(first), "the first worker's end")
    assert served_by(server) != first
    assert server.stop() == 0
    assert f"Exception in {hook} hook" in server.log
    assert "ValueError: from the hook" in server.log


@pytest.mark.fault("M30")
@pytest.mark.log_may_contain("Traceback")
def test_a_hook_that_exits_does_not_end_the_arbiter(tiny):
    """sys.exit() in a hook is the hook's own mistake; so is an interrupt."""
    server = tiny(config="import sys\n"
                         "def on_reload(server):\n    sys.exit(7)\n"
                         "def child_exit(server, worker):\n    raise KeyboardInterrupt\n")
    first = served_by(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not is_alive(first), "the first worker's end")
    assert served_by(server) != first
    server.wait_log("Exception in child_exit hook|child_exit hook asked to exit")
    assert "on_reload hook asked to exit" in server.log
    assert server.stop() == 0


@pytest.mark.fault("M30")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("hook", ["on_starting", "when_ready"])
def test_a_hook_that_raises_at_the_start_ends_it_with_code_1(tiny, hook):
    server = tiny(config=f"def {hook}(server):\n    raise ValueError('from the hook')\n", wait=False)
    assert server.wait_exit() == 1
    assert f"Exception in {hook} hook" in server.log
    assert "Booting worker" not in server.log


@pytest.mark.fault("M30")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("hook", ["post_fork", "post_worker_init"])
def test_a_hook_that_raises_while_a_worker_boots_ends_the_server_with_code_3(tiny, hook):
    server = tiny(config=f"def {hook}({HOOKS[hook]}):\n    raise ValueError('from the hook')\n",
                  wait=False)
    assert server.wait_exit() == 3
    assert server.log.count("ValueError: from the hook") == 1


@pytest.mark.log_may_contain("Traceback")
def test_a_worker_exit_hook_that_raises_is_a_warning(tiny):
    server = tiny(config="def worker_exit(server, worker):\n    raise ValueError('not saved')\n")
    served_by(server)
    assert server.stop() == 0
    assert "[WARNING] Exception during worker exit:" in server.log
    assert "ValueError: not saved" in server.log


def test_an_exit_hook_is_not_interrupted_by_further_signals(tiny, tmp_path):
    file = tmp_path / "state"
    server = tiny(config=textwrap.dedent(f"""
        import time
        def worker_exit(server, worker):
            print("saving", flush=True)
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                time.sleep(0.01)
            open({str(file)!r}, "w").write("saved")
        """))
    worker = served_by(server)
    server.signal(signal.SIGINT, worker)
    server.wait_log("^saving")
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        server.signal(number, worker)
    wait_until(lambda: not is_alive(worker), "the worker's end")
    assert file.read_text() == "saved"
    assert f"(pid:{worker}) was sent" not in server.log
    assert server.stop() == 0


def test_atexit_functions_of_a_worker_run_at_its_end(tiny, place):
    (place / "withexit.py").write_text("import atexit\natexit.register(print, 'atexit ran')\n"
                                       "def app(environ, start_response): pass\n")
    server = tiny("withexit:app")
    served_by(server)
    assert server.stop() == 0
    assert server.log.count("atexit ran") == 1


def test_the_log_names_the_worker_class(tiny):
    server = tiny()
    assert f"Using worker: {TINY}\n" in server.wait_log("Using worker.*\n")[0]
    assert server.stop() == 0


# ---- exit codes ------------------------------------------------------------------------------------


@pytest.mark.fault("W7")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("workers", [1, 3])
def test_an_application_that_raises_on_import_ends_with_code_3_and_is_told_once(
        tiny, place, workers):
    (place / "broken.py").write_text("raise KeyError('in the application')\n")
    server = tiny("broken:app", workers=workers, wait=False)
    assert server.wait_exit() == 3
    assert server.log.count("KeyError: 'in the application'") == 1
    assert server.log.count("Traceback") == 1
    assert "saola/arbiter.py" not in server.log


@pytest.mark.fault("W7")
@pytest.mark.parametrize("app, code, text", [
    ("hello:nothing", 4, "Failed to find attribute 'nothing' in 'hello'"),
    ("hello:os", 4, "Application object must be callable"),
    ("no_such_module:app", 3, "No module named 'no_such_module'"),
])
def test_an_application_that_cannot_be_used_is_one_line(tiny, app, code, text):
    server = tiny(app, wait=False)
    assert server.wait_exit() == code
    assert server.log.count(text) == 1


@pytest.mark.log_may_contain("Traceback")
def test_a_worker_class_without_run_is_a_failed_boot(serve):
    server = serve("hello:app", worker_class="tiny.NoRun", wait=False)
    assert server.wait_exit() == 3
    assert "NotImplementedError: tiny.NoRun has no method run()." in server.log
    assert server.log.count("Booting worker") == 1


# ---- workers ---------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced(tiny):
    server = tiny(workers=2)
    first, second = server.wait_workers(2)
    server.wait_log("Booting worker", 2)
    server.signal(signal.SIGKILL, first)
    server.wait_log("Booting worker", 3)
    assert second in server.wait_workers(2)
    assert first not in server.worker_pids
    assert served_by(server) in server.worker_pids
    assert server.stop() == 0


def test_ttin_and_ttou_change_the_number_of_workers(tiny, events):
    server = tiny(config=events.config)
    oldest, = server.wait_workers(1)
    server.signal(signal.SIGTTIN)
    server.wait_workers(2)
    # One that still boots would go before the oldest, which serves.
    wait_until(lambda: served_by(server) != oldest, "an answer of the new worker")
    server.signal(signal.SIGTTOU)
    left, = server.wait_workers(1)
    assert left != oldest
    server.signal(signal.SIGTTOU)
    server.wait_log("Handling signal: ttou", 2)
    assert served_by(server) == left
    assert server.stop() == 0
    changes = [event[2:] for event in events() if event[0] == "nworkers_changed"]
    assert changes[:3] == [[1, None], [2, 1], [1, 2]]


def test_a_hook_may_set_the_number_of_workers(tiny):
    server = tiny(config="def when_ready(server):\n    server.num_workers = 3\n")
    server.wait_workers(3)
    assert server.stop() == 0


def test_hup_and_usr2_to_a_worker_are_ignored(tiny):
    server = tiny()
    worker = served_by(server)
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGHUP):
        server.signal(number, worker)
    server.wait_log(r"SIGUSR2 ignored in worker")
    assert served_by(server) == worker
    assert server.log.count("SIGHUP ignored") == 1
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_end_a_worker_through_worker_int(tiny, events, number):
    server = tiny(config=events.config)
    worker = served_by(server)
    server.signal(number, worker)
    wait_until(lambda: not is_alive(worker), "the worker's end")
    server.wait_log("Booting worker", 2)
    assert [e[0] for e in events() if e[1] == worker][-2:] == ["worker_int", "worker_exit"]
    assert server.stop(number) == 0


def test_abort_shows_the_stacks_and_runs_worker_abort(tiny, events):
    server = tiny(config=events.config)
    worker = served_by(server)
    server.signal(signal.SIGABRT, worker)
    server.wait_log(rf"Worker \(pid:{worker}\) exited with code 1")
    assert [e[0] for e in events() if e[1] == worker][-2:] == ["worker_abort", "worker_exit"]
    assert "in run" in server.log
    assert server.stop() == 0


@pytest.mark.fault("M1")
def test_workers_leave_in_order_when_the_arbiter_is_killed(tiny, events, adopt):
    server = tiny(config=events.config)
    worker = served_by(server)
    adopt(worker)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    wait_until(lambda: not is_alive(worker), "the worker's end")
    assert [e[0] for e in events() if e[1] == worker][-1] == "worker_exit"
    assert "Parent changed, shutting down" in server.log


@pytest.mark.fault("M1")
def test_an_orphan_that_does_not_end_is_killed(serve, adopt):
    server = serve("hello:slow", worker_class="sync", settings={"graceful_timeout": 1})
    worker, = server.wait_workers(1)
    adopt(worker)
    with server.connect() as connection:
        connection.send(b"GET /?s=600 HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.read_until(b"begin")
        server.signal(signal.SIGKILL)
        server.wait_exit()
        wait_until(lambda: not is_alive(worker), "the worker's end")


# ---- reload ----------------------------------------------------------------------------------------


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("broken", ["def (", "workers = 'many'", "raise SystemExit(7)",
                                    "import os; os.environ['LEAK'] = 'yes'; 1/0",
                                    "import os; os.environ['LEAK'] = 'yes'; threads = 'x'",
                                    "loglevel = 'debug'; errorlog = '/no/such/directory/log'"])
def test_a_configuration_that_does_not_load_changes_nothing(serve, place, broken):
    config = place / "conf.py"
    config.write_text("raw_env = ['MARK=old']\n")
    server = serve("hello:app", "-c", str(config), worker_class=TINY)
    worker = served_by(server)
    config.write_text("raw_env = ['MARK=new']\n" + broken + "\n")
    server.signal(signal.SIGHUP)
    server.wait_log(r"(?i)\[ERROR\] .*reload")
    assert server.worker_pids == [worker]
    assert server.get().text == f"pid={worker} env=old leak=none\n"
    server.signal(signal.SIGKILL, worker)  # the replacement is of the old generation, too
    server.wait_log("Booting worker", 2)
    assert "env=old leak=none" in server.get().text
    assert "[DEBUG]" not in server.log
    config.write_text("raw_env = ['MARK=good']\n")
    server.signal(signal.SIGHUP)
    wait_until(lambda: "env=good" in server.get().text, "the new configuration")
    assert server.stop() == 0


def test_raw_env_that_a_reload_drops_is_gone(serve, place):
    config = place / "conf.py"
    config.write_text("raw_env = ['MARK=old']\n")
    server = serve("hello:app", "-c", str(config), worker_class=TINY)
    assert "env=old" in server.get().text
    config.write_text("")
    server.signal(signal.SIGHUP)
    wait_until(lambda: "env=none" in server.get().text, "workers without it")
    assert server.stop() == 0


@pytest.mark.log_may_contain("Traceback")
def test_an_application_that_does_not_load_any_more_changes_nothing(tiny, place):
    module = place / "changing.py"
    module.write_text("def app(environ, start_response): pass\n")
    server = tiny("changing:app")
    worker = served_by(server)
    module.write_text("def app(\n")
    server.signal(signal.SIGHUP)
    server.wait_log("SyntaxError")
    server.wait_log(r"(?i)\[ERROR\] .*reload")
    wait_until(lambda: server.worker_pids == [worker], "the old worker alone")
    assert served_by(server) == worker
    assert server.stop() == 0


def test_preload_keeps_the_application_over_a_reload_and_says_so(tiny, place):
    (place / "loud.py").write_text("import os\nprint('loaded in', os.getpid(), flush=True)\n"
                                   "def app(environ, start_response): pass\n")
    server = tiny("loud:app", settings={"preload_app": True})
    first = served_by(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not is_alive(first), "the first worker's end")
    server.wait_log("preload_app: the application stays")
    assert re.findall(r"loaded in (\d+)", server.log) == [str(server.pid)]
    assert server.stop() == 0


# ---- upgrade ---------------------------------------------------------------------------------------


def test_usr2_starts_a_second_arbiter_that_takes_over(tiny, events, adopt):
    server = tiny(config=events.config)
    old = served_by(server)
    server.signal(signal.SIGUSR2)
    server.wait_log("Booting worker", 2)
    second = int(server.wait_log(r"Listening at: .* \((\d+)\)", 2)[1])
    adopt(second)
    executed = [event for event in events() if event[0] == "pre_exec"]
    assert [(pid, of) for _, pid, of, _ in executed] == [(second, server.pid)]
    assert server.stop() == 0
    server.wait_log("Master has been promoted")
    wait_until(lambda: not is_alive(old), "the old worker's end")
    assert served_by(server) != old


# ---- saola.run() -----------------------------------------------------------------------------------


def script(place: Path, text: str) -> Path:
    file = place / "program.py"
    file.write_text(textwrap.dedent(text))
    return file


def test_run_serves_a_factory_and_calls_its_ends_in_each_worker(serve, place, worker_class):
    server = serve(script=script(place, f"""
        import os, saola
        def say(what):  # in one write: two workers share the log
            os.write(1, b"%s %d\\n" % (what.encode(), os.getpid()))
        def make():
            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"pid=%d" % os.getpid()]
            say("made in")
            return app
        saola.run(make, bind="127.0.0.1:0", workers=2, worker_class={worker_class!r},
                  on_start=lambda app: say("started " + app.__name__),
                  on_exit=lambda app: say("ended " + app.__name__))
        """))
    workers = set(server.wait_workers(2))
    server.wait_log("started app", 2)
    assert served_by(server) in workers
    assert server.stop() == 0
    for word in ("made in", "started app", "ended app"):
        assert {int(pid) for pid in re.findall(rf"{word} (\d+)", server.log)} == workers


def test_run_serves_a_named_application(serve, place):
    server = serve(script=script(place, """
        import saola
        saola.run("hello:app", bind="127.0.0.1:0", worker_class="tiny.TinyWorker")
        """), env={"PYTHONPATH": str(DATA)})
    assert served_by(server) in server.worker_pids
    assert server.stop() == 0


@pytest.mark.parametrize("call, code, text", [
    ("saola.run(7)", 1, "not int"),
    ("saola.run(lambda e, s: [], wokers=2)", 1, "wokers"),
    ("saola.run(lambda: 7, bind='127.0.0.1:0')", 4, "is not a WSGI application but int"),
    ("saola.run(lambda e, s: [], on_exit=3)", 1, "on_exit is a function"),
])
def test_run_tells_a_mistake_in_one_line(serve, place, call, code, text):
    server = serve(script=script(place, f"import saola\n{call}\n"), wait=False)
    assert server.wait_exit() == code
    assert [line for line in server.log.splitlines() if text in line]


def test_run_needs_the_main_thread(serve, place):
    server = serve(script=script(place, """
        import threading, saola
        def other():
            try:
                saola.run(lambda e, s: [], bind="127.0.0.1:0")
            except RuntimeError as error:
                print("refused:", error)
        thread = threading.Thread(target=other); thread.start(); thread.join()
        """), wait=False)
    assert server.wait_exit() == 0
    assert "refused: saola.run() needs the main thread" in server.log


# ---- programs written for gunicorn -------------------------------------------------------------------


PROGRAM = """
    import gunicorn.app.base
    import os

    class Custom(gunicorn.app.base.BaseApplication):
        def __init__(self, create, leave, bind):
            self.create, self.leave, self.bind = create, leave, bind
            super().__init__()

        @staticmethod
        def exit_worker(arbiter, worker):
            self = worker.app
            self.leave(self.created)

        def load_config(self):
            self.cfg.set("bind", self.bind)
            self.cfg.set("worker_class", "tiny.TinyWorker")
            self.cfg.set("workers", 1)
            self.cfg.set("worker_exit", Custom.exit_worker)

        def load(self):
            self.created = self.create()
            return self.created

    def create():
        def app(environ, start_response): pass
        app.owner = os.getpid()
        return app

    if __name__ == "__main__":
        Custom(create, lambda app: print("left", app.owner == os.getpid()), "localhost:0").run()
    """


def test_a_program_written_for_gunicorn_runs_unchanged(serve, place):
    file = script(place, PROGRAM)
    server = serve(command=[sys.executable, "-m", "saola.gunicorn", str(file)], bind=None,
                   env={"PYTHONPATH": str(DATA)})
    first = served_by(server)
    server.signal(signal.SIGUSR1)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not is_alive(first), "the first worker's end")
    assert served_by(server) != first
    assert server.stop() == 0
    assert re.findall("^left (.*)$", server.log, re.MULTILINE) == ["True", "True"]


def test_what_saola_lacks_of_gunicorn_is_named(serve, place):
    file = script(place, """
        import gunicorn, gunicorn.util
        for name in ("gunicorn.asgi", "gunicorn.ctl.client"):
            try:
                __import__(name)
            except ImportError as error:
                print("E:", error)
        for module in (gunicorn, gunicorn.util):
            try:
                module.no_such_thing
            except AttributeError as error:
                print("E:", error)
        import saola
        gunicorn.SERVER_SOFTWARE = "mine"
        print("E:", saola.SERVER_SOFTWARE, gunicorn.util is __import__("saola.util").util)
        """)
    server = serve(command=[sys.executable, "-m", "saola.gunicorn", str(file)], bind=None,
                   wait=False)
    assert server.wait_exit() == 0
    assert re.findall("^E: (.*)$", server.log, re.MULTILINE) == [
        "Saola has no counterpart of the module gunicorn.asgi",
        "Saola has no counterpart of the module gunicorn.ctl",
        "Saola has no counterpart of gunicorn.no_such_thing",
        "Saola has no counterpart of gunicorn.util.no_such_thing in saola.util",
        "mine True",
    ]


def test_replacing_a_part_of_the_arbiter_that_is_in_c_is_a_warning(serve, place):
    server = serve(script=script(place, """
        import saola
        from saola.arbiter import Arbiter
        from saola.app.base import BaseApplication
        from saola.script import ScriptApplication

        class Mine(Arbiter):
            def spawn_worker(self):
                raise AssertionError("never called")

        class App(ScriptApplication):
            def run(self):
                Mine(self).run()

        App("hello:app", None, None, None, None,
            {"bind": "127.0.0.1:0", "worker_class": "tiny.TinyWorker"}).run()
        """), env={"PYTHONPATH": str(DATA)})
    assert served_by(server) in server.worker_pids
    assert server.stop() == 0
    assert "Mine.spawn_worker() is never called" in server.log


# ---- the table of docs/lifecycle.md ------------------------------------------------------------------


def table_rows():
    """(event, [(hook, process), ...]) of each row; process is arbiter, worker, old or new."""
    text = (TOP / "docs" / "lifecycle.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (`\w+`@.*) \|$", text, re.MULTILINE)
    assert len(rows) >= 8
    return [(event, re.findall(r"`(\w+)`@(\w+)", hooks)) for event, hooks in rows]


def do_start(server):
    return {"worker": server.wait_workers(1)[0]}


def do_stop(server):
    worker, = server.wait_workers(1)
    assert server.stop() == 0
    return {"worker": worker}


def do_quick_stop(server):
    worker, = server.wait_workers(1)
    assert server.stop(signal.SIGINT) == 0
    return {"worker": worker}


def replaced(server, number, pid=None):
    old, = server.wait_workers(1)
    server.signal(number, pid and old)
    wait_until(lambda: not is_alive(old), "the end of the worker")
    return {"worker": old, "old": old, "new": server.wait_workers(1)[0]}


EVENTS = {
    "the server starts": do_start,
    "TERM to the arbiter": do_stop,
    "INT or QUIT to the arbiter": do_quick_stop,
    "HUP to the arbiter": lambda server: replaced(server, signal.SIGHUP),
    "TERM to a worker": lambda server: replaced(server, signal.SIGTERM, True),
    "INT or QUIT to a worker": lambda server: replaced(server, signal.SIGINT, True),
    "a worker hangs and gets ABRT": lambda server: replaced(server, signal.SIGABRT, True),
    "a worker is killed": lambda server: replaced(server, signal.SIGKILL, True),
}


@pytest.mark.parametrize("event, expected", table_rows(), ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("kind", ["sync", "gthread", TINY])
def test_hooks_are_those_of_the_table(serve, events, kind, event, expected):
    server = serve("hello:app", worker_class=kind, config=events.config)
    booted = [e for e in table_rows() if e[0] == "the server starts"][0][1]
    wait_until(lambda: len(events()) == len(booted), lambda: f"the start: {events()}")
    before = 0 if event == "the server starts" else len(booted)
    served_by(server)  # the arbiter may learn a little later that the worker is ready
    roles = EVENTS[event](server)
    roles["arbiter"] = server.pid
    wanted = [(name, roles[role]) for name, role in expected]
    wait_until(lambda: len(events()) >= before + len(wanted), lambda: f"{wanted}: {events()}")
    if event not in ("TERM to the arbiter", "INT or QUIT to the arbiter"):
        seen = events()[before:before + len(wanted)]
    else:
        seen = events()[before:]
    assert [(name, pid) for name, pid, *_ in seen] == wanted


@pytest.mark.parametrize("kind", ["sync", "gthread", TINY])
def test_an_exclusive_worker_has_ended_before_the_next_one_is_made(serve, events, kind):
    server = serve("hello:app", worker_class=kind, config=events.config,
                   settings={"hand_over": "exclusive"})
    roles = replaced(server, signal.SIGHUP)
    served_by(server)
    wait_until(lambda: ["post_worker_init", roles["new"]] in [e[:2] for e in events()], events)
    order = [name for name, *_ in events()]
    first = order.index("worker_exit")
    assert order[first:first + 4] == ["worker_exit", "child_exit", "pre_fork", "post_fork"]
