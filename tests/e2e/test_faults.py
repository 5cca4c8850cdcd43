"""Faults of docs/faults.md that no other file injects: processes, descriptors, clocks, hooks, crashes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

import harness
from harness import DATA, Load, Server, wait_until


def replaced(server: Server, before: list[int]) -> list[int]:
    """Waits until other workers than these serve; their pids."""
    return wait_until(lambda: not set(server.worker_pids) & set(before) and server.worker_pids,
                      lambda: f"other workers than {before}:\n{server.log}")


# ---- no process, no descriptor ---------------------------------------------------------------------


@pytest.fixture
def without_fork(tmp_path: Path):
    """Begins to fail every fork of a process (strace); returns what ends it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    running = []

    def begin(pid: int, error: str):
        told = tmp_path / f"strace{len(running)}"
        with open(told, "wb") as out:
            tracer = subprocess.Popen(
                ["strace", "-p", str(pid), "-e", "trace=clone,clone3,fork,vfork",
                 "-e", f"inject=clone,clone3,fork,vfork:error={error}"], stderr=out)
        running.append(tracer)
        wait_until(lambda: "attached" in told.read_text() or tracer.poll() is not None, "strace")
        if tracer.poll() is not None:
            pytest.skip(f"strace may not trace here: {told.read_text().strip()}")

        def end():
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGTERM)
            tracer.wait(harness.WAIT)
            return told.read_text().count(error)
        return end

    yield begin
    for tracer in running:
        if tracer.poll() is None:
            tracer.kill()
        tracer.wait()


@pytest.mark.skipif(harness.SANITIZED, reason="LeakSanitizer and strace trace the same process")
@pytest.mark.fault("M3")
@pytest.mark.parametrize("error, words", [("EAGAIN", "Resource temporarily unavailable"),
                                          ("ENOMEM", "Cannot allocate memory")])
def test_no_process_can_be_made(serve, worker_class, without_fork, error, words):
    """The other worker serves on, a reload costs nothing, and all is well once processes can be made."""
    server = serve("hello:app", workers=2, worker_class=worker_class)
    first, second = server.wait_workers(2)
    end = without_fork(server.pid, error)
    server.signal(signal.SIGKILL, first)
    server.wait_log(rf"A worker could not be started: fork failed: {words}; next attempt in", 2)
    with Load(server.address, clients=2) as load:
        load.wait_for(20)
        server.signal(signal.SIGHUP)  # waits for workers that cannot be made
        load.wait_for(20)
        assert server.worker_pids == [second]
        failures = end()
        server.signal(signal.SIGHUP)  # the first one may have been given up by now
        server.wait_log("Reload done")
        wait_until(lambda: len(server.worker_pids) == 2 and second not in server.worker_pids,
                   lambda: f"two new workers:\n{server.log}")
        load.wait_for(20)
    load.assert_clean(60)
    assert failures < 200, "it tries without a pause"
    assert server.stop() == 0


@pytest.mark.fault("M4")
@pytest.mark.parametrize("limit", [4, 16])
def test_the_arbiters_limit_of_descriptors_is_lowered(serve, worker_class, limit):
    """Below what it has open: nothing can be opened, by none of its descendants either."""
    server = serve("hello:app", workers=2, worker_class=worker_class)
    before = server.wait_workers(2)
    full = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, full[1]))
    with Load(server.address, clients=2) as load:
        for number in (signal.SIGTTIN, signal.SIGUSR1, signal.SIGHUP):
            server.signal(number)
            server.wait_log(f"Handling signal: {signal.Signals(number).name[3:].lower()}")
            load.wait_for(20)
    load.assert_clean(60)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, full)
    server.signal(signal.SIGHUP)
    replaced(server, before)
    assert server.get().status == 200
    assert server.stop() == 0


# ---- what a worker does -----------------------------------------------------------------------------


@pytest.mark.fault("W15")
def test_a_worker_does_not_wait_for_an_arbiter_that_reads_nothing(serve, worker_class):
    """With its pipes full a worker serves, shows its stacks and ends; the arbiter learns of it later."""
    server = serve("faulty:app", workers=2, worker_class=worker_class)
    before = server.wait_workers(2)
    server.signal(signal.SIGSTOP)
    try:
        links = {os.readlink(f"/proc/{server.pid}/fd/{name}")
                 for name in os.listdir(f"/proc/{server.pid}/fd")}
        assert links & set(server.get("/fill-pipes").text.split()), "no pipe to the arbiter is full"
        for _ in range(20):
            assert int(server.get().text) in before
        server.signal(signal.SIGTERM, before[0])  # it has to tell that it leaves
        wait_until(lambda: not harness.is_alive(before[0]), "the end of a worker")
        assert int(server.get().text) == before[1]
    finally:
        server.signal(signal.SIGCONT)
    wait_until(lambda: len(server.worker_pids) == 2, lambda: f"a new worker:\n{server.log}")
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.fault("W16")
@pytest.mark.log_may_contain("Traceback")
def test_endless_recursion_fails_its_request(serve, worker_class):
    server = serve("faulty:app", worker_class=worker_class)
    before = server.wait_workers(1)
    assert server.get("/recurse").status == 500
    server.wait_log("RecursionError")
    assert server.get().text == str(before[0])
    assert server.stop() == 0


