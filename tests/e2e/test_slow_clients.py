"""Slow, stalled and greedy clients: what they cost, and when they are turned away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from harness import Truncated, wait_until
from hosts import host, serve_probe  # noqa: F401

ATTACKERS = 200
BODY = 3 << 20  # more than the memory that the engine gives a body


def head(length: int) -> bytes:
    return b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


def spool_files(pid: int) -> list[str]:
    """Descriptors of a process that are unlinked regular files of the directory of our spool."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(fd)
            if "/spool/" in target and "(deleted)" in target:
                found.append(target)
    return found


def spool_size(pid: int) -> int:
    """What the files of the spool take of the disk."""
    size = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            size += fd.stat().st_size if "/spool/" in os.readlink(fd) else 0
    return size


@pytest.fixture
def spool(tmp_path):
    directory = tmp_path / "spool"
    directory.mkdir()
    return directory


@pytest.fixture
def server(serve, worker_class, spool):
    return serve("slow_app:app", "--worker-connections", "1000", "--keep-alive", "60",
                 worker_class=worker_class, workers=1, env={"TMPDIR": str(spool)})


def test_slow_clients_beside_normal_ones(server):
    """Heads, small and large bodies that stop in the middle, and readers that take nothing: the one
    worker, or its one thread, answers everybody else."""
    with contextlib.ExitStack() as stack:
        for number in range(ATTACKERS):
            slow = stack.enter_context(server.connect())
            kind = number % 4
            if kind == 0:
                slow.send(b"GET / HTTP/1.1\r\nHo")
            elif kind == 1:
                slow.send(head(1000) + b"x")
            elif kind == 2:
                slow.send(head(BODY) + b"x" * 5000)
            elif number < 40:  # each keeps 8 MiB: more than what is kept in memory
                target = b"/big" if number % 8 == 3 else b"/stream"
                slow.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        for _ in range(50):
            assert server.get("/calls").status == 200


def read_stream(client) -> None:
    body = client.read_response().body
    assert len(body) == 128 * 65536
    assert all(body[n * 65536:(n + 1) * 65536] == bytes([n % 251]) * 65536 for n in range(128))


def test_an_answer_that_the_client_leaves_waiting_is_whole_when_it_reads(server):
    """Also behind it, on the same connection."""
    with server.connect() as slow, server.connect() as other:
        slow.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        [pid] = server.wait_workers(1)
        wait_until(lambda: spool_files(pid), "the answer in a file")
        assert other.request(target="/calls").body == b"0 2"
        read_stream(slow)
        read_stream(slow)
        assert slow.request(target="/calls").body == b"0 4"
        wait_until(lambda: not spool_files(pid), "the file to be closed")


def test_without_room_for_an_answer_the_application_waits(serve, worker_class):
    server = serve("slow_app:app", "--response-buffer", "1M", worker_class=worker_class, workers=1)
    with server.connect() as slow:
        slow.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        read_stream(slow)
        assert slow.request(target="/calls").body == b"0 2"


def test_a_large_body_is_here_before_the_application_is_called(server, spool):
    with server.connect() as slow:
        slow.send(head(BODY) + b"x" * (BODY - 1))
        [pid] = server.wait_workers(1)
        wait_until(lambda: spool_files(pid), "the body in a file")
        assert server.get("/calls").body == b"0 1"  # it was not called for the upload
        assert not list(spool.iterdir())
        slow.send(b"x")
        assert slow.read_response().body == b"%d 2" % BODY
        wait_until(lambda: not spool_files(pid), "the file to be closed")
        slow.send(b"GET /calls HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.read_response().body == b"0 3"


def test_a_large_chunked_body_is_here_before_the_application_is_called(server):
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    with server.connect() as slow:
        slow.send(b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 40)
        [pid] = server.wait_workers(1)
        wait_until(lambda: spool_files(pid), "the body in a file")
        assert server.get("/calls").body == b"0 1"
        slow.send(b"0\r\n\r\n")
        assert slow.read_response().body == b"%d 2" % (40 * 0x8000)


def test_bodies_that_are_too_long(serve, worker_class):
    server = serve("slow_app:app", "--limit-request-body", "100K", worker_class=worker_class, workers=1)
    size = 100 << 10
    with server.connect() as client:
        client.send(head(size) + b"x" * size)
        assert client.read_response().body == b"%d 1" % size
        client.send(head(size + 1))
        assert client.read_response().status == 413
        assert client.at_end()
    with server.connect() as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + b"8000\r\n" + b"x" * 0x8000 + b"\r\n" + b"12000\r\n" + b"x" * 0x12000)
        assert client.read_response().status == 413
    assert server.get("/calls").body == b"0 2"  # neither of them reached the application


