"""A worker that leaves loses nothing: what waits in the queue, what was sent ahead, what is half done.

Expected behaviour: ARCHITECTURE.md, section 4 ("Drain"), docs/reload.md.
"""

import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

import harness
from harness import Connection, Load, Truncated, format_request, wait_until

APP = "drain_cases:app"
KINDS = ["tcp", "unix", "reuse_port"]


@pytest.fixture
def gate(tmp_path):
    """A file that requests for /gate wait for; touch() lets them go on."""
    return tmp_path / "gate"


@pytest.fixture(params=KINDS)
def listen(request, serve, place, worker_class):
    """Starts the server on each kind of socket."""
    def start(*args, workers=1, **options):
        if request.param == "unix":
            options["bind"] = f"unix:{place / 'sock'}"
        elif request.param == "reuse_port":
            # The arbiter only binds; with port 0 each worker would do, too, but on one of its own.
            args += ("--reuse-port",)
        server = serve(APP, *args, worker_class=worker_class, workers=workers, **options)
        server.wait_workers(workers)
        wait_until(lambda: can_connect(server.address), "a listening worker")
        return server
    return start


def can_connect(address):
    try:
        Connection(address).close()
    except OSError:
        return False
    return True


def ask(address, target="/", **options):
    """A connection that has sent one request and waits."""
    connection = Connection(address)
    connection.send(format_request(target=target, **options))
    return connection


def answer(connection, closes=None):
    """The answer; closes: whether it must say so. (The arbiter logs a signal before the worker has it.)"""
    with connection:
        response = connection.read_response()
        assert response.status == 200
        assert closes is None or response.closes == closes, response.headers
        assert not response.closes or connection.at_end()
    return response


def busy(server, gate, count):
    """count requests that are inside the application."""
    found = []
    for _ in range(count):
        found.append(ask(server.address, f"/gate?file={gate}"))
        server.wait_log("^at the gate$", count=len(found))
    return found


# ---- the queue -------------------------------------------------------------------------------------


def test_who_waits_in_the_queue_at_a_stop_is_served(listen, gate):
    """All workers are busy; those that are connected at TERM get their answers all the same."""
    server = listen(workers=1)
    first = busy(server, gate, 1)
    waiting = [ask(server.address) for _ in range(30)]
    server.signal(signal.SIGTERM)
    server.wait_log("Handling signal: term")
    gate.touch()
    for connection in first + waiting:
        answer(connection)
    assert server.wait_exit() == 0


def test_two_workers_share_what_waits_at_a_stop(serve, gate):
    server = serve(APP, worker_class="sync", workers=2)
    server.wait_workers(2)
    first = busy(server, gate, 2)
    waiting = [ask(server.address, "/sleep?s=0.02") for _ in range(40)]
    server.signal(signal.SIGTERM)
    server.wait_log("Handling signal: term")
    gate.touch()
    for connection in first + waiting:
        answer(connection)
    assert server.wait_exit() == 0


