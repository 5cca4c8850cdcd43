"""What a worker has of others: descriptors, rights, children; and what becomes of processes of nobody."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest

import harness
from harness import Path, is_alive, wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")


def status_of(text):
    fields = (line.partition(":") for line in text.splitlines())
    return {name: value.split() for name, _, value in fields}


def read_status(pid):
    return status_of(Path(f"/proc/{pid}/status").read_text())


# ---- rights ------------------------------------------------------------------------------------------


NOTHING = ["0" * 16]
# Imported as root: the library of a Python in root's home cannot be read by others.
IMPORTS = "import subprocess"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def free_low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    pytest.skip("no free port below 1024")


@pytest.fixture
def readable(tmp_path):
    """Workers of another user may pass through the test's directories."""
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode | 0o011)


@root_only
@pytest.mark.fault("M35")
def test_a_worker_with_a_user_has_no_rights_and_keeps_a_low_port(
        serve, tmp_path, worker_class, readable, adopt):
    """Through reload, upgrade and the death of a worker; its children have none either."""
    port = free_low_port()
    server = serve("processes:app", "--user", "nobody", "--group", "nogroup", "--pid",
                   str(tmp_path / "pid"), worker_class=worker_class, bind=f"127.0.0.1:{port}",
                   config=IMPORTS)

    def check(arbiter):
        worker = wait_until(lambda: harness.children_of(arbiter) and
                            int(server.get().text.partition("=")[2]), "an answer")
        own, child = read_status(worker), status_of(server.get("/status").text)
        for status in own, child:
            assert status["Uid"] == status["Gid"] == ["65534"] * 4
            assert status["Groups"] == ["65534"]
            assert {name: status[name] for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, NOTHING)
            assert status["NoNewPrivs"] == ["1"]
        arbiters = read_status(arbiter)
        assert arbiters["Uid"] == ["0"] * 4 and arbiters["NoNewPrivs"] == ["0"]
        assert arbiters["CapEff"] != NOTHING
        return worker

    worker = check(server.pid)
    server.signal(signal.SIGKILL, worker)
    wait_until(lambda: not is_alive(worker), "its end")
    worker = check(server.pid)
    server.signal(signal.SIGHUP)
    wait_until(lambda: "Reload done" in server.log and not is_alive(worker), lambda: server.log)
    check(server.pid)
    done = subprocess.run([*harness.SERVER, "upgrade", str(server.pid)], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    second = int((tmp_path / "pid").read_text())
    adopt(second)
    check(second)


@root_only
@pytest.mark.fault("M35")
def test_setuid_programs_can_be_allowed(serve, worker_class, readable):
    server = serve("processes:app", "--user", "nobody", "--allow-setuid-programs",
                   worker_class=worker_class, config=IMPORTS)
    status = status_of(wait_until(lambda: server.get("/status").text, "an answer"))
    assert status["Uid"] == ["65534"] * 4 and status["NoNewPrivs"] == ["0"]
    assert status["CapEff"] == status["CapPrm"] == status["CapInh"] == status["CapAmb"] == NOTHING
    assert status["CapBnd"] != NOTHING


@pytest.mark.fault("M35")
def test_without_a_user_nothing_is_taken_away(serve, worker_class):
    """As gunicorn: sudo, ping and sendmail work as they did."""
    server = serve("processes:app", worker_class=worker_class)
    mine, theirs = read_status(os.getpid()), status_of(server.get("/status").text)
    for name in ("Uid", "Gid", "Groups", "NoNewPrivs", *CAPABILITIES):
        assert mine[name] == theirs[name]


@root_only
@pytest.mark.fault("M35")
def test_supplementary_groups_come_from_the_database(serve, tmp_path, place, worker_class, readable):
    """With initgroups those of the user; root's never. In a mount namespace with a database of ours."""
    groups = tmp_path / "group"
    groups.write_text(Path("/etc/group").read_text() + "one:x:7001:nobody\ntwo:x:7002:root,nobody\n"
                                                       "three:x:7003:root\n")
    for flags, expected in ((["--initgroups"], {"65534", "7001", "7002"}), ([], {"65534"})):
        server = serve("processes:app", "--user", "nobody", "--group", "nogroup", *flags,
                       worker_class=worker_class, config=IMPORTS,
                       command=["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"',
                                str(groups), *harness.SERVER],
                       preexec=lambda: os.setgroups([0, 7003]))
        assert set(status_of(server.get("/status").text)["Groups"]) == expected
        assert server.stop() == 0


# ---- descriptors -------------------------------------------------------------------------------------


def parse(text):
    """Number -> target; without the descriptor that listed the others and is gone."""
    return {number: target for number, _, target in
            (line.partition(" ") for line in text.splitlines()) if target}


@pytest.mark.fault("W14")
def test_a_worker_has_only_its_own_descriptors(serve, tmp_path, worker_class):
    """Started with a hundred more by a careless parent; what the application executes gets none of ours."""
    careless = tmp_path / "careless"
    careless.write_text("x")
    extra = [os.open(careless, os.O_RDONLY) for _ in range(100)]
    try:
        server = serve("processes:app", worker_class=worker_class, workers=2, pass_fds=extra,
                       settings={"accesslog": str(tmp_path / "access"), "errorlog": "-"})
    finally:
        for fd in extra:
            os.close(fd)
    server.wait_workers(2)
    own, child = (parse(wait_until(lambda: server.get(path).text, path)) for path in ("/fds", "/exec"))
    kinds = [re.sub(r"[:\[(].*", "", target) for target in own.values()]
    assert kinds.count("socket") == 4  # the listener, this connection, a pair through which the log gets its file
    assert str(tmp_path / "access") in own.values()
    ours = {number: target for number, target in own.items() if target != str(careless)}
    assert len(ours) <= 20, own
    # What was open before us is the parent's business; what we have opened stays here.
    assert {number for number, target in child.items()
            if int(number) > 2 and target != str(careless)} == set(), \
        "; ".join(f"{number} {target}" for number, target in child.items() if target != str(careless))


@pytest.mark.fault("M25")
@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_a_server_started_without_standard_streams(serve, tmp_path, worker_class, closed):
    """Nothing of ours takes the places of the three, where the application's children look for them."""
    errors = tmp_path / "errors"

    def close():
        for fd in closed:
            os.close(fd)
    server = serve("processes:app", "--error-logfile", str(errors), worker_class=worker_class,
                   preexec=close, wait=False)
    found = wait_until(lambda: errors.exists() and re.search(r"Listening at: http://127.0.0.1:(\d+)",
                                                             errors.read_text()), "the log")
    address = ("127.0.0.1", int(found[1]))

    def get(path):
        with harness.Connection(address) as connection:
            return connection.request(target=path).text
    own = parse(get("/fds"))
    assert {own[str(fd)] for fd in closed} == {"/dev/null"}, own
    assert get("/exec")
    server.signal(signal.SIGHUP)
    wait_until(lambda: "Reload done" in errors.read_text(), lambda: errors.read_text())
    assert get("/").startswith("pid=")
    assert server.stop() == 0


# ---- children ----------------------------------------------------------------------------------------


@pytest.mark.fault("W10")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_children_of_the_application_outlive_their_worker(serve, worker_class, number):
    """As in gunicorn: a job that a request has started goes on. docs/settings.md has nothing to end them."""
    server = serve("processes:app", worker_class=worker_class)
    worker, = server.wait_workers(1)
    children = [int(pid) for pid in server.get("/children").text.split()]
    try:
        server.signal(number, worker)
        wait_until(lambda: not is_alive(worker), "the worker's end")
        assert server.get().text != f"pid={worker}\n"
        assert server.stop() == 0  # which waits for none of them
        assert all(map(is_alive, children))
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, children)), "their end")
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