@pytest.mark.fault("W16")
@pytest.mark.skipif(harness.SANITIZED, reason="the sanitizers tell of the overflow")
def test_a_stack_overflow_in_c_costs_one_worker(serve, worker_class):
    server = serve("faulty:app", workers=2, worker_class=worker_class)
    before = server.wait_workers(2)
    with server.connect() as connection:
        connection.send(harness.format_request(target="/recurse-in-c"))
        assert connection.at_end()
    dead = int(server.wait_log(r"Worker \(pid:(\d+)\) was sent SIGSEGV")[1])
    assert dead in before
    wait_until(lambda: len(server.worker_pids) == 2 and dead not in server.worker_pids, "its successor")
    assert set(before) - {dead} < set(server.worker_pids)
    assert server.get().status == 200
    assert server.stop() == 0


# ---- clocks -----------------------------------------------------------------------------------------


@pytest.fixture
def wall_clock(tmp_path_factory):
    """Environment for a server, and step(seconds): how far its wall clock is off from now on."""
    if not shutil.which("cc") or harness.SANITIZED:
        pytest.skip("needs a C compiler, and to be the only library that is loaded first")
    folder = tmp_path_factory.mktemp("clock")
    library, file = folder / "faulty.so", folder / "offset"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(DATA / "faulty.c")], check=True)
    file.write_bytes(struct.pack("l", 0))

    def step(seconds: int) -> None:
        with open(file, "r+b") as out:
            out.write(struct.pack("l", seconds))
    step.env = {"LD_PRELOAD": str(library), "FAULTY_CLOCK": str(file)}
    return step


HOUR, YEAR = 3600, 365 * 86400


@pytest.mark.fault("M14")
def test_steps_of_the_wall_clock_time_nothing_out(serve, worker_class, wall_clock):
    server = serve("faulty:app", workers=2, worker_class=worker_class, env=wall_clock.env,
                   settings={"timeout": 30, "graceful_timeout": 30})
    before = server.wait_workers(2)
    with Load(server.address, clients=2) as load:
        for seconds in (HOUR, -HOUR, 10 * YEAR, -10 * YEAR, 0):
            wall_clock(seconds)
            year = str(time.gmtime(time.time() + seconds).tm_year)
            wait_until(lambda: year in server.get().header("date"), "the year in Date")
            load.wait_for(20)
            assert server.worker_pids == before
    load.assert_clean(100)
    assert "TIMEOUT" not in server.log
    wall_clock(-10 * YEAR)
    server.signal(signal.SIGHUP)
    replaced(server, before)
    assert f"[{time.gmtime(time.time() - 10 * YEAR).tm_year}-" in server.log
    assert server.stop() == 0


