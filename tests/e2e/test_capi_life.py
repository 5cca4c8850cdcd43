"""Processes that serve C: crashes, --reload, syslog, the hook worker_abort; mounts beside Python."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from capi import build, serve_c  # noqa: F401 (fixtures)
from harness import SANITIZED, Load, wait_until

WAYS = {"SEGV": "SEGV", "FPE": "FPE", "ABRT": "ABRT", "overflow": "SEGV", "thread": "SEGV"}


def assert_crashes_cost_their_request_only(server, prefix: str = "") -> None:
    """One line names signal and request; the other worker is not touched, its successor serves."""
    for way, name in WAYS.items():
        before = set(server.wait_workers(2))
        with server.connect() as connection:
            connection.send(f"POST {prefix}/crash/{way} HTTP/1.1\r\nHost: x\r\n"
                            "Content-Length: 0\r\n\r\n".encode())
            assert connection.at_end()
        said = server.wait_log(rf"Worker \(pid:(\d+)\) was sent SIG{name}! (?:Core dumped\. )?"
                               rf"In progress: POST {prefix}/crash/{way} running \d+\.\d s$")
        victim = int(said[1])
        assert victim in before
        wait_until(lambda: victim not in server.worker_pids and len(server.worker_pids) == 2,
                   lambda: server.log)
        assert before - {victim} < set(server.worker_pids)
        assert server.get(prefix or "/").text == "faulty"
    assert len(re.findall("was sent SIG", server.log)) == len(WAYS)
    assert server.stop() == 0


@pytest.mark.fault("W1", "W16")
@pytest.mark.skipif(SANITIZED, reason="the sanitizers tell of the crash")
@pytest.mark.parametrize("threads", [1, 4])
def test_a_crash_kills_one_worker_and_says_which_signal_and_request(serve_c, build, threads):
    server = serve_c(build("faulty"), "--threads", str(threads), workers=2)
    assert_crashes_cost_their_request_only(server)


@pytest.mark.fault("W1")
@pytest.mark.skipif(SANITIZED, reason="the sanitizers tell of the crash")
def test_a_mounted_application_crashes_no_less_clearly(serve, build):
    server = serve("mounted:app", "--mount", f"/c={build('faulty')}", workers=2)
    assert_crashes_cost_their_request_only(server, "/c")


def test_the_hook_worker_abort_runs_before_the_worker_dies(serve_c, build):
    faulty = build("faulty")
    server = serve_c(faulty, "--hooks", f"{faulty}:hooks", "--timeout", "1")
    with server.connect() as connection, pytest.raises(Exception):
        connection.request("GET", "/hang")
    server.wait_log("^hook worker_abort$")
    server.wait_log(r"Worker \(pid:\d+\) was sent SIGABRT!|WORKER TIMEOUT .*GET /hang")
    wait_until(lambda: server.get().text == "faulty", lambda: server.log)


def replace(path: str, text: str) -> None:
    fresh = Path(path + ".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_reload_notices_what_was_built_anew(serve_c, build, place):
    extra = place.parent / "extra.txt"
    extra.write_text("1")
    app, mounted = build("faulty", '-DTEXT="one"', to="app"), build("faulty", '-DTEXT="m1"', to="m")
    server = serve_c(app, "--reload", "--reload-extra-file", str(place.parent / "*.txt"),
                     "--mount", f"/m={mounted}")
    assert server.get().text == "one"
    build("faulty", '-DTEXT="two"', to="app")
    wait_until(lambda: server.get().text == "two", lambda: server.log)
    server.wait_log("Reloading: .*app.so has changed")
    server.wait_log("Reload done: generation 2")
    replace(app, "no shared object")
    server.wait_log("Reload failed, generation 2 goes on unchanged: .*file too short")
    assert server.get().text == "two"
    build("faulty", '-DTEXT="three"', to="app")
    build("faulty", '-DTEXT="m2"', to="m")
    wait_until(lambda: (server.get().text, server.get("/m").text) == ("three", "m2"),
               lambda: server.log)
    extra.write_text("22")
    server.wait_log("Reloading: .*extra.txt has changed")
    assert server.stop() == 0


def test_syslog_gets_errors_and_requests(serve_c, build):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(30)
        server = serve_c(build("hello"), "--log-syslog", "--log-syslog-to",
                         f"udp://127.0.0.1:{daemon.getsockname()[1]}", "--log-syslog-facility", "local1",
                         "--threads", "2")
        assert server.get("/there").status == 200
        entries: list[str] = []

        def got(pattern: str) -> re.Match:
            while not (found := [m for m in map(re.compile(pattern).fullmatch, entries) if m]):
                entries.append(daemon.recv(65536).decode())
            return found[0]
        got(rf"<142>gunicorn\.hello\.so\.error: \[{server.pid}\] Starting saola .*")
        worker = int(got(r"<142>gunicorn\.hello\.so\.error: \[(\d+)\] Booting worker with pid: \1")[1])
        got(rf'<142>gunicorn\.hello\.so\.access: \[{worker}\] .* "GET /there HTTP/1\.1" 200 13 .*')
        server.signal(signal.SIGHUP)
        server.wait_log("Reload done")
        got(rf"<142>gunicorn\.hello\.so\.error: \[{server.pid}\] Reload done.*")
        assert server.stop() == 0
    server = serve_c(build("hello"), "--log-syslog", "--log-syslog-to", "tcp://127.0.0.1:1", wait=False)
    assert server.wait_exit() == 1 and "cannot be reached" in server.log


# ---- beside Python ------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker_class", ["sync", "asgi"])
def test_mounts_follow_every_signal(serve, build, place, adopt, worker_class):
    """A failed HUP keeps the old file for workers made later; USR1 opens the log anew; USR2 goes on."""
    app, log = build("faulty", '-DTEXT="one"', to="app"), place.parent / "log0"  # the harness's, too
    server = serve("mounted:asgi" if worker_class == "asgi" else "mounted:app", "--mount", f"/c={app}",
                   "--error-logfile", str(log), worker_class=worker_class, workers=2)
    replace(app, "no shared object")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, generation 1 goes on unchanged: .*file too short")
    for victim in server.wait_workers(2):
        server.signal(signal.SIGKILL, victim)
    server.wait_log("Booting worker", 4)
    with Load(server.address, target="/c", limit=40) as load:
        load.join()
    load.assert_clean(40)
    assert server.get("/c").text == "one" and server.get("/").text == "python"

    with server.connect() as connection:
        log.rename(place.parent / "log0.1")
        server.signal(signal.SIGUSR1)
        wait_until(log.exists, "the log, made anew")
        wait_until(lambda: connection.request("GET", "/c?log=rotated") and "rotated" in server.log,
                   lambda: server.log)

    build("faulty", '-DTEXT="two"', to="app")
    server.signal(signal.SIGUSR2)
    new = int(server.wait_log(r"\[(\d+)\] \[INFO\] Starting saola")[1])
    adopt(new)
    server.wait_log("Booting worker", 2)
    server.stop()
    wait_until(lambda: server.get("/c").text == "two", lambda: server.log)


def test_reload_notices_a_mounted_file(serve, build):
    app = build("faulty", '-DTEXT="one"', to="app")
    server = serve("mounted:app", "--mount", f"/c={app}", "--reload")
    assert server.get("/c").text == "one"
    build("faulty", '-DTEXT="two"', to="app")
    wait_until(lambda: server.get("/c").text == "two", lambda: server.log)
    assert server.stop() == 0
