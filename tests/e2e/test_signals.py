"""What a signal to the arbiter does, with and without requests in flight.

Expected behaviour: gunicorn's documentation "Signal Handling".
"""

import os
import re
import signal
import threading
import time

import pytest

import harness
from harness import Truncated, wait_until


class InFlight:
    """A request to hello:slow that has begun to answer and goes on for some seconds."""

    def __init__(self, server, seconds):
        self.connection = server.connect()
        self.connection.send(harness.format_request(target=f"/?s={seconds}"))
        self.connection.read_until(b"\r\n\r\n")
        assert self.connection.read_exactly(5) == b"begin"

    def finish(self):
        try:
            return self.connection.read_exactly(5)
        finally:
            self.connection.close()


def test_term_lets_requests_finish(serve, worker_class):
    server = serve("hello:slow", worker_class=worker_class)
    request = InFlight(server, 1)
    server.signal(signal.SIGTERM)
    assert request.finish() == b"\nend\n"
    assert server.wait_exit() == 0
    assert "Handling signal: term" in server.log


def test_term_ends_a_request_that_outlasts_graceful_timeout(serve, worker_class):
    server = serve("hello:slow", worker_class=worker_class, settings={"graceful_timeout": 1})
    request = InFlight(server, 60)
    start = time.monotonic()
    server.signal(signal.SIGTERM)
    with pytest.raises((Truncated, ConnectionResetError)):
        request.finish()
    assert server.wait_exit() == 0
    assert 0.9 < time.monotonic() - start < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait_for_requests(serve, worker_class, number):
    server = serve("hello:slow", worker_class=worker_class)
    request = InFlight(server, 8)
    start = time.monotonic()
    server.signal(number)
    try:
        request.finish()
    except (Truncated, ConnectionResetError):
        pass
    assert server.wait_exit() == 0
    assert time.monotonic() - start < 6


def test_ctrl_c_in_a_terminal_reaches_every_process_and_stops_once(serve, worker_class):
    """A terminal sends SIGINT to the whole group; workers get the arbiter's signal as well."""
    server = serve("hello:app", worker_class=worker_class, workers=2)
    server.wait_workers(2)
    assert server.get().status == 200
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait_exit() == 0
    assert "KeyboardInterrupt" not in server.log


def test_new_connections_are_refused_after_a_stop(serve, worker_class):
    server = serve("hello:slow", worker_class=worker_class)
    address = server.address
    request = InFlight(server, 1)
    server.signal(signal.SIGTERM)
    request.finish()
    server.wait_exit()
    with pytest.raises(ConnectionRefusedError):
        harness.Connection(address)


def everyone_answers(server, workers):
    """Waits until each of the workers has served a request: all are ready then."""
    with harness.Load(server.address, clients=4) as load:
        load.bodies = []
        wait_until(lambda: {int(body.split(b"=")[1]) for body in list(load.bodies)} >= set(workers),
                   "an answer of every worker")


def test_ttin_and_ttou_change_the_number_of_workers(serve, worker_class):
    # A worker that is still booting would be the first to go.
    server = serve("hello:app", worker_class=worker_class, workers=1,
                   config="loglevel = 'debug'\n")
    first = server.wait_workers(1)
    server.signal(signal.SIGTTIN)
    second = server.wait_workers(2)
    assert first[0] in second
    server.signal(signal.SIGTTIN)
    server.wait_workers(3)
    server.wait_log("Worker ready", count=3)
    server.signal(signal.SIGTTOU)
    wait_until(lambda: len(server.worker_pids) == 2, "two workers")
    # The oldest goes.
    assert first[0] not in server.worker_pids
    server.signal(signal.SIGTTOU)
    last = server.wait_workers(1)
    # Never below one.
    server.signal(signal.SIGTTOU)
    server.wait_log(r"Handling signal: ttou", count=3)
    assert server.get().text == f"pid={last[0]}\n"
    assert server.worker_pids == last


def test_a_killed_worker_is_replaced(serve, worker_class):
    server = serve("hello:app", worker_class=worker_class)
    old = server.wait_workers(1)[0]
    wait_until(lambda: server.get().status == 200, "an answer")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: server.worker_pids not in ([], [old]), "another worker")
    assert server.get().text == f"pid={server.worker_pids[0]}\n"
    assert re.search(rf"Worker \(pid:{old}\) was sent SIGKILL!", server.log)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_a_stray_signal_to_a_worker_does_not_stop_the_service(serve, worker_class, number):
    server = serve("hello:app", worker_class=worker_class)
    server.wait_workers(1)
    wait_until(lambda: server.get().status == 200, "an answer")
    os.kill(server.worker_pids[0], number)
    for _ in range(10):
        assert server.get().status == 200


@pytest.mark.fault("M1")
def test_workers_end_when_the_arbiter_is_killed(serve, worker_class, adopt):
    server = serve("hello:app", worker_class=worker_class, workers=2)
    workers = server.wait_workers(2)
    assert server.get().status == 200
    for pid in workers:
        adopt(pid)
    server.signal(signal.SIGKILL)
    assert server.wait_exit() == -signal.SIGKILL
    wait_until(lambda: not any(map(harness.is_alive, workers)), "the end of the orphans")


def test_a_hanging_worker_is_killed_and_replaced(serve):
    """sync: a request longer than timeout counts as a hang, as in gunicorn."""
    server = serve("hello:slow", worker_class="sync", settings={"timeout": 1})
    old = server.wait_workers(1)[0]
    request = InFlight(server, 60)
    with pytest.raises((Truncated, ConnectionResetError)):
        request.finish()
    assert f"WORKER TIMEOUT (pid:{old})" in server.log
    assert server.get(f"/?s=0").body == b"begin\nend\n"
    assert server.worker_pids != [old]


def test_usr1_opens_the_log_files_again(serve, worker_class, tmp_path):
    access = tmp_path / "access"
    server = serve("hello:app", worker_class=worker_class, settings={"accesslog": str(access)})
    server.get("/one")
    wait_until(lambda: access.exists() and "/one" in access.read_text(), "the first line")
    access.rename(tmp_path / "access.1")
    server.signal(signal.SIGUSR1)
    wait_until(access.exists, "the new file")
    server.get("/two")
    wait_until(lambda: "/two" in access.read_text() + (tmp_path / "access.1").read_text(), "line 2")
    # The arbiter makes the file at once; the worker may take a moment to follow.
    def moved():
        server.get("/three")
        return "/three" in access.read_text()
    wait_until(moved, "lines in the new file")


def test_many_signals_at_once_end_in_a_clean_stop(serve, worker_class):
    server = serve("hello:app", worker_class=worker_class, workers=2)
    server.wait_workers(2)

    def noise():
        for _ in range(20):
            for number in (signal.SIGTTIN, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTOU):
                server.signal(number)

    threads = [threading.Thread(target=noise) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: server.get().status == 200, "an answer")
    assert server.stop() == 0
