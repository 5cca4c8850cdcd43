"""One system call of the arbiter fails, whichever: at the start, in a reload, when workers come and go.

Left out are calls that cannot fail so: brk (the kernel never says ENOMEM), masks of signals.

A start ends in service, or with a line that says why; never in a hang, a crash or processes that are
left. An arbiter that serves goes on to serve, whatever fails.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import harness
from harness import Load, Server, wait_until

pytestmark = [pytest.mark.skipif(harness.SANITIZED, reason="LeakSanitizer and strace trace the same process"),
              pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")]

GATE = """
import os, time
open({ready!r}, "w").close()
while not os.path.exists({go!r}): time.sleep(0.002)
pidfile = {pidfile!r}
max_worker_memory = "1G"
graceful_timeout = 2
"""

#: What the arbiter calls and what may come of it. Where a call comes often, only its first ones fail.
CALLS = {
    "openat": ("EIO", "ENOMEM", "EMFILE"), "read": ("EIO", "EINTR"), "write": ("EIO", "ENOSPC", "EINTR"),
    "pwrite64": ("EIO", "ENOSPC"), "newfstatat": ("EIO", "ENOMEM"), "lseek": ("EIO",),
    "poll": ("ENOMEM", "EINTR"), "wait4": ("EINTR",), "clone": ("EAGAIN", "ENOMEM"),
    "kill": ("EPERM",), "mmap": ("ENOMEM",), "mprotect": ("ENOMEM",),
    "pipe2": ("EMFILE", "ENOMEM"), "memfd_create": ("EMFILE", "ENOMEM"), "ftruncate": ("EIO",),
    "rt_sigaction": ("EINVAL",), "prctl": ("EINVAL",),
    "socket": ("EMFILE", "ENOMEM"), "bind": ("EADDRINUSE", "EACCES"), "listen": ("EADDRINUSE",),
    "getsockname": ("ENOBUFS",), "getsockopt": ("ENOBUFS",), "fcntl": ("EINVAL",), "flock": ("EINTR", "ENOLCK"),
    "link": ("EIO", "ENOSPC"), "unlink": ("EIO",), "chown": ("EPERM",), "fchmod": ("EPERM",),
    "access": ("EIO",), "getcwd": ("ENOENT",), "chdir": ("EIO",), "getdents64": ("EIO",), "ioctl": ("EIO",),
}


class Injector:
    """Has the Nth call of one kind fail in one process, from begin() to end()."""

    def __init__(self, pid: int, told: Path) -> None:
        self.pid, self.told = pid, told
        self.tracer: subprocess.Popen | None = None

    def begin(self, call: str, error: str, number: int) -> None:
        with open(self.told, "wb") as out:
            self.tracer = subprocess.Popen(
                ["strace", "-p", str(self.pid), "-e", f"trace={call}",
                 "-e", f"inject={call}:error={error}:when={number}"], stderr=out)
        wait_until(lambda: b"attached" in self.told.read_bytes() or self.tracer.poll() is not None,
                   "strace")
        if self.tracer.poll() is not None:
            pytest.skip(f"strace may not trace here: {self.told.read_text(errors='replace').strip()}")

    def end(self) -> bool:
        """Whether it came to that call."""
        if self.tracer.poll() is None:
            self.tracer.send_signal(signal.SIGTERM)
        self.tracer.wait(harness.WAIT)
        return self.hit()

    def hit(self) -> bool:
        return b"(INJECTED)" in self.told.read_bytes()

    def wait_hit(self) -> None:
        """For a call that is sure to come."""
        wait_until(lambda: self.hit() or self.tracer.poll() is not None, "the call that is to fail")


def start_with(serve, tmp_path: Path, call: str, error: str, number: int, sure: bool = False) -> bool:
    """Starts a server in which one call fails once its configuration is read. Whether one did; sure: it
    is waited for, since a worker may answer before the arbiter comes to that call."""
    name = f"{call}-{error}-{number}"
    ready, go = tmp_path / f"{name}.ready", tmp_path / f"{name}.go"
    server = serve("hello:app", worker_class="sync", wait=False, bind=f"unix:{tmp_path}/{name}", config=GATE.format(
        ready=str(ready), go=str(go), pidfile=str(tmp_path / f"{name}.pid")))
    wait_until(ready.exists, lambda: f"the configuration to be read:\n{server.log}")
    injector = Injector(server.pid, tmp_path / f"{name}.strace")
    injector.begin(call, error, number)
    try:
        go.touch()
        wait_until(lambda: server.process.poll() is not None or answers(server, f"{tmp_path}/{name}"),
                   lambda: f"{name}: neither an answer nor an end:\n{server.log}")
        if sure:
            injector.wait_hit()
    finally:
        injected = injector.end()
    if server.process.poll() is None:
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0, f"{name}:\n{server.log}"
    else:
        assert server.process.returncode in (1, 3, 4), f"{name}: {server.process.returncode}\n{server.log}"
        assert server.log.strip() or call == "write", f"{name}: it said nothing"
    return injected


def answers(server: Server, path: str) -> bool:
    try:
        with harness.Connection(path, timeout=5) as connection:
            return connection.request().status == 200
    except (OSError, harness.Truncated):
        return False


STARTS = [("openat", "EMFILE", 1), ("pipe2", "EMFILE", 2), ("memfd_create", "ENOMEM", 1), ("clone", "EAGAIN", 1),
          ("bind", "EACCES", 1), ("listen", "EADDRINUSE", 1), ("poll", "EINTR", 1), ("poll", "ENOMEM", 1),
          ("wait4", "EINTR", 1), ("mmap", "ENOMEM", 1), ("write", "EIO", 1), ("link", "ENOSPC", 1)]


@pytest.mark.fault("M37")
@pytest.mark.parametrize("call, error, number", STARTS)
def test_a_start_in_which_a_call_fails(serve, tmp_path, call, error, number):
    assert start_with(serve, tmp_path, call, error, number, sure=True), "it never came to that call"


@pytest.mark.long
@pytest.mark.fault("M37")
@pytest.mark.parametrize("call, error", [(call, error) for call, errors in CALLS.items() for error in errors])
def test_a_start_in_which_any_call_fails(serve, tmp_path, call, error):
    number = 1
    while number <= 12 and start_with(serve, tmp_path, call, error, number):
        number += 1


# ---- an arbiter that serves ------------------------------------------------------------------------


def cycle(server: Server, injector: Injector, call: str, error: str, number: int,
          sure: bool = False) -> bool:
    """Logs, a worker more and one less, a killed worker, a reload, while one call fails; then all is well.
    Whether one did; sure: it is waited for."""
    name = f"{call}-{error}-{number}"
    before = set(server.wait_workers(2))
    done = len(re.findall("Reload (done|failed)", server.log))
    with Load(server.address, clients=1) as load:
        injector.begin(call, error, number)
        try:
            server.signal(signal.SIGKILL, min(before))
            for signum in (signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
                server.signal(signum)
            wait_until(lambda: len(re.findall("Reload (done|failed)", server.log)) > done,
                       lambda: f"{name}: the end of a reload:\n{server.log[-3000:]}")
            if sure:
                injector.wait_hit()
        finally:
            injected = injector.end()
        server.signal(signal.SIGHUP)
        wait_until(lambda: not before & set(server.worker_pids) and len(server.worker_pids) == 2,
                   lambda: f"{name}: two new workers, now {server.worker_pids}:\n{server.log[-3000:]}")
        load.wait_for(5)
    allowed = {reason: count for reason, count in load.failed.items() if "Truncated" in reason or "Reset" in reason}
    assert sum(allowed.values()) <= 1 and not load.failed.keys() - allowed.keys(), \
        f"{name}: {load.failed}"  # the request inside the killed worker
    return injected


@pytest.fixture
def serving(serve, tmp_path):
    """A server of two workers with everything in its configuration that makes the arbiter work."""
    server = serve("hello:app", worker_class="sync", workers=2, settings={
        "pidfile": str(tmp_path / "pid"), "max_worker_memory": "1G", "max_worker_lifetime": 3600,
        "accesslog": str(tmp_path / "access"), "graceful_timeout": 5})
    server.wait_workers(2)
    return server, Injector(server.pid, tmp_path / "strace")


STEADY = [("openat", "EMFILE", 1), ("poll", "ENOMEM", 1), ("wait4", "EINTR", 1), ("clone", "EAGAIN", 1), ("write", "EIO", 2),
          ("kill", "EPERM", 3), ("newfstatat", "EIO", 2)]


@pytest.mark.fault("M37")
@pytest.mark.log_may_contain("Traceback")
def test_an_arbiter_goes_on_when_a_call_fails(serving):
    server, injector = serving
    for call, error, number in STEADY:
        assert cycle(server, injector, call, error, number, sure=True), f"it never came to {call} {number}"
    assert server.stop() == 0


@pytest.mark.long
@pytest.mark.fault("M37")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("call", CALLS)
def test_an_arbiter_goes_on_whichever_call_fails(serving, call):
    server, injector = serving
    for error in CALLS[call]:
        number = 1
        while number <= 12 and cycle(server, injector, call, error, number):
            number += 1
    assert server.stop() == 0
