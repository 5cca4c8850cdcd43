"""HUP and USR2 while clients connect: nothing is lost, and what does not load changes nothing.

Expected behaviour: ARCHITECTURE.md, section 4 ("Reload is transactional").
"""

import os
import signal
from pathlib import Path

import pytest

import harness
from harness import Load, wait_until

GOOD = """
import os

os.write(1, b"loaded by %%d\\n" %% os.getpid())  # one line, whoever else writes

def app(environ, start_response):
    body = b"%s %%d" %% os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def write_app(place: Path, version: str) -> None:
    (place / "live.py").write_text(GOOD % version)


def new_workers(server, old, count=2):
    """Waits until exactly count workers live and none of them is of the old ones."""
    wait_until(lambda: len(server.worker_pids) == count and not set(server.worker_pids) & set(old),
               lambda: f"{count} new workers; old {old}, now {server.worker_pids}:\n{server.log}",
               timeout=60)
    return server.worker_pids


def serving_pids(server, requests=12):
    """The workers that answer now."""
    return {int(server.get().text.split()[-1]) for _ in range(requests)}


@pytest.fixture
def live(serve, place, worker_class):
    """Two workers of an application in the server's directory, which tests may change."""
    def start(*, args=(), workers=2, **options):
        write_app(place, "one")
        server = serve("live:app", *args, worker_class=worker_class, workers=workers, **options)
        server.wait_workers(2)
        server.wait_log("^loaded by ", count=2)
        return server
    return start


def test_20_reloads_lose_no_request(live):
    server = live()
    with Load(server.address, clients=3) as load:
        for _ in range(20):
            old = server.worker_pids
            load.wait_for(20)
            server.signal(signal.SIGHUP)
            new_workers(server, old)
        load.wait_for(20)
    load.assert_clean(at_least=400)
    assert server.stop() == 0


def test_a_reload_serves_the_new_code(live, place):
    server = live()
    assert server.get().text.startswith("one ")
    old = server.worker_pids
    write_app(place, "two")
    server.signal(signal.SIGHUP)
    new_workers(server, old)
    assert server.get().text.startswith("two ")


@pytest.mark.fault("W8")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("broken, why", [
    ("def app(:\n", "SyntaxError"),
    ("import nothing_of_that_name\n", "nothing_of_that_name"),
    ("raise RuntimeError('no database')\n", "no database"),
    ("application = 1\n", "app"),
])
def test_a_broken_application_at_reload_changes_nothing(live, place, broken, why):
    server = live()
    before = server.worker_pids
    (place / "live.py").write_text(broken)
    size = len(server.log)
    with Load(server.address, clients=2) as load:
        server.signal(signal.SIGHUP)
        wait_until(lambda: why in server.log[size:], lambda: f"{why!r} in {server.log[size:]}")
        load.wait_for(50)
        # The attempt is over when no process but the old workers is left.
        wait_until(lambda: server.worker_pids == before,
                   lambda: f"workers {before}, now {server.worker_pids}:\n{server.log}")
        load.wait_for(50)
    load.assert_clean(at_least=100)
    assert serving_pids(server) <= set(before)
    # Mended, the next reload works.
    write_app(place, "mended")
    server.signal(signal.SIGHUP)
    new_workers(server, before)
    assert server.get().text.startswith("mended ")
    assert server.stop() == 0


@pytest.mark.fault("M29")
@pytest.mark.parametrize("broken, why", [
    ("workers = 'many'\n", "many"),
    ("logger_class = 'no_such_module.Logger'\n", "no_such_module"),
    ("timeout = -1\n", "timeout"),
    ("workers = \n", "conf"),
])
@pytest.mark.log_may_contain("Traceback")
def test_a_broken_configuration_at_reload_changes_nothing(live, place, tmp_path, broken, why):
    file = tmp_path / "live.conf.py"
    file.write_text("workers = 2\n")
    server = live(args=("-c", str(file)), workers=None)
    before = server.worker_pids
    size = len(server.log)
    file.write_text(broken)
    with Load(server.address, clients=2) as load:
        server.signal(signal.SIGHUP)
        wait_until(lambda: why in server.log[size:], lambda: f"{why!r} in {server.log[size:]}")
        load.wait_for(50)
    load.assert_clean(at_least=50)
    assert server.worker_pids == before
    file.write_text("workers = 3\n")
    server.signal(signal.SIGHUP)
    new_workers(server, before, count=3)
    assert server.stop() == 0