def test_a_socket_that_a_reload_gives_up_is_emptied(serve, place, tmp_path, gate, worker_class):
    """The new configuration has another address: nobody else serves those that wait at the old one."""
    first, second = place / "first.sock", place / "second.sock"
    file = tmp_path / "live.conf.py"
    file.write_text(f"bind = 'unix:{first}'\n")
    server = serve(APP, "-c", str(file), bind=None, worker_class=worker_class)
    old = server.wait_workers(1)
    asked = busy(server, gate, 1)
    waiting = [ask(str(first)) for _ in range(20)]
    file.write_text(f"bind = 'unix:{second}'\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    gate.touch()
    for connection in asked + waiting:
        answer(connection)
    wait_until(lambda: not harness.is_alive(old[0]), "the old worker's end")
    answer(ask(str(second)))
    assert server.stop() == 0


def test_an_upgrade_leaves_the_queue_to_the_new_server(serve, adopt, gate, worker_class):
    """The old arbiter's end is no stop of the service: its sockets are not shut."""
    server = serve(APP, worker_class=worker_class)
    old = server.wait_workers(1)
    os.kill(server.pid, signal.SIGUSR2)
    following = wait_until(lambda: next((p.pid for p in harness.children_of(server.pid)
                                         if p.pid not in old and harness.children_of(p.pid)), None),
                           lambda: f"a new arbiter:\n{server.log}")
    adopt(following)
    with Load(server.address, clients=4, pause=0) as load:
        load.wait_for(50)
        os.kill(server.pid, signal.SIGTERM)
        server.process.wait(harness.WAIT)
        load.wait_for(200)
    load.assert_clean(at_least=250)


def test_the_log_says_what_reuse_port_may_lose(serve, worker_class):
    setting = Path("/proc/sys/net/ipv4/tcp_migrate_req")
    if not setting.exists() or setting.read_text().strip() != "0":
        pytest.skip("net.ipv4.tcp_migrate_req is not 0")
    server = serve(APP, "--reuse-port", worker_class=worker_class, workers=2)
    server.wait_log("tcp_migrate_req")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    assert server.log.count("tcp_migrate_req") == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTTOU])
def test_reuse_port_loses_no_connection(serve, worker_class, number):
    """Each worker has a queue of its own, which ends with it."""
    server = serve(APP, "--reuse-port", worker_class=worker_class, workers=2)
    server.wait_workers(2)
    wait_until(lambda: can_connect(server.address), "a listening worker")
    with Load(server.address, clients=6, pause=0) as load:
        for _ in range(5):
            load.wait_for(100)
            before = server.worker_pids
            if number == signal.SIGTTOU:
                server.signal(signal.SIGTTIN)
                wait_until(lambda: len(server.worker_pids) == 3, "a third worker")
                server.signal(signal.SIGTTOU)
            else:
                server.signal(signal.SIGHUP)
            wait_until(lambda: len(server.worker_pids) == 2 and
                       (server.worker_pids != before or number == signal.SIGTTOU),
                       lambda: f"the change:\n{server.log}")
    load.assert_clean(at_least=500)
    assert server.stop() == 0


# ---- keep-alive ------------------------------------------------------------------------------------


