"""Starts servers as a user would and talks to them over real sockets.

Nothing here knows the inside of saola. The server under test is the `saola` program beside the running
Python; SAOLA_TEST_SERVER names another command (gunicorn, to prove a test right against it).
With SAOLA_TEST_SITE and SAOLA_TEST_PRELOAD (`make asan`) the package comes from that directory and the
library is loaded first.
"""

from __future__ import annotations

import collections
import ctypes
import os
import re
import shlex
from signal import SIGTERM
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Sequence

DATA = Path(__file__).resolve().parent / "data"
TOP = Path(__file__).resolve().parent.parent.parent
SERVER = shlex.split(os.environ.get(
    "SAOLA_TEST_SERVER", str(Path(sys.executable).with_name("saola"))))
SANITIZED = "SAOLA_TEST_PRELOAD" in os.environ
# Generous: a machine under load is slow, and every wait ends as soon as its condition holds.
WAIT = float(os.environ.get("SAOLA_TEST_WAIT", "60" if SANITIZED else "30"))


def wait_until(condition: Callable[[], object], what: str, timeout: float = WAIT):
    """Polls until condition() is true and returns its value; AssertionError after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(0.01)


# ---- processes -------------------------------------------------------------------------------------


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none can hide (Linux, prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    state: str
    command: str


def read_process(pid: int) -> Process | None:
    """State of a process from /proc, or None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may contain spaces and parentheses.
    name, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
    return Process(pid, int(rest[1]), rest[0],
                   command.replace(b"\0", b" ").decode(errors="replace").strip() or f"[{name}]")


def children_of(pid: int) -> list[Process]:
    """Direct children, zombies too."""
    return [process for process in all_processes() if process.parent == pid]


def all_processes() -> list[Process]:
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


def descendants_of(pid: int) -> list[Process]:
    by_parent = collections.defaultdict(list)
    for process in all_processes():
        by_parent[process.parent].append(process)
    found, todo = [], [pid]
    while todo:
        below = by_parent[todo.pop()]
        found += below
        todo += [process.pid for process in below]
    return found


def is_alive(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.state not in "ZX"


# ---- HTTP client -------------------------------------------------------------------------------------


class Truncated(Exception):
    """The connection ended inside a response; .response is what had come."""

    def __init__(self, what: str, response: "Response | None" = None) -> None:
        super().__init__(what)
        self.response = response


class Malformed(Exception):
    """The bytes are not HTTP/1.1 (RFC 9112)."""


@dataclass
class Response:
    """A response exactly as it was on the wire."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[int] | None = None
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str, default: str | None = None) -> str | None:
        """Value of the only header of that name; Malformed if it is there twice."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(values) > 1:
            raise Malformed(f"{name} came {len(values)} times: {values}")
        return values[0] if values else default

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def closes(self) -> bool:
        """The server says that it closes the connection after this response."""
        tokens = (self.header("connection") or "").lower()
        return "close" in tokens or (self.version == "HTTP/1.0" and "keep-alive" not in tokens)


class Connection:
    """One client connection. Sends what it is told and parses strictly what comes back."""

    def __init__(self, address: tuple[str, int] | str, timeout: float = WAIT,
                 source: str | None = None) -> None:
        """source: the address to come from, as 127.0.0.2."""
        self.address = address
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, timeout, source and (source, 0))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, method: str = "GET", target: str = "/", *, body: bytes | None = None,
                headers: Iterable[tuple[str, str]] = (), version: str = "HTTP/1.1") -> Response:
        """Sends a request with Host and, given a body, Content-Length; reads the response."""
        self.send(format_request(method, target, body=body, headers=headers, version=version))
        return self.read_response(method)

    def read_some(self) -> bool:
        """Receives; False at the end of the stream."""
        data = self.sock.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self.read_some():
                raise Truncated(f"end of stream after {self.buffer[:200]!r}, no {mark!r}")
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def read_exactly(self, size: int) -> bytes:
        parts, missing = [self.buffer[:size]], size - len(self.buffer[:size])
        self.buffer = self.buffer[size:]
        while missing:
            data = self.sock.recv(min(missing, 1 << 20))
            if not data:
                raise Truncated(f"{missing} of {size} bytes are missing")
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def read_to_end(self) -> bytes:
        """Everything until the server closes."""
        parts, self.buffer = [self.buffer], b""
        while data := self.sock.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)

    def at_end(self) -> bool:
        """The server has closed and sent nothing more; waits for it."""
        try:
            return not self.buffer and not self.read_some()
        except ConnectionResetError:
            return True

    def read_head(self) -> Response:
        if not self.buffer and not self.read_some():
            raise Truncated("closed before a response")
        status, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        match = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) ([^\r\n]*)", status)
        if not match:
            raise Malformed(f"status line {status!r}")
        return Response(match[1], int(match[2]), match[3], [parse_field(line) for line in lines])

    def read_response(self, method: str = "GET", *, interim: bool = False) -> Response:
        """The next response; with interim=True a 1xx response counts as one."""
        response = self.read_head()
        while 100 <= response.status < 200 and not interim:
            response = self.read_head()
        try:
            self.read_body(response, method)
        except Truncated as error:
            raise Truncated(f"{error} (status {response.status})", response) from None
        return response

    def read_body(self, response: Response, method: str) -> None:
        length, coding = response.header("content-length"), response.header("transfer-encoding")
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise Malformed(f"Transfer-Encoding {coding!r} with Content-Length {length!r}")
            self.read_chunks(response)
        elif length is not None:
            if not re.fullmatch(r"\d+", length):
                raise Malformed(f"Content-Length {length!r}")
            response.body = self.read_exactly(int(length))
        else:
            response.body = self.read_to_end()

    def read_chunks(self, response: Response) -> None:
        parts, response.chunks = [], []
        while True:
            line = self.read_until(b"\r\n").decode("latin-1")
            if not re.fullmatch(r"[0-9A-Fa-f]+(;.*)?", line):
                raise Malformed(f"chunk size {line!r}")
            size = int(line.partition(";")[0], 16)
            if size == 0:
                break
            response.chunks.append(size)
            parts.append(self.read_exactly(size))
            if self.read_exactly(2) != b"\r\n":
                raise Malformed("no CRLF after a chunk")
        response.body = b"".join(parts)
        while line := self.read_until(b"\r\n").decode("latin-1"):
            response.trailers.append(parse_field(line))


