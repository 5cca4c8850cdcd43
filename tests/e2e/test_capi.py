"""Applications, worker classes and whole servers in C, compiled as an outsider would and run."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from capi import EXAMPLES, build, flags, native, serve_c  # noqa: F401 (fixtures)
from harness import SANITIZED, Load, is_alive, wait_until

def run_c(*args: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Runs the program to its end; status and what it said."""
    done = subprocess.run([str(native() / "bin" / "saola"), *args], cwd=cwd, text=True,
                          capture_output=True, env={**os.environ, **(env or {})}, timeout=60)
    return done.returncode, done.stdout + done.stderr


def interpreter_is_loaded(pid: int) -> bool:
    return "_saola." in Path(f"/proc/{pid}/maps").read_text()


# ---- command line -----------------------------------------------------------------------------------


def test_mistakes_end_in_one_line_and_gunicorns_exit_codes(build, place):
    hello, kv, echo, pool = build("hello"), build("kv"), build("echo_worker"), build("pool")
    broken = place.parent / "broken.so"
    broken.write_text("no shared object")
    for status, says, args in [
        (1, "No application", []),
        (4, "nosuch.so: No such file", ["./nosuch.so"]),
        (4, "not an application in C", ["module:app"]),
        (4, "file too short", [str(broken)]),
        (4, "there is no nix in it", [f"{hello}:nix"]),
        (4, "is a worker class, not an application", [f"{echo}:echo"]),
        (1, "is an application, not a worker class", ["-k", f"{hello}:app"]),
        (2, "did you mean --workers", ["--wrkers", "2", hello]),
        (2, "expected one argument", [hello, "--bind"]),
        (1, "workers", ["-w", "many", hello]),
        (1, "configuration file is a Python program", ["-c", "x.py", hello]),
        (1, "gevent needs Python", ["-k", "gevent", hello]),
        (1, "is an application, not a pool", ["--pool", f"{hello}:app"]),
        (1, "there are two pools of the name pong", ["--pool", f"{pool}:pong", "--pool", f"{pool}:pong"]),
        (1, "such a setting; did you mean limit?", ["--set", "limi=3", kv]),
        (1, "limit", ["--set", "limit=0", kv]),
        (1, "the class echo knows one", ["-k", f"{echo}:echo", "--threads", "2"]),
        (0, "", ["--check-config", hello]),
        (0, "usage: saola", ["--help"]),
        (0, "Seconds of silence", ["--help", "timeout"]),
        (0, "saola (version", ["--version"]),
    ]:
        got, said = run_c(*args, cwd=place)
        assert got == status and says in said, (args, got, said)
        if status:
            assert said.startswith("saola: ") and said.count("\n") == 1, said


def test_settings_come_from_environment_and_command_line(build, place):
    hello = build("hello")
    env = {"WEB_CONCURRENCY": "3", "PORT": "8123", "GUNICORN_CMD_ARGS": "--timeout 7 -w 5",
           "SAOLA_CMD_ARGS": "--timeout 8 -e 'A=b c'"}
    status, said = run_c("--print-config", "--keep-alive=9", hello, cwd=place, env=env)
    assert status == 0, said
    for line in ("workers = 5  (environment GUNICORN_CMD_ARGS)", "timeout = 8  (environment SAOLA",
                 "bind = 0.0.0.0:8123  (environment PORT)", "keepalive = 9  (command line)"):
        assert line in said


def test_a_shared_object_that_crashes_while_it_is_loaded_is_named_before_anything_starts(build, place):
    status, said = run_c(build("faulty", "-DCRASH_IN_CONSTRUCTOR"), cwd=place)
    assert status == 4 and "loading the application ends with SIGSEGV" in said


