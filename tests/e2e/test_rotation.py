"""Logs that are moved, copied and truncated, and whose directory goes away, while requests are served."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import pytest

from harness import Connection, Server, format_request, wait_until

pytestmark = pytest.mark.fault("M28")


class Numbered:
    """A client that numbers its requests, in the query; each must be a line of the log, once."""

    def __init__(self, server: Server) -> None:
        self.address, self.sent = server.address, 0  # the log that has it moves away
        self.stopping = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Numbered":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.thread.join()
        assert self.error is None, self.error

    def send(self, count: int) -> None:
        """So many requests, in the thread of the caller."""
        with Connection(self.address) as connection:
            for _ in range(count):
                connection.send(format_request(target=f"/?{self.sent}"))
                response = connection.read_response()
                assert response.status == 200
                self.sent += 1
                if response.closes:
                    return

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.send(20)
        except Exception as error:  # shown in the thread of the test
            self.error = error


def numbers_in(folder: Path) -> list[int]:
    return sorted(int(line) for file in folder.glob("access*") for line in file.read_text().split())


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def logging(serve, logs, worker_class):
    def start() -> Server:
        server = serve("logged:app", "--access-logfile", str(logs / "access"), "--error-logfile",
                       str(logs / "error"), "--access-logformat", "%(q)s", bind="unix:socket",
                       worker_class=worker_class, workers=2, wait=False)
        server.log_path = logs / "error"
        wait_until(lambda: (logs / "error").exists() and server.wait_listening(), "a server")
        server.wait_workers(2)
        return server
    return start


@pytest.mark.parametrize("rotations", [30, pytest.param(1000, marks=pytest.mark.long)])
def test_no_line_is_lost_or_doubled_while_files_are_moved(logging, logs, rotations):
    server = logging()
    with Numbered(server) as client:
        for turn in range(rotations):
            (logs / "access").rename(logs / f"access.{turn}")
            (logs / "error").rename(logs / f"error.{turn}")
            server.signal(signal.SIGUSR1)
            wait_until(lambda: (logs / "access").exists() and (logs / "error").exists(), "new files")
    assert client.sent >= rotations
    assert server.stop() == 0
    assert numbers_in(logs) == list(range(client.sent))
    errors = "".join(file.read_text() for file in logs.glob("error*"))
    # Where a worker was slow to make its new file two signals may be one.
    assert rotations // 2 < errors.count("Handling signal: usr1") <= rotations
    assert errors.count("Shutting down: Master") == 1


def test_files_that_are_copied_and_truncated_go_on_from_their_beginning(logging, logs):
    """logrotate's copytruncate, between two requests: what was written in between would be lost."""
    server = logging()
    client = Numbered(server)
    for turn in range(5):
        client.send(20)
        wait_until(lambda: len(numbers_in(logs)) == client.sent, "all lines")
        for name in ("access", "error"):
            shutil.copy(logs / name, logs / f"{name}.{turn}")
            with open(logs / name, "r+b") as file:
                file.truncate(0)
    client.send(20)
    server.signal(signal.SIGHUP)
    wait_until(lambda: "Reload done" in (logs / "error").read_text(), "the end of a reload")
    assert server.stop() == 0
    assert numbers_in(logs) == list(range(client.sent))
    for file in logs.iterdir():
        assert b"\0" not in file.read_bytes(), f"{file.name} has a hole"


def test_the_directory_of_the_logs_is_gone(logging, logs, tmp_path):
    """The old files stay in use, wherever they are now; USR1 comes back to the path when it can."""
    server = logging()
    before = server.worker_pids
    client = Numbered(server)
    moved = tmp_path / "moved"
    logs.rename(moved)
    server.log_path = moved / "error"
    server.signal(signal.SIGUSR1)
    server.wait_log(rf"\[(WARNING|ERROR)\] .*{logs}/(access|error).*No such file or directory")
    client.send(20)
    server.signal(signal.SIGHUP)
    server.wait_log(r"Reload (done|failed)")
    client.send(20)
    wait_until(lambda: len(numbers_in(moved)) == client.sent, lambda: f"{client.sent} lines")
    logs.mkdir()
    server.signal(signal.SIGUSR1)
    wait_until(lambda: (logs / "access").exists() and (logs / "error").exists(), "new files")
    server.log_path = logs / "error"
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    wait_until(lambda: len(server.worker_pids) == 2 and not set(before) & set(server.worker_pids),
               "new workers")
    client.send(20)
    assert server.stop() == 0
    assert sorted(numbers_in(logs) + numbers_in(moved)) == list(range(client.sent))
