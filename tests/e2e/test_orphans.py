"""Workers die with the arbiter, whatever they are doing, and those that are busy may finish."""

import os
import select
import signal
import statistics
import time

import pytest

import harness
from harness import SANITIZED, is_alive, wait_until


class Requests:
    """Requests on connections of their own, sent and not answered yet."""

    def __init__(self, server, count, target):
        self.connections = [server.connect() for _ in range(count)]
        for connection in self.connections:
            connection.send(harness.format_request(target=target))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()


def kill_arbiter(server, workers, limit):
    """Kills the arbiter for good; returns the seconds until the last of these workers was gone."""
    watched = {os.pidfd_open(pid) for pid in workers}
    try:
        begin = time.monotonic()
        server.signal(signal.SIGKILL)
        left = set(watched)
        while left:
            ready, _, _ = select.select(left, [], [], max(0.0, begin + limit - time.monotonic()))
            assert ready, f"{len(left)} workers live {limit} s after their arbiter:\n{server.log}"
            left -= set(ready)
        return time.monotonic() - begin
    finally:
        for fd in watched:
            os.close(fd)
        server.wait_exit()


def rest(server, workers, tmp_path):
    """Idle workers."""


def stop(server, workers, tmp_path):
    """Stopped workers."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(harness.read_process(pid).state == "T" for pid in workers), "the stop")


def hang(server, workers, tmp_path, age=2.5):
    """One worker that has hung, in C and with the interpreter's lock, for a while."""
    mark = tmp_path / f"mark{server.pid}"
    requests = Requests(server, 1, f"/hang?mark={mark}")
    server.waiting.append(requests)
    wait_until(mark.exists, "the hang")
    time.sleep(age)  # not to wait for something: only a heart that stood still for so long counts


def hang_and_stop(server, workers, tmp_path):
    hang(server, workers, tmp_path)
    stop(server, workers, tmp_path)


def orphan(serve, adopt, tmp_path, worker_class, what, workers, limit, *args,
           **options):
    server = serve("orphans:app", *args, worker_class=worker_class, workers=workers, **options,
                   settings={"graceful_timeout": 60, "threads": 4})
    server.waiting = []
    pids = server.wait_workers(workers)
    wait_until(lambda: server.get().status == 200, "an answer")
    server.wait_log("Booting worker", workers)
    wait_until(lambda: all(handles(pid, signal.SIGTERM) for pid in pids), "their handlers")
    for pid in pids:
        adopt(pid)
    what(server, pids, tmp_path)
    try:
        return kill_arbiter(server, pids, limit)
    finally:
        for requests in server.waiting:
            requests.__exit__()


def handles(pid, number):
    for line in harness.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return int(line.split()[1], 16) >> (number - 1) & 1


@pytest.mark.fault("M1")
@pytest.mark.parametrize("what", [rest, stop, hang, hang_and_stop])
def test_workers_are_gone_soon_after_their_arbiter(serve, adopt, tmp_path, worker_class, what):
    """Much sooner than graceful_timeout; how soon is asserted in the long test."""
    workers = 1 if "hang" in what.__name__ else 3
    orphan(serve, adopt, tmp_path, worker_class, what, workers, limit=20)


@pytest.mark.fault("M1", "M35")
@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
@pytest.mark.parametrize("what", [stop, hang])
def test_workers_of_another_user_die_with_the_arbiter(serve, adopt, tmp_path, worker_class, what):
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode | 0o011)
    marks = tmp_path / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    # Imported as root: the library of a Python in root's home cannot be read by others.
    orphan(serve, adopt, marks, worker_class, what, 1, 20, "--user", "nobody", config="import hashlib")


@pytest.mark.long
@pytest.mark.fault("M1")
@pytest.mark.skipif(SANITIZED, reason="asserts a time")
@pytest.mark.parametrize("what", [rest, stop, hang])
def test_workers_are_gone_within_a_tenth_of_a_second(serve, adopt, tmp_path, worker_class, what):
    count = int(os.environ.get("ORPHANS", "200")) // 2  # two worker classes
    workers = 1 if what is hang else 4
    times = []
    for _ in range(count):
        times.append(orphan(serve, adopt, tmp_path, worker_class, what, workers, limit=20))
    print(f"\n{what.__name__}, {worker_class}: {count} times, median {statistics.median(times):.4f} s, "
          f"most {max(times):.4f} s")
    assert max(times) <= 0.1


@pytest.mark.fault("M1")
@pytest.mark.parametrize("kind, what, count", [
    ("gthread", "spin", 16), ("gthread", "hash", 4), ("gthread", "sleep", 2),
    ("sync", "spin", 1), ("sync", "hash", 1), ("sync", "sleep", 1)])
def test_a_busy_worker_finishes_its_requests(serve, adopt, tmp_path, kind, what, count):
    """However few signs of life it gives: the arbiter dies in the middle, every answer comes."""
    server = serve("orphans:app", worker_class=kind, settings={"threads": 16, "graceful_timeout": 60})
    worker, = server.wait_workers(1)
    adopt(worker)
    mark = tmp_path / "mark"
    with Requests(server, count, f"/{what}?s=4&mark={mark}") as requests:
        wait_until(mark.exists, "the first request")
        time.sleep(2.5)  # not to wait for something: as long as the hang of the tests above
        server.signal(signal.SIGKILL)
        server.wait_exit()
        for connection in requests.connections:
            assert connection.read_response().text == f"/{what} {worker}\n"
    wait_until(lambda: not is_alive(worker), "its end")
    assert "killed" not in server.log


@pytest.mark.fault("M1")
def test_a_worker_that_has_just_begun_to_hang_gets_its_time(serve, adopt, tmp_path):
    """A long call in C looks the same at first."""
    server = serve("orphans:app", worker_class="sync", settings={"graceful_timeout": 2})
    server.waiting = []
    worker, = server.wait_workers(1)
    adopt(worker)
    hang(server, [worker], tmp_path, age=0)
    assert 1.9 < kill_arbiter(server, [worker], limit=harness.WAIT)
    server.waiting[0].__exit__()


@pytest.mark.fault("M1")
def test_an_exclusive_worker_that_hangs_keeps_its_time(serve, adopt, tmp_path):
    server = serve("orphans:app", "--exclusive-lock", str(tmp_path / "lock"), worker_class="sync",
                   settings={"graceful_timeout": 2, "hand_over": "exclusive"})
    server.waiting = []
    worker, = server.wait_workers(1)
    adopt(worker)
    hang(server, [worker], tmp_path)
    assert 1.9 < kill_arbiter(server, [worker], limit=harness.WAIT)
    server.waiting[0].__exit__()
