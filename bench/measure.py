"""Starts servers, puts load on them and reads what they cost."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from servers import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CPU, CLIENT_CPU = 0, 1
CONNECTIONS = 64
WS_LOAD = ROOT / "build" / "bench" / "ws_load"


class BenchError(Exception):
    """A server or wrk did not do what it should; the text says what, for the user."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---- processes ---------------------------------------------------------------------------------------


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (field 3 of proc(5) has index 0)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2:].split()


def tree(root: int) -> list[int]:
    """root and all processes below it."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            parents.setdefault(int(fields[1]), []).append(int(name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left.extend(parents.get(pid, []))
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the process tree, ended children included."""
    total = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields is not None:
            total += sum(int(f) for f in fields[11:15])  # utime stime cutime cstime
    return total / TICKS


def pss_bytes(root: int) -> int:
    """Proportional set size of the process tree."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


# ---- a running server --------------------------------------------------------------------------------


@dataclass
class Running:
    """A started server: its first process, and where it listens."""

    process: subprocess.Popen
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return s.recv(12).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@contextlib.contextmanager
def started(command: list[str], port: int, log: Path) -> Iterator[Running]:
    """Runs command pinned to the server's CPU until the block ends.

    :raises BenchError: if it has not answered a request within 20 seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environ = {k: v for k, v in os.environ.items() if k not in ("GUNICORN_CMD_ARGS", "SAOLA_CMD_ARGS")}
    environ["PYTHONPATH"] = str(ROOT)
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CPU), *command], cwd=ROOT, env=environ,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise BenchError("does not start: " + (" | ".join(tail) or "no output"))
            time.sleep(0.05)
        yield Running(process, port, log)
        if process.poll() is not None:
            raise BenchError(f"ended by itself with status {process.returncode}; see {log}")
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """TERM, and what is left of the tree after three seconds is killed."""
    pids = tree(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
    for pid in pids:
        if pid != process.pid or process.poll() is None:
            fields = _stat(pid)
            if fields is not None and int(fields[3]) == process.pid:  # still in its session
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    process.wait()


# ---- load --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What wrk sends; ``websocket``: what ws_load sends, text messages of ``body`` bytes."""

    method: str = "GET"
    path: str = "/"
    body: int = 0
    depth: int = 1
    connections: int = CONNECTIONS
    websocket: bool = False


@dataclass
class Result:
    requests: int
    seconds: float
    cpu_us: float  # of the server's process tree, per request
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def _command(server: Running, load: Load, seconds: float) -> list[str]:
    whole = str(max(1, round(seconds)))
    if load.websocket:
        return [str(WS_LOAD), str(server.port), load.path, str(load.connections), whole, str(load.body)]
    return [
        "wrk", "-t1", f"-c{load.connections}", f"-d{whole}s", "--timeout", "10s",
        "-s", str(ROOT / "bench" / "request.lua"), server.url, "--",
        load.method, load.path, str(load.body), str(load.depth),
    ]


def _run_load(server: Running, load: Load, seconds: float) -> dict:
    command = _command(server, load, seconds)
    done = subprocess.run(["taskset", "-c", str(CLIENT_CPU), *command], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    raise BenchError(f"{Path(command[0]).name} failed: " + (done.stderr or done.stdout).strip()[-200:])


TAIL_SECONDS = 0.1  # what a server still does of its requests after the last, such as writing a log


class _Sum:
    """What the runs of wrk on one server come to."""

    def __init__(self, server: Running, load: Load) -> None:
        self.server, self.load = server, load
        self.before = cpu_seconds(server.process.pid)
        self.requests = self.errors = self.us = 0

    def add(self, seconds: float) -> None:
        r = _run_load(self.server, self.load, seconds)
        self.requests += r["requests"]
        self.us += r["us"]
        self.errors += r["connect"] + r["read"] + r["write"] + r["status"] + r["timeout"]

    def result(self) -> Result:
        cpu = cpu_seconds(self.server.process.pid) - self.before
        if self.requests == 0:
            raise BenchError("answered nothing")
        return Result(self.requests, self.us / 1e6, cpu * 1e6 / self.requests, self.errors)


def loaded(server: Running, load: Load, warm_up: float, seconds: float) -> Result:
    """Puts load on the server and returns what a request costs.

    :raises BenchError: when nothing was answered.
    """
    return in_turns([(server, load)], warm_up, 1, seconds)[0]


def in_turns(loads: list[tuple[Running, Load]], warm_up: float, turns: int, seconds: float = 1) -> list[Result]:
    """The same of servers that run side by side: some seconds of load each by turns, so many times.

    What the machine's other guests do changes within seconds; so it concerns all of them alike, and the
    ratio of the results hardly. Whoever has no load sleeps.

    :raises BenchError: when one answered nothing.
    """
    for server, load in loads:
        _run_load(server, load, warm_up)
    time.sleep(TAIL_SECONDS)
    sums = [_Sum(server, load) for server, load in loads]
    for turn in range(turns):
        for total in sums if turn % 2 == 0 else reversed(sums):
            total.add(seconds)
    time.sleep(TAIL_SECONDS)
    return [total.result() for total in sums]


# ---- idle connections --------------------------------------------------------------------------------


@dataclass
class Idle:
    connections: int  # still open when memory was read
    bytes_each: float


def _one_request(s: socket.socket) -> bool:
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while not data.endswith(b"Hello, World!") and not data.endswith(b"x" * 13):
        part = s.recv(4096)
        if not part:
            return False
        data += part
    return True


IDLE_SECONDS = 60  # for opening all idle connections; a server that needs a thread for each never ends


def idle(server: Running, count: int) -> Idle:
    """Opens count keep-alive connections with one answered request each and reads the growth of memory.

    :raises BenchError: if the server does not take or keep them.
    """
    for _ in range(200):  # what the server makes on first use is not the connections'
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
            _one_request(s)
    deadline = time.monotonic() + IDLE_SECONDS
    before = pss_bytes(server.process.pid)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            sockets.append(s)
            if not _one_request(s) or time.monotonic() > deadline:
                break
        after = pss_bytes(server.process.pid)
        poll = select.poll()
        for s in sockets:
            poll.register(s, select.POLLIN | select.POLLRDHUP)
        held = len(sockets) - len(poll.poll(0))
    except OSError as error:
        raise BenchError(f"stopped at {len(sockets)} idle connections: {error}") from None
    finally:
        for s in sockets:
            s.close()
    if held < count:
        raise BenchError(f"kept {held} of {count} idle connections")
    return Idle(held, (after - before) / held)