@pytest.mark.skipif(harness.SANITIZED, reason="a thread that the fork left behind is a leak")
@pytest.mark.fault("W17")
def test_a_thread_of_a_preloaded_application_is_warned_of_once(serve, worker_class):
    server = serve("processes:app", "--preload", worker_class=worker_class, workers=2,
                   env={"THREAD_AT_IMPORT": "1"})
    server.wait_workers(2)
    assert server.get().status == 200
    assert server.log.count("[WARNING]") == 1
    assert re.search(r"\[WARNING\] .*thread.*ticker", server.log)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    assert server.log.count("ticker") == 1
    assert server.stop() == 0


# ---- processes of nobody, and process 1 ----------------------------------------------------------------


AS_PROCESS_1 = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def process_1(serve, worker_class):
    """A server that is process 1 of its own namespace: gives it and its real pid."""
    probe = subprocess.run([*AS_PROCESS_1, "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("no PID namespaces here")
    server = serve("processes:app", worker_class=worker_class, command=[*AS_PROCESS_1, *harness.SERVER])
    arbiter, = server.worker_pids  # of unshare
    return server, arbiter


def living(arbiter):
    return [process.pid for process in harness.children_of(arbiter)]


@pytest.mark.skipif(harness.SANITIZED, reason="the leak search fails in a PID namespace")
@root_only
@pytest.mark.fault("M17")
def test_processes_of_nobody_are_collected_without_a_word(process_1):
    """Also those whose exit codes would say, of a worker, that the application cannot be loaded."""
    server, arbiter = process_1
    wait_until(lambda: server.get().status == 200, "an answer")
    worker, = living(arbiter)
    before = server.log
    for code in (3, 4, 0, 1, 3, 4):
        assert server.get(f"/orphan?code={code}").status == 200
    os.kill(worker, signal.SIGKILL)  # whose children are the arbiter's now, and end
    wait_until(lambda: not is_alive(worker), "the worker's end")
    wait_until(lambda: server.get().status == 200, "an answer")
    wait_until(lambda: len(living(arbiter)) == 1, lambda: f"{harness.children_of(arbiter)}")
    told = server.log[len(before):]
    assert is_alive(arbiter) and told.count("exited") + told.count("was sent") <= 1, told
    os.kill(arbiter, signal.SIGTERM)
    assert server.wait_exit() == 0


@root_only
@pytest.mark.fault("M18")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_as_process_1_it_reloads_and_stops(process_1, number):
    """Process 1 has no default actions: what is not handled is ignored."""
    server, arbiter = process_1
    wait_until(lambda: server.get().status == 200, "an answer")
    old = living(arbiter)
    os.kill(arbiter, signal.SIGHUP)
    server.wait_log("Reload done")
    wait_until(lambda: not set(old) & set(living(arbiter)), "the old worker's end, reaped")
    assert server.get().status == 200
    os.kill(arbiter, signal.SIGPIPE)
    os.kill(arbiter, number)
    assert server.wait_exit() == 0


@root_only
@pytest.mark.fault("M16")
def test_a_process_that_gets_a_dead_workers_pid_is_never_signalled(process_1):
    """The kernel is made to give the pid away; then everything happens that workers are signalled for."""
    server, arbiter = process_1
    wait_until(lambda: server.get().status == 200, "an answer")
    worker, = living(arbiter)
    number = int(read_status(worker)["NSpid"][-1])
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in living(arbiter) and len(living(arbiter)) == 1, "the next worker")
    stranger = subprocess.Popen(
        ["nsenter", "-t", str(arbiter), "--pid", "sh", "-c",
         f"echo {number - 1} > /proc/sys/kernel/ns_last_pid; sleep 600 & echo $!; wait"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert int(stranger.stdout.readline()) == number
        for signals, done in ((["SIGUSR1"], None), (["SIGTTIN"], 2), (["SIGTTOU"], 1), (["SIGHUP"], 1)):
            for name in signals:
                os.kill(arbiter, signal.Signals[name])
            if done:
                wait_until(lambda: len(living(arbiter)) == done, lambda: server.log)
        server.wait_log("Reload done")
        assert server.get().status == 200
        assert stranger.poll() is None  # sleep lives: sh waits for it
        os.kill(arbiter, signal.SIGTERM)
        assert server.wait_exit() == 0
    finally:
        stranger.wait(harness.WAIT)  # with process 1 all others of the namespace end
        stranger.stdout.close()


@pytest.mark.fault("M15")
@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
def test_all_workers_die_at_once_again_and_again(serve, worker_class, rounds):
    """While the arbiter stands still, so that their signals become one. None is forgotten."""
    server = serve("processes:app", worker_class=worker_class, workers=4)
    for number in range(1, rounds + 1):
        server.wait_log("Booting worker", 4 * number)
        workers = server.wait_workers(4)
        wait_until(lambda: server.get().status == 200, "an answer")
        time.sleep(1.1)  # one that has lived for a second is replaced at once
        server.signal(signal.SIGSTOP)
        wait_until(lambda: harness.read_process(server.pid).state == "T", "the stop")
        for pid in workers:
            server.signal(signal.SIGKILL, pid)
        wait_until(lambda: not any(map(is_alive, workers)), "their end")
        server.signal(signal.SIGCONT)
        wait_until(lambda: len(re.findall(r"Worker \(pid:\d+\) was sent SIGKILL", server.log))
                   == 4 * number, lambda: server.log)
        wait_until(lambda: not set(workers) & {p.pid for p in harness.children_of(server.pid)},
                   "nobody left to collect")
    server.wait_log("Booting worker", 4 * (rounds + 1))
    assert server.get().status == 200
    assert server.stop() == 0
    assert len(re.findall("Booting worker", server.log)) == 4 * (rounds + 1)
