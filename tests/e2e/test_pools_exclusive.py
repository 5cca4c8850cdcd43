"""Exclusive pools, in Python and in C, beside web workers under load: whatever happens, never two at once."""

from __future__ import annotations

import os
import re
import signal

import pytest

from harness import Load, is_alive, wait_until
from pool_scripts import NO_LEAK_SEARCH, count
from test_pools_c import pools  # noqa: F401 (a fixture)

ONLY = """
import fcntl, os, time

def run(worker):
    with open("python.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print("said alone", os.getpid())
        except OSError:
            print("said two", os.getpid())
        try:
            worker.wait()
        finally:  # INT leaves it by an exception
            time.sleep(0.2)
            print("said left", os.getpid())
"""
CONFIG = """
pools = {
    "python": {"run": "only:run", "hand_over": "exclusive"},
    "native": "./%s:alone",
}
"""
POOLS = ("python", "native")


def begun(server, times: int) -> dict[str, int]:
    """The last pid of each pool, once each has begun so often."""
    for name in POOLS:
        server.wait_log(rf"^\[{name}/0\] said alone \d+$", times)
    return {name: int(pid) for name, pid in re.findall(r"^\[(\w+)/0\] said alone (\d+)$", server.log, re.MULTILINE)}


@pytest.fixture
def exclusive(serve, place, tmp_path, pools):
    (place / "only.py").write_text(ONLY)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    yield lambda: serve("hello:app", workers=1, env={"XDG_RUNTIME_DIR": str(runtime), **NO_LEAK_SEARCH},
                        config=CONFIG % pools())
    assert os.listdir(runtime) == []
    for name in ("only.py", "python.lock", "native.lock"):
        (place / name).unlink(missing_ok=True)


def test_kills_stops_and_reloads_under_load(exclusive):
    server = exclusive()
    before, begins = begun(server, 1), 1
    with Load(server.address, clients=2) as load:
        load.wait_for(20)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            for pid in before.values():
                os.kill(pid, number)
            begins += 1
            after = begun(server, begins)
            assert not set(after.values()) & set(before.values())
            before = after
        for round in range(1, 3):
            server.signal(signal.SIGHUP)
            server.wait_log("Reload done", round)
            begins += 1
            begun(server, begins)
        load.wait_for(20)
    load.assert_clean(at_least=40)
    assert server.stop() == 0
    assert "said two" not in server.log
    for name in POOLS:
        said = re.findall(rf"^\[{name}/0\] said (\w+) (\d+)$", server.log, re.MULTILINE)
        assert [word for word, _ in said].count("left") == begins - 1  # all but the one that was killed


def test_an_upgrade_under_load_hands_over(exclusive, adopt):
    server = exclusive()
    old = begun(server, 1)
    with Load(server.address, clients=2) as load:
        load.wait_for(20)
        server.signal(signal.SIGUSR2)
        second = int(server.wait_log(r"Listening at: .* \((\d+)\)", 2)[1])
        adopt(second)
        server.wait_log("The exclusive worker waits until the one before it is gone", 2)
        assert begun(server, 1) == old and all(is_alive(pid) for pid in old.values())
        os.kill(old["python"], signal.SIGKILL)  # whoever comes first is the one
        begun(server, 1)
        wait_until(lambda: count(server, r"\[python/0\] said alone") == 2, "another one")
        load.wait_for(20)
        assert server.stop() == 0
        new = begun(server, 2)
        wait_until(lambda: all(is_alive(pid) for pid in begun(server, 2).values()), "both alive")
        load.wait_for(20)
    load.assert_clean(at_least=60)
    assert new["native"] != old["native"]
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: not is_alive(second), "the end of the second arbiter")
    assert "said two" not in server.log