# ---- serving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_an_application_serves_without_an_interpreter(serve_c, build, worker_class):
    more = ["--threads", "3"] if worker_class == "gthread" else []
    server = serve_c(build("hello"), *more, "--access-logfile", "-", "-n", "the-name", workers=2)
    workers = server.wait_workers(2)
    assert not interpreter_is_loaded(server.pid) and not interpreter_is_loaded(workers[0])
    server.wait_log(f"Using worker: {worker_class}")
    with server.connect() as connection:
        for _ in range(3):
            answer = connection.request()
            assert (answer.status, answer.text) == (200, "Hello, world\n") and not answer.closes
    title = Path(f"/proc/{workers[0]}/cmdline").read_bytes().rstrip(b"\0")
    assert title == b"saola: worker [the-name]"
    with Load(server.address, keepalive=True) as load:
        load.wait_for(20)
        before = set(workers)
        server.signal(signal.SIGHUP)
        wait_until(lambda: set(server.worker_pids) and not before & set(server.worker_pids),
                   lambda: f"other workers than {before}:\n{server.log}")
        load.wait_for(20)
    load.assert_clean()
    assert server.stop() == 0
    assert '"GET / HTTP/1.1" 200 13' in server.log


def test_a_rebuilt_shared_object_is_loaded_by_hup_and_a_broken_one_is_not(serve_c, build, place):
    app = build("faulty", '-DTEXT="one"', to="app")
    server = serve_c(app, workers=2)
    assert server.get().text == "one"
    with Load(server.address) as load:
        build("faulty", '-DTEXT="two"', to="app")
        server.signal(signal.SIGHUP)
        wait_until(lambda: {server.get().text for _ in range(6)} == {"two"}, lambda: server.log)
        # Broken in three ways: no object at all, one that crashes while it is loaded, one whose
        # start() fails in the worker.
        broken = place.parent / "x.so"
        broken.write_text("junk")
        broken.rename(app)
        server.signal(signal.SIGHUP)
        server.wait_log("Reload failed, generation 2 goes on unchanged: .*file too short")
        build("faulty", "-DCRASH_IN_CONSTRUCTOR", to="app")
        server.signal(signal.SIGHUP)
        server.wait_log("Reload failed, .*loading the application ends with SIGSEGV")
        build("faulty", "-DFAIL_IN_START", to="app")
        server.signal(signal.SIGHUP)
        server.wait_log("start: not today")
        server.wait_log("Reload failed, generation 2 goes on unchanged", 3)
        assert {server.get().text for _ in range(4)} == {"two"}
        # A worker of the old generation that dies is made anew, from the old file.
        victim = server.wait_workers(2)[0]
        server.signal(signal.SIGKILL, victim)
        wait_until(lambda: victim not in server.worker_pids and len(server.worker_pids) == 2,
                   lambda: server.log)
        server.wait_log("Booting worker", 6)
        assert {server.get().text for _ in range(6)} == {"two"}
    assert not any("answer" in reason for reason in load.failed), load.failed


def test_an_upgrade_serves_on(serve_c, build, adopt):
    server = serve_c(build("hello"))
    server.signal(signal.SIGUSR2)
    server.wait_log(r"Booting worker", 2)
    new = [int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] Starting saola", server.log)][-1]
    assert new != server.pid
    adopt(new)
    with Load(server.address, limit=60) as load:
        server.stop()
        load.join()
    load.assert_clean(60)


def test_a_request_that_hangs_is_ended_by_timeout(serve_c, build):
    server = serve_c(build("faulty"), "--timeout", "1")
    with server.connect() as connection, pytest.raises(Exception):
        connection.request("GET", "/hang")
    server.wait_log(r"WORKER TIMEOUT .*GET /hang")
    wait_until(lambda: server.get().text == "faulty", lambda: server.log)


def test_max_requests_and_the_end_of_the_arbiter(serve_c, build, adopt):
    server = serve_c(build("hello"), "--max-requests", "5", workers=2)
    server.wait_workers(2)
    with Load(server.address, limit=40) as load:
        load.join()
    load.assert_clean(40)
    server.wait_log("has served max_requests and is replaced", 2)
    workers = server.wait_workers(2)
    for pid in workers:
        adopt(pid)
    server.signal(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in workers),
               lambda: f"the end of {workers}:\n{server.log}")


# ---- what applications can do ---------------------------------------------------------------------------


