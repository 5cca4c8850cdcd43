"""Pools in C: what workers print, heartbeats, settings; below the arbiter of C and that of Python."""

from __future__ import annotations

import os
import re
import signal
import time
from signal import SIGKILL

import pytest

from capi import build, compile_app, serve_c  # noqa: F401 (fixtures)
from harness import DATA, is_alive, wait_until
from pool_scripts import NO_LEAK_SEARCH, count

SOURCE = DATA / "pools.c"


@pytest.fixture
def pools(place):
    """Compiles pools.c into the server's directory."""
    def make(*more: str) -> str:
        return compile_app(SOURCE, place / "pools.so", *more).name
    yield make
    (place / "pools.so").unlink(missing_ok=True)


def collector_of(server) -> int:
    found = [pid for pid in server.worker_pids if "output" in open(f"/proc/{pid}/cmdline").read()]
    assert len(found) == 1, found
    return found[0]


def begun(server, times: int, word: str = "hello") -> dict[int, int]:
    """The last pid of each id, once so many workers have begun."""
    server.wait_log(rf"{word} \d+ \d+$", times)
    return {int(number): int(pid) for number, pid in re.findall(rf"{word} (\d+) (\d+)$", server.log, re.MULTILINE)}


def test_output_is_live_prefixed_whole_and_bounded(serve_c, pools, place):
    so = pools()
    server = serve_c(None, "--pool", f"{so}:printing", "--pool", so, "--pool", f"{so}:raw", wait=False)
    server.wait_log(r"^\[prints/1\] torn-off$")
    wait_until(lambda: sum(map(len, re.findall(r"^\[prints/0\] (x+)$", server.log, re.MULTILINE))) == (1 << 20) - 1,
               "a megabyte")
    assert max(map(len, re.findall(r"^\[prints/\d\] x+$", server.log, re.MULTILINE))) <= (128 << 10) + 11
    server.wait_log(r"^\[greets/1\] hello 1 \d+$")
    pids = begun(server, 2)
    collector = collector_of(server)
    os.kill(collector, SIGKILL)
    server.wait_log(r"collector of the pools' output \(pid:%d\) has ended" % collector)
    os.kill(pids[0], SIGKILL)
    after = begun(server, 3)
    assert after[1] == pids[1] and after[0] != pids[0]
    pools('-DGREETING="anew"')
    server.signal(signal.SIGHUP)
    begun(server, 2, "anew")
    server.wait_log("Reload done: generation 2")
    assert server.stop() == 0
    for number in (0, 1):
        assert count(server, f"end {number}") == 2, server.log
        server.wait_log(rf"^\[[^]]*\] \[\d+\] \[INFO\] logged {number}$", 2)  # the log has no prefix
    assert re.search(r"^begins to wait$", server.log, re.MULTILINE)
    (place / "torn").unlink()


def test_a_main_that_computes_is_no_hang_unless_it_is_to_be_watched(serve_c, pools):
    so = pools()
    server = serve_c(None, "--pool", f"{so}:computing", "--pool", f"{so}:watched", "--pool", f"{so}:waiting",
                     wait=False)
    server.wait_log(r"^\[busy/0\] busy has computed$")
    server.wait_log(r"WORKER TIMEOUT")
    server.wait_log(r"^\[watched/0\] watched computes$", 2)
    assert count(server, "busy computes") == 1
    server.wait_log(r"^\[waits/0\] begins to wait$")
    server.stop()
    assert count(server, r"\[waits/0\] woke: closed") == 1, server.log


def test_whoever_waits_for_the_reader_does_not_hang_and_loses_nothing(serve_c, pools):
    server = serve_c(None, "--pool", f"{pools()}:counting", wait=False)
    server.wait_log(r"\[counts/0\] 00000040 ")
    collector = collector_of(server)
    worker, = set(server.worker_pids) - {collector}
    os.kill(collector, signal.SIGSTOP)
    try:
        time.sleep(4)  # twice the timeout
        os.kill(worker, signal.SIGSTOP)  # as on a machine that has no time for it when its reader comes back,
        time.sleep(1.5)                  # just before its heart is looked at
    finally:
        os.kill(collector, signal.SIGCONT)
    time.sleep(1.4)
    os.kill(worker, signal.SIGCONT)
    size = len(server.log)
    wait_until(lambda: len(server.log) > size + 100_000, "more lines")
    assert server.stop() == 0
    others = [line for line in server.log.splitlines() if not line.startswith("[counts/0] 0")]
    assert count(server, "Booting worker") == 1 and "TIMEOUT" not in server.log, others
    numbers = [int(number) for number in re.findall(r"^\[counts/0\] (\d{8}) \.+$", server.log, re.MULTILINE)]
    assert numbers == list(range(len(numbers))) and len(numbers) > 1000, others


