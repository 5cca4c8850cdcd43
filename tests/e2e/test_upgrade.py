"""`saola upgrade` and USR2: a new arbiter beside the old one, on the same sockets.

Expected behaviour: docs/upgrade.md; ARCHITECTURE.md, section 4.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import Load, wait_until
import saola.upgrade
from saola.upgrade import Peer

GOOD = """
import os

def app(environ, start_response):
    body = b"%s %%d" %% os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def write_app(place: Path, version: str) -> None:
    (place / "live.py").write_text(GOOD % version)


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def upgrade(server, *args, timeout=120, **env) -> subprocess.CompletedProcess:
    """Runs `saola upgrade` to its end."""
    return subprocess.run([*harness.SERVER, "upgrade", *map(str, args)], cwd=server.cwd,
                          env=os.environ | env, capture_output=True, text=True, timeout=timeout)


def is_ready(arbiter: int) -> bool:
    """All its workers serve, by its own word."""
    peer = Peer(arbiter)
    try:
        return bool(peer.look() and peer.is_ready())
    finally:
        peer.close()


def workers_of(arbiter: int) -> list[int]:
    """The workers of an arbiter, ordered by pid; another arbiter below it is none."""
    return sorted(process.pid for process in harness.children_of(arbiter)
                  if process.state not in "ZX" and not harness.children_of(process.pid))


@pytest.fixture
def live(serve, place, tmp_path):
    """A server of an application in its directory, which tests may change, with a pid file."""
    def start(*args, workers=1, wait=True, **options):
        write_app(place, "one")
        server = serve("live:app", *args, workers=workers, wait=False, **options)
        server.pidfile = tmp_path / "pid"
        wait_until(lambda: is_ready(server.pid), lambda: f"all workers:\n{server.log}")
        return server
    pidfile = tmp_path / "pid"
    return lambda *args, **options: start("--pid", str(pidfile), *args, **options)


def second_arbiter(server, adopt) -> int:
    """Waits for the pid file of the arbiter that USR2 started."""
    second = server.pidfile.with_name("pid.2")
    pid = wait_until(lambda: read_pid(second), lambda: f"{second}:\n{server.log}")
    adopt(pid)
    return pid


def assert_untouched(server, workers) -> None:
    """The old arbiter serves with its workers as if nothing had happened."""
    assert server.process.poll() is None
    assert workers_of(server.pid) == workers
    assert read_pid(server.pidfile) == server.pid
    assert not server.pidfile.with_name("pid.2").exists()
    assert server.get().text == f"one {workers[0]}"


# ---- saola upgrade -----------------------------------------------------------------------------------


def test_an_upgrade_loses_no_request(live, place, adopt, worker_class):
    server = live(worker_class=worker_class, workers=2)
    arbiter = server.pid
    with Load(server.address, clients=3) as load:
        for version in ("two", "three"):
            load.wait_for(20)
            write_app(place, version)
            done = upgrade(server, "--pid", server.pidfile)
            assert (done.returncode, done.stderr) == (0, ""), server.log
            following = read_pid(server.pidfile)
            adopt(following)
            assert done.stdout == (f"saola upgrade: arbiter {following} has replaced {arbiter}; "
                                   f"pid file {server.pidfile}\n")
            assert not harness.is_alive(arbiter) and not server.pidfile.with_name("pid.2").exists()
            assert server.get().text.startswith(version)
            arbiter = following
    load.assert_clean(at_least=40)


def test_the_arbiter_is_found_by_configuration_and_by_pid(live, place, tmp_path, adopt):
    server = live()
    (place / "saola.conf.py").write_text(f"pidfile = {str(server.pidfile)!r}\n")
    done = upgrade(server)
    (place / "saola.conf.py").rename(tmp_path / "other.py")
    assert done.returncode == 0, done.stderr
    adopt(second := read_pid(server.pidfile))
    done = upgrade(server, "-c", tmp_path / "other.py")
    assert done.returncode == 0, done.stderr
    adopt(third := read_pid(server.pidfile))
    assert f"arbiter {third} has replaced {second}" in done.stdout
    done = upgrade(server, third)
    assert done.returncode == 0, done.stderr
    adopt(fourth := read_pid(server.pidfile))
    assert fourth not in (second, third) and server.get().text == f"one {workers_of(fourth)[0]}"


