"""Recycling: workers are replaced for their age, a share at a time, and nobody waits for it."""

from __future__ import annotations

import signal

import pytest

import harness
from harness import Load, wait_until


def pids_seen(server, requests):
    return {int(server.get().text.split()[-1]) for _ in range(requests)}


@pytest.fixture
def live(serve, place, worker_class):
    """Workers whose application answers with their pid."""
    def start(*args, workers=1, **options):
        (place / "live.py").write_text(
            "import os, time\n"
            "time.sleep(float(os.environ.get('LOAD_SECONDS', '0')))\n"
            "def app(environ, start_response):\n"
            "    body = b'pid %d' % os.getpid()\n"
            "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
            "    return [body]\n")
        server = serve("live:app", *args, worker_class=worker_class, workers=workers, **options)
        server.wait_workers(workers)
        return server
    return start


def test_max_requests_makes_the_successor_first(live):
    """Two workers serve on while a successor takes a second to load."""
    server = live("--max-requests", "30", workers=2, env={"LOAD_SECONDS": "1"})
    wait_until(lambda: server.get(), "an answer")
    first = set(server.worker_pids)
    with Load(server.address, clients=3) as load:
        wait_until(lambda: len(server.worker_pids) == 3, "a successor beside the old ones")
        load.wait_for(50)  # answered by the old ones: the new one is still loading
        wait_until(lambda: not first & set(server.worker_pids), "the end of the old ones")
        load.wait_for(20)
    load.assert_clean(at_least=100)
    assert "has served max_requests and is replaced" in server.log
    assert server.stop() == 0


def test_a_worker_that_has_lived_long_enough_is_replaced(live):
    server = live("--max-worker-lifetime", "1", workers=2)
    first = set(server.worker_pids)
    with Load(server.address, clients=2) as load:
        wait_until(lambda: len(server.worker_pids) == 2 and not first & set(server.worker_pids),
                   "two others")
        load.wait_for(20)
    load.assert_clean(at_least=20)
    server.wait_log(r"Worker \(pid:\d+\) has lived for 1[.\d]* seconds and is replaced")
    assert server.stop() == 0


def test_not_more_than_the_share_leaves_at_once(live):
    """Four workers, all due at the same moment: never fewer than four that serve, never six alive."""
    server = live("--max-worker-lifetime", "2", workers=4, env={"LOAD_SECONDS": "0.2"})
    first = set(server.worker_pids)
    most = 0

    def all_replaced():
        nonlocal most
        pids = server.worker_pids
        most = max(most, len(pids))
        return not first & set(pids)
    wait_until(all_replaced, "the next four", timeout=60)
    assert most == 5
    assert server.stop() == 0


@pytest.mark.parametrize("args", [(), ("--hand-over", "exclusive")])
def test_an_only_worker_ends_before_its_successor(live, args):
    """Programs that keep state in one worker rely on it, exclusive or as under gunicorn."""
    server = live("--max-requests", "5", *args)
    old = None
    for _ in range(12):
        pid = int(server.get().text.split()[-1])
        assert len(server.worker_pids) <= 1
        old = old or pid
    assert pid != old
    assert "Autorestarting worker after current request" in server.log
    assert server.stop() == 0


@pytest.mark.fault("W11")
@pytest.mark.parametrize("way", ["sys.exit(0)", "sys.exit(7)", "os._exit(0)", "os._exit(7)"])
@pytest.mark.log_may_contain("Traceback")
def test_a_worker_that_ends_by_itself_is_replaced(serve, place, worker_class, way):
    (place / "leaves.py").write_text(
        "import os, sys\n"
        "def app(environ, start_response):\n"
        f"    if environ['PATH_INFO'] == '/leave': {way}\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n")
    server = serve("leaves:app", worker_class=worker_class)
    victim, = server.wait_workers(1)
    with server.connect() as connection:
        connection.send(harness.format_request(target="/leave"))
        connection.sock.recv(1000)
    wait_until(lambda: server.worker_pids not in ([], [victim]), "the next worker")
    assert server.get().text == "ok"
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