@pytest.mark.fault("M7")
def test_bodies_have_a_limit_on_the_disk(serve, worker_class, spool):
    """Who comes when it is reached is told so at once; small bodies, and others later, are served."""
    server = serve("slow_app:app", "--spool-limit", "8M", worker_class=worker_class, workers=1,
                   env={"TMPDIR": str(spool)})
    [pid] = server.wait_workers(1)
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    chunked = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as first, server.connect() as second:
        for slow in (first, second):  # each has 4 MiB on the disk
            slow.send(head(BODY) + b"x" * (BODY - 1))
        wait_until(lambda: spool_size(pid) == 8 << 20, "both bodies in files")
        for request in (head(BODY), head(BODY).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
                        chunked + chunk * 40):
            with server.connect() as another:
                with contextlib.suppress(ConnectionError):  # it is refused before its end is here
                    another.send(request)
                response = another.read_response()
                assert (response.status, response.closes) == (503, True)
        assert server.fetch("POST", "/up", body=b"x" * 100_000).body == b"100000 1"
        assert spool_size(pid) == 8 << 20
        second.close()
        wait_until(lambda: spool_size(pid) == 4 << 20, "the file of the second to be closed")
        assert server.fetch("POST", "/up", body=b"x" * BODY).body == b"%d 2" % BODY
        first.send(b"x")
        assert first.read_response().body == b"%d 3" % BODY
    assert spool_size(pid) == 0
    assert "There is no room for the request body" in server.log


@pytest.mark.fault("M7")
def test_answers_have_a_limit_on_the_disk(serve, worker_class, spool):
    """Beyond, the application waits for the client, as it does beyond response_buffer."""
    server = serve("slow_app:app", "--spool-limit", "1M", worker_class=worker_class, workers=1,
                   env={"TMPDIR": str(spool)})
    [pid] = server.wait_workers(1)
    with server.connect() as slow:
        slow.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        wait_until(lambda: spool_size(pid) > 500_000, "the answer in a file")
        for _ in range(2):
            assert spool_size(pid) <= 1 << 20
            read_stream(slow)
        assert slow.request(target="/calls").body == b"0 3"
    assert spool_size(pid) == 0


def test_limits_of_bodies_hold_whoever_the_host_is(serve_probe, host, spool):  # noqa: F811
    server = serve_probe("--limit-request-body", "4M", env={"TMPDIR": str(spool)})
    [pid] = server.wait_workers(1)
    with server.connect() as client:
        client.send(head((4 << 20) + 1))
        assert client.read_response().status == 413 and client.at_end()
    if host in ("sync", "gthread", "c"):
        with server.connect() as slow:
            slow.send(head(BODY) + b"x" * (BODY - 1))
            wait_until(lambda: spool_files(pid), "the body in a file")
            assert server.get("/report").status == 200
    assert server.get("/report").status == 200


def test_a_body_that_drips_is_refused(serve, worker_class):
    """It never pauses for as long as body_timeout, and comes with less than min_body_rate."""
    server = serve("slow_app:app", "--body-timeout", "2", "--min-body-rate", "1000",
                   worker_class=worker_class, workers=1)
    with server.connect() as slow:
        slow.send(head(100000))
        slow.sock.settimeout(0.2)
        answer = b""

        def drip():
            nonlocal answer
            with contextlib.suppress(TimeoutError):
                answer += slow.sock.recv(1000)
            if not answer:
                slow.send(b"x")
            return answer

        wait_until(drip, "408")
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.get("/calls").body == b"0 1"


def test_at_the_limit_of_connections_an_idle_one_makes_room(serve, worker_class):
    server = serve("slow_app:app", "--worker-connections", "4", "--keep-alive", "60",
                   worker_class=worker_class, workers=1)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(4)]
        for client in idle:
            client.request(target="/calls")
        with server.connect() as another:
            another.send(b"GET /calls HTTP/1.1\r\nHost: x\r\n\r\n")
            assert another.read_response().status == 200
        assert idle[0].at_end()  # the oldest
        for client in idle[1:]:
            assert client.request(target="/calls").status == 200