@pytest.mark.leaves("log", "log.1")
def test_captured_output_follows_a_log_file_that_is_opened_anew(serve_c, pools, place):
    server = serve_c(None, "--pool", f"{pools()}:ticking", "--log-file", "log", "--capture-output", wait=False)
    log = place / "log"
    wait_until(lambda: log.exists() and "[ticks/0] tick\n" in log.read_text(), "a tick")
    log.rename(place / "log.1")
    server.signal(signal.SIGUSR1)
    wait_until(lambda: log.exists() and "[ticks/0] tick\n" in log.read_text(), "a tick in the new file")
    assert server.stop() == 0
    assert "Shutting down" in log.read_text() and "Starting" in (place / "log.1").read_text()


def test_settings_of_ones_own(serve_c, pools):
    so = pools()
    server = serve_c(None, "--pool", so, "--set", "greeting=ahoy", "--set", "level=3", wait=False)
    begun(server, 2, "ahoy")
    assert count(server, "opened with level 3") == 1
    assert server.stop() == 0
    for text, line in (("lewel=1", "no application here has such a setting; did you mean level?"),
                       ("level=10", "level"), ("level=9", "level 9 is taken")):
        server = serve_c(None, "--pool", so, "--set", text, wait=False)
        assert server.wait_exit() == 1
        assert line in server.log


def test_a_first_start_that_fails_waits_for_a_change_with_reload(serve_c, pools, build, place):
    """As under Python: the reason is served; once it works a broken change changes nothing."""
    so, fails = pools(), place / "fails"
    fails.touch()
    app = place.parent / "app.so"
    app.write_text("no shared object")
    server = serve_c(str(app), "--pool", so, "--reload", "--reload-extra-file", str(place / "extra"),
                     env={"POOL_FAILS": str(fails)})
    server.wait_log("no database; waiting for a change")
    response = server.get("/")
    assert response.status == 500 and "app.so: " in response.text
    fails.unlink()
    build("hello", to="app")
    begun(server, 2)
    wait_until(lambda: server.get("/").text == "Hello, world\n", lambda: server.log)
    assert server.log.count("waiting for a change") == 2  # of the pool, of the application
    app.with_suffix(".new").write_text("broken")
    app.with_suffix(".new").rename(app)
    server.wait_log("Reload failed")
    assert server.get("/").text == "Hello, world\n"
    assert server.stop() == 0


@pytest.mark.parametrize("app", [None, "hello:app"], ids=["C", "Python"])
def test_one_that_cannot_be_loaded_waits_for_a_change_with_reload(serve, serve_c, pools, place, app):
    """The application beside it serves. The file is watched from then on."""
    so = place / "pools.so"
    if app is not None:
        so.write_text("junk")
    why = "No such file or directory" if app is None else "file too short"
    start, server = serve_c if app is None else serve, None
    for reload in ([], ["--reload"]):
        server = start(app, "--pool", so.name, "--set", "level=2", *reload, wait=False, env=app and NO_LEAK_SEARCH)
        if not reload:
            assert server.wait_exit() == 1
            assert re.search(rf"^saola: .*pools\.so: {why}$", server.log, re.MULTILINE), server.log
    server.wait_log(rf"pools\.so: {why}; waiting for a change$")
    if app is not None:
        server.wait_log("Listening at")
        assert server.get("/").status == 200
    pools()
    begun(server, 2)
    pools('-DGREETING="anew"')
    begun(server, 2, "anew")
    server.wait_log("Reload done: generation 3")
    so.with_suffix(".new").write_text("junk")
    so.with_suffix(".new").rename(so)
    server.wait_log("Reload failed, generation 3 goes on unchanged: .*file too short")
    assert count(server, "opened with level 2") == 2
    assert server.stop() == 0
    assert count(server, "end 0") == 2 and "Traceback" not in server.log, server.log


