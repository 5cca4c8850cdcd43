"""Every pair of signals to an arbiter, storms of them, and what a terminal does.

What each signal does is in docs/reload.md; two that come at the same moment may be taken in either
order, and a stop overtakes everything else.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import signal
import sys
import termios
import threading
import time
from dataclasses import dataclass

import pytest

import harness
from harness import wait_until
from saola.upgrade import Peer
from test_upgrade import read_pid, workers_of

SIGNALS = ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "QUIT", "INT", "TERM", "CHLD", "CONT")
STOPS = ("QUIT", "INT", "TERM")
UNHEARD = ("CHLD", "CONT")  # the log has no word of them
# When the second signal comes: at once; when the first is being handled; when its work is done.
MOMENTS = ("at once", "meanwhile", "afterwards")


@dataclass(frozen=True)
class State:
    """Where an arbiter that was started with one worker ends."""

    workers: int = 1
    upgraded: bool = False
    stopped: bool = False

    def after(self, name: str) -> "State":
        if self.stopped:
            return self
        rests = 0 if self.upgraded else self.workers  # not a daemon: only beside a new arbiter
        return State(workers={"HUP": 1, "TTIN": self.workers + 1, "WINCH": rests,
                              "TTOU": max(1, self.workers - 1)}.get(name, self.workers),
                     upgraded=self.upgraded or name == "USR2", stopped=name in STOPS)


def documented(first: str, second: str, moment: str) -> set[State]:
    states = {State().after(first).after(second)}
    if moment == "at once":
        states.add(State().after(second).after(first))
        if first == second:  # they were one
            states.add(State().after(first))
        if second == "CONT" and first in ("TTIN", "TTOU"):  # which the kernel then throws away
            states.add(State())
    return states


class Matrix:
    """One server after the other; a new one is started only when a pair has ended the last."""

    def __init__(self, serve, tmp_path, adopt):
        self.serve, self.tmp_path, self.adopt = serve, tmp_path, adopt
        self.server = self.peer = None
        self.count = 0

    def fresh(self):
        if self.server is None:
            self.count += 1
            pidfile = self.tmp_path / f"pid{self.count}"
            self.server = self.serve("hello:app", "--pid", str(pidfile), "--workers", "1")
            self.server.pidfile = pidfile
            self.peer = Peer(self.server.pid)
            self.settle({State()})
        return self.server

    def handled(self, name: str) -> int:
        return len(re.findall(rf"\[{self.server.pid}\] \[INFO\] Handling signal: {name.lower()}$",
                              self.server.log, re.MULTILINE))

    def send(self, name: str, wait: bool) -> None:
        before = self.handled(name)
        self.server.signal(getattr(signal, f"SIG{name}"))
        if wait and name not in UNHEARD:
            wait_until(lambda: self.handled(name) > before or self.server.process.poll() is not None,
                       lambda: f"{name} to be handled:\n{self.server.log}")

    def state(self) -> State:
        """What is there now; a stop is one only when the process has ended."""
        server = self.server
        second = read_pid(server.pidfile.with_name(server.pidfile.name + ".2"))
        if server.process.poll() is not None:
            left = read_pid(server.pidfile)
            serves = left is not None and len(workers_of(left)) == 1
            starts = [process for process in harness.children_of(os.getpid())
                      if process.state not in "ZX"]  # a new arbiter that has lost its parent
            return State(workers=1 if serves or not starts else -1, upgraded=serves, stopped=True)
        facts = self.peer.look()
        quiet = self.peer.is_ready() and len(workers_of(server.pid)) == facts["workers"]
        return State(workers=facts["workers"] if quiet else -1,
                     upgraded=second is not None and len(workers_of(second)) == 1)

    def settle(self, states: set[State]) -> State:
        """Waits until one of the states lasts. Workers do not count for a server that has stopped."""
        wanted = {State(1, state.upgraded, True) if state.stopped else state for state in states}

        def lasts():
            state = self.state()
            return state in wanted and all(self.state() == state for _ in range(3)
                                           if not time.sleep(0.02))
        wait_until(lasts, lambda: f"{wanted}, now {self.state()}:\n{self.server.log}")
        return self.state()

    def reloads(self) -> int:
        return self.server.log.count(f"[{self.server.pid}] [INFO] Reload done")

    def run(self, first: str, second: str, moment: str) -> None:
        server = self.fresh()
        reloads = self.reloads()
        hups = (first, second).count("HUP")
        at_least = min(hups, 1) if moment == "at once" else hups
        self.send(first, wait=moment != "at once")
        if moment == "afterwards":
            self.settle({State().after(first)})
            if first == "HUP":
                wait_until(lambda: self.reloads() > reloads, lambda: server.log)
        if server.process.poll() is None:
            self.send(second, wait=True)
        states = documented(first, second, moment)
        if not any(state.stopped for state in states):
            wait_until(lambda: self.reloads() - reloads >= at_least, lambda: server.log)
        state = self.settle(states)
        # A second INT in the last moments, when all is done, ends the process at once.
        hurried = "INT" in (first, second) and first in STOPS and second in STOPS
        self.check(state, {0, -signal.SIGINT} if hurried else {0})
        if not state.stopped:
            assert self.reloads() - reloads <= hups

    def check(self, state: State, codes: set[int]) -> None:
        server = self.server
        assert "Traceback" not in server.log and "[CRITICAL]" not in server.log, server.log
        if state.stopped:
            assert server.process.wait() in codes
            left = read_pid(server.pidfile)
            if state.upgraded:
                # Promoted; or, when the old one was gone before it looked, the first from its start.
                self.adopt(left)
                assert server.get().status == 200
                os.kill(left, signal.SIGTERM)
                wait_until(lambda: not harness.is_alive(left), lambda: server.log)
            assert not server.pidfile.exists()
            self.peer.close()
            self.server = None
            return
        assert server.get().status == 200
        second = server.pidfile.with_name(server.pidfile.name + ".2")
        if state.upgraded:
            os.kill(pid := read_pid(second), signal.SIGTERM)
            wait_until(lambda: re.search(rf"\(pid:{pid}\) is gone; this one serves on", server.log),
                       lambda: server.log)
        for _ in range(state.workers - 1):
            self.send("TTOU", wait=True)
        self.settle({State()})


@pytest.fixture
def matrix(serve, tmp_path, adopt):
    matrix = Matrix(serve, tmp_path, adopt)
    yield matrix
    if matrix.server is not None:
        matrix.peer.close()


@pytest.mark.fault("M21")
@pytest.mark.parametrize("first", SIGNALS)
def test_a_sample_of_signal_pairs_ends_in_the_documented_state(matrix, first):
    index = SIGNALS.index(first)
    for number, second in enumerate(SIGNALS):
        if (index + number) % 3 == 0:
            matrix.run(first, second, MOMENTS[(index + number // 3) % 3])


@pytest.mark.long
@pytest.mark.fault("M21")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("first", SIGNALS)
def test_every_pair_of_signals_ends_in_the_documented_state(matrix, first, moment):
    for second in SIGNALS:
        matrix.run(first, second, moment)


# ---- storms ------------------------------------------------------------------------------------------

GATED = """
import os, time
while os.path.exists("closed"):
    time.sleep(0.01)

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.fault("M19")
def test_many_hups_during_a_reload_are_one_more_reload(serve, place):
    (place / "gated.py").write_text(GATED)
    server = serve("gated:app")
    wait_until(lambda: server.get().status == 200, "an answer")
    (place / "closed").touch()
    server.signal(signal.SIGHUP)
    server.wait_log("Booting worker", count=2)
    for _ in range(2000):
        server.signal(signal.SIGHUP)
    server.wait_log("one more follows")
    (place / "closed").unlink()
    server.wait_log("Reload done", count=2)
    assert server.log.count("Hang up: Master") == 2
    assert server.stop() == 0
    assert server.log.count("Hang up: Master") == 2


