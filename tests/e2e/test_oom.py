"""Workers that are killed: by the kernel for want of memory, or by somebody else."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

import harness
from harness import format_request, wait_until

CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def memory_group():
    """A control group with a limit of 100 MB: the directory whose cgroup.procs joins it."""
    name = f"saola-test-{uuid.uuid4().hex[:8]}"
    if (CGROUPS / "memory" / "memory.limit_in_bytes").exists():
        group, limit = CGROUPS / "memory" / name, "memory.limit_in_bytes"
    elif "memory" in (CGROUPS / "cgroup.controllers").read_text().split():
        group, limit = CGROUPS / name, "memory.max"
    else:
        pytest.skip("this machine's kernel limits no memory by control groups")
    try:
        group.mkdir()
        (group / limit).write_text("100M")
    except OSError as exc:
        if group.exists():
            group.rmdir()
        pytest.skip(f"a control group cannot be made here: {exc}")
    yield group
    harness.wait_until(lambda: not (group / "cgroup.procs").read_text(), "an empty control group")
    group.rmdir()


@pytest.mark.skipif(harness.SANITIZED, reason="the sanitizers themselves need more than the limit")
@pytest.mark.fault("W2")
def test_a_worker_that_the_kernel_kills_for_memory(serve, memory_group, worker_class):
    def join():
        (memory_group / "cgroup.procs").write_text(str(os.getpid()))

    server = serve("greedy:app", worker_class=worker_class, preexec=join)
    victim, = server.wait_workers(1)
    with server.connect() as connection:
        connection.send(format_request(target="/take"))
        assert connection.sock.recv(100) == b""
    server.wait_log(rf"Worker \(pid:{victim}\) was sent SIGKILL! The kernel killed it: out of memory")
    wait_until(lambda: server.worker_pids not in ([], [victim]), "the next worker")
    assert server.get().text == "ok"
    assert server.stop() == 0


@pytest.mark.fault("W2")
def test_a_worker_that_somebody_kills(serve, worker_class):
    server = serve("greedy:app", worker_class=worker_class)
    victim, = server.wait_workers(1)
    os.kill(victim, signal.SIGKILL)
    server.wait_log(rf"Worker \(pid:{victim}\) was sent SIGKILL! "
                    "(Not by the kernel: another process sent it|Perhaps out of memory)")
    wait_until(lambda: server.worker_pids not in ([], [victim]), "the next worker")
    assert server.get().text == "ok"
    assert server.stop() == 0
