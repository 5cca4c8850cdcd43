"""Exclusive hand-over and the clock of exit hooks: what a stateful service acknowledged is never lost.

The programs are those of examples/counter and tests/e2e/data/stateful.py, each in saola's form and in
gunicorn's.
"""

import json
import os
import re
import signal
import sys
import time

import pytest

from harness import DATA, SERVER, TOP, Load, Truncated, is_alive, wait_until

pytestmark = [pytest.mark.leaves("state.txt"),
              pytest.mark.skipif("gunicorn" in SERVER[0], reason="saola's own")]

form = pytest.mark.parametrize("form", ["saola", "gunicorn"])


@pytest.fixture
def runtime(tmp_path):
    """Directory of lock files. An orderly end leaves none."""
    directory = tmp_path / "runtime"
    directory.mkdir()
    yield directory


@pytest.fixture
def start(serve, place, runtime):
    """Starts stateful.py."""
    def start(form="saola", save=0.0, bind="127.0.0.1:0", wait=True, **settings):
        shim = ["-m", "saola.gunicorn"] if form == "gunicorn" else []
        return serve(command=[sys.executable, *shim, str(DATA / "stateful.py"), form, bind],
                     bind=None, wait=wait,
                     env={"SETTINGS": json.dumps(settings), "SAVE_SECONDS": str(save),
                          "XDG_RUNTIME_DIR": str(runtime)})
    return start


@pytest.fixture
def counter(serve, tmp_path, runtime):
    """Starts a program of examples/counter."""
    def start(form, max_requests=0):
        env = {"MAX_REQUESTS": str(max_requests), "XDG_RUNTIME_DIR": str(runtime)}
        directory = TOP / "examples" / "counter"
        if form == "saola":
            return serve(script=directory / "counter.py", script_args=("127.0.0.1:0",), env=env)
        mark = '# self.cfg.set("max_requests", 10)'
        text = (directory / "counter_gunicorn.py").read_text()
        assert mark in text
        program = tmp_path / "counter_gunicorn.py"
        program.write_text(text.replace(
            mark, f'self.cfg.set("max_requests", {max_requests})\n'
                  '        self.cfg.set("hand_over", "exclusive")'))
        return serve(command=[sys.executable, "-m", "saola.gunicorn", str(program), "localhost:0"],
                     bind=None, env=env)
    return start


def value_of(body: bytes) -> int:
    found = json.loads(body)
    return found["value"] if isinstance(found, dict) else found


def count_up(server, times=1):
    """The last value."""
    for _ in range(times):
        value = value_of(server.get("/getvalue").body)
    return value


class InFlight:
    """A request that is inside the application when the constructor returns."""

    def __init__(self, server, seconds):
        before = server.log.count("sleeping in")
        self.connection = server.connect()
        self.connection.send(b"GET /slow?s=%g HTTP/1.1\r\nHost: x\r\n\r\n" % seconds)
        server.wait_log("^sleeping in", before + 1)

    def finish(self):
        """The value, or None if there was none: an error, or the connection was cut."""
        try:
            with self.connection:
                response = self.connection.read_response()
                return value_of(response.body) if response.status == 200 else None
        except (Truncated, ConnectionResetError):
            return None


def loads(server):
    """The values with which workers began, in order."""
    return [int(value) for value in re.findall(
        r"^(?:loaded |Service starts, state: )(-?\d+)", server.log, re.MULTILINE)]


def saves(server):
    return [int(value) for value in re.findall(
        r"^(?:saved |Saving state: )(\d+)", server.log, re.MULTILINE)]


