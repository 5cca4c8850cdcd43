"""Worker classes of somebody else's: the contract they are promised, and what they are told when they
break it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest

from harness import DATA, SERVER, TOP, children_of, wait_until
from capi import compile_app
from pool_scripts import NO_LEAK_SEARCH

# ---- the contract ------------------------------------------------------------------------------------


def contract_of(server):
    return json.loads(server.wait_log(r"^CONTRACT (.*)$").group(1))


def test_a_worker_class_finds_everything_at_its_time(serve):
    server = serve("hello:app", worker_class="contract.Contract",
                   settings={"raw_env": ["MARK=here"], "timeout": 7, "max_requests": 100})
    seen = contract_of(server)
    (pid,) = server.worker_pids
    start = {"age": 1, "ppid": server.pid, "timeout": 3.5, "booted": False, "aborted": False, "alive": True, "nr": 0,
             "max_requests": 100, "wsgi": False, "reloader": None, "pipe": 0, "sockets": 1, "env": "here"}
    booting = {**start, "here": server.pid, "pid": "[booting]", "text": "<Worker [booting]>"}
    child = {**start, "here": pid, "pid": pid, "text": f"<Worker {pid}>"}
    piped = {**child, "pipe": 2}
    assert seen["setup"] == seen["check_config"][0] == server.pid
    assert seen["init"] == booting
    assert seen["init_process"] == child
    assert seen["init_signals"] == seen["before load"] == piped
    assert seen["load"] == {**piped, "wsgi": True}
    assert seen["run"] == {**piped, "wsgi": True, "booted": True}
    more = seen["more"]
    assert more["socket"] == [True, True, "127.0.0.1", True, True, 0.0, True, False, server.url]
    assert more["list"] and more["wait_fds"] and more["tmp"] == 0 and more["signals"]
    assert more["loggers"] == ["gunicorn.error", "gunicorn.access", True]
    assert more["cfg"] == [None, 2, 2048, None, ["127.0.0.1", "::1"], "%(h)", 30, None, None, 1000, None, None, None,
                           None, 0, True, True]
    assert server.stop() == 0


CLASS_OBJECT = """
    import sys
    sys.path.insert(0, {data!r})
    from tiny import TinyWorker

    class Mine(TinyWorker):
        pass

    worker_class = Mine
    bind = "127.0.0.1:0"
    wsgi_app = "hello:app"
    pythonpath = {data!r}
    """


def test_a_class_of_the_configuration_file_is_a_worker_class(serve):
    server = serve(config=textwrap.dedent(CLASS_OBJECT.format(data=str(DATA))), bind=None)
    assert b"pid=" in server.get("/").body
    assert "Using worker: Mine" in server.log
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    assert b"pid=" in server.get("/").body
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["mine", "egg:third#mine"])
def test_an_entry_point_is_a_worker_class(serve, tmp_path, name):
    about = tmp_path / "site" / "third-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gunicorn.workers]\nmine = tiny:TinyWorker\n")
    server = serve("hello:app", "-k", name, env={"PYTHONPATH": f"{about.parent}:{DATA}"})
    assert b"pid=" in server.get("/").body
    assert server.stop() == 0


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"no {module} for this Python")


@pytest.mark.parametrize("name, loop", [
    ("Streams", "asyncio"), pytest.param("Streams", "uvloop", marks=needs("uvloop")),
    pytest.param("Gevent", "", marks=needs("gevent")), pytest.param("GeventDetached", "", marks=needs("gevent")),
    pytest.param("Tornado", "", marks=needs("tornado")),
])
def test_the_sockets_are_what_loops_take(serve, name, loop):
    server = serve("hello:app", worker_class=f"loop_workers.{name}", workers=2, env={"LOOP": loop})
    first = server.wait_workers(2)
    for _ in range(4):
        assert server.get("/").text == "ok"
    server.signal(signal.SIGHUP)
    wait_until(lambda: not set(first) & set(server.worker_pids), "new workers")
    assert server.get("/").text == "ok"
    assert server.stop() == 0


# ---- what is told to a class that is wrong --------------------------------------------------------------


def lines_of(server):
    """The log without times and pids."""
    return [re.sub(r"\(?pid: ?\d+\)?", "PID", re.sub(r"^\[[^]]*\] \[\d+\] ", "", line))
            for line in server.log.splitlines()]


@pytest.mark.log_may_contain("Traceback")
def test_a_class_without_run_prints_the_lines_of_the_question_and_what_to_write(serve):
    server = serve("hello:app", "--timeout", "30", worker_class="odd_workers.Empty", wait=False)
    assert server.wait_exit() == 3
    lines = lines_of(server)
    starting, listening, using, booting, exception, traceback, *rest = lines
    assert re.match(r"\[INFO\] Starting saola ", starting)
    assert re.match(r"\[INFO\] Listening at: http://127.0.0.1:\d+ ", listening)
    assert using == "[INFO] Using worker: odd_workers.Empty"
    assert booting.startswith("[INFO] Booting worker with")
    assert exception == "[ERROR] Exception in worker process"
    assert traceback == "Traceback (most recent call last):"
    assert any("self.run()" in line for line in rest)
    told = [line for line in lines if line.startswith("NotImplementedError")]
    assert told == ["NotImplementedError: odd_workers.Empty has no method run(). Write `def run(self)`: it accepts "
                    "connections from self.sockets and answers them while self.alive is true, and calls self.notify() "
                    "more often than every 15 seconds (docs/writing-a-worker.md)"]
    after = lines[lines.index(told[0]) + 1:]
    assert after[0].startswith("[INFO] Worker exiting")
    assert "[ERROR] Reason: Worker failed to boot." in after
    assert server.log.count("Booting worker") == 1 and server.log.count("Traceback") == 1


def test_a_class_that_never_notifies_is_told(serve):
    server = serve("hello:app", "--timeout", "1", worker_class="odd_workers.Silent")
    server.wait_log("WORKER TIMEOUT")
    server.wait_log(r"odd_workers\.Silent has never called self\.notify\(\): run\(\) must call it more often than "
                    r"every 0\.5 seconds")
    assert server.stop() == 0


def test_a_class_that_never_looks_at_alive_is_told(serve):
    server = serve("hello:app", "--graceful-timeout", "1", worker_class="odd_workers.Deaf")
    server.wait_workers(1)
    server.wait_log("Booting worker")
    server.signal(signal.SIGTERM)
    server.wait_log(r"did not stop within 1 seconds")
    server.wait_log(r"odd_workers\.Deaf was asked to leave and did not look at self\.alive since")
    assert server.wait_exit() == 0


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("name, words", [
    ("Raises", "Exception in odd_workers.Raises.__init__(), which runs in the arbiter"),
    ("NoSuper", "NoSuper.__init__() does not call super().__init__"),
])
def test_a_constructor_that_fails_is_a_boot_that_failed(serve, name, words):
    server = serve("hello:app", worker_class=f"odd_workers.{name}", wait=False)
    assert server.wait_exit() == 3
    assert words in server.log and "Reason: Worker failed to boot." in server.log
    server.wait_log(r"A worker could not be started: (ValueError: no such queue|TypeError: NoSuper)")
    assert "Booting worker with" not in server.log and server.log.count("Traceback") <= 1


@pytest.mark.log_may_contain("Traceback")
def test_an_exception_in_run_is_told_with_its_place(serve):
    server = serve("hello:app", worker_class="odd_workers.Fails")
    server.wait_log("Exception in worker process")
    server.wait_log("ValueError: in the middle")
    server.wait_log(r"Worker \(pid:\d+\) exited with code 255\.")
    server.stop()


def test_a_run_that_returns_at_once_is_told_and_does_not_come_back_at_once(serve):
    server = serve("hello:app", worker_class="odd_workers.Returns")
    server.wait_log(r"odd_workers\.Returns\.run\(\) returned although nobody has asked the worker to leave")
    server.wait_log("Workers died 3 times in a row; next attempt in")
    assert server.log.count("Booting worker") < 8
    server.stop()


@pytest.mark.parametrize("status", [0, 1, 3, 4, 77])
def test_an_exit_with_any_code_is_told(serve, status):
    server = serve("hello:app", worker_class="odd_workers.Exits", env={"STATUS": str(status)})
    server.wait_log(rf"odd_workers\.Exits\.run\(\) has ended the worker with exit status {status} although")
    if status:
        server.wait_log(rf"Worker \(pid:\d+\) exited with code {status}\.")
    server.stop()


@pytest.mark.parametrize("name", ["Forks", "ForksAndReturns"])
def test_a_fork_of_the_worker_that_goes_on_as_if_it_were_the_worker_is_told(serve, adopt, name):
    server = serve("hello:app", worker_class=f"odd_workers.{name}", config="""