@pytest.mark.fault("M14")
def test_a_hang_is_found_while_the_wall_clock_goes_back(serve, wall_clock):
    server = serve("faulty:app", worker_class="sync", env=wall_clock.env, settings={"timeout": 1})
    before = server.wait_workers(1)
    with server.connect() as connection:
        connection.send(harness.format_request(target="/hang"))
        wall_clock(-10 * YEAR)
        server.wait_log(rf"WORKER TIMEOUT \(pid:{before[0]}\)")
    replaced(server, before)
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.fault("M14")
@pytest.mark.parametrize("age", [2, 100 * YEAR], ids=["just booted", "a century"])
def test_the_monotonic_clock_is_anywhere(serve, age):
    """A machine that has just booted, and one that has run for a century: a time namespace."""
    offset = age - int(time.monotonic())
    alone = ["unshare", "--time", f"--monotonic={offset}", f"--boottime={offset}", "--fork",
             "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("no time namespaces here")
    server = serve("faulty:app", worker_class="sync", workers=2, command=[*alone, *harness.SERVER],
                   settings={"timeout": 2, "request_timeout": 30, "max_worker_lifetime": 3600,
                             "max_worker_memory": "1G"})
    arbiter, = server.worker_pids  # of unshare
    wait_until(lambda: len(harness.children_of(arbiter)) == 2, "two workers")
    with server.connect() as connection:
        connection.send(harness.format_request(target="/hang"))
        hanging = int(server.wait_log(r"WORKER TIMEOUT \(pid:(\d+)\) silent for [23]\.\d s: "
                                      r"GET /hang running [23]\.\d s")[1])
    wait_until(lambda: len(harness.children_of(arbiter)) == 2 and not harness.is_alive(hanging),
               lambda: f"its successor:\n{server.log}")
    os.kill(arbiter, signal.SIGHUP)
    server.wait_log("Reload done")
    assert server.get().status == 200
    assert server.log.count("TIMEOUT") == 1 and "has lived" not in server.log
    os.kill(arbiter, signal.SIGTERM)
    assert server.wait_exit() == 0


# ---- hooks, and the arbiter itself --------------------------------------------------------------------


@pytest.mark.fault("M30")
def test_a_hook_that_hangs_holds_up_the_arbiter_only(serve, tmp_path, worker_class):
    """Requests are answered all the time; what the arbiter has to do comes after the hook."""
    gate, entered = tmp_path / "gate", tmp_path / "entered"
    server = serve("hello:app", workers=2, worker_class=worker_class, config=(
        "import pathlib, time\n"
        "def on_reload(server):\n"
        f"    pathlib.Path({str(entered)!r}).touch()\n"
        f"    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"))
    before = server.wait_workers(2)
    with Load(server.address, clients=2) as load:
        server.signal(signal.SIGHUP)
        wait_until(entered.exists, "the hook")
        load.wait_for(100)
        assert server.worker_pids == before
        gate.touch()
        replaced(server, before)
    load.assert_clean(100)
    assert server.stop() == 0


@pytest.mark.fault("M30")
@pytest.mark.log_may_contain("Traceback")
def test_a_pre_fork_that_raises_is_a_failed_fork(serve, tmp_path, worker_class):
    """Tried again until it does not raise; the other worker serves on."""
    switch = tmp_path / "raise"
    server = serve("hello:app", workers=2, worker_class=worker_class, config=(
        "import os\n"
        "def pre_fork(server, worker):\n"
        f"    if os.path.exists({str(switch)!r}): raise ValueError('from the hook')\n"))
    first, second = server.wait_workers(2)
    switch.touch()
    server.signal(signal.SIGKILL, first)
    server.wait_log("ValueError: from the hook", 2)
    assert server.worker_pids == [second]
    assert server.get().status == 200
    switch.unlink()
    assert second in server.wait_workers(2)
    assert server.stop() == 0


@pytest.mark.fault("M30")
@pytest.mark.fault("M33")
@pytest.mark.skipif(harness.SANITIZED, reason="the sanitizers tell of the crash")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_an_arbiter_that_crashes_takes_its_workers_along_in_order(serve, tmp_path, adopt,
                                                                  worker_class, number):
    """A hook crashes it: the request that runs gets its whole answer, then all are gone."""
    server = serve("hello:slow", workers=2, worker_class=worker_class, config=(
        "import os, signal\n"
        "def on_reload(server):\n"
        f"    signal.signal({int(number)}, signal.SIG_DFL)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"))
    workers = server.wait_workers(2)
    for pid in workers:
        adopt(pid)
    with server.connect() as connection:
        connection.send(harness.format_request(target="/?s=2"))
        head = connection.read_head()
        server.signal(signal.SIGHUP)
        assert server.wait_exit() == -number
        connection.read_body(head, "GET")
        assert head.body == b"begin\nend\n"
    wait_until(lambda: not any(harness.is_alive(pid) for pid in workers), "the end of the workers")


# ---- configurations ---------------------------------------------------------------------------------


@pytest.mark.fault("M29")
@pytest.mark.parametrize("broken", [
    b"\xff\xfe not a text", b"workers = 2\0\n", b"user = 'no_such_user'\n",
    b"worker_class = 'no_such_class'\n", b"timeout = 'soon'\n",
    b"workers = 2\n" * 100_000 + b"workers = 'x'\n", None, "directory",
], ids=["binary", "nul", "user", "class", "timeout", "huge", "gone", "directory"])
@pytest.mark.log_may_contain("Traceback")
def test_a_configuration_that_cannot_be_used_changes_nothing(serve, tmp_path, broken):
    file = tmp_path / "changing.conf.py"
    file.write_text("workers = 2\n")
    server = serve("hello:app", "-c", str(file))
    before = server.wait_workers(2)
    file.unlink()
    if broken == "directory":
        file.mkdir()
    elif broken is not None:
        file.write_bytes(broken)
    with Load(server.address, clients=1) as load:
        server.signal(signal.SIGHUP)
        server.wait_log(r"(?i)\[ERROR\] .*reload")
        load.wait_for(20)
    load.assert_clean(20)
    wait_until(lambda: server.worker_pids == before, lambda: f"the old workers:\n{server.log}")
    if broken == "directory":
        file.rmdir()
    file.write_text("workers = 3\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    wait_until(lambda: len(server.worker_pids) == 3, "three workers")
    assert server.stop() == 0