@pytest.mark.fault("M19")
def test_a_stop_wins_at_once_also_during_a_reload(serve, place):
    (place / "gated.py").write_text(GATED)
    server = serve("gated:app", "--graceful-timeout", "2")
    wait_until(lambda: server.get().status == 200, "an answer")
    (place / "closed").touch()
    server.signal(signal.SIGHUP)
    server.wait_log("Booting worker", count=2)
    for _ in range(200):
        server.signal(signal.SIGHUP)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    (place / "closed").unlink()
    assert server.log.count("Hang up: Master") == 1


def resident_kib(pid: int) -> int:
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


@pytest.mark.fault("M19")
def test_a_storm_of_10000_signals(serve, tmp_path):
    """All kinds but stops, as fast as can be; it serves all the time, and a TERM ends it."""
    server = serve("hello:app", "--error-logfile", str(tmp_path / "errors"), wait=False, workers=1)
    errors = tmp_path / "errors"
    wait_until(lambda: errors.exists() and "Booting worker" in errors.read_text(), "a worker")
    server.log_path = errors
    wait_until(lambda: server.get().status == 200, "an answer")
    before = resident_kib(server.pid)
    chance = random.Random(19)
    # More TTOU than TTIN: how many processes a storm makes is not the question here.
    kinds = [signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
             signal.SIGTTOU, signal.SIGWINCH, signal.SIGCONT]
    with harness.Load(server.address, clients=1) as load:
        for number in range(10_000):
            server.signal(chance.choice(kinds))
            if number % 100 == 0:
                time.sleep(0.001)  # or most of them would be one
        load.wait_for(5)
    load.assert_clean(at_least=5)
    assert server.process.poll() is None
    assert resident_kib(server.pid) - before < 20_000
    # TERM in the midst of more of it.
    def more():
        while server.process.poll() is None:
            try:
                server.signal(chance.choice(kinds))
            except ProcessLookupError:
                return
    thread = threading.Thread(target=more)
    thread.start()
    code = server.stop()
    thread.join()
    assert code == 0
    assert "[ERROR]" not in server.log and "[CRITICAL]" not in server.log