def worker_exit(server, worker): print("EXIT HOOK", flush=True)
""")
    told = server.wait_log(r"Process (\d+) is a fork of <Worker \d+> and goes on as if it were the worker")
    adopt(int(told.group(1)))  # the worker does not wait for it
    (pid,) = server.worker_pids
    wait_until(lambda: not [child for child in children_of(pid) if child.state != "Z"], "the end of the fork")
    assert server.log.count("Booting worker") == 1 and "EXIT HOOK" not in server.log
    assert "Parent changed" not in server.log
    assert server.stop() == 0
    assert server.log.count("EXIT HOOK") == 1


def test_threads_before_the_fork_are_told(serve):
    # What a thread has that does not exist in the worker nobody frees there.
    server = serve("hello:app", worker_class="odd_workers.Threads", workers=2, env=NO_LEAK_SEARCH)
    server.wait_log("Booting worker", 2)
    server.wait_log(r"odd_workers\.Threads\.__init__\(\) has started 1 thread\(s\): too-early\. It runs in the arbiter")
    assert server.stop() == 0
    assert server.log.count("has started") == 1


def test_the_times_of_the_workers_file_are_a_heartbeat(serve):
    server = serve("hello:app", "--timeout", "3", worker_class="odd_workers.Descriptor")
    server.wait_log("LIVED for longer than timeout")
    assert server.stop() == 0
    assert "WORKER TIMEOUT" not in server.log


# ---- import gunicorn ---------------------------------------------------------------------------------

# Import paths that public code has, with what it takes from there.
PATHS = """
    gunicorn: __version__ version_info SERVER SERVER_SOFTWARE
    gunicorn.app.base: BaseApplication Application
    gunicorn.app.wsgiapp: WSGIApplication run
    gunicorn.arbiter: Arbiter
    gunicorn.app.pasterapp: serve get_wsgi_app has_logging_config
    gunicorn.config: Config Setting KNOWN_SETTINGS make_settings validate_pos_int validate_string AccessLogFormat
    gunicorn.errors: AppImportError ConfigError HaltServer
    gunicorn.glogging: Logger CONFIG_DEFAULTS SafeAtoms
    gunicorn.http: Request
    gunicorn.http.errors: ParseException InvalidHeader NoMoreData LimitRequestLine InvalidRequestLine
    gunicorn.http.message: Request
    gunicorn.http.wsgi: Response base_environ FileWrapper
    gunicorn.pidfile: Pidfile
    gunicorn.reloader: reloader_engines
    gunicorn.sock: TCPSocket UnixSocket
    gunicorn.util: import_app load_class _setproctitle getcwd http_date close_on_exec reraise
    gunicorn.workers: SUPPORTED_WORKERS
    gunicorn.workers.base: Worker
    gunicorn.workers.base_async: AsyncWorker ALREADY_HANDLED
    gunicorn.workers.sync: SyncWorker
    gunicorn.workers.gthread: ThreadWorker
    gunicorn.workers.gasgi: ASGIWorker
    gunicorn.workers.ggevent: GeventWorker GeventPyWSGIWorker
    gunicorn.workers.gtornado: TornadoWorker
    gunicorn.workers.workertmp: WorkerTmp
    """

# What is missing, and a word of the reason.
MISSING = """
    gunicorn.dirty App dirty arbiters
    gunicorn.dirty.app DirtyApp dirty arbiters
    gunicorn.http RequestParser parsed in C
    gunicorn.http get_parser parsed in C
    gunicorn.http.wsgi create made in C
    gunicorn.http2.response HTTP2Response HTTP/2
    gunicorn.instrument.statsd Statsd metrics
    gunicorn.sock create_sockets opened and kept by the arbiter
    gunicorn.sock ssl_context TLS
    gunicorn.workers.gthread TConn the engine, in C
    gunicorn.workers.ggevent StreamServer the engine, in C
    """

SHIM = """
import importlib, json, sys
import saola.gunicorn
saola.gunicorn.install()
found, missing = {}, []
for line in sys.argv[1].strip().splitlines():
    name, _, attributes = line.partition(": ")
    module = importlib.import_module(name.strip())
    found.update({f"{name.strip()}.{a}": getattr(module, a) is not None for a in attributes.split()})
    exec(f"from {name.strip()} import {', '.join(attributes.split())}")