def test_each_step_is_shown_on_a_terminal(live, adopt):
    server = live(workers=2)
    master, slave = pty.openpty()
    command = subprocess.Popen([*harness.SERVER, "upgrade", "-p", str(server.pidfile)],
                               stdout=slave, stderr=slave)
    os.close(slave)
    text = b""
    try:
        while select.select([master], [], [], harness.WAIT)[0]:
            text += os.read(master, 4096)
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert command.wait(harness.WAIT) == 0, text
    adopt(new := read_pid(server.pidfile))
    assert text.decode().splitlines() == [
        f"arbiter {server.pid}: USR2", f"arbiter {new}: starts",
        f"arbiter {new}: ready, 2 workers", f"arbiter {server.pid}: TERM, finishes its requests",
        f"arbiter {server.pid}: gone",
        f"saola upgrade: arbiter {new} has replaced {server.pid}; pid file {server.pidfile}"]


PROGRAM = "def pre_exec(server):\n    server.START_CTX[0] = {!r}\n"
FAILURES = {
    # name: (configuration, what happens to the directory, words of the reason)
    "the program is missing": (PROGRAM.format("/nonexistent/python"), None, "No such file"),
    "it is not executable": (PROGRAM.format("/etc/passwd"), None, "Permission denied"),
    "it is no program": (PROGRAM.format("./noexec"), "./noexec", "Exec format error"),
    "the environment is too big": (
        "import os\ndef pre_exec(server):\n    os.environ['BIG'] = 'x' * 200000\n", None,
        "Argument list too long"),
    "the hook raises": ("def pre_exec(server):\n    1 / 0\n", None, "pre_exec hook"),
    "the directory is gone": (
        "def pre_exec(server):\n    server.START_CTX['cwd'] = '/nonexistent/there'\n", None,
        "/nonexistent/there: No such file"),
    "a library is missing": (
        "def pre_exec(server):\n    server.START_CTX['args'] = ['python', '-c', 'import nothing']\n",
        None, "exited with code 1"),
    "the application does not load": ("", "live.py", "no database"),
    "the configuration does not load": ("", "conf", "workers"),
    "a hook of the start exits": ("", "on_starting", "on_starting"),
}


@pytest.mark.fault("M22")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("fault", FAILURES)
def test_an_upgrade_that_fails_changes_nothing(live, place, tmp_path, fault):
    text, damage, reason = FAILURES[fault]
    file = tmp_path / "live.conf.py"
    file.write_text(text)
    server = live("-c", str(file))
    workers = workers_of(server.pid)
    before = {path.name for path in place.iterdir()}
    if damage == "live.py":
        (place / "live.py").write_text("raise RuntimeError('no database')\n")
    elif damage == "conf":
        file.write_text("workers = 'many'\n")
    elif damage == "on_starting":
        file.write_text("def on_starting(server):\n    raise SystemExit('no')\n")
    elif damage:
        (place / damage).write_bytes(b"\0\1\2")
        (place / damage).chmod(0o755)
    with Load(server.address, clients=2) as load:
        load.wait_for(10)
        done = upgrade(server, "--pid", server.pidfile)
        load.wait_for(10)
    assert done.returncode == 1 and done.stdout == ""
    assert reason in done.stderr, done.stderr
    assert f"nothing has changed: arbiter {server.pid} serves on" in done.stderr
    load.assert_clean(at_least=20)
    server.wait_log("this one serves on alone: it exited with code ")
    write_app(place, "one")
    assert_untouched(server, workers)
    file.write_text("")
    if damage and damage.startswith("./"):
        (place / damage).unlink()
    assert {path.name for path in place.iterdir()} == before


@pytest.mark.fault("M22")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("fault, reason", [("code", "no database"), ("name", "nothing_such")])
def test_a_preloaded_application_that_does_not_load_changes_nothing(live, place, fault, reason):
    server = live("--preload")
    workers = workers_of(server.pid)
    (place / "live.py").write_text("raise RuntimeError('no database')\n" if fault == "code"
                                   else "import nothing_such\n")
    done = upgrade(server, "-p", server.pidfile)
    assert done.returncode == 1 and reason in done.stderr, done.stderr
    server.wait_log(f"this one serves on alone: .*{reason}")
    assert_untouched(server, workers)


@pytest.mark.fault("M22")
@pytest.mark.log_may_contain("Traceback")
def test_after_a_failure_the_next_upgrade_succeeds(live, place, adopt):
    server = live()
    (place / "live.py").write_text("from nowhere_at_all import x\n")
    done = upgrade(server, "-p", server.pidfile)
    assert done.returncode == 1 and "nowhere_at_all" in done.stderr
    write_app(place, "two")
    assert upgrade(server, "-p", server.pidfile).returncode == 0
    adopt(read_pid(server.pidfile))
    assert server.get().text.startswith("two")