def assert_never_two(server):
    """Each worker loaded what the one before had saved, after it had."""
    lines = re.findall(r"^(loaded|saved) (-?\d+) in", server.log, re.MULTILINE)
    assert [word for word, _ in lines] == ["loaded", "saved"] * (len(lines) // 2), lines
    for (_, saved), (_, loaded) in zip(lines[1::2], lines[2::2]):
        assert saved == loaded, lines


def assert_no_lock_left(runtime):
    assert os.listdir(runtime) == []


# ---- reload (C3) -----------------------------------------------------------------------------------


@form
def test_an_idle_reload_keeps_the_value(start, place, runtime, form):
    server = start(form, save=0.2)
    for round in range(1, 4):
        assert count_up(server, 10) == round * 10
        server.signal(signal.SIGHUP)
        server.wait_log("Reload done", round)
    assert count_up(server) == 31
    assert server.stop() == 0
    assert_never_two(server)
    assert (place / "state.txt").read_text() == "31"
    assert_no_lock_left(runtime)


@form
def test_reloads_under_load_hand_out_no_value_twice(counter, place, form):
    """No request is refused or fails, and what was acknowledged is what was saved."""
    server = counter(form)
    load = Load(server.address, clients=4, target="/getvalue")
    load.bodies = []
    with load:
        for round in range(1, 6):
            load.wait_for(50)
            server.signal(signal.SIGHUP)
            server.wait_log("Reload done", round)
        load.wait_for(50)
    load.assert_clean(at_least=300)
    assert server.stop() == 0
    values = sorted(value_of(body) for body in load.bodies)
    assert values == list(range(1, len(values) + 1))
    assert (place / "state.txt").read_text() == str(len(values))
    assert loads(server) == [0, *saves(server)[:-1]]
    assert len(loads(server)) == 6


@form
def test_a_request_in_flight_at_a_reload_is_counted_and_kept(start, place, form):
    server = start(form)
    count_up(server, 10)
    request = InFlight(server, 1)
    server.signal(signal.SIGHUP)
    # A client that comes now may wait for the new worker; it is not refused.
    other = count_up(server)
    assert {other, request.finish()} == {11, 12}
    assert count_up(server, 3) == 15
    assert server.stop() == 0
    assert_never_two(server)
    assert (place / "state.txt").read_text() == "15"


@pytest.mark.log_may_contain("Traceback")
def test_a_reload_whose_application_fails_goes_back_to_the_old_one_with_its_state(start, place):
    server = start()
    count_up(server, 5)
    state = place / "state.txt"
    state.mkdir()  # neither to be saved nor to be loaded
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed")
    state.rmdir()
    assert count_up(server) >= 1  # it serves again; what could not be saved is in the log
    assert "IsADirectoryError" in server.log
    assert server.stop() == 0


# ---- number of workers (C4) --------------------------------------------------------------------------


def test_ttin_is_refused_and_ttou_changes_nothing(start, place):
    server = start()
    worker, = server.wait_workers(1)
    assert count_up(server) == 1
    for times in range(1, 4):
        server.signal(signal.SIGTTIN)
        server.wait_log("SIGTTIN refused: this group is exclusive and has exactly one worker", times)
    server.signal(signal.SIGTTOU)
    server.wait_log("Handling signal: ttou")
    assert [count_up(server) for _ in range(4)] == [2, 3, 4, 5]
    assert server.worker_pids == [worker]
    assert server.stop() == 0
    assert (place / "state.txt").read_text() == "5"


@pytest.mark.leaves()
@form
@pytest.mark.parametrize("setting, value", [("workers", 4), ("preload_app", True),
                                            ("reuse_port", True)])
def test_what_exclusive_excludes_is_one_line_at_the_start(start, form, setting, value):
    server = start(form, wait=False, **{setting: value})
    assert server.wait_exit() == 1
    lines = server.log.splitlines()
    assert len([line for line in lines if line.strip()]) == 1
    assert f"{setting}:" in server.log and "hand_over = 'exclusive'" in server.log


def test_a_check_of_the_configuration_finds_it_too(serve):
    server = serve("hello:app", "--check-config", "--hand-over", "exclusive", workers=3, wait=False)
    assert server.wait_exit() == 1
    assert "workers: hand_over = 'exclusive' means one worker, not 3" in server.log


def test_a_reload_to_several_exclusive_workers_changes_nothing(serve, place, runtime):
    config = place / "conf.py"
    config.write_text("hand_over = 'exclusive'\n")
    server = serve("hello:app", "-c", str(config), env={"XDG_RUNTIME_DIR": str(runtime)})
    worker, = server.wait_workers(1)
    config.write_text("hand_over = 'exclusive'\nworkers = 2\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, generation 1 goes on unchanged: .*means one worker, not 2")
    assert server.get().text == f"pid={worker}\n"
    assert server.stop() == 0


# ---- recycling (C1) ----------------------------------------------------------------------------------


@form
def test_200_clicks_over_max_requests_give_200_values(counter, place, form):
    server = counter(form, max_requests=10)
    load = Load(server.address, clients=4, target="/getvalue", limit=200)
    load.bodies = []
    with load:
        load.join()
    load.assert_clean(at_least=200)
    assert sorted(value_of(body) for body in load.bodies) == list(range(1, 201))
    assert server.stop() == 0
    assert loads(server) == [0, *saves(server)[:-1]] and len(loads(server)) >= 10
    assert (place / "state.txt").read_text() == "200"


@form
def test_saving_after_max_requests_may_take_longer_than_timeout(start, place, form):
    """No heartbeat comes from an exit hook; only exit_timeout counts there."""
    server = start(form, save=2.5, timeout=1, graceful_timeout=1, max_requests=3)
    assert count_up(server, 3) == 3
    assert count_up(server) == 4
    assert server.stop() == 0
    assert_never_two(server)
    assert "TIMEOUT" not in server.log and "SIGKILL" not in server.log


@form
def test_an_idle_connection_costs_no_state(start, place, form):
    """C1c: with gunicorn it uses up the grace, and SIGKILL hits the exit hook."""
    server = start(form, save=0.3, graceful_timeout=1)
    with server.connect() as idle:
        assert value_of(idle.request(target="/getvalue").body) == 1
        assert server.stop() == 0
    assert (place / "state.txt").read_text() == "1"


@form
def test_nothing_is_acknowledged_after_the_saving_has_begun(start, place, form):
    """C15: a request that outlasts graceful_timeout, after max_requests."""
    server = start(form, save=2, graceful_timeout=1, max_requests=6)
    request = InFlight(server, 2.5)
    count_up(server, 5)
    value = request.finish()
    following = count_up(server)
    assert value is None or value != following
    assert server.stop() == 0
    acknowledged = [following] if value is None else [value, following]
    assert int((place / "state.txt").read_text()) >= max(acknowledged)
    assert_never_two(server)


# ---- stops: whatever the clocks, the exit hook runs to its end -----------------------------------------


@form
@pytest.mark.parametrize("save", [0, 2])
def test_a_request_that_outlasts_the_stop_does_not_cost_the_state(start, place, form, save):
    """C1d, C9c: the saving begins when graceful_timeout is over and may take longer than it."""
    server = start(form, save=save, graceful_timeout=1)
    count_up(server, 5)
    request = InFlight(server, 60)
    server.signal(signal.SIGTERM)
    assert request.finish() is None
    assert server.wait_exit() == 0
    assert (place / "state.txt").read_text() == "5"


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_further_signals_do_not_cut_the_saving(start, place, first):
    server = start(save=3, graceful_timeout=1)
    count_up(server, 5)
    worker, = server.worker_pids
    server.signal(first)
    server.wait_log("^saving in")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        server.signal(number)
        server.signal(number, worker)
    assert server.wait_exit() == 0
    assert (place / "state.txt").read_text() == "5"


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_a_worker_that_hangs_saves_before_it_goes(start, place, worker_class):
    server = start(save=3, timeout=2, graceful_timeout=1, worker_class=worker_class,
                   threads=1 if worker_class == "sync" else 4)
    count_up(server, 5)
    old, = server.worker_pids
    request = None
    if worker_class == "sync":
        request = InFlight(server, 60)  # the main thread is inside the application
    else:
        server.signal(signal.SIGSTOP, old)  # it stands still; ABRT waits until it goes on
        server.wait_log("WORKER TIMEOUT")
        server.signal(signal.SIGCONT, old)
    server.wait_log(rf"WORKER TIMEOUT \(pid:{old}\)")
    if request:
        assert request.finish() is None
    assert count_up(server) == 6
    assert server.stop() == 0
    assert_never_two(server)


@pytest.mark.leaves("state.txt")
def test_exit_timeout_ends_a_saving_that_does_not_end(start, place):
    server = start(save=60, exit_timeout=1, graceful_timeout=30)
    count_up(server)
    worker, = server.worker_pids
    begin = time.monotonic()
    assert server.stop() == 0
    assert 0.9 < time.monotonic() - begin < 15
    assert (f"Exit hooks of worker (pid:{worker}) did not end within 1 seconds, killing it."
            in server.log)
    assert "in save" in server.log  # the stacks


# ---- two arbiters (C5, C11b) ---------------------------------------------------------------------------


@form
def test_an_upgrade_waits_for_the_old_worker(start, place, runtime, form, adopt):
    server = start(form, save=0.5)
    count_up(server, 10)
    old, = server.worker_pids
    server.signal(signal.SIGUSR2)
    waits = server.wait_log(r"The exclusive worker waits until the one before it is gone: "
                            r"pid (\d+) holds the lock '(.*)'\.")
    assert int(waits[1]) == old and waits[2].startswith(str(runtime))
    second = int(server.wait_log(r"Listening at: .* \((\d+)\)", 2)[1])
    adopt(second)
    assert count_up(server, 5) == 15  # the old one alone
    load = Load(server.address, clients=4, target="/getvalue")
    load.bodies = []
    with load:
        load.wait_for(20)
        assert server.stop() == 0
        server.wait_log("^loaded", 2)
        load.wait_for(20)
    load.assert_clean(at_least=40)
    values = sorted(value_of(body) for body in load.bodies)
    assert values == list(range(16, 16 + len(values)))
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: not is_alive(second), "the end of the second arbiter")
    assert_never_two(server)
    assert (place / "state.txt").read_text() == str(15 + len(values))
    assert server.log.count("The exclusive worker waits") == 1
    assert_no_lock_left(runtime)


