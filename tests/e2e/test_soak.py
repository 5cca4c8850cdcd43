"""Millions of requests and a thousand reloads leave memory, descriptors and threads as they were (M32).

What grows a little with each request or reload does so all the time; what grows once, while caches and
heaps fill, does not. So the growth that counts is that of the second half of a run.
"""

import os
import re
import signal
from pathlib import Path

import pytest

from harness import Connection, format_request, wait_until

pytestmark = [pytest.mark.long, pytest.mark.fault("M32")]

REQUESTS = int(os.environ.get("SAOLA_SOAK_REQUESTS", "10000000"))
RELOADS = int(os.environ.get("SAOLA_SOAK_RELOADS", "1000"))
BATCH = 64
REQUEST_GROWTH = 128 * 1024     # bytes; 10 million requests that lose one byte each would be 5 MB
RELOAD_GROWTH = 256 * 1024      # bytes; 1,000 reloads that lose an object each would be more
PROC = Path("/proc")


def memory(pid):
    """Bytes of physical memory that are the process's own, or its share."""
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024


def private(pid):
    """Bytes that only this process has: of an arbiter, whose pages its children share or not, this counts."""
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    return 1024 * sum(int(n) for n in re.findall(r"^(?:Private_Dirty|Shared_Dirty):\s+(\d+) kB", text, re.M))


def descriptors(pid):
    return sorted(os.readlink(entry) for entry in (PROC / str(pid) / "fd").iterdir())


def threads(pid):
    return len(list((PROC / str(pid) / "task").iterdir()))


def ask(connection, count, length=None):
    """count requests, BATCH at a time; returns the length of one answer."""
    request = format_request(headers=[("User-Agent", "soak"), ("Accept", "*/*")])
    if length is None:
        connection.send(request)
        connection.sock.settimeout(30)
        answer = connection.sock.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        length = len(answer)
    for _ in range(count // BATCH):
        connection.sock.sendall(request * BATCH)
        left = length * BATCH
        while left:
            received = len(connection.sock.recv(1 << 20))
            assert received, "the connection ended"
            left -= received
    return length


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "asgi"])
def test_requests_leave_memory_descriptors_and_threads_as_they_were(serve, worker_class):
    server = serve("asgi_app:app" if worker_class == "asgi" else "hello:app", "--keep-alive", "60",
                   "--threads", "2" if worker_class == "gthread" else "1", worker_class=worker_class)
    worker, = server.wait_workers(1)
    with Connection(server.address) as connection:
        length = ask(connection, REQUESTS // 2)
        before = memory(worker), descriptors(worker), threads(worker)
        ask(connection, REQUESTS // 2, length)
        after = memory(worker), descriptors(worker), threads(worker)
    assert server.wait_workers(1) == [worker]
    print(f"{worker_class}: {before[0]} bytes after {REQUESTS // 2} requests, {after[0]} after {REQUESTS}")
    assert after[1:] == before[1:]
    assert after[0] - before[0] <= REQUEST_GROWTH


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_reloads_leave_memory_descriptors_and_threads_as_they_were(serve, worker_class):
    """Of the arbiter: the workers are new ones each time."""
    server = serve("hello:app", worker_class=worker_class)

    def reload(times):
        for _ in range(times):
            old, = server.wait_workers(1)
            server.signal(signal.SIGHUP)
            wait_until(lambda: server.worker_pids and old not in server.worker_pids, "the new worker")

    reload(RELOADS // 2)
    before = private(server.pid), descriptors(server.pid), threads(server.pid)
    reload(RELOADS - RELOADS // 2)
    after = private(server.pid), descriptors(server.pid), threads(server.pid)
    print(f"{worker_class}: {before[0]} bytes after {RELOADS // 2} reloads, {after[0]} after {RELOADS}")
    assert after[1:] == before[1:]
    assert after[0] - before[0] <= RELOAD_GROWTH
