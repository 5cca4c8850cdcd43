"""The fixture `serve`, and the checks that hold after every test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

import harness
from harness import DATA, SERVER, Server

# Lines that no server may print unless the test says so with @pytest.mark.log_may_contain(...).
NEVER = ("Traceback", "Sanitizer", "runtime error:", "Assertion", "Unhandled exception")

# What LeakSanitizer prints when its own tracer crashes (gcc 12 does now and then); nothing was found.
TRACER_CRASHED = ("LeakSanitizer has encountered a fatal error", "HINT: ")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "log_may_contain(*words): words of harness NEVER that are "
                                       "expected in a server's log")
    config.addinivalue_line("markers", "leaves(*names): files that the test's server may leave in "
                                       "its directory")
    config.addinivalue_line("markers", "long: takes minutes or asserts a time; only in `make long`")
    config.addinivalue_line("markers", "fault(*names): rows of docs/faults.md that the test injects")
    harness.become_subreaper()


@pytest.fixture(params=["sync", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Every test that uses it runs once for each worker class."""
    return request.param


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory servers run in. Nothing may be left there that was not there at the start."""
    directory = tmp_path / "place"
    directory.mkdir()
    return directory


def snapshot(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def open_descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one that listed the directory
    return found


def reap_adopted() -> None:
    """Waits for orphans that have ended: daemons and arbiters started by USR2 become ours."""
    for process in harness.children_of(os.getpid()):
        if process.state == "Z":
            try:
                os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                pass


def kill_everything() -> None:
    for process in harness.descendants_of(os.getpid()):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + 5
    while harness.children_of(os.getpid()) and time.monotonic() < end:
        reap_adopted()
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def faults_in_the_report(request: pytest.FixtureRequest):
    """A JUnit report (`make faults`) says which faults a test injects."""
    for mark in request.node.iter_markers("fault"):
        request.node.user_properties += [("fault", name) for name in mark.args]


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, tmp_path: Path):
    """After the test: no process, no zombie, no descriptor, no file, no shared memory, clean logs."""
    descriptors = open_descriptors()
    shared = set(os.listdir("/dev/shm"))
    servers: list[Server] = []
    request.node.servers = servers
    request.node.adopted_ok = set()
    yield
    problems = []
    left = [process for process in harness.descendants_of(os.getpid())
            if process.pid not in request.node.adopted_ok or process.state != "Z"]
    if left:
        problems.append(f"processes left: {left}")
    kill_everything()
    for server in servers:
        before = server.files_before
        mark = request.node.get_closest_marker("leaves")
        files = snapshot(server.cwd) - before - set(mark.args if mark else ())
        if files and not problems:
            problems.append(f"files left in the server's directory: {sorted(files)}")
        problems += forbidden_lines(server.log, request.node.get_closest_marker("log_may_contain"))
    new_shared = set(os.listdir("/dev/shm")) - shared
    if new_shared:
        problems.append(f"left in /dev/shm: {sorted(new_shared)}")
    leaked = {key: value for key, value in open_descriptors().items() if key not in descriptors}
    if leaked:
        problems.append(f"descriptors left open in the test: {leaked}")
    assert not problems, "; ".join(problems) + "".join(
        f"\n--- log of {server.command[0]} ({server.pid})\n{server.log[-6000:]}"
        for server in servers)


def forbidden_lines(log: str, mark) -> list[str]:
    allowed = mark.args if mark else ()
    crashed = TRACER_CRASHED if "Tracer caught signal" in log else ()
    return [f"the log has {word!r}: {line}" for word in NEVER if word not in allowed
            for line in log.splitlines()
            if word in line and not any(words in line for words in crashed)]


@pytest.fixture
def serve(request: pytest.FixtureRequest, place: Path, tmp_path: Path, nothing_left):
    """Starts the server; see start() for the arguments. Everything is stopped after the test."""
    servers: list[Server] = request.node.servers

    def start(app: str | None = None, *args: str, worker_class: str | None = None,
              workers: int | None = None, config: str | None = None,
              settings: dict[str, object] | None = None, bind: str | None = "127.0.0.1:0",
              script: Path | None = None, script_args: tuple[str, ...] = (), wait: bool = True,
              command: list[str] | None = None, **options) -> Server:
        """Runs `saola ARGS APP`, or with script= `python SCRIPT ARGS`, and waits until it listens.

        app: "module:name"; the modules of tests/e2e/data can be imported. config: text of a
        configuration file. settings: more of them, as NAME=value lines. bind=None leaves it to config
        or args. wait=False returns at once. Other options go to harness.Server.
        """
        cwd = options.pop("cwd", place)
        if command is None:
            command = [sys.executable, str(script), *script_args] if script else [*SERVER]
        lines = [config] if config else []
        lines += [f"{name} = {value!r}" for name, value in (settings or {}).items()]
        if lines:
            file = tmp_path / f"conf{len(servers)}.py"
            file.write_text("\n".join(lines) + "\n")
            command += ["-c", str(file)]
        if app is not None:
            command += ["--pythonpath", str(DATA)]
        if bind is not None and not script:
            command += ["--bind", bind]
        if worker_class:
            command += ["--worker-class", worker_class]
        if workers is not None:
            command += ["--workers", str(workers)]
        if "gunicorn" in SERVER[0] and not script:
            command += ["--no-control-socket"]
        command += [*args] + ([app] if app is not None else [])
        before = snapshot(cwd)
        server = Server(command, log_path=tmp_path / f"log{len(servers)}", cwd=cwd, **options)
        server.files_before = before
        servers.append(server)
        return server.wait_listening() if wait else server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.signal(signal.SIGQUIT)  # what the end loses, nobody asks for any more
    for server in servers:
        if server.process.poll() is None:
            server.wait_exit()
    for process in harness.children_of(os.getpid()):
        # Arbiters that outlived the one that was started: daemons, and the new ones after USR2.
        if process.state != "Z" and process.pid in request.node.adopted_ok:
            os.kill(process.pid, signal.SIGTERM)
            harness.wait_until(lambda: not harness.is_alive(process.pid), f"end of {process}")
    for pid in request.node.adopted_ok:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass


@pytest.fixture
def adopt(request: pytest.FixtureRequest):
    """Tells the checks that a process is an arbiter that will outlive the one started."""
    return request.node.adopted_ok.add


@pytest.fixture
def copy_data(place: Path):
    """Copies a file of tests/e2e/data into the server's directory, where a test may change it."""
    def copy(name: str, to: str | None = None) -> Path:
        return Path(shutil.copy(DATA / name, place / (to or name)))
    return copy