@pytest.mark.parametrize("code, detail", [
    ("import time\ntime.sleep(1000)\n", "0 of 2 workers are ready"),
    ("import os, time\n"
     "try:\n    os.close(os.open('one-only', os.O_CREAT | os.O_EXCL))\n"
     "except FileExistsError:\n    time.sleep(1000)\n" + GOOD % "half",
     "[01] of 2 workers are ready"),
])
@pytest.mark.leaves("one-only")
def test_a_new_arbiter_that_does_not_get_ready_is_taken_back(live, place, code, detail):
    server = live("--graceful-timeout", "1", workers=2)
    workers = workers_of(server.pid)
    (place / "live.py").write_text(code)
    with Load(server.address, clients=2) as load:
        done = upgrade(server, "-p", server.pidfile, "--timeout", "6")
        load.wait_for(10)
    assert done.returncode == 1
    # (a very slow machine may not have got so far)
    assert re.search("no sign within 6 s that the new arbiter is ready: "
                     f"({detail}|it has not begun)", done.stderr), done.stderr
    load.assert_clean(at_least=10)
    assert workers_of(server.pid) == workers
    assert not server.pidfile.with_name("pid.2").exists()


def test_a_new_arbiter_that_hangs_before_it_has_workers_is_taken_back(live, place, tmp_path):
    """In its configuration, or while it preloads: no signal but KILL reaches it there."""
    file = tmp_path / "live.conf.py"
    file.write_text("")
    server = live("-c", str(file))
    workers = workers_of(server.pid)
    file.write_text("import time\ntime.sleep(1000)\n")
    done = upgrade(server, "-p", server.pidfile, "--timeout", "2")
    assert done.returncode == 1
    assert "it has not begun to start workers" in done.stderr
    server.wait_log("this one serves on alone: it was ended by SIGKILL")
    assert_untouched(server, workers)


def test_a_new_arbiter_whose_workers_crash_after_they_are_ready_is_taken_back(live, place, tmp_path):
    file = tmp_path / "live.conf.py"
    file.write_text("")
    server = live("-c", str(file))
    workers = workers_of(server.pid)
    # Ready, and 0.3 s later dead: for a moment all is well.
    file.write_text("def post_worker_init(worker):\n"
                    "    import os, threading\n"
                    "    threading.Timer(0.3, os._exit, [9]).start()\n")
    done = upgrade(server, "-p", server.pidfile, "--timeout", "4")
    assert done.returncode == 1 and f"arbiter {server.pid} serves on" in done.stderr
    assert_untouched(server, workers)


def test_ctrl_c_takes_the_new_arbiter_back(live, place):
    server = live()
    workers = workers_of(server.pid)
    (place / "live.py").write_text("import time\ntime.sleep(1000)\n")
    command = subprocess.Popen([*harness.SERVER, "upgrade", "-p", str(server.pidfile)],
                               stderr=subprocess.PIPE, text=True)
    wait_until(lambda: read_pid(server.pidfile.with_name("pid.2")), "the new arbiter")
    command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=harness.WAIT)[1]
    assert command.returncode == 130 and f"arbiter {server.pid} serves on" in said
    assert_untouched(server, workers)


def test_the_old_arbiter_dies_during_the_upgrade(live, place, tmp_path, adopt):
    """The new one comes up and serves: the upgrade is done."""
    server = live()
    for worker in workers_of(server.pid):
        adopt(worker)
    gate = tmp_path / "gate"
    (place / "live.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        + GOOD % "two")
    command = subprocess.Popen([*harness.SERVER, "upgrade", "-p", str(server.pidfile)],
                               stdout=subprocess.PIPE, text=True)
    second = second_arbiter(server, adopt)
    server.signal(signal.SIGKILL)
    server.wait_log("Master has been promoted")
    gate.touch()
    said = command.communicate(timeout=harness.WAIT)[0]
    assert command.returncode == 0 and f"arbiter {second} has replaced {server.pid}" in said
    wait_until(lambda: read_pid(server.pidfile) == second, "the pid file")
    assert server.get().text.startswith("two")


@pytest.mark.parametrize("args, reason", [
    (["--pid", "no-such-file"], "there is no pid file"),
    (["--pid", "stale"], "the pid file is stale"),
    (["--pid", "words"], "pid file"),
    (["1"], "process 1 "),
    ([], "names no pid file. Type: saola upgrade --pid FILE"),
    (["-c", "empty.py"], "names no pid file. Type: saola upgrade --pid FILE"),
])
def test_what_is_no_arbiter_is_one_line(tmp_path, args, reason):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "stale").write_text(f"{ended.pid}\n")
    (tmp_path / "words").write_text("hello\n")
    (tmp_path / "empty.py").write_text("")
    done = subprocess.run([*harness.SERVER, "upgrade", *args], cwd=tmp_path, capture_output=True,
                          text=True, timeout=harness.WAIT)
    assert done.returncode == 1 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and reason in lines[0]