def test_values_are_kept_over_an_exclusive_reload(serve_c, build, place):
    kv = build("kv")
    server = serve_c(kv, "--hand-over", "exclusive", "--exclusive-lock", str(place.parent / "lock"),
                     "--set", "limit=3", "--set", f"file={place.parent / 'values'}")
    for n in range(3):
        assert server.fetch("PUT", f"/k{n}", body=b"value %d" % n).text == "stored\n"
    assert server.fetch("PUT", "/k3", body=b"x").status == 507
    assert server.get("/nosuch").status == 404
    server.signal(signal.SIGHUP)
    server.wait_log("3 values")
    assert server.get("/k1").body == b"value 1"
    assert server.fetch("DELETE", "/k1").text == "deleted\n"
    assert server.get("/k1").status == 404


def test_bodies_of_any_size_stream_both_ways_without_a_thread(serve_c, build):
    server = serve_c(build("upload"))
    body = bytes(range(256)) * 8192
    said = f"{len(body)} bytes, sum {sum(body)}\n"
    with server.connect() as slow:
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        slow.send(body[:100000])
        assert server.fetch("POST", "/", body=body).text == said  # beside the slow one
        slow.send(body[100000:])
        assert slow.read_response().text == said
        assert slow.request("GET", "/stream/3000000").body == bytes(3000000)
        gone = server.connect()
        gone.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
        gone.close()
        assert slow.request("POST", "/", body=b"\1\2").text == "2 bytes, sum 3\n"
    chunked = [("Transfer-Encoding", "chunked")]
    assert server.fetch("POST", "/", body=b"3\r\nabc\r\n0\r\n\r\n", headers=chunked).text == \
        "3 bytes, sum 294\n"


def test_answers_that_come_later_from_requests_threads_and_at_the_end(serve_c, build):
    server = serve_c(build("chat"), "--timeout", "5")
    waiting = [server.connect() for _ in range(20)]
    for connection in waiting:
        connection.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    waiting.pop().close()  # one goes before the answer
    for connection in waiting:  # said until all have heard it, however late they have arrived
        wait_until(lambda: server.fetch("POST", "/say", body=b"good morning").status == 200
                   and select.select([connection.sock], [], [], 0.01)[0], "an answer")
    for connection in waiting:
        assert re.fullmatch("good morning|chatter: .*", connection.read_response().text.strip())
    for _ in range(10):
        server.fetch("POST", "/say", body=b"x")
    with server.connect() as one:
        assert one.request("GET", "/wait").text.startswith("chatter: ")
    with server.connect() as last:
        last.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        server.get("/")  # so the other has arrived
        server.signal(signal.SIGTERM)
        answer = last.read_response()
        assert answer.status == 200 and answer.closes
    for connection in waiting:
        connection.close()
    assert server.wait_exit() == 0


def test_mounts_go_by_the_longest_prefix(serve_c, build):
    hello, one, two = build("hello"), build("faulty", '-DTEXT="one"', to="one"), build(
        "faulty", '-DTEXT="two"', to="two")
    server = serve_c(hello, "--mount", f"/a={one}", "--mount", f"/a/b/={two}")
    for path, text in {"/": "Hello, world\n", "/a": "one", "/a/x": "one", "/ab": "Hello, world\n",
                       "/a/b": "two", "/a/b/c?d": "two"}.items():
        assert server.get(path).text == text, path


# ---- worker classes, hooks, embedding -----------------------------------------------------------------


def test_a_worker_class_in_c_under_the_arbiter(serve_c, build):
    echo = build("echo_worker")
    server = serve_c(None, "-k", f"{echo}:echo", "--timeout", "2", workers=2)
    workers = server.wait_workers(2)
    server.wait_log("Using worker: .*echo")
    with server.connect() as connection:
        connection.send(b"anything")
        assert connection.read_exactly(8) == b"anything"
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.worker_pids and not set(workers) & set(server.worker_pids),
                   lambda: server.log)
    server.signal(signal.SIGKILL, server.wait_workers(2)[0])
    server.wait_log("Booting worker", 5)
    with server.connect() as connection:
        connection.send(b"again")
        assert connection.read_exactly(5) == b"again"
    assert server.stop() == 0
    server.wait_log("echo: 0 connections are cut")


