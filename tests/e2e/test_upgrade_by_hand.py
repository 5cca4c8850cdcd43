"""USR2 by hand: every order in which two arbiters may end, replaced releases, early signals, systemd,
and every kind of listening socket under load.

Expected behaviour: docs/upgrade.md ("By hand"); ARCHITECTURE.md, section 4.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import harness
from harness import Connection, Load, wait_until
from test_sockets import notify, start_activated  # noqa: F401 (a fixture)
from test_upgrade import (GOOD, is_ready, live, read_pid, second_arbiter, upgrade,  # noqa: F401
                          workers_of, write_app)


def ask(address) -> str:
    with Connection(address) as connection:
        response = connection.request(headers=[("Connection", "close")])
        assert response.status == 200
        return response.text


def gone(pid: int) -> bool:
    """Ended and reaped, or at least ended: a zombie of ours holds nothing."""
    return not harness.is_alive(pid)


# ---- orders of deaths --------------------------------------------------------------------------------


@pytest.fixture
def pair(live, place, adopt):
    """Two arbiters after USR2, both ready, on a unix socket: (server, pid of the new one, path)."""
    path = place / "web.sock"
    server = live(bind=f"unix:{path}")
    old = workers_of(server.pid)
    server.signal(signal.SIGUSR2)
    second = second_arbiter(server, adopt)
    wait_until(lambda: is_ready(second), "the new worker")
    for worker in old + workers_of(second):  # a killed arbiter's may end a moment later, as ours
        adopt(worker)
    server.path = path
    return server, second


ENDINGS = {
    # name: (victims in order with their signals, who is left; None: nobody)
    "the new one is told to go": ([("new", signal.SIGTERM)], "old"),
    "the new one is told to hurry": ([("new", signal.SIGQUIT)], "old"),
    "the new one is killed": ([("new", signal.SIGKILL)], "old"),
    "the old one is told to go": ([("old", signal.SIGTERM)], "new"),
    "the old one is told to hurry": ([("old", signal.SIGINT)], "new"),
    "the old one is killed": ([("old", signal.SIGKILL)], "new"),
}


@pytest.mark.fault("M23")
@pytest.mark.parametrize("ending", ENDINGS)
def test_one_of_two_arbiters_ends_and_the_other_serves_on(pair, ending):
    server, second = pair
    victims, left = ENDINGS[ending]
    survivor = server.pid if left == "old" else second
    pids = {"old": server.pid, "new": second}
    serving = workers_of(survivor)
    with Load(str(server.path), clients=2) as load:
        for who, number in victims:
            os.kill(pids[who], number)
            wait_until(lambda: gone(pids[who]), f"the end of the {who} one")
        # Pid file and socket are the survivor's, under the first names.
        wait_until(lambda: read_pid(server.pidfile) == survivor, lambda: server.log)
        wait_until(lambda: not server.pidfile.with_name("pid.2").exists(), lambda: server.log)
        wait_until(lambda: "alone" in server.log or "promoted" in server.log, lambda: server.log)
        wait_until(lambda: workers_of(survivor) == serving, "its worker alone")
        load.wait_for(5)
    if not any(number in (signal.SIGKILL, signal.SIGINT, signal.SIGQUIT) for _, number in victims):
        load.assert_clean(at_least=5)  # what dies at once may cut a request
    assert server.path.is_socket()
    assert ask(str(server.path)) == f"one {serving[0]}"
    # It is a whole arbiter: the next upgrade works, and its end leaves nothing.
    os.kill(survivor, signal.SIGUSR2)
    third = wait_until(lambda: read_pid(server.pidfile.with_name("pid.2")), lambda: server.log)
    wait_until(lambda: is_ready(third), "the third's worker")
    os.kill(third, signal.SIGTERM)
    wait_until(lambda: read_pid(server.pidfile.with_name("pid.2")) is None, lambda: server.log)
    wait_until(lambda: gone(third), "the third's end")
    os.kill(survivor, signal.SIGTERM)
    wait_until(lambda: gone(survivor), "its end")
    assert not server.path.exists() and not server.pidfile.exists()


@pytest.mark.fault("M23")
@pytest.mark.parametrize("first, then", [("old", "new"), ("new", "old")])
@pytest.mark.parametrize("pause", [0, 0.05])
def test_both_arbiters_are_told_to_go_and_leave_nothing(pair, first, then, pause):
    """As `systemctl stop` does, to every process: whoever ends last takes the files along."""
    server, second = pair
    pids = {"old": server.pid, "new": second}
    os.kill(pids[first], signal.SIGTERM)
    time.sleep(pause)  # not to wait for something: the two stops overlap more or less
    os.kill(pids[then], signal.SIGTERM)
    wait_until(lambda: gone(server.pid) and gone(second), lambda: server.log)
    assert not server.pidfile.exists() and not server.pidfile.with_name("pid.2").exists()
    assert not server.path.exists()


@pytest.mark.fault("M23")
def test_the_new_arbiter_ends_while_the_old_one_stops(live, place, adopt):
    """The old one has closed its sockets already; it removes the file all the same, and says so."""
    path = place / "web.sock"
    (place / "live.py").write_text("")
    server = live(bind=f"unix:{path}")
    (place / "live.py").write_text(
        "import time\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    yield b'begin'\n"
        "    while True:\n"
        "        time.sleep(0.05)\n"
        "        import os\n"
        "        if os.path.exists('go'): return\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    server.signal(signal.SIGUSR2)
    old = set(workers_of(server.pid))
    second = second_arbiter(server, adopt)
    adopt(wait_until(lambda: workers_of(second), "the new worker")[0])
    # A request in progress at the old one; which of the two workers answers is chance.
    held = []
    def hold():
        connection = Connection(str(path))
        connection.send(harness.format_request(headers=[("Connection", "close")]))
        connection.read_until(b"begin")
        held.append(connection)
    hold()
    hold()  # sync: each worker has one now
    server.signal(signal.SIGTERM)
    server.wait_log("Handling signal: term")
    os.kill(second, signal.SIGKILL)
    server.wait_log(r"\[ERROR\] The new arbiter \(pid:\d+\) is gone while this one stops")
    (place / "go").touch()
    assert server.wait_exit() == 0
    for connection in held:
        connection.close()
    (place / "go").unlink()
    assert not path.exists() and not server.pidfile.exists()


@pytest.mark.fault("M23")
def test_a_daemon_is_rolled_back_as_nginx_does(serve, place, tmp_path, adopt):
    """USR2, WINCH to the old one, a look at the new one; HUP to the old one, QUIT to the new one."""
    write_app(place, "one")
    pidfile, errors, path = tmp_path / "pid", tmp_path / "errors", place / "web.sock"
    server = serve("live:app", "--daemon", "--pid", str(pidfile), "--error-logfile", str(errors),
                   bind=f"unix:{path}", wait=False)
    assert server.wait_exit() == 0
    first = wait_until(lambda: read_pid(pidfile), "the pid file")
    adopt(first)
    wait_until(lambda: errors.exists() and "Booting worker" in errors.read_text(), "a worker")
    wait_until(lambda: path.exists() and ask(str(path)).startswith("one"), "an answer")
    with Load(str(path), clients=2) as load:
        load.bodies = []
        os.kill(first, signal.SIGUSR2)
        second = wait_until(lambda: read_pid(tmp_path / "pid.2"), "the new arbiter")
        adopt(second)
        wait_until(lambda: is_ready(second), "its worker")
        wait_until(lambda: any(body.endswith(b" %d" % workers_of(second)[0])
                               for body in list(load.bodies)), "an answer of the new one")
        os.kill(first, signal.SIGWINCH)
        wait_until(lambda: not workers_of(first), "the old workers' rest")
        load.wait_for(10)
        os.kill(first, signal.SIGHUP)
        wait_until(lambda: "Reload done" in errors.read_text(), errors.read_text)
        os.kill(second, signal.SIGTERM)  # QUIT would cut a request of the new one's
        wait_until(lambda: gone(second), "the new one's end")
        load.wait_for(10)
    load.assert_clean(at_least=20)
    assert read_pid(pidfile) == first and not (tmp_path / "pid.2").exists()
    assert ask(str(path)) == f"one {workers_of(first)[0]}"
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: gone(first), "the end")
    assert not pidfile.exists() and not path.exists()


@pytest.mark.fault("M23")
def test_a_daemon_at_rest_serves_again_when_the_new_arbiter_dies(serve, place, tmp_path, adopt):
    write_app(place, "one")
    pidfile, errors, path = tmp_path / "pid", tmp_path / "errors", place / "web.sock"
    server = serve("live:app", "--daemon", "--pid", str(pidfile), "--error-logfile", str(errors),
                   bind=f"unix:{path}", wait=False)
    assert server.wait_exit() == 0
    first = wait_until(lambda: read_pid(pidfile), "the pid file")
    adopt(first)
    wait_until(lambda: is_ready(first), errors.read_text)
    os.kill(first, signal.SIGUSR2)
    second = wait_until(lambda: read_pid(tmp_path / "pid.2"), "the new arbiter")
    wait_until(lambda: is_ready(second), errors.read_text)
    adopt(workers_of(second)[0])
    os.kill(first, signal.SIGWINCH)
    wait_until(lambda: not workers_of(first), "the old workers' rest")
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: len(workers_of(first)) == 1, errors.read_text)
    assert ask(str(path)) == f"one {workers_of(first)[0]}"
    assert read_pid(pidfile) == first and not (tmp_path / "pid.2").exists()
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: gone(first), "the end")


# ---- another release ---------------------------------------------------------------------------------


@pytest.fixture
def releases(tmp_path):
    """Two releases, r1 and r2, and a link `current` to the first."""
    top = tmp_path / "srv"
    for name in ("r1", "r2"):
        (top / name).mkdir(parents=True)
        write_app(top / name, name)
        (top / name / "python").symlink_to(sys.executable)
        site = Path(__import__("saola").__file__).parent.parent
        script = top / name / "serve"
        script.write_text(f"#!{top}/{name}/python\n"
                          f"import sys; sys.path.insert(0, {str(site)!r})\n"
                          "from saola.cli import main\nmain()\n")
        script.chmod(0o755)
    (top / "current").symlink_to("r1")
    return top


def switch(top: Path) -> None:
    """As deployments do: the link is replaced in one step, the old release is removed."""
    (top / "new").symlink_to("r2")
    (top / "new").rename(top / "current")
    shutil.rmtree(top / "r1")


@pytest.mark.fault("M24")
@pytest.mark.parametrize("started", ["in the directory", "with --chdir", "by its own script"])
def test_an_upgrade_follows_a_link_to_the_next_release(serve, place, releases, tmp_path, adopt, started):
    pidfile = tmp_path / "pid"
    current = releases / "current"
    args = {"in the directory": ["--pid", str(pidfile)],
            "with --chdir": ["--pid", str(pidfile), "--chdir", str(current)],
            "by its own script": ["--pid", str(pidfile)]}[started]
    options = {}
    if started == "by its own script":
        options["command"] = [str(current / "serve")]
    if started != "with --chdir":
        options |= {"cwd": current, "env": {"PWD": str(current)}}
    server = serve("live:app", *args, **options)
    server.files_before = set()
    server.cwd = place  # the server's own directory will be gone
    server.pidfile = pidfile
    assert server.get().text.startswith("r1 ")
    first = workers_of(server.pid)
    switch(releases)
    assert server.get().text == f"r1 {first[0]}"  # the old code goes on
    done = upgrade(server, "-p", pidfile)
    assert done.returncode == 0, done.stderr + server.log
    adopt(new := read_pid(pidfile))
    assert server.get().text.startswith("r2 ")
    command = Path(f"/proc/{new}/exe").resolve(), harness.read_process(new)
    assert command[0].exists()


@pytest.mark.fault("M24", "M22")
def test_the_directory_is_gone_for_good(serve, tmp_path, place, adopt):
    """The old arbiter serves on, and its workers are replaced, with the old code in memory or not."""
    home = tmp_path / "home"
    home.mkdir()
    write_app(home, "one")
    pidfile = tmp_path / "pid"
    server = serve("live:app", "--pid", str(pidfile), "--preload", cwd=home)
    server.files_before, server.cwd = set(), place
    wait_until(lambda: is_ready(server.pid), lambda: server.log)
    first, = workers_of(server.pid)
    shutil.rmtree(home)
    done = upgrade(server, "-p", pidfile)
    assert done.returncode == 1 and f"{home}: No such file" in done.stderr, done.stderr
    assert workers_of(server.pid) == [first] and server.get().text == f"one {first}"
    server.signal(signal.SIGHUP)  # no reload either; what serves goes on
    server.wait_log("Handling signal: hup")
    server.wait_log("Reload (done|failed)")
    assert server.get().text.startswith("one ")


# ---- early signals -----------------------------------------------------------------------------------


@pytest.mark.fault("M20")
def test_no_signal_kills_an_arbiter_between_exec_and_its_handlers(live, adopt):
    """From the fork on, all the time while the interpreter starts: none is fatal, none is lost."""
    server = live()
    noise = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTOU,
             signal.SIGCHLD)
    known = set(workers_of(server.pid))
    sent, stop, shot = [0], threading.Event(), [None]

    def shoot():
        while not stop.is_set():
            for process in harness.children_of(server.pid):
                if process.pid not in known:
                    shot[0] = process.pid
            while shot[0] and not stop.is_set():
                for number in noise:
                    try:
                        os.kill(shot[0], number)
                    except ProcessLookupError:
                        return
                    sent[0] += 1
                time.sleep(0.0005)

    thread = threading.Thread(target=shoot)
    thread.start()
    try:
        server.signal(signal.SIGUSR2)
        wait_until(lambda: shot[0], "the fork")
        for _ in range(20):
            server.signal(signal.SIGHUP)  # the old one is not spared
        second = second_arbiter(server, adopt)
        server.wait_log("Listening at", count=2)
        wait_until(lambda: workers_of(second), lambda: server.log)
    finally:
        stop.set()
        thread.join()
    assert shot[0] == second and sent[0] > len(noise)
    # Not lost: a HUP that came before the handlers is a reload, one after the first boot.
    server.wait_log(rf"\[{second}\] \[INFO\] Handling signal: hup")
    server.wait_log(rf"\[{second}\] \[INFO\] Reload done")
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: gone(second), lambda: server.log)
    server.wait_log("this one serves on alone: it exited with code 0")
    assert server.get().status == 200


@pytest.mark.fault("M20")
def test_a_stop_that_comes_before_the_handlers_is_obeyed(live):
    """TERM to the new arbiter in the moment of its fork: it ends in order, never by the signal."""
    server = live()
    known = set(workers_of(server.pid))
    for round_ in range(1, 4):
        server.signal(signal.SIGUSR2)
        second = wait_until(lambda: next((p.pid for p in harness.children_of(server.pid)
                                          if p.pid not in known), None), "the fork")
        os.kill(second, signal.SIGTERM)
        server.wait_log(rf"The new arbiter \(pid:{second}\) is gone; this one serves on alone: "
                        r"it exited with code 0\.")
    assert workers_of(server.pid) == sorted(known)


# ---- systemd -----------------------------------------------------------------------------------------


@pytest.mark.fault("M31")
def test_systemd_is_told_in_order(live, notify, adopt):  # noqa: F811
    server = live(env={"NOTIFY_SOCKET": notify.path})

    def said():
        return [line for line in notify() if line.startswith(("READY", "RELOADING", "STOPPING",
                                                              "MAINPID"))]
    wait_until(lambda: said() == ["READY=1"], said)
    server.signal(signal.SIGHUP)
    wait_until(lambda: said() == ["READY=1", "RELOADING=1", "READY=1"], said)
    del notify()[:]
    # An upgrade that is taken back: the service has neither stopped nor become ready again.
    server.signal(signal.SIGUSR2)
    second = second_arbiter(server, adopt)
    wait_until(lambda: is_ready(second), "its worker")
    os.kill(second, signal.SIGTERM)
    server.wait_log("this one serves on alone")
    assert said() == []
    # One that is finished.
    done = upgrade(server, "-p", server.pidfile)
    assert done.returncode == 0, done.stderr
    adopt(new := read_pid(server.pidfile))
    wait_until(lambda: said() == [f"MAINPID={new}", f"MAINPID={new}", "READY=1"], said)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: gone(new), "its end")
    assert said()[3:] == ["STOPPING=1"]


@pytest.mark.fault("M31")
def test_systemd_is_told_when_the_old_arbiter_was_killed(live, notify, adopt):  # noqa: F811
    server = live(env={"NOTIFY_SOCKET": notify.path})
    for worker in workers_of(server.pid):
        adopt(worker)
    server.signal(signal.SIGUSR2)
    second = second_arbiter(server, adopt)
    wait_until(lambda: is_ready(second), "its worker")
    del notify()[:]
    server.signal(signal.SIGKILL)
    wait_until(lambda: [line for line in notify() if "=" in line][:2] == [
        f"MAINPID={second}", "READY=1"], notify)


def test_programs_that_a_configuration_starts_do_not_keep_the_sockets(serve, place, tmp_path, adopt):
    """Nor do they see them in their environment: what they keep open could never be bound again."""
    pidfile, file, seen = tmp_path / "pid", tmp_path / "live.conf.py", tmp_path / "seen"
    write_app(place, "one")
    list_sockets = f"ls -l /proc/self/fd >> {seen}"
    file.write_text("import os\n"
                    f"pidfile = {str(pidfile)!r}\n"
                    f"os.system({list_sockets!r})\n"
                    f"def on_starting(server): os.system({list_sockets!r})\n"
                    f"def when_ready(server): os.system({list_sockets!r})\n"
                    f"def post_worker_init(worker): os.system({f'{list_sockets}; env >> {seen}'!r})\n")
    server = serve("live:app", "-c", str(file))
    wait_until(lambda: is_ready(server.pid), lambda: server.log)
    seen.write_text("")
    done = upgrade(server, "-p", pidfile)
    assert done.returncode == 0, done.stderr
    adopt(read_pid(pidfile))
    text = seen.read_text()
    assert text.count("total 0") == 4
    assert "socket:" not in text and "memfd:" not in text
    assert "SAOLA_FD=" not in text and "SAOLA_UPGRADE_FD=" not in text


def test_an_upgrade_moves_to_other_addresses(serve, place, tmp_path, adopt):
    """The new release has another configuration; what only the old one served goes with it."""
    pidfile, file = tmp_path / "pid", tmp_path / "live.conf.py"
    stays, goes, comes = place / "stays.sock", place / "goes.sock", place / "comes.sock"
    write_app(place, "one")
    file.write_text(f"bind = ['unix:{stays}', 'unix:{goes}']\npidfile = {str(pidfile)!r}\n")
    server = serve("live:app", "-c", str(file), bind=None)
    wait_until(lambda: is_ready(server.pid), lambda: server.log)
    file.write_text(f"bind = ['unix:{stays}', 'unix:{comes}']\npidfile = {str(pidfile)!r}\n")
    with Load(str(stays), clients=2) as load:
        done = upgrade(server, "-c", file)
        assert done.returncode == 0, done.stderr
        adopt(new := read_pid(pidfile))
        load.wait_for(10)
    load.assert_clean(at_least=10)
    assert ask(str(stays)).startswith("one") and ask(str(comes)).startswith("one")
    assert not goes.exists()
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: gone(new), "its end")
    assert not stays.exists() and not comes.exists()


def test_a_daemon_is_upgraded(serve, place, tmp_path, adopt):
    write_app(place, "one")
    pidfile, errors, path = tmp_path / "pid", tmp_path / "errors", place / "web.sock"
    server = serve("live:app", "--daemon", "--pid", str(pidfile), "--error-logfile", str(errors),
                   bind=f"unix:{path}", wait=False)
    assert server.wait_exit() == 0
    first = wait_until(lambda: read_pid(pidfile), "the pid file")
    adopt(first)
    wait_until(lambda: is_ready(first), errors.read_text)
    write_app(place, "two")
    done = upgrade(server, "-p", pidfile)
    assert done.returncode == 0, done.stderr + errors.read_text()
    adopt(second := read_pid(pidfile))
    assert f"arbiter {second} has replaced {first}" in done.stdout
    assert ask(str(path)).startswith("two")
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: gone(second), errors.read_text)
    assert not pidfile.exists() and not path.exists()


# ---- every kind of listening socket, under load ------------------------------------------------------


def start_on(kind, serve, place, stack, **options):
    """A server on one kind of socket: (server, address)."""
    if kind == "unix":
        path = place / "web.sock"
        return serve("live:app", bind=f"unix:{path}", **options), str(path)
    if kind == "abstract":
        name = f"saola-test-{os.getpid()}-{time.monotonic_ns()}"
        return serve("live:app", bind=f"unix:@{name}", **options), "\0" + name
    if kind in ("descriptor", "systemd"):
        listener = socket.create_server(("127.0.0.1", 0))
        stack.append(listener)
        if kind == "systemd":
            server = start_activated(serve, [listener], options.pop("worker_class"), **options)
        else:
            number = listener.fileno()
            server = serve("live:app", bind=f"fd://{number}", pass_fds=[number], **options)
        return server, listener.getsockname()
    bind = {"tcp": "127.0.0.1:0", "ipv6": "[::1]:0"}[kind]
    server = serve("live:app", bind=bind, **options)
    return server, server.address


@pytest.mark.parametrize("kind", ["tcp", "ipv6", "unix", "abstract", "descriptor", "systemd"])
def test_no_kind_of_socket_loses_a_request(serve, place, tmp_path, adopt, worker_class, kind):
    (place / "live.py").write_text(GOOD % "one")
    (place / "hello.py").write_text(GOOD % "one")
    pidfile = tmp_path / "pid"
    stack = []
    server, address = start_on(kind, serve, place, stack, worker_class=worker_class, workers=2,
                               settings={"pidfile": str(pidfile)})
    server.pidfile = pidfile
    wait_until(lambda: is_ready(server.pid), lambda: server.log)
    arbiter = server.pid
    with Load(address, clients=2) as load, Load(address, clients=1, keepalive=True) as kept:
        for round_ in range(1, 3):
            load.wait_for(10)
            os.kill(arbiter, signal.SIGHUP)
            server.wait_log("Reload done", count=2 * round_ - 1)
            load.wait_for(10)
            done = upgrade(server, "-p", pidfile)
            assert done.returncode == 0, done.stderr + server.log
            adopt(arbiter := read_pid(pidfile))
            os.kill(arbiter, signal.SIGHUP)
            server.wait_log("Reload done", count=2 * round_)
        load.wait_for(10)
        kept.wait_for(2)
    load.assert_clean(at_least=50)
    assert kept.failed == {}, kept.failed
    os.kill(arbiter, signal.SIGTERM)
    wait_until(lambda: gone(arbiter), lambda: server.log)
    for listener in stack:  # theirs who gave it: clients may still come
        with socket.create_connection(listener.getsockname()):
            listener.close()
    if kind == "unix":
        assert not Path(address).exists()


@pytest.mark.long
@pytest.mark.fault("M23", "M32")
def test_30_upgrades_in_a_row_lose_and_keep_nothing(live, adopt, worker_class):
    """Neither requests nor descriptors nor variables of the environment, from arbiter to arbiter."""
    server = live(worker_class=worker_class, workers=2)
    sizes = []
    with Load(server.address, clients=2) as load, Load(server.address, clients=1, keepalive=True) as kept:
        for _ in range(30):
            done = upgrade(server, "-p", server.pidfile)
            assert done.returncode == 0, done.stderr
            adopt(pid := read_pid(server.pidfile))
            names = [line.split(b"=")[0] for line in
                     Path(f"/proc/{workers_of(pid)[0]}/environ").read_bytes().split(b"\0")]
            sizes.append((len(os.listdir(f"/proc/{pid}/fd")), len(names)))
    load.assert_clean(at_least=500)
    kept.assert_clean(at_least=100)
    assert len(set(sizes[1:])) == 1, sizes
