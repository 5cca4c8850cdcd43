"""Where a server may listen: TCP, unix, inherited descriptors, systemd's; and whom it tells."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import Connection, Load, wait_until


def answers(address):
    with Connection(address) as connection:
        return connection.request(headers=[("Connection", "close")]).status == 200


def test_a_unix_socket_appears_and_disappears(serve, place, worker_class):
    path = place / "web.sock"
    server = serve("hello:app", bind=f"unix:{path}", worker_class=worker_class)
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert server.address == str(path) and answers(server.address)
    assert server.stop() == 0
    assert not path.exists()


def test_the_umask_decides_who_may_connect(serve, place, worker_class):
    path = place / "web.sock"
    serve("hello:app", "--umask", "0117", bind=f"unix:{path}", worker_class=worker_class)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.fault("M10")
def test_a_stale_unix_socket_is_replaced(serve, place, worker_class):
    path = place / "web.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    serve("hello:app", bind=f"unix:{path}", worker_class=worker_class)
    assert answers(str(path))


@pytest.mark.fault("M10")
def test_a_second_server_on_a_unix_socket_does_not_start(serve, place):
    """The first one's clients are served all the time; its own end removes its own file only."""
    path = place / "web.sock"
    first = serve("hello:app", bind=f"unix:{path}")
    inode = path.stat().st_ino
    with Load(str(path), clients=1) as load:
        load.wait_for(5)
        second = serve("hello:app", bind=f"unix:{path}", wait=False)
        assert second.wait_exit() == 1
        assert f"unix:{path} is in use by another server" in second.log
        load.wait_for(5)
    load.assert_clean(at_least=10)
    assert path.stat().st_ino == inode
    # Somebody has removed the file, and another server has taken the name: it is not ours any more.
    path.unlink()
    third = serve("hello:app", bind=f"unix:{path}")
    assert first.stop() == 0
    assert path.is_socket() and answers(str(path))
    assert third.stop() == 0 and not path.exists()


@pytest.mark.fault("M11")
@pytest.mark.parametrize("what, reason", [
    ("a directory", "not a socket"),
    ("a link to a file", "not a socket"),
    ("a dangling link", "not a socket"),
    ("a fifo", "not a socket"),
    ("no directory", "web.sock"),
    ("a foreign directory", "web.sock"),
])
def test_what_is_in_the_way_of_a_unix_socket_is_not_touched(serve, place, tmp_path, what, reason):
    path, target = place / "web.sock", tmp_path / "precious"
    if what == "a directory":
        path.mkdir()
    elif what == "a link to a file":
        target.write_text("precious")
        path.symlink_to(target)
    elif what == "a dangling link":
        path.symlink_to(target)
    elif what == "a fifo":
        os.mkfifo(path)
    elif what == "no directory":
        path = place / "nowhere" / "web.sock"
    else:
        path = tmp_path / "closed" / "web.sock"
        path.parent.mkdir(mode=0o500)
        if os.geteuid() == 0:  # who may write everywhere, but there
            path = Path("/sys/web.sock")
    before = sorted(place.rglob("*"))
    server = serve("hello:app", bind=f"unix:{path}", wait=False)
    assert server.wait_exit() == 1
    assert reason in server.log and "Traceback" not in server.log
    assert sorted(place.rglob("*")) == before
    assert what != "a link to a file" or target.read_text() == "precious"
    assert what != "a dangling link" or not target.exists()


@pytest.mark.fault("M11")
def test_a_file_in_place_of_a_unix_socket_is_not_removed(serve, place, worker_class):
    path = place / "web.sock"
    path.write_text("precious")
    server = serve("hello:app", bind=f"unix:{path}", worker_class=worker_class, wait=False)
    assert server.wait_exit() == 1
    assert str(path) in server.log
    assert path.read_text() == "precious"


def test_several_addresses_at_once(serve, place, worker_class):
    path = place / "web.sock"
    server = serve("hello:app", "--bind", "localhost:0", "--bind", "[::1]:0",
                   "--bind", f"unix:{path}", worker_class=worker_class)
    assert len(server.addresses) >= 4
    assert "::1" in [address[0] for address in server.addresses]
    for address in server.addresses:
        assert answers(address), address


def test_a_descriptor_from_the_parent(serve, worker_class):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        serve("hello:app", bind=f"fd://{number}", worker_class=worker_class, pass_fds=[number])
        address = listener.getsockname()
        assert answers(address)


@pytest.mark.fault("M13")
@pytest.mark.parametrize("taken_by", ["a port", "a unix socket", "an address that is not ours"])
def test_an_address_in_use_at_a_reload_changes_nothing(serve, place, tmp_path, worker_class, taken_by):
    """The new address is opened before anything else; the old ones are still served, by the old
    workers, and the next reload works."""
    file, path = tmp_path / "live.conf.py", place / "taken.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as other:
        if taken_by == "a unix socket":
            other.bind(str(path))
            other.listen()
        new = {"a port": "127.0.0.1:%d" % taken.getsockname()[1], "a unix socket": f"unix:{path}",
               "an address that is not ours": "192.0.2.1:8000"}[taken_by]
        file.write_text("bind = ['127.0.0.1:0']\n")
        server = serve("hello:app", "-c", str(file), bind=None, worker_class=worker_class)
        workers = server.wait_workers(1)
        wait_until(lambda: server.get().status == 200, "an answer")
        with Load(server.address, clients=2) as load:
            file.write_text(f"bind = ['127.0.0.1:0', {new!r}]\n")
            server.signal(signal.SIGHUP)
            server.wait_log("Reload failed, generation 1 goes on unchanged: ")
            load.wait_for(10)
            assert server.worker_pids == workers
            file.write_text("bind = ['127.0.0.1:0']\n")
            server.signal(signal.SIGHUP)
            server.wait_log("Reload done")
            load.wait_for(10)
        load.assert_clean(at_least=20)
    if path.exists():
        path.unlink()