def test_5_upgrades_lose_no_request(live, tmp_path, adopt):
    """USR2 starts a new arbiter on the same sockets; TERM ends the old one when the new one serves."""
    pidfile = tmp_path / "pid"
    server = live(settings={"pidfile": str(pidfile)})
    arbiter = server.pid
    with Load(server.address, clients=3) as load:
        for _ in range(5):
            known = {process.pid for process in harness.descendants_of(os.getpid())}
            load.wait_for(20)
            os.kill(arbiter, signal.SIGUSR2)
            following = wait_until(
                lambda: second_arbiter(arbiter, known), lambda: f"a new arbiter:\n{server.log}")
            adopt(following)
            assert read_pid(Path(f"{pidfile}.2")) == following
            assert read_pid(pidfile) == arbiter
            load.wait_for(20)
            os.kill(arbiter, signal.SIGTERM)
            wait_until(lambda: not harness.is_alive(arbiter), f"end of {arbiter}")
            wait_until(lambda: read_pid(pidfile) == following,
                       lambda: f"the pid file to be taken over:\n{server.log}")
            wait_until(lambda: not Path(f"{pidfile}.2").exists(), "the end of the name with .2")
            arbiter = following
        load.wait_for(20)
    load.assert_clean(at_least=200)
    os.kill(arbiter, signal.SIGTERM)
    wait_until(lambda: not harness.is_alive(arbiter), f"end of {arbiter}")
    assert not pidfile.exists()


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def second_arbiter(old: int, known: set[int]) -> int | None:
    """The new child of the old arbiter that has two workers of its own."""
    for process in harness.children_of(old):
        if process.pid not in known and len(harness.children_of(process.pid)) == 2:
            return process.pid
    return None


def test_an_upgrade_can_be_taken_back(live, adopt):
    """The new arbiter is ended instead of the old one; the old one goes on."""
    server = live()
    old = set(server.worker_pids)
    with Load(server.address, clients=2) as load:
        os.kill(server.pid, signal.SIGUSR2)
        known = {server.pid, *old}
        following = wait_until(lambda: second_arbiter(server.pid, known),
                               lambda: f"a new arbiter:\n{server.log}")
        load.wait_for(20)
        os.kill(following, signal.SIGTERM)
        wait_until(lambda: not harness.read_process(following), f"{following} to be reaped")
        load.wait_for(20)
    load.assert_clean(at_least=40)
    assert set(server.worker_pids) == old
    assert serving_pids(server) <= old


@pytest.mark.log_may_contain("Traceback")
def test_an_upgrade_to_code_that_does_not_load_leaves_the_old_server(live, place):
    server = live()
    before = server.worker_pids
    (place / "live.py").write_text("raise RuntimeError('no database')\n")
    with Load(server.address, clients=2) as load:
        server.signal(signal.SIGUSR2)
        server.wait_log("no database")
        wait_until(lambda: server.worker_pids == before,
                   lambda: f"the new arbiter to end:\n{server.log}", timeout=60)
        load.wait_for(20)
    # Requests that reached the broken workers' shared queue were answered by the old ones.
    load.assert_clean(at_least=20)
    assert serving_pids(server) <= set(before)


def test_a_reload_moves_to_another_address(serve, place, tmp_path, worker_class):
    """The new workers listen on the new address; the old socket is gone."""
    write_app(place, "one")
    first, second = place / "first.sock", place / "second.sock"
    file = tmp_path / "live.conf.py"
    file.write_text(f"bind = 'unix:{first}'\n")
    server = serve("live:app", "-c", str(file), bind=None, worker_class=worker_class)
    with harness.Connection(str(first)) as connection:
        assert connection.request().status == 200
    old = server.wait_workers(1)
    file.write_text(f"bind = 'unix:{second}'\n")
    server.signal(signal.SIGHUP)
    new_workers(server, old, count=1)
    with harness.Connection(str(second)) as connection:
        assert connection.request().status == 200
    assert not first.exists()
    assert server.stop() == 0
    assert not second.exists()