def parse_field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise Malformed(f"header line {line!r}")
    return name, value.strip(" \t")


def format_request(method: str = "GET", target: str = "/", *, body: bytes | None = None,
                   headers: Iterable[tuple[str, str]] = (), version: str = "HTTP/1.1") -> bytes:
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", "localhost"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    head = f"{method} {target} {version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields)
    return head.encode("latin-1") + b"\r\n" + (body or b"")


# ---- load --------------------------------------------------------------------------------------------


class Load:
    """Clients that send requests until stopped and keep a ledger. No request is ever repeated.

    Each client makes a new connection for every request, or, with keepalive=True, stays on one
    connection until the server says that it closes, and rests pause seconds after each. Everything but a whole response for which check()
    is true counts as failed, with its reason.
    """

    def __init__(self, address, *, clients: int = 4, target: str = "/", keepalive: bool = False,
                 check: Callable[[Response], bool] = lambda response: response.status == 200,
                 limit: int | None = None, pause: float = 0.003) -> None:
        self.address, self.target, self.keepalive = address, target, keepalive
        self.check, self.pause = check, pause
        self.ok = 0
        self.failed: collections.Counter[str] = collections.Counter()
        self.bodies: list[bytes] | None = None
        self.left = limit
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping.set()
        self.join()

    def join(self) -> None:
        """Waits for the clients: after stop(), or when the limit of requests was sent."""
        for thread in self.threads:
            thread.join(WAIT * 4)
            assert not thread.is_alive(), "a load client hangs"

    def wait_for(self, count: int) -> None:
        """Waits until count more requests have been answered or failed."""
        goal = self.total + count
        wait_until(lambda: self.total >= goal, lambda: f"{goal} requests, now {self.total}")

    @property
    def total(self) -> int:
        return self.ok + sum(self.failed.values())

    def assert_clean(self, at_least: int = 1) -> None:
        assert not self.failed, f"{sum(self.failed.values())} of {self.total} failed: {self.failed}"
        assert self.ok >= at_least, f"only {self.ok} requests were made"

    def _take(self) -> bool:
        with self.lock:
            if self.left is None:
                return True
            self.left -= 1
            return self.left >= 0

    def _client(self) -> None:
        connection = None
        while not self.stopping.is_set() and self._take():
            phase = "connect"
            try:
                connection = connection or Connection(self.address)
                phase = "request"
                connection.send(format_request(
                    target=self.target, headers=() if self.keepalive else [("Connection", "close")]))
                phase = "response"
                response = connection.read_response()
                phase = "check"
                reason = None if self.check(response) else \
                    f"answer {response.status} {response.body[:80]!r}"
                if response.closes or not self.keepalive:
                    connection.close()
                    connection = None
            except Exception as error:  # every way to fail is an entry of the ledger
                reason, response = f"{phase}: {type(error).__name__}: {error}", None
                if connection:
                    connection.close()
                connection = None
            with self.lock:
                if reason is None:
                    self.ok += 1
                    if self.bodies is not None:
                        self.bodies.append(response.body)
                else:
                    self.failed[reason] += 1
            if self.pause:
                self.stopping.wait(self.pause)
        if connection:
            connection.close()