@pytest.mark.fault("M12")
def test_a_port_in_use_is_one_line_and_code_1(serve, worker_class):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve("hello:app", bind=f"127.0.0.1:{port}", worker_class=worker_class, wait=False)
        assert server.wait_exit() == 1
    lines = [line for line in server.log.splitlines() if str(port) in line]
    assert lines and "in use" in lines[-1]
    # It names who holds the port.
    assert str(os.getpid()) in server.log


SHARES = """
import os, socket, sys
os.setuid(65534)
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.mark.fault("M12")
@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
def test_reuse_port_does_not_share_a_port_with_another_user(serve):
    with subprocess.Popen([sys.executable, "-S", "-c", SHARES], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        port = int(other.stdout.readline())
        server = serve("hello:app", "--reuse-port", bind=f"127.0.0.1:{port}", wait=False)
        assert server.wait_exit() == 1
        assert str(port) in server.log and "in use" in server.log
        other.stdin.close()


def test_an_address_that_is_not_ours_is_one_line_and_code_1(serve, worker_class):
    server = serve("hello:app", bind="192.0.2.1:8000", worker_class=worker_class, wait=False)
    assert server.wait_exit() == 1
    assert "192.0.2.1" in server.log


# ---- systemd -----------------------------------------------------------------------------------------


def start_activated(serve, listeners, worker_class, **options):
    """Starts the server as systemd does for a socket unit (sd_listen_fds(3))."""
    # LISTEN_PID is the pid of the server itself: a shell fills it in and becomes the server.
    script = 'LISTEN_PID=$$ LISTEN_FDS=%d exec "$@"' % len(listeners)
    command = ["/bin/sh", "-c", script, "sh", *harness.SERVER]

    def prepare():
        high = [os.dup2(listener.fileno(), 100 + index) for index, listener in enumerate(listeners)]
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index)
            os.close(fd)
    return serve("hello:app", command=command, bind=None, worker_class=worker_class,
                 preexec=prepare, pass_fds=range(3, 3 + len(listeners)), **options)


@pytest.mark.fault("M31")
def test_systemd_sockets_are_served(serve, worker_class):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        server = start_activated(serve, [one, two], worker_class)
        assert {address[1] for address in server.addresses} == {
            one.getsockname()[1], two.getsockname()[1]}
        assert answers(one.getsockname()) and answers(two.getsockname())
        assert server.stop() == 0
        # The sockets are systemd's: after the server's end a client still connects and waits.
        with socket.create_connection(one.getsockname()):
            pass


@pytest.mark.fault("M31")
def test_systemd_sockets_survive_reload_and_upgrade(serve, worker_class, adopt):
    with socket.create_server(("127.0.0.1", 0)) as one:
        server = start_activated(serve, [one], worker_class)
        old = server.wait_workers(1)
        with Load(one.getsockname(), clients=2) as load:
            server.signal(signal.SIGHUP)
            wait_until(lambda: len(server.worker_pids) == 1 and server.worker_pids != old,
                       lambda: f"a new worker:\n{server.log}")
            load.wait_for(20)
            known = set(server.worker_pids)
            server.signal(signal.SIGUSR2)
            following = wait_until(lambda: next(
                (child.pid for child in harness.children_of(server.pid)
                 if child.pid not in known and harness.children_of(child.pid)), None),
                lambda: f"a new arbiter:\n{server.log}")
            adopt(following)
            load.wait_for(20)
            server.stop()
            load.wait_for(20)
        load.assert_clean(at_least=60)


@pytest.fixture
def notify(tmp_path):
    """A NOTIFY_SOCKET as systemd listens on (sd_notify(3)); messages() gives all lines so far."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.setblocking(False)
        lines = []

        def messages():
            try:
                while True:
                    lines.extend(listener.recv(4096).decode().splitlines())
            except BlockingIOError:
                return lines
        messages.path = path
        yield messages


@pytest.mark.fault("M31")
def test_systemd_is_told(serve, worker_class, notify):
    server = serve("hello:app", worker_class=worker_class, env={"NOTIFY_SOCKET": notify.path})
    wait_until(lambda: "READY=1" in notify(), lambda: f"READY=1 in {notify()}")
    old = server.wait_workers(1)
    del notify()[:]
    server.signal(signal.SIGHUP)
    wait_until(lambda: "RELOADING=1" in notify(), lambda: f"RELOADING=1 in {notify()}")
    wait_until(lambda: "READY=1" in notify(), lambda: f"READY=1 in {notify()}")
    assert any(line.startswith("MONOTONIC_USEC=") for line in notify())
    wait_until(lambda: len(server.worker_pids) == 1 and server.worker_pids != old, "a new worker")
    server.stop()
    assert "STOPPING=1" in notify()


@pytest.mark.fault("M31")
def test_systemd_learns_of_the_new_arbiter(serve, worker_class, notify, adopt):
    server = serve("hello:app", worker_class=worker_class, env={"NOTIFY_SOCKET": notify.path})
    known = set(server.wait_workers(1))
    server.signal(signal.SIGUSR2)
    following = wait_until(lambda: next((child.pid for child in harness.children_of(server.pid)
                                         if child.pid not in known
                                         and harness.children_of(child.pid)), None),
                           lambda: f"a new arbiter:\n{server.log}")
    adopt(following)
    server.stop()
    wait_until(lambda: f"MAINPID={following}" in notify(), lambda: f"MAINPID in {notify()}")
