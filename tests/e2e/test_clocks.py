"""The clocks of a worker: what hangs is replaced in time, the log says where it was, nobody else is hurt.

The limits here are generous, because a machine that runs other tests is slow; the strict ones (clock plus
half a second) are in the tests marked long, which `make long` runs alone.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from pathlib import Path

import pytest

import harness
from harness import Truncated, wait_until

TIMEOUT = 2       # of the clocks here, seconds
STRICT = 0.5      # what a replacement may take beyond its clock
GENEROUS = 5.0    # ... on a machine that is busy

slack = pytest.mark.parametrize("slack", [
    GENEROUS, pytest.param(STRICT, marks=pytest.mark.long, id="strict")])


def serve_hangs(serve, worker_class, workers=1, **settings):
    server = serve("hangs:app", worker_class=worker_class, workers=workers,
                   settings={"threads": 4 if worker_class == "gthread" else 1, **settings})
    server.wait_workers(workers)
    wait_until(lambda: server.get().status == 200, "an answer")
    return server


def begin(server, target):
    """Sends a request whose answer nobody waits for."""
    connection = server.connect()
    connection.send(harness.format_request(target=target))
    return connection


def seconds_until_replaced(server, old, since):
    """Seconds from `since` until a worker that is not `old` is forked."""
    wait_until(lambda: set(server.worker_pids) - {old}, "a successor")
    return time.monotonic() - since


def stacks_of(server, pid):
    """The record with the stacks of a worker; there is exactly one."""
    server.wait_log(rf"Stacks of worker \(pid:{pid}\):")
    found = re.findall(rf"\[ERROR\] Stacks of worker \(pid:{pid}\):\n((?:(?!\[\d{{4}}-).*\n?)*)", server.log)
    assert len(found) == 1, server.log
    return found[0]


def fails(connection):
    """The request is cut; or answered with 500, where Python could run once more."""
    with connection:
        try:
            return connection.read_response().status == 500
        except (Truncated, ConnectionResetError):
            return True


def server_of_a_new_request(server):
    """Pid of the worker; None when one that was just about to be aborted took the connection."""
    try:
        return int(server.get().text)
    except (Truncated, ConnectionResetError):
        return None


def assert_replaced_in_time(server, old, since, slack):
    took = seconds_until_replaced(server, old, since)
    print(f"replaced after {took:.2f} s with a clock of {TIMEOUT} s")
    assert took < TIMEOUT + slack
    wait_until(lambda: server_of_a_new_request(server) not in (None, old), "an answer of the successor")
    wait_until(lambda: not harness.is_alive(old), "the end of the old worker")


# ---- hangs ---------------------------------------------------------------------------------------------


@pytest.mark.fault("W3")
@slack
def test_a_hang_in_python(serve, slack):
    """sync: the main thread sits in the request. (gthread beats on, as gunicorn's; see request_timeout.)"""
    server = serve_hangs(serve, "sync", timeout=TIMEOUT)
    old, = server.worker_pids
    since = time.monotonic()
    request = begin(server, "/python?why")
    assert_replaced_in_time(server, old, since, slack)
    assert fails(request)
    assert re.search(rf"WORKER TIMEOUT \(pid:{old}\) silent for [\d.]+ s: "
                     r"GET /python\?why running [\d.]+ s\n", server.log)
    assert re.search(r'hangs\.py", line \d+ in sleep_for_ever', stacks_of(server, old))


@pytest.mark.fault("W4")
@slack
def test_a_hang_in_c_that_keeps_the_interpreters_lock(serve, worker_class, slack):
    server = serve_hangs(serve, worker_class, timeout=TIMEOUT)
    old, = server.worker_pids
    since = time.monotonic()
    request = begin(server, "/c")
    assert_replaced_in_time(server, old, since, slack)
    assert fails(request)
    assert re.search(rf"WORKER TIMEOUT \(pid:{old}\) silent for [\d.]+ s: GET /c running", server.log)
    stacks = stacks_of(server, old)
    assert re.search(r'hangs\.py", line \d+ in count_for_ever', stacks)
    threads = re.findall(r"Native stack of thread (\d+):\n(.*\[0x[0-9a-f]+\])", stacks)
    assert str(old) in dict(threads)
    assert len(dict(threads)) == len(threads) >= (2 if worker_class == "gthread" else 1)
    server.wait_log(rf"Worker \(pid:{old}\) was sent SIGKILL!")
    assert "out of memory" not in server.log  # we have killed it


@pytest.mark.fault("W5")
@slack
def test_a_stopped_worker(serve, worker_class, slack):
    server = serve_hangs(serve, worker_class, timeout=TIMEOUT)
    old, = server.worker_pids
    since = time.monotonic()
    server.signal(signal.SIGSTOP, old)
    assert_replaced_in_time(server, old, since, slack)
    assert re.search(rf"WORKER TIMEOUT \(pid:{old}\) silent for [\d.]+ s: no request in progress\n",
                     server.log)
    assert "in run" in stacks_of(server, old)


@pytest.mark.fault("W6")
@slack
def test_a_hang_at_import(serve, place, worker_class, slack):
    """A worker that is started later, beside one that serves on."""
    trap = place.parent / "trap"
    server = serve("hangs:app", worker_class=worker_class, workers=1,
                   settings={"boot_timeout": TIMEOUT, "loglevel": "debug"},
                   env={"HANG_AT_IMPORT": str(trap)})
    first = int(server.get().text)
    trap.touch()
    server.signal(signal.SIGTTIN)
    hanging, = set(server.wait_workers(2)) - {first}
    since = time.monotonic()
    server.wait_log(rf"WORKER TIMEOUT \(pid:{hanging}\) not ready [\d.]+ s after its start")
    trap.unlink()
    wait_until(lambda: set(server.worker_pids) - {first, hanging}, "a successor")
    assert time.monotonic() - since < TIMEOUT + slack
    assert "in sleep_for_ever" in stacks_of(server, hanging)
    server.wait_log(r"Worker ready", count=2)
    assert server.get().status == 200
    assert first in server.wait_workers(2)


@pytest.mark.fault("W6")
def test_a_hang_at_import_while_reloading_changes_nothing(serve, place, worker_class):
    trap = place.parent / "trap"
    server = serve("hangs:app", worker_class=worker_class, workers=1, settings={"boot_timeout": 1},
                   env={"HANG_AT_IMPORT": str(trap)})
    first = server.get().text
    trap.touch()
    server.signal(signal.SIGHUP)
    server.wait_log(r"Reload failed.*not ready within boot_timeout")
    assert server.get().text == first
    server.wait_workers(1)


def test_a_hang_in_a_hook_before_the_handlers_are_there(serve):
    server = serve("hello:app", worker_class="sync", settings={"boot_timeout": 1}, config="""
def post_fork(server, worker):
    import os, time
    if worker.age == 2:
        time.sleep(3600)
""")
    server.signal(signal.SIGTTIN)
    server.wait_log(r"not ready [\d.]+ s after its start")
    pid = int(re.search(r"WORKER TIMEOUT \(pid:(\d+)\)", server.log)[1])
    assert "in post_fork" in stacks_of(server, pid)
    server.wait_workers(2)
    assert server.get().status == 200


@pytest.mark.fault("W6")
def test_a_hang_at_the_start_is_one_report_and_the_end(serve, place, worker_class):
    trap = place.parent / "trap"
    trap.touch()
    server = serve("hangs:app", worker_class=worker_class, workers=3, settings={"boot_timeout": 1},
                   env={"HANG_AT_IMPORT": str(trap)}, wait=False)
    assert server.wait_exit() == 3
    assert server.log.count("WORKER TIMEOUT") == server.log.count("Stacks of worker") == 1, server.log
    assert server.log.count("Booting worker") == 3 and "Reason: No worker was ready within boot_timeout." in server.log


def test_worker_abort_runs_where_python_can_run(serve, tmp_path):
    mark = tmp_path / "mark"
    server = serve("hangs:app", worker_class="sync", settings={"timeout": 1}, config=f"""
def worker_abort(worker):
    open({str(mark)!r}, "w").write(str(worker.pid))
""")
    old, = server.wait_workers(1)
    request = begin(server, "/python")
    assert fails(request)
    wait_until(lambda: mark.exists() and mark.read_text() == str(old), "the hook")
    stacks_of(server, old)  # once: not by the arbiter and by Python


def test_an_abort_from_outside_shows_the_stacks_too(serve, worker_class):
    server = serve_hangs(serve, worker_class)
    old, = server.worker_pids
    server.signal(signal.SIGABRT, old)
    assert "in run" in stacks_of(server, old)
    wait_until(lambda: server.worker_pids not in ([], [old]), "another worker")


# ---- the other clocks ------------------------------------------------------------------------------------


@pytest.mark.fault("W12")
def test_graceful_timeout_names_what_still_runs(serve, worker_class):
    server = serve("hello:slow", worker_class=worker_class, settings={"graceful_timeout": 1})
    old, = server.wait_workers(1)
    request = begin(server, "/?s=60")
    request.read_until(b"begin")
    server.signal(signal.SIGTERM)
    assert request.at_end()
    request.close()
    assert server.wait_exit() == 0
    assert re.search(rf"Worker \(pid:{old}\) did not stop within 1 seconds, aborting it: "
                     r"GET /\?s=60 running [\d.]+ s\n", server.log)
    assert "in slow" in stacks_of(server, old)


@slack
def test_request_timeout_where_the_worker_can_do_nothing_else(serve, slack):
    server = serve_hangs(serve, "sync", request_timeout=TIMEOUT)
    old, = server.worker_pids
    since = time.monotonic()
    request = begin(server, "/sleep?s=60")
    assert_replaced_in_time(server, old, since, slack)
    assert fails(request)
    assert re.search(rf"REQUEST TIMEOUT \(pid:{old}\) after {TIMEOUT} s, the worker is aborted: "
                     r"GET /sleep\?s=60 running", server.log)
    assert "in app" in stacks_of(server, old)


def test_request_timeout_needs_no_heartbeat_clock_and_no_interpreter(serve, worker_class):
    server = serve_hangs(serve, worker_class, request_timeout=TIMEOUT, timeout=0)
    old, = server.worker_pids
    request = begin(server, "/c")
    assert fails(request)
    assert int(server.get().text) != old
    assert "the worker is aborted: GET /c running" in server.log
    assert "in count_for_ever" in stacks_of(server, old)


def test_request_timeout_lets_the_other_requests_of_a_worker_finish(serve):
    server = serve_hangs(serve, "gthread", request_timeout=3, keepalive=60)
    old, = server.worker_pids
    with server.connect() as idle:
        assert int(idle.request(target="/").body) == old
        stuck = begin(server, "/sleep?s=60")
        with server.connect() as other:
            other.request(target="/")
            server.wait_log(rf"REQUEST TIMEOUT \(pid:{old}\) after 3 s, the worker is replaced: "
                            r"GET /sleep\?s=60 running")
            # It serves on until its successor is ready, and a second longer.
            other.send(harness.format_request(target="/sleep?s=2"))
            assert int(other.read_response().body) == old
        assert fails(stuck)
    server.wait_log(rf"REQUEST TIMEOUT \(pid:{old}\) after 3 s, the worker is aborted: GET /sleep\?s=60")
    wait_until(lambda: not harness.is_alive(old), "the end of the old worker")
    assert int(server.get().text) != old
    assert server.log.index("the worker is replaced") < server.log.index("the worker is aborted")


def test_request_timeout_does_not_wait_for_ever_for_a_successor(serve, tmp_path):
    hang = tmp_path / "hang"
    server = serve("hangs:app", worker_class="gthread", workers=1, settings={
        "threads": 4, "request_timeout": 2, "boot_timeout": 4}, config=f"""
def post_worker_init(worker):
    import os, time
    while os.path.exists({str(hang)!r}):
        time.sleep(0.01)
""")
    server.wait_workers(1)
    old, = server.worker_pids
    assert int(server.get().text) == old
    hang.touch()
    stuck = begin(server, "/sleep?s=60")
    server.wait_log(rf"REQUEST TIMEOUT \(pid:{old}\) after 2 s, the worker is replaced")
    server.wait_log(rf"REQUEST TIMEOUT \(pid:{old}\) no successor was ready within 4 s, the worker "
                    r"leaves without: GET /sleep\?s=60 running")
    assert fails(stuck)
    hang.unlink()
    assert int(server.get().text) != old


def test_request_timeout_leaves_a_worker_alone_that_serves_many_requests(serve, worker_class):
    server = serve_hangs(serve, worker_class, request_timeout=1)
    old, = server.worker_pids
    end = time.monotonic() + 3
    with server.connect() as connection:
        while time.monotonic() < end:
            connection.send(harness.format_request(target="/sleep?s=0.2") * 8)  # 1.6 s in all
            for _ in range(8):
                assert int(connection.read_response().body) == old
    assert "TIMEOUT" not in server.log


# ---- crash loops -----------------------------------------------------------------------------------------

CRASHES = """
def post_worker_init(worker):
    import os, signal, threading, time
    def die():
        while not worker.booted:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGSEGV)
    threading.Thread(target=die, daemon=True).start()
"""


@pytest.mark.skipif(harness.SANITIZED, reason="the sanitizer tells of every crash")
@pytest.mark.fault("W9")
def test_a_crash_loop_makes_at_most_12_forks_in_10_seconds(serve, worker_class):
    workers = 4
    since = time.monotonic()
    server = serve("hello:app", worker_class=worker_class, workers=workers, config=CRASHES)
    time.sleep(max(0.0, since + 10 - time.monotonic()))
    forks = len(re.findall("Booting worker", server.log))
    print(f"{forks} forks in 10 s")
    assert workers < forks <= 12
    assert "Workers died" in server.log
    assert server.stop() == 0


# ---- no false alarms -------------------------------------------------------------------------------------


def stand_still(pids, seconds):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.fault("M2")
def test_nobody_is_called_hung_because_the_arbiter_was_stopped(serve, worker_class):
    server = serve_hangs(serve, worker_class, workers=2, timeout=TIMEOUT, request_timeout=TIMEOUT)
    workers = server.worker_pids
    for seconds in (TIMEOUT / 2, TIMEOUT + 0.3, 2.5 * TIMEOUT):
        stand_still([server.pid], seconds)
        time.sleep(TIMEOUT / 2)
    time.sleep(TIMEOUT + 1)  # every clock has been judged meanwhile
    assert server.worker_pids == workers
    assert "TIMEOUT" not in server.log


@pytest.mark.fault("M2", "M14")
def test_nobody_is_called_hung_because_everybody_was_stopped(serve, worker_class):
    """As when the machine is suspended. The lengths are such that a clock runs out while all stand still,
    just before it, and just after."""
    server = serve_hangs(serve, worker_class, workers=2, timeout=TIMEOUT)
    workers = server.worker_pids
    for seconds in (TIMEOUT - 0.4, TIMEOUT, TIMEOUT + 0.4, 2 * TIMEOUT):
        stand_still([server.pid, *workers], seconds)
        time.sleep(TIMEOUT / 2)
    time.sleep(TIMEOUT + 1)
    assert server.worker_pids == workers
    assert "TIMEOUT" not in server.log


def test_a_leaving_worker_gets_back_the_time_that_all_stood_still(serve):
    server = serve("hello:slow", worker_class="sync", settings={"graceful_timeout": 2})
    worker, = server.wait_workers(1)
    with begin(server, "/?s=1") as request:
        request.read_until(b"begin")
        server.signal(signal.SIGTERM)
        server.wait_log("Handling signal: term")
        stand_still([server.pid, worker], 3)
        assert request.read_exactly(5) == b"\nend\n"
    assert server.wait_exit() == 0
    assert "did not stop within" not in server.log


# ---- rest ------------------------------------------------------------------------------------------------


def switches(pids):
    """Voluntary context switches of all threads: each sleep that ended."""
    return sum(int(re.search(r"voluntary_ctxt_switches:\s*(\d+)", task.joinpath("status").read_text())[1])
               for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())


def test_an_idle_server_wakes_at_most_5_times_a_second(serve, worker_class):
    server = serve_hangs(serve, worker_class, workers=4)
    pids = [server.pid, *server.worker_pids]
    rates = []
    for _ in range(5):
        before, since = switches(pids), time.monotonic()
        time.sleep(2)
        rates.append((switches(pids) - before) / (time.monotonic() - since))
    print("wake-ups a second:", [round(rate, 1) for rate in rates])
    assert statistics.median(rates) <= 6