# ---- server ------------------------------------------------------------------------------------------


class Server:
    """A running server, started by the fixture `serve`; the fixture stops what is still running."""

    def __init__(self, command: Sequence[str], *, log_path: Path, cwd: Path,
                 env: dict[str, str] | None = None, preexec: Callable[[], None] | None = None,
                 pass_fds: Sequence[int] = (), stdin: int = subprocess.DEVNULL) -> None:
        self.log_path = log_path
        self.cwd = cwd
        self.command = list(command)
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("SAOLA_", "GUNICORN_", "NOTIFY_", "LISTEN_"))}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
        if SANITIZED:
            environment |= {"PYTHONPATH": f"{DATA / 'leaks'}:{os.environ['SAOLA_TEST_SITE']}",
                            "LD_PRELOAD": os.environ["SAOLA_TEST_PRELOAD"],
                            "LSAN_OPTIONS": f"suppressions={DATA / 'leaks' / 'python.supp'}"
                                            ":print_suppressions=0",
                            "PYTHONMALLOC": "malloc"}
            if "PYTHONPATH" in (env or {}):  # what is under test stays in front
                env = env | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{env['PYTHONPATH']}"}
        environment |= env or {}
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=cwd, env=environment, stdin=stdin, stdout=log, stderr=log,
                preexec_fn=preexec, pass_fds=pass_fds, start_new_session=True)
        self.pid = self.process.pid

    # -- log

    @property
    def log(self) -> str:
        """Everything that the server has printed, on both streams."""
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern: str, count: int = 1, timeout: float = WAIT) -> re.Match:
        """Waits until the pattern is in the log count times; returns the last match."""
        def look():
            found = list(re.finditer(pattern, self.log, re.MULTILINE))
            if len(found) < count and self.ended() and len(
                    list(re.finditer(pattern, self.log, re.MULTILINE))) < count:
                raise AssertionError(f"the server ended ({self.process.returncode}) without "
                                     f"{pattern!r} in its log:\n{self.log}")
            return found[count - 1] if len(found) >= count else None
        return wait_until(look, lambda: f"{count} x {pattern!r} in the log:\n{self.log}", timeout)

    def ended(self) -> bool:
        """The process has ended, and no arbiter that it started lives on (daemon, USR2)."""
        return self.process.poll() is not None and not any(
            process.state not in "ZX" for process in children_of(os.getpid()))

    # -- where

    def wait_listening(self) -> "Server":
        self.wait_log(r"Listening at: (\S+)")
        return self

    @property
    def addresses(self) -> list[tuple[str, int] | str]:
        """Where it listens, from "Listening at": (host, port) or the path of a unix socket."""
        text = self.wait_log(r"Listening at: (.+) \(\d+\)")[1]
        found: list[tuple[str, int] | str] = []
        for item in re.split(r",\s*", text):
            if item.startswith("unix:"):
                path = item[len("unix:"):]
                found.append(str(self.cwd / path))
            else:
                match = re.fullmatch(r"https?://\[?([^\]]*?)\]?:(\d+)", item)
                assert match, f"address {item!r} in the log"
                found.append((match[1], int(match[2])))
        return found

    @property
    def address(self) -> tuple[str, int] | str:
        return self.addresses[0]

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def url(self) -> str:
        return "http://%s:%d" % self.address

    # -- requests

    def connect(self, timeout: float = WAIT) -> Connection:
        return Connection(self.address, timeout)

    def get(self, target: str = "/", **options) -> Response:
        return self.fetch("GET", target, **options)

    def fetch(self, method: str, target: str = "/", *, body: bytes | None = None,
              headers: Iterable[tuple[str, str]] = ()) -> Response:
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.request(method, target, body=body,
                                      headers=[*headers, ("Connection", "close")])

    # -- processes

    @property
    def worker_pids(self) -> list[int]:
        """Living children of the arbiter, oldest first."""
        return sorted(process.pid for process in children_of(self.pid) if process.state not in "ZX")

    def wait_workers(self, count: int) -> list[int]:
        return wait_until(lambda: len(self.worker_pids) == count and self.worker_pids,
                          lambda: f"{count} workers, now {self.worker_pids}:\n{self.log}")

    def signal(self, number: int, pid: int | None = None) -> None:
        os.kill(pid or self.pid, number)

    def wait_exit(self, timeout: float = WAIT) -> int:
        """Waits for the end of the process that was started; its exit code (negative: a signal)."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.log}") from None

    def stop(self, number: int = SIGTERM, timeout: float = WAIT) -> int:
        """Signals the arbiter and waits for its end."""
        if self.process.poll() is None:
            self.signal(number)
        return self.wait_exit(timeout)