def test_a_worker_class_that_never_beats_is_found_out(serve_c, build):
    server = serve_c(None, "-k", build("faulty") + ":silent", "--timeout", "1")
    server.wait_log("WORKER TIMEOUT")
    server.signal(signal.SIGQUIT)


def test_hooks_in_c_run_where_their_row_says(serve_c, build):
    faulty = build("faulty")
    server = serve_c(faulty, "--hooks", f"{faulty}:hooks")
    assert server.get("/").text == "faulty"
    assert server.get("/refused").status == 500
    worker = server.wait_workers(1)[0]
    assert server.stop() == 0
    seen = re.findall(r"^hook (\w+) (\d+)$", server.log, re.MULTILINE)
    arbiter = [name for name, pid in seen if int(pid) == server.pid]
    assert arbiter == ["on_starting", "when_ready", "pre_fork", "child_exit", "on_exit"]
    assert [name for name, pid in seen if int(pid) == worker] == [
        "post_fork", "post_worker_init", "pre_request", "post_request", "pre_request",
        "worker_exit"]


def test_a_server_in_somebodys_main(serve, build, tmp_path, place, adopt):
    program = tmp_path / "embed"
    subprocess.run(["cc", "-Wall", "-Werror", *flags("--cflags"), str(EXAMPLES / "embed.c"), "-o",
                    str(program), *flags("--libs")], check=True)
    env = {"LD_LIBRARY_PATH": str(native() / "lib")}
    server = serve(None, command=[str(program), "--bind", "127.0.0.1:0"], bind=None, env=env)
    server.wait_workers(2)  # the program's own default
    server.wait_log("embed: the sockets listen")
    assert server.get().text == "embedded\n"
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done: generation 2")
    server.signal(signal.SIGUSR2)
    server.wait_log("embed: the sockets listen", 2)
    server.wait_log("Booting worker", 6)
    adopt([int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] Starting saola", server.log)][-1])
    assert server.get().text == "embedded\n"
    assert server.stop() == 0


# ---- pools --------------------------------------------------------------------------------------------


def ask(port: int) -> tuple[int, int]:
    """(id, pid) of the worker that answers a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(b"ping", ("127.0.0.1", port))
        match = re.fullmatch(rb"pong from #(\d) (\d+)\n", client.recv(100))
    return int(match[1]), int(match[2])


def test_pools_in_c_share_a_socket_keep_their_ids_and_run_at_times(serve_c, build):
    pool = build("pool")
    server = serve_c(None, "--pool", f"{pool}:pong", "--pool", f"{pool}:cleaner", wait=False)
    port = int(server.wait_log(r"pong: port (\d+)")[1])
    pids = server.wait_workers(6)  # the collector, too
    assert not interpreter_is_loaded(server.pid)
    server.wait_log(r"^\[cleaner/0\] cleaning$", 2)
    seen = {}
    for _ in range(4):  # who has answered is stopped, so that the others must
        number, pid = ask(port)
        seen[number] = pid
        server.signal(signal.SIGSTOP, pid)
    assert sorted(seen) == [0, 1, 2, 3] and set(seen.values()) < set(pids)
    server.signal(signal.SIGCONT, seen[0])
    server.signal(signal.SIGKILL, seen[2])
    server.wait_log("Booting worker", 6)
    answer = wait_until(lambda: next((pid for number, pid in [ask(port)] if number == 2), None), "worker 2")
    assert answer not in pids
    for number in (1, 3):
        server.signal(signal.SIGCONT, seen[number])
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done: generation 2")
    # Those of before may still answer while they are asked to leave.
    wait_until(lambda: ask(port)[1] not in pids, "an answer of the new ones")
    assert server.log.count("pong: port") == 1
    assert server.stop() == 0
    assert server.log.count("pong: worker") == 8


def test_a_pool_in_c_beside_an_application(serve_c, build):
    hello, pool = build("hello"), build("pool")
    server = serve_c(hello, "--pool", f"{pool}:pong", workers=2)
    port = int(server.wait_log(r"pong: port (\d+)")[1])
    server.wait_workers(7)
    assert server.get("/").text == "Hello, world\n" and ask(port)[0] in range(4)
    title = Path(f"/proc/{ask(port)[1]}/cmdline").read_bytes().rstrip(b"\0")
    assert title.startswith(b"saola: pong/")
    assert server.stop() == 0


def test_headers_and_symbols(tmp_path):
    include = flags("--cflags")
    names = sorted(path.name for path in (native() / "include" / "saola").glob("*.h"))
    assert "app.h" in names and "run.h" in names
    for compiler in (["cc", "-std=c99", "-x", "c"], ["c++", "-std=c++11", "-x", "c++"]):
        if compiler[0] == "c++" and subprocess.run(["which", "c++"], capture_output=True).returncode:
            continue
        text = "".join(f"#include <saola/{name}>\n" for name in names)
        subprocess.run([*compiler, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only",
                        *include, "-"], input=text, text=True, check=True)
    if SANITIZED:
        return
    shown = subprocess.run(["nm", "-D", "--defined-only", str(native() / "lib" / "libsaola.so")],
                           check=True, text=True, capture_output=True).stdout.split()[2::3]
    assert "sl_run" in shown and [name for name in shown if not name.startswith("sl_")] == []


# ---- beside Python ------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "asgi"])
def test_a_mounted_application_serves_beside_a_python_one(serve, build, place, worker_class):
    one = build("faulty", '-DTEXT="one"', to="one")
    (place / "file.txt").write_text("a file")
    server = serve("mounted:asgi" if worker_class == "asgi" else "mounted:app", "--mount", f"/c={one}",
                   "--static", f"/file.txt={place / 'file.txt'}", worker_class=worker_class)
    with server.connect() as connection:
        for target, text in [("/", "python"), ("/c", "one"), ("/file.txt", "a file"),
                             ("/c/x?y=1", "one"), ("/cc", "python")] * 2:
            assert connection.request("GET", target).text == text, target
    build("faulty", '-DTEXT="two"', to="one")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.get("/c").text == "two", lambda: server.log)
    broken = place.parent / "x.so"
    broken.write_text("junk")
    broken.rename(one)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, generation 2 goes on unchanged: .*file too short")
    assert server.get("/c").text == "two" and server.get("/").text == "python"


def test_a_mounted_application_does_not_wait_for_the_interpreters_lock(serve, build, place):
    os.mkfifo(place.parent / "pipe")
    writer = os.open(place.parent / "pipe", os.O_RDWR)
    try:
        server = serve("mounted:app", "--mount", f"/c={build('faulty')}", "--threads", "4")
        worker = server.wait_workers(1)[0]
        wait_until(lambda: len(os.listdir(f"/proc/{worker}/task")) >= 6, "the worker's threads")
        with Load(server.address, clients=4, limit=40) as load:
            load.join()  # by now each of them has had the lock
        with server.connect() as held:
            held.send(f"GET /hold?{place.parent / 'pipe'} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for _ in range(20):
                assert server.get("/c").text == "faulty"
            os.write(writer, b"x")
            assert held.read_response().text == "python"
    finally:
        os.close(writer)


def test_a_mounted_applications_life_and_settings(serve, build, place):
    kv = build("kv")
    values = place.parent / "values"
    server = serve("mounted:app", "--mount", f"/kv={kv}", "--set", f"file={values}", "--set", "limit=2")
    server.wait_log(r"\[INFO\] 0 values")
    assert server.fetch("PUT", "/kv/a", body=b"1").text == "stored\n"
    assert server.stop() == 0
    assert values.exists()
    chat = build("chat")
    for app_args, says in [(["--mount", f"/kv={kv}", "--set", "limi=2"], "did you mean limit?"),
                           (["--mount", f"kv={kv}"], "is not /PREFIX="),
                           (["--mount", f"/kv={kv}x"], "No such file"),
                           (["--hooks", f"{kv}:x"], "native_hooks: is for applications in C"),
                           (["--set", "a=b"], "and there are none"),
                           (["--mount", f"/chat={chat}"], "start() of the application failed")]:
        failed = serve("mounted:app", *app_args, wait=False)
        assert failed.wait_exit() in (1, 3)
        assert says in failed.log, (app_args, failed.log)