class Pipeliner(threading.Thread):
    """Sends requests eight at a time; all of them must be answered, and only the last may say close."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.ok, self.failed, self.over = address, 0, [], threading.Event()

    def run(self):
        connection = None
        while not self.over.is_set():
            answered = 0
            try:
                connection = connection or Connection(self.address)
                connection.send(format_request() * 8)
                for answered in range(1, 9):
                    response = connection.read_response()
                    if response.closes:
                        break
                self.ok += answered
                if answered < 8:
                    self.failed.append(f"close after {answered} of 8")
                if response.closes:
                    connection.close()
                    connection = None
            except (OSError, Truncated) as error:
                self.failed.append(f"after {answered} of 8: {error!r}")
                connection.close()
                connection = None
        if connection:
            connection.close()


def test_reloads_lose_no_request_of_clients_that_stay(listen):
    """Clients that send one request after the other without a retry, and clients that send ahead."""
    server = listen(workers=2)
    ahead = [Pipeliner(server.address) for _ in range(2)]
    with Load(server.address, clients=3, keepalive=True, pause=0) as load:
        for thread in ahead:
            thread.start()
        for _ in range(10):
            old = server.worker_pids
            load.wait_for(300)
            server.signal(signal.SIGHUP)
            wait_until(lambda: len(server.worker_pids) == 2 and not set(server.worker_pids) & set(old),
                       lambda: f"two new workers:\n{server.log}")
        load.wait_for(300)
        for thread in ahead:
            thread.over.set()
            thread.join(harness.WAIT)
    load.assert_clean(at_least=3300)
    for thread in ahead:
        assert not thread.failed and thread.ok > 100, (thread.ok, thread.failed[:5])
    assert server.stop() == 0


def test_an_idle_connection_is_served_once_more_after_a_stop(listen):
    server = listen()
    with server.connect() as connection:
        assert not connection.request().closes
        server.signal(signal.SIGTERM)
        server.wait_log("Handling signal: term")
        assert connection.request().closes
        assert connection.at_end()
    assert server.wait_exit() == 0


def stop_with_idle_connections(serve, worker_class, count):
    def raise_limit():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    server = serve(APP, "--keep-alive", "60", "--worker-connections", "2000",
                   worker_class=worker_class, preexec=raise_limit)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    idle = []
    try:
        for _ in range(count):
            idle.append(server.connect())
            assert idle[-1].request().status == 200
        start = time.monotonic()
        assert server.stop() == 0
        taken = time.monotonic() - start
        assert all(connection.at_end() for connection in idle)
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    print(f"stopped in {taken:.3f} s with {count} idle connections")
    return taken


def test_idle_connections_do_not_hold_up_a_stop(serve, worker_class):
    assert stop_with_idle_connections(serve, worker_class, 200) < 10


@pytest.mark.long
def test_a_stop_with_1000_idle_connections_takes_less_than_a_second(serve, worker_class):
    assert stop_with_idle_connections(serve, worker_class, 1000) < 1


def test_a_stop_ends_with_the_last_request(serve, gate, worker_class):
    """Not with the next beat, nor with graceful_timeout. The best of five: the machine may be busy."""
    taken = []
    for attempt in range(5):
        file = gate.with_name(f"gate{attempt}")
        server = serve(APP, worker_class=worker_class)
        asked = busy(server, file, 1)
        server.signal(signal.SIGTERM)
        server.wait_log("Handling signal: term")
        time.sleep(1.2)  # longer than all lingering
        file.touch()
        answer(asked[0])
        start = time.monotonic()
        assert server.wait_exit() == 0
        taken.append(time.monotonic() - start)
        if taken[-1] < 0.9:
            break
    print(f"ended {min(taken):.3f} s after the last answer")
    assert min(taken) < 0.9, taken  # the beat comes each second


# ---- drain_delay -----------------------------------------------------------------------------------


def test_drain_delay_serves_on_before_the_stop(listen):
    """New connections are accepted, each answer says close, dead workers are replaced."""
    server = listen("--drain-delay", "3", "--log-level", "debug")
    server.wait_log("Worker ready")
    with server.connect() as old:
        assert not old.request().closes
        start = time.monotonic()
        server.signal(signal.SIGTERM)
        server.wait_log(r"Serving on for 3 seconds \(drain_delay\)")
        assert old.request().closes
        for _ in range(5):
            answer(ask(server.address), closes=True)
        killed = server.worker_pids
        os.kill(killed[0], signal.SIGKILL)
        wait_until(lambda: server.worker_pids and server.worker_pids != killed, "a new worker")
        if time.monotonic() - start < 1.5:  # else the machine is too slow for this part
            wait_until(lambda: can_connect(server.address), "a listening worker")
            answer(ask(server.address), closes=True)
        assert server.wait_exit() == 0
        assert time.monotonic() - start >= 2.9
    with pytest.raises(OSError):
        Connection(server.address)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_does_not_wait_for_drain_delay(serve, worker_class, number):
    server = serve(APP, "--drain-delay", "300", "--log-level", "debug", worker_class=worker_class)
    server.wait_log("Worker ready")
    server.signal(signal.SIGTERM)
    server.wait_log("Serving on for 300 seconds")
    server.signal(number)
    assert server.wait_exit() == 0


# ---- requests half done ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stop", "reload"])
def test_what_is_half_done_is_finished(listen, way):
    """A request head, a body and an answer that the client takes slowly."""
    server = listen()
    head, body, slow = server.connect(), server.connect(), server.connect()
    head.send(b"GET / HTTP/1.1\r\nHo")
    body.send(format_request("POST", "/echo", headers=[("Content-Length", "6")]) + b"abc")
    slow.send(format_request(target="/big"))
    assert slow.sock.recv(1, socket.MSG_PEEK)
    old = server.worker_pids
    server.signal(signal.SIGTERM if way == "stop" else signal.SIGHUP)
    server.wait_log("Handling signal: term" if way == "stop" else "Reload done")
    time.sleep(1)  # longer than idle connections live
    head.send(b"st: x\r\n\r\n")
    body.send(b"def")
    with slow:  # it is the only request of a sync worker until it is taken
        assert len(slow.read_response().body) == 200 * 65536
    answer(head)
    assert answer(body).body == b"abcdef"
    wait_until(lambda: not harness.is_alive(old[0]), "the end of the worker")
    assert server.stop() == 0


@pytest.mark.fault("W12")
@pytest.mark.log_may_contain("Traceback")
def test_an_answer_that_outlasts_graceful_timeout_is_cut_where_the_client_sees_it(
        serve, gate, worker_class):
    """Also one of HTTP/1.0, whose only end is the end of the connection."""
    threads = ("--threads", "4") if worker_class == "gthread" else ()
    server = serve(APP, "--graceful-timeout", "1", *threads, worker_class=worker_class, workers=2)
    server.wait_workers(2)
    for version in ("HTTP/1.0", "HTTP/1.1"):
        connection = ask(server.address, f"/stream?file={gate}", version=version)
        assert connection.sock.recv(1, socket.MSG_PEEK)
        if version == "HTTP/1.0":
            old = connection
    start = time.monotonic()
    server.signal(signal.SIGTERM)
    with connection, pytest.raises((Truncated, ConnectionResetError)):
        connection.read_response()
    with old, pytest.raises(ConnectionResetError):
        old.read_to_end()
    assert server.wait_exit() == 0
    assert time.monotonic() - start < 20


# ---- clients that vanish ---------------------------------------------------------------------------


def reset(connection):
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.fault("W13")
def test_clients_that_vanish_anywhere_leave_nothing(serve, worker_class):
    """A reset at each byte of a request, in the middle of an answer, and after the request."""
    server = serve(APP, worker_class=worker_class)
    worker, = server.wait_workers(1)
    assert server.get().status == 200
    before = descriptors(worker)
    request = format_request("POST", "/echo", body=b"x" * 50)
    for end in range(0, len(request) + 1):
        connection = server.connect()
        connection.send(request[:end])
        reset(connection)
    vanished = 10
    for _ in range(vanished):
        connection = ask(server.address, "/closed?n=400")
        assert connection.sock.recv(65536)
        reset(connection)
    server.wait_log("^body closed$", count=vanished)
    wait_until(lambda: descriptors(worker) <= before, lambda: f"{descriptors(worker)} > {before}")
    assert server.get().status == 200
    assert server.worker_pids == [worker]
    assert server.stop() == 0
    assert server.log.count("body closed") == vanished


@pytest.mark.fault("W13")
def test_a_half_closed_client_gets_its_answer(serve, worker_class):
    server = serve(APP, worker_class=worker_class)
    body = random.randbytes(17900)
    with server.connect() as connection:
        connection.send(format_request("POST", "/echo", body=body))
        connection.sock.shutdown(socket.SHUT_WR)
        assert connection.read_response().body == body


# ---- accept ----------------------------------------------------------------------------------------


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.fault("M5")
def test_a_worker_without_descriptors_waits_and_recovers(serve, worker_class):
    server = serve(APP, "--keep-alive", "60", worker_class=worker_class)
    worker, = server.wait_workers(1)
    assert server.get().status == 200
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    served = server.connect()
    assert served.request().status == 200
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors(worker), limits[1]))
    waiting = [ask(server.address) for _ in range(6)]
    start, before = time.monotonic(), cpu_seconds(worker)
    wait_until(lambda: time.monotonic() - start > 2, "two seconds")
    used = (cpu_seconds(worker) - before) / (time.monotonic() - start)
    assert used < 0.2, f"{used:.0%} of a processor while nothing can be done"
    assert served.request().status == 200  # those that are connected go on
    resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
    for connection in waiting:
        answer(connection)
    served.close()
    assert server.worker_pids == [worker]
    assert server.stop() == 0


@pytest.mark.fault("M6")
@pytest.mark.parametrize("error", ["ECONNABORTED", "EINTR", "EAGAIN", "ENOBUFS", "EPROTO", "ENETDOWN",
                                   "EMFILE", "ENFILE", "ENOMEM", "EPERM"])
def test_no_error_of_accept_ends_a_worker(serve, tmp_path, error):
    """The calls fail three times in a row; the connection is accepted afterwards."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    server = serve(APP, worker_class="sync")
    worker, = server.wait_workers(1)
    assert server.get().status == 200
    trace = tmp_path / "trace"
    with subprocess.Popen(["strace", "-q", "-f", "-p", str(worker), "-o", str(trace), "-e",
                           "trace=accept4", "-e", f"inject=accept4:error={error}:when=1..3"],
                          stderr=subprocess.PIPE, text=True) as strace:
        try:
            status = Path(f"/proc/{worker}/status")
            wait_until(lambda: "TracerPid:\t0" not in status.read_text() or
                       strace.poll() is not None, "strace to attach")
            if strace.poll() is not None:
                pytest.skip(f"strace cannot attach: {strace.stderr.read()}")
            for _ in range(5):
                assert server.get().status == 200
        finally:
            if strace.poll() is None:
                strace.terminate()
    assert trace.read_text().count("(INJECTED)") == 3
    assert server.worker_pids == [worker]
    assert server.stop() == 0