for line in sys.argv[2].strip().splitlines():
    module, attribute, reason = line.split(None, 2)
    for use in (f"from {module} import {attribute}", f"import {module}; {module}.{attribute}"):
        try:
            exec(use)
        except (ImportError, AttributeError) as exc:
            missing.append([type(exc).__name__, module, attribute, reason, str(exc)])
    assert not hasattr(importlib.import_module(module), attribute)
print(json.dumps([found, missing]))
"""


def test_every_import_path_is_ours_or_says_why_not():
    done = subprocess.run([sys.executable, "-c", SHIM, PATHS, MISSING], text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found, missing = json.loads(done.stdout)
    assert len(found) > 50 and all(found.values())
    assert len(missing) == 2 * len(MISSING.strip().splitlines())
    for i, (kind, module, attribute, reason, text) in enumerate(missing):
        assert kind == ("ImportError", "AttributeError")[i % 2]
        assert text.startswith(f"Saola has no counterpart of {module}.{attribute}") and reason in text, text


def test_the_pid_file_of_scripts(tmp_path):
    from saola.pidfile import Pidfile
    name, other = str(tmp_path / "pid"), str(tmp_path / "other")
    mine = Pidfile(name)
    mine.create(os.getpid())
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n" and mine.validate() == os.getpid()
    mine.create(os.getpid())  # again
    with subprocess.Popen(["sleep", "60"]) as living:
        (tmp_path / "other").write_text(f"{living.pid}\n")
        with pytest.raises(RuntimeError, match=f"Already running on PID {living.pid}"):
            Pidfile(other).create(os.getpid())
        living.kill()
    assert Pidfile(other).validate() is None
    mine.rename(other)
    assert sorted(os.listdir(tmp_path)) == ["other"] and mine.validate() == os.getpid()
    Pidfile(other).unlink()  # somebody else's object
    assert os.listdir(tmp_path) == ["other"]
    mine.unlink()
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError, match="doesn't exist"):
        Pidfile(str(tmp_path / "none" / "pid")).create(1)


# ---- docs/writing-a-worker.md ----------------------------------------------------------------------------

EXAMPLES = TOP / "examples" / "worker"


def squeezed(text):
    """Code without indentation and comments of C."""
    return " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split())


def test_the_code_of_the_page_is_that_of_the_programs():
    page = (TOP / "docs" / "writing-a-worker.md").read_text()
    programs = [squeezed(path.read_text()) for path in EXAMPLES.iterdir() if path.suffix in (".c", ".py")]
    blocks = [block for block in re.findall(r"```(?:python|c)\n(.*?)```", page, re.DOTALL) if "..." not in block]
    assert len(blocks) == 3
    for block in blocks:
        assert any(squeezed(block.partition("class MyWorker")[2] or block) in program for program in programs), block


@pytest.mark.log_may_contain("Traceback")
def test_the_empty_class_of_the_page(serve):
    server = serve("hello:app", worker_class="step1.MyWorker", env={"PYTHONPATH": str(EXAMPLES)}, wait=False)
    assert server.wait_exit() == 3
    assert "NotImplementedError: step1.MyWorker has no method run()." in server.log


def test_the_small_class_of_the_page(serve):
    server = serve("hello:app", worker_class="step2.MyWorker", env={"PYTHONPATH": str(EXAMPLES)})
    assert server.get("/").text == "hello\n"
    assert server.stop() == 0


def test_the_complete_class_of_the_page(serve):
    env = {"PYTHONPATH": str(EXAMPLES)}
    server = serve("hello:app", "--access-logfile", "-", worker_class="step3.MyWorker", env=env)
    assert server.get("/").status == 200
    server.wait_log('127.0.0.1 "GET / HTTP/1.1" 200')
    assert server.stop() == 0
    server = serve("hello:app", "--threads", "2", worker_class="step3.MyWorker", env=env, wait=False)
    assert server.wait_exit() == 1
    assert "threads: MyWorker serves one request at a time; leave it out" in server.log


def test_the_classes_in_c_of_the_page(serve, tmp_path):
    def start(step, **options):
        target = compile_app(EXAMPLES / f"{step}.c", tmp_path / f"{step}.so")
        command = [*SERVER, "-k", f"{target}:my_worker", "--bind", "127.0.0.1:0"]
        return serve(None, command=command, bind=None, **options)

    server = start("step1", wait=False)
    assert server.wait_exit() == 1
    assert "run" in server.log and "my_worker" in server.log, server.log
    server = start("step2")
    assert server.get("/").text == "hello\n"
    assert server.stop() == 0