def test_workers_outlive_their_arbiter_in_order_and_the_collector_goes_last(serve_c, pools, adopt):
    server = serve_c(None, "--pool", pools(), wait=False)
    pids = [*begun(server, 2).values()]
    everybody = server.worker_pids
    for pid in everybody:
        adopt(pid)
    assert set(pids) < set(everybody)
    server.signal(SIGKILL)
    server.wait_exit()
    wait_until(lambda: not any(is_alive(pid) for pid in everybody), "the end of all")
    assert count(server, r"\[greets/0\] end 0") == count(server, r"\[greets/1\] end 1") == 1


# ---- below Python -------------------------------------------------------------------------------------


def test_a_pool_in_c_beside_python(serve, pools, place):
    so = pools()
    server = serve("hello:app", workers=1, env=NO_LEAK_SEARCH, config=f"""
pools = {{
    "first": "./{so}",
    "second": {{"run": "./{so}:pool", "workers": [4], "settings": {{"greeting": "ahoy", "level": 2}}}},
    "ticks": "./{so}:ticking",
    "busy": "./{so}:computing",
}}
""")
    server.wait_log(r"^\[second/4\] ahoy 4 \d+$")
    server.wait_log(r"^\[ticks/0\] tick$", 3)
    pids = begun(server, 2)
    assert sorted(pids) == [0, 1] and server.get("/").status == 200
    os.kill(pids[1], SIGKILL)
    assert begun(server, 3)[1] != pids[1]
    server.wait_log(r"^\[busy/0\] busy has computed$")
    pools('-DGREETING="anew"')
    server.signal(signal.SIGHUP)
    begun(server, 2, "anew")
    server.wait_log("Reload done: generation 2")
    assert count(server, "opened with level") == 2  # other code, once
    broken = place / "pools.so.new"
    broken.write_text("junk")
    broken.rename(place / "pools.so")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, generation 2 goes on unchanged: .*file too short")
    assert server.stop() == 0
    assert count(server, "end 0") == 2
    server.wait_log(r"\[INFO\] logged 4", 2)
    assert "TIMEOUT" not in server.log


def test_a_first_start_that_fails_beside_python_waits_for_a_change_with_reload(serve, pools, place):
    so, fails = place / pools(), place / "fails"
    fails.touch()
    server = serve("hello:app", "--reload", env={"POOL_FAILS": str(fails), **NO_LEAK_SEARCH},
                   config=f"pools = {{'p': './{so.name}'}}")
    server.wait_log("^no database$")
    assert server.get("/").status == 200
    fails.unlink()
    pools()
    begun(server, 2)
    server.wait_log("Reload done: generation 2")
    fails.touch()
    pools('-DGREETING="anew"')
    server.wait_log("Reload failed, generation 2")
    fails.unlink()
    assert server.stop() == 0
    assert count(server, "waiting for a change") == 2  # workers


@pytest.mark.parametrize("pool, line", [
    ('"./%s:nothing"', "there is no nothing in it"),
    ('{"run": "./%s", "settings": {"level": 10}}', "level"),
    ('{"run": "./%s", "settings": {"level": 9}}', "level 9 is taken"),
    ('{"run": "./%s", "every": 3}', "when it runs is said by its table"),
    ('{"run": "a:b", "settings": {}}', "settings are for pools in C"),
])
def test_a_wrong_one_is_one_line(serve, pools, pool, line):
    so = pools()
    server = serve("hello:app", config=f"pools = {{'p': {pool % so if '%s' in pool else pool}}}", wait=False)
    assert server.wait_exit() == 1
    assert line in server.log and "Traceback" not in server.log, server.log


def test_pools_of_the_command_line_are_called_as_their_tables_say(serve, pools):
    so = pools()
    server = serve("hello:app", "--pool", so, "--pool", f"{so}:ticking", "--set", "greeting=ahoy", env=NO_LEAK_SEARCH)
    server.wait_log(r"^\[greets/1\] ahoy 1 \d+$")
    server.wait_log(r"^\[ticks/0\] tick$")
    assert server.stop() == 0
    for args, line in (((so, "--set", "lewel=2"), "pool: --set lewel: no application here has such a setting; "
                                                  "did you mean level?"),
                       ((f"{so}:nothing",), "pool: ./pools.so: there is no nothing in it"),
                       ((so, "--pool", so), "pools: there are two of the name 'greets'")):
        server = serve("hello:app", "--pool", *args, wait=False)
        assert server.wait_exit() == 1
        assert f"saola: {line}" in server.log and "Traceback" not in server.log, server.log