@pytest.mark.fault("M36")
def test_a_backlog_that_overflows_harms_nobody_else(serve, worker_class):
    """The kernel drops what does not fit, and clients ask again; the worker serves on all the while."""
    server = serve(APP, "--backlog", "1", worker_class=worker_class)
    worker, = server.wait_workers(1)
    assert server.get().status == 200
    poll, clients, served = select.poll(), {}, 0
    try:
        for _ in range(500):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(server.address)
            clients[sock.fileno()] = sock
            poll.register(sock, select.POLLOUT)
        end = time.monotonic() + 3
        while clients and time.monotonic() < end:
            for number, events in poll.poll(100):
                sock = clients[number]
                if events & select.POLLIN:
                    served += sock.recv(15) == b"HTTP/1.1 200 OK"
                elif events == select.POLLOUT:
                    sock.send(format_request(headers=[("Connection", "close")]))
                    poll.modify(number, select.POLLIN)
                    continue
                poll.unregister(number)
                clients.pop(number).close()
        assert served >= 5
    finally:
        for sock in clients.values():
            sock.close()
    assert server.get().status == 200
    assert server.worker_pids == [worker]
    assert server.stop() == 0


def switches(pids):
    """How often the processes have gone to sleep since they began, all threads."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            text = (task / "status").read_text()
            total += int(text.partition("voluntary_ctxt_switches:")[2].split()[0])
    return total


@pytest.mark.fault("M36")
def test_one_connection_wakes_one_worker(serve):
    """With EPOLLEXCLUSIVE; without, each of six idle workers would wake for each connection."""
    server = serve(APP, worker_class="sync", workers=6)
    workers = server.wait_workers(6)
    count, wakes = 200, []
    for _ in range(3):
        before = switches(workers)
        for _ in range(count):
            assert server.get().status == 200
        wakes.append((switches(workers) - before) / count)
        if wakes[-1] < 4:
            break
    print(f"{min(wakes):.2f} wake-ups per connection")
    assert min(wakes) < 4, wakes
    assert server.stop() == 0