# ---- terminals ---------------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    """A pseudo-terminal: (master, slave); both are closed in the end."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass


@pytest.mark.fault("M26")
def test_a_terminal_that_is_closed_reloads_nothing(serve, terminal):
    master, slave = terminal
    server = serve("hello:app", stdin=slave,
                   preexec=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    worker, = server.wait_workers(1)
    wait_until(lambda: server.get().status == 200, "an answer")
    os.close(master)
    server.wait_log("The terminal is gone; serving on without it.")
    assert server.get().text == f"pid={worker}\n"
    server.signal(signal.SIGHUP)  # one that somebody sent
    server.wait_log("Reload done")
    assert server.log.count("Hang up: Master") == 1
    assert server.stop() == 0


STUBBORN = """
import time
def app(environ, start_response):
    start_response("200 OK", [])
    yield b"begin"
    while True:
        try:
            print("asleep", flush=True)
            time.sleep(60)
        except BaseException:
            pass
"""


@pytest.mark.fault("M26")
def test_a_second_int_makes_it_faster(serve, place):
    """A request that cannot be interrupted is given graceful_timeout, until one is impatient."""
    (place / "stubborn.py").write_text(STUBBORN)
    server = serve("stubborn:app", "--graceful-timeout", "600", "--timeout", "0")
    with server.connect() as connection:
        connection.send(harness.format_request())
        connection.read_until(b"begin")
        server.wait_log("asleep")  # from here on it catches everything
        server.signal(signal.SIGINT)
        server.wait_log("Handling signal: int")
        server.signal(signal.SIGINT)
        assert server.wait_exit() == 0, server.log
    assert "Quick shutdown requested" in server.log


@pytest.mark.fault("M21")
def test_a_reload_while_the_generation_before_drains(serve, place):
    """Three generations at once; the request of the first is finished all the same."""
    server = serve("hello:slow", "--graceful-timeout", "60")
    with server.connect() as connection:
        connection.send(harness.format_request(target="/?s=2"))
        connection.read_until(b"begin")
        first, = server.worker_pids
        for count in (1, 2):
            server.signal(signal.SIGHUP)
            server.wait_log("Reload done", count=count)
        assert first in server.worker_pids
        assert connection.read_exactly(5) == b"\nend\n"
    wait_until(lambda: first not in server.worker_pids, lambda: server.log)
    assert len(server.wait_workers(1)) == 1
    assert server.get("/?s=0").status == 200


# What a shell with job control does for one job: runs it in the foreground, takes the terminal back
# when it stops, and continues it in the foreground when the file `fg` appears.
SHELL = """
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    while os.tcgetpgrp(0) != os.getpid(): time.sleep(0.01)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
try: os.setpgid(job, job)
except PermissionError: pass
os.tcsetpgrp(0, job)
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status): break
    os.tcsetpgrp(0, os.getpid())
    print("stopped", flush=True)
    while not os.path.exists("fg"): time.sleep(0.01)
    os.unlink("fg")
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.fault("M26")
def test_ctrl_z_and_fg_and_ctrl_c(serve, place, terminal, worker_class):
    """The whole server stands still and goes on; nobody is called hung for it; ^C stops it, once."""
    master, slave = terminal
    server = serve("hello:app", "--timeout", "1", worker_class=worker_class, stdin=slave,
                   command=[sys.executable, "-c", SHELL, *harness.SERVER],
                   preexec=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    arbiter, = server.worker_pids  # of the shell
    wait_until(lambda: server.get().status == 200, "an answer")
    workers = workers_of(arbiter)
    os.write(master, b"\x1a")
    server.wait_log("^stopped")
    wait_until(lambda: all(harness.read_process(pid).state == "T" for pid in [arbiter, *workers]),
               "everybody to stand still")
    time.sleep(2.5)  # not to wait for something: longer than timeout
    (place / "fg").touch()
    wait_until(lambda: server.get().status == 200, "an answer")
    wait_until(lambda: not (place / "fg").exists(), "the shell")
    assert workers_of(arbiter) == workers and "TIMEOUT" not in server.log
    os.write(master, b"\x03")
    assert server.wait_exit() == 0
    assert server.log.count("Handling signal: int") == 1
    assert "KeyboardInterrupt" not in server.log
