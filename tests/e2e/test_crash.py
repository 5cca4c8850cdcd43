"""Workers that crash: in C code of the application, or because somebody sends the signal."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path

import pytest

import harness
from harness import format_request, wait_until

pytestmark = [pytest.mark.fault("W1"),
              pytest.mark.skipif(harness.SANITIZED, reason="the sanitizers tell of the crash")]


def replaced(server, victim: int, others: set[int]) -> None:
    wait_until(lambda: len(server.worker_pids) == len(others) + 1 and victim not in server.worker_pids,
               lambda: f"a successor of {victim}:\n{server.log}")
    assert others < set(server.worker_pids)


def test_a_crash_in_c_costs_its_request_only(serve, worker_class):
    """One line names signal and request; the other worker is not touched, its successor serves."""
    server = serve("crash:app", workers=2, worker_class=worker_class)
    for name in ("SEGV", "BUS", "ILL", "FPE", "ABRT"):
        before = set(server.wait_workers(2))
        with server.connect() as connection:
            connection.send(format_request(target=f"/{name}"))
            assert connection.at_end()
        victim = int(server.wait_log(rf"Worker \(pid:(\d+)\) was sent SIG{name}! (?:Core dumped\. )?"
                                     rf"In progress: GET /{name} running \d+\.\d s$")[1])
        assert victim in before
        replaced(server, victim, before - {victim})
        assert server.get().status == 200
    assert len(re.findall("was sent SIG", server.log)) == 5
    assert server.stop() == 0


def test_a_worker_is_sent_a_fatal_signal(serve, worker_class):
    """From outside: while it serves a request, and while it does nothing."""
    server = serve("crash:app", workers=2, worker_class=worker_class)
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        before = set(server.wait_workers(2))
        with server.connect() as connection:
            connection.send(format_request(target="/hold"))
            head = connection.read_head()
            assert head.status == 200
            victim = int(connection.read_until(b"\n"))
            server.signal(number, victim)
            assert connection.read_to_end() == b""
        server.wait_log(rf"Worker \(pid:{victim}\) was sent {number.name}! (Core dumped\. )?"
                        r"In progress: GET /hold running \d+\.\d s$")
        replaced(server, victim, before - {victim})
    before = set(server.wait_workers(2))
    idle = min(before)
    server.signal(signal.SIGSEGV, idle)
    server.wait_log(rf"Worker \(pid:{idle}\) was sent SIGSEGV! (Core dumped\. )?No request was in progress\.$")
    replaced(server, idle, before - {idle})
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.leaves("core")
@pytest.mark.skipif(Path("/proc/sys/kernel/core_pattern").read_text() != "core\n" or
                    Path("/proc/sys/kernel/core_uses_pid").read_text() != "0\n",
                    reason="core files go elsewhere here")
@pytest.mark.parametrize("size, words", [(0, ""), (resource.RLIM_INFINITY, r"Core dumped\. ")])
def test_the_log_says_whether_there_is_a_core_file(serve, place, size, words):
    if size and resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("no core files are allowed here")
    server = serve("crash:app", worker_class="sync", preexec=lambda: resource.setrlimit(
        resource.RLIMIT_CORE, (size, resource.getrlimit(resource.RLIMIT_CORE)[1])))
    server.wait_workers(1)
    with server.connect() as connection:
        connection.send(format_request(target="/SEGV"))
        assert connection.at_end()
    server.wait_log(rf"was sent SIGSEGV! {words}In progress: GET /SEGV")
    assert (place / "core").exists() == bool(words)
    assert server.get().status == 200
    assert server.stop() == 0