@pytest.mark.parametrize("args", [["--timeout", "0", "1"], ["1", "--pid", "x"], ["x"], ["--what"]])
def test_a_wrong_command_line_is_code_2(tmp_path, args):
    done = subprocess.run([*harness.SERVER, "upgrade", *args], cwd=tmp_path, capture_output=True,
                          text=True, timeout=harness.WAIT)
    assert done.returncode == 2 and "saola upgrade" in done.stderr


def test_an_upgrade_in_progress_is_not_disturbed(live, adopt):
    server = live()
    server.signal(signal.SIGUSR2)
    second = second_arbiter(server, adopt)
    for pid in (server.pid, second):
        done = upgrade(server, pid)
        assert done.returncode == 1
        assert f"To finish it: kill -TERM {server.pid}; to take it back: kill -TERM {second}" \
            in done.stderr
    server.signal(signal.SIGTERM, second)
    server.wait_log("this one serves on alone")


@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
def test_somebody_elses_arbiter_is_one_line(live):
    server = live()
    # Not as a program: another user may not be able to run the one that is under test.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        sys.stderr = open(writer, "w", closefd=False)
        os._exit(saola.upgrade.main([str(server.pid)]))
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    with open(reader) as said:
        assert said.read() == (f"saola upgrade: process {server.pid} belongs to another user: run "
                               "this as that user or as root\n")


# ---- exclusive groups --------------------------------------------------------------------------------


def test_an_exclusive_group_is_handed_over(live, place, adopt):
    """The old worker ends before the new one starts; clients wait meanwhile."""
    server = live("--hand-over", "exclusive", workers=None)
    old, = workers_of(server.pid)
    write_app(place, "two")
    with Load(server.address, clients=2) as load:
        load.wait_for(5)
        done = upgrade(server, "-p", server.pidfile)
        assert done.returncode == 0, done.stderr
        load.wait_for(5)
    adopt(read_pid(server.pidfile))
    load.assert_clean(at_least=10)
    assert server.get().text.startswith("two")
    ends = server.log.index(f"Worker exiting (pid: {old})")
    starts = [match.start() for match in re.finditer("Booting worker", server.log)]
    assert len(starts) == 2 and starts[1] > ends


@pytest.mark.fault("M22")
def test_an_exclusive_group_whose_new_worker_does_not_come_up_is_taken_back(live, place, tmp_path):
    """The old arbiter's worker starts again, with its configuration."""
    file = tmp_path / "live.conf.py"
    file.write_text("")
    server = live("-c", str(file), "--hand-over", "exclusive", workers=None)
    old, = workers_of(server.pid)
    file.write_text("def post_worker_init(worker):\n    import time\n    time.sleep(1000)\n")
    with Load(server.address, clients=2) as load:
        load.wait_for(5)
        done = upgrade(server, "-p", server.pidfile, "--timeout", "5")
        load.wait_for(5)
    assert done.returncode == 1
    assert "0 of 1 workers are ready" in done.stderr
    assert f"nothing has changed: arbiter {server.pid} serves on" in done.stderr
    load.assert_clean(at_least=10)
    again, = workers_of(server.pid)
    assert again != old and server.get().text == f"one {again}"
    assert read_pid(server.pidfile) == server.pid


@pytest.mark.fault("M22")
@pytest.mark.log_may_contain("Traceback")
def test_an_exclusive_group_that_comes_up_below_nobody_says_so(live, place):
    server = live("--hand-over", "exclusive", workers=None)
    (place / "live.py").write_text("raise RuntimeError('no database')\n")
    done = upgrade(server, "-p", server.pidfile, "--timeout", "3")
    assert done.returncode == 1 and "no database" in done.stderr
    assert f"arbiter {server.pid} has no worker: the application does not come up below it either" \
        in done.stderr
    write_app(place, "mended")
    assert server.get().text.startswith("mended")  # it went on trying; clients wait