@form
def test_an_upgrade_can_be_taken_back(start, place, form, adopt):
    server = start(form)
    count_up(server, 10)
    server.signal(signal.SIGUSR2)
    server.wait_log("The exclusive worker waits")
    second = int(server.wait_log(r"Listening at: .* \((\d+)\)", 2)[1])
    os.kill(second, signal.SIGTERM)
    server.wait_log("this one serves on alone")
    assert count_up(server) == 11
    assert server.stop() == 0
    assert_never_two(server)


@form
def test_a_restart_after_a_killed_arbiter_waits_for_the_orphan(start, place, form, adopt):
    server = start(form, save=1.5, graceful_timeout=1, exclusive_lock="../runtime/lock")
    count_up(server, 10)
    orphan, = server.worker_pids
    adopt(orphan)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    second = start(form, bind="%s:%d" % server.address, exclusive_lock="../runtime/lock")
    assert count_up(second) == 11
    assert second.log.count("The exclusive worker waits until the one before it is gone") >= 1
    assert re.findall(r"^saved (\d+) in", server.log, re.MULTILINE) == ["10"]
    assert not is_alive(orphan)
    assert second.stop() == 0
    assert loads(second) == [10]


def test_the_orphans_lock_is_waited_for(start, place, runtime, adopt):
    """The same with the address given as before (port 0), so that both have one lock."""
    server = start(save=1.5, graceful_timeout=1)
    count_up(server, 10)
    orphan, = server.worker_pids
    adopt(orphan)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    second = start()
    second.wait_log(rf"waits until the one before it is gone: pid {orphan} holds the lock")
    assert count_up(second) == 11
    assert loads(second) == [10]
    assert second.stop() == 0
    assert_no_lock_left(runtime)


@pytest.mark.fault("M1")
def test_an_orphan_that_is_busy_still_saves(start, place, adopt):
    """The arbiter is dead, a request outlasts graceful_timeout, saving takes longer than it."""
    server = start(save=2, graceful_timeout=1)
    count_up(server, 5)
    orphan, = server.worker_pids
    adopt(orphan)
    request = InFlight(server, 60)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    assert request.finish() is None
    wait_until(lambda: not is_alive(orphan), "the orphan's end")
    assert (place / "state.txt").read_text() == "5"
