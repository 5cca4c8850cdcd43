"""The processes themselves: pid file, user and group, directory, daemon."""

import os
import signal
import subprocess

import pytest

import harness
from harness import Connection, Path, wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")


def status_field(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split()[1:]


def test_the_pid_file(serve, tmp_path, worker_class):
    pidfile = tmp_path / "pid"
    server = serve("hello:app", "--pid", str(pidfile), worker_class=worker_class)
    assert pidfile.read_text() == f"{server.pid}\n"
    assert server.stop() == 0
    assert not pidfile.exists()


@pytest.mark.fault("M9")
def test_a_second_server_with_the_same_pid_file_does_not_start(serve, tmp_path, worker_class):
    pidfile = tmp_path / "pid"
    server = serve("hello:app", "--pid", str(pidfile), worker_class=worker_class)
    second = serve("hello:app", "--pid", str(pidfile), worker_class=worker_class, wait=False)
    assert second.wait_exit() == 1
    assert str(server.pid) in second.log and str(pidfile) in second.log
    assert pidfile.read_text() == f"{server.pid}\n"
    assert server.get().status == 200


@pytest.mark.fault("M9")
def test_a_stale_pid_file_is_replaced(serve, tmp_path, worker_class):
    ended = subprocess.Popen(["true"])
    ended.wait()
    pidfile = tmp_path / "pid"
    pidfile.write_text(f"{ended.pid}\n")
    server = serve("hello:app", "--pid", str(pidfile), worker_class=worker_class)
    assert pidfile.read_text() == f"{server.pid}\n"


@pytest.mark.fault("M9")
def test_a_stale_pid_file_whose_pid_lives_again_is_replaced(serve, tmp_path, adopt):
    """The number is another process's by now: the lock tells, not the number."""
    pidfile = tmp_path / "pid"
    first = serve("hello:app", "--pid", str(pidfile))
    adopt(first.wait_workers(1)[0])
    first.signal(signal.SIGKILL)
    first.wait_exit()
    assert pidfile.read_text() == f"{first.pid}\n"  # left behind
    with subprocess.Popen(["sleep", "1000"]) as other:
        pidfile.write_text(f"{other.pid}\n")
        server = serve("hello:app", "--pid", str(pidfile))
        assert pidfile.read_text() == f"{server.pid}\n"
        assert server.stop() == 0 and not pidfile.exists()
        assert other.poll() is None
        other.kill()


@pytest.mark.fault("M8")
def test_a_pid_file_directory_that_is_removed_does_not_stop_a_reload(serve, tmp_path, adopt):
    folder = tmp_path / "run"
    folder.mkdir()
    server = serve("hello:app", "--pid", str(folder / "pid"))
    (folder / "pid").unlink()
    folder.rmdir()
    for count in (1, 2):
        server.signal(signal.SIGHUP)
        server.wait_log("Reload done", count=count)
        server.wait_log(r"\[WARNING\] The pid file was not written: .*does not exist", count=count)
    assert server.get().status == 200
    folder.mkdir()  # back again: so is the file
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done", count=3)
    wait_until(lambda: (folder / "pid").exists(), "the pid file")
    assert (folder / "pid").read_text() == f"{server.pid}\n"
    # Removed once more: an upgrade works, too, and the new arbiter's file is there in the end.
    (folder / "pid").unlink()
    folder.rmdir()
    server.signal(signal.SIGUSR2)
    server.wait_log("this one serves on alone: .*does not exist")  # a first start wants its file
    folder.mkdir()
    done = subprocess.run([*harness.SERVER, "upgrade", str(server.pid)], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: (folder / "pid").exists(), "the pid file")
    adopt(int((folder / "pid").read_text()))
    assert server.get().status == 200


@root_only
@pytest.mark.fault("M35")
def test_workers_run_as_the_user(serve, worker_class):
    server = serve("hello:app", "--user", "nobody", "--group", "nogroup", worker_class=worker_class)
    worker = server.wait_workers(1)[0]
    assert server.get().status == 200
    assert set(status_field(worker, "Uid")) == {"65534"}
    assert set(status_field(worker, "Gid")) == {"65534"}
    assert set(status_field(server.pid, "Uid")) == {"0"}


@root_only
@pytest.mark.fault("M35")
def test_a_unix_socket_belongs_to_the_user(serve, place, worker_class):
    place.chmod(0o755)
    path = place / "web.sock"
    serve("hello:app", "--user", "nobody", "--group", "nogroup", bind=f"unix:{path}",
          worker_class=worker_class)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


@root_only
def test_an_unknown_user_is_one_line(serve, worker_class):
    server = serve("hello:app", "--user", "no_such_user", worker_class=worker_class, wait=False)
    assert server.wait_exit() in (1, 2)
    assert "no_such_user" in server.log


def test_a_daemon_leaves_the_terminal_and_can_be_stopped(serve, place, tmp_path, worker_class, adopt):
    pidfile, errors, path = tmp_path / "pid", tmp_path / "errors", place / "web.sock"
    server = serve("hello:app", "--daemon", "--pid", str(pidfile), "--error-logfile", str(errors),
                   bind=f"unix:{path}", worker_class=worker_class, wait=False)
    assert server.wait_exit() == 0
    pid = wait_until(lambda: pidfile.exists() and int(pidfile.read_text() or 0), "the pid file")
    adopt(pid)
    assert pid != server.pid
    wait_until(lambda: errors.exists() and "Listening at" in errors.read_text(), "the log")
    with Connection(str(path)) as connection:
        assert connection.request().status == 200
    # A session of its own, no terminal, nothing of the one who started it.
    assert os.getsid(pid) != os.getsid(0) and os.getsid(pid) != server.pid
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} <= {
        "/dev/null", str(errors)}
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not harness.is_alive(pid), "the end of the daemon")
    assert not pidfile.exists() and not path.exists()
    assert "Traceback" not in errors.read_text()


@root_only
@pytest.mark.fault("M35")
def test_user_and_group_hold_through_reload_upgrade_and_log_rotation(
        serve, place, tmp_path, worker_class, adopt):
    """As root: new workers of every origin have given it up, in all four ids and all groups; the
    socket is theirs, made with the umask; a log opened anew by them is still written."""
    place.chmod(0o755)
    path, errors = place / "web.sock", tmp_path / "logs" / "errors"
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode | 0o011)
    errors.parent.mkdir()
    os.chown(errors.parent, 65534, 65534)
    server = serve("hello:app", "--user", "nobody", "--group", "nogroup", "--umask", "0117",
                   "--error-logfile", str(errors), bind=f"unix:{path}", wait=False,
                   worker_class=worker_class, workers=2)

    def log():
        return errors.read_text() if errors.exists() else ""

    def ask():
        with Connection(str(path)) as connection:
            return connection.request().status

    def check(arbiter, count):
        workers = wait_until(
            lambda: len(found := [p.pid for p in harness.children_of(arbiter)
                                  if p.pid not in (second,) and p.state not in "ZX"]) == count
            and found, f"{count} workers")
        for worker in workers:
            wait_until(lambda: set(status_field(worker, "Uid")) == {"65534"}, "another user")
            assert set(status_field(worker, "Gid")) == {"65534"}
            assert set(status_field(worker, "Groups")) <= {"65534"}
            assert status_field(worker, "CapEff") == ["0" * 16]
        assert set(status_field(arbiter, "Uid")) == {"0"}
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
        assert path.stat().st_mode & 0o777 == 0o660
        assert ask() == 200
        return workers

    second = None
    wait_until(lambda: log().count("Booting worker") == 2, log)
    before = check(server.pid, 2)
    server.signal(signal.SIGHUP)
    wait_until(lambda: "Reload done" in log() and not any(map(harness.is_alive, before)), log)
    check(server.pid, 2)
    errors.rename(errors.with_suffix(".1"))
    server.signal(signal.SIGUSR1)
    # Made by the arbiter and then given away: for a moment it is root's.
    wait_until(lambda: errors.exists() and (errors.stat().st_uid, errors.stat().st_gid) == (65534, 65534),
               "the new log file, given to nobody")
    server.signal(signal.SIGUSR2)
    wait_until(lambda: log().count("Booting worker") == 2, log)
    second = next(p.pid for p in harness.children_of(server.pid)
                  if harness.children_of(p.pid))
    adopt(second)
    check(second, 2)
    assert server.stop() == 0
    wait_until(lambda: "promoted" in log(), log)
    check(second, 2)
    assert "Worker exiting" in log()  # written by nobody
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: not harness.is_alive(second), "the end")
    assert not path.exists()
    assert "Traceback" not in log() and "[ERROR]" not in log()


def test_a_daemon_reloads_upgrades_and_rests_its_workers(serve, place, tmp_path, worker_class, adopt):
    pidfile, errors, path = tmp_path / "pid", tmp_path / "errors", place / "web.sock"
    server = serve("hello:app", "--daemon", "--pid", str(pidfile), "--error-logfile", str(errors),
                   bind=f"unix:{path}", worker_class=worker_class, wait=False)
    assert server.wait_exit() == 0

    def log():
        return errors.read_text() if errors.exists() else ""

    def pid_in(file):
        return wait_until(lambda: file.exists() and int(file.read_text() or 0), f"{file}: {log()}")

    def ask():
        with Connection(str(path)) as connection:
            return connection.request().status

    first = pid_in(pidfile)
    adopt(first)
    wait_until(lambda: "Booting worker" in log(), log)
    assert ask() == 200
    os.kill(first, signal.SIGHUP)
    wait_until(lambda: "Reload done" in log(), log)
    assert ask() == 200
    os.kill(first, signal.SIGUSR2)
    second = pid_in(pidfile.with_name("pid.2"))
    adopt(second)
    assert pid_in(pidfile) == first
    wait_until(lambda: log().count("Booting worker") == 3, log)
    os.kill(first, signal.SIGWINCH)  # a daemon obeys it: only the second serves
    wait_until(lambda: {p.pid for p in harness.children_of(first) if p.state not in "ZX"} == {second},
               log)
    assert ask() == 200
    os.kill(first, signal.SIGQUIT)
    wait_until(lambda: pidfile.exists() and pidfile.read_text() == f"{second}\n", log)
    assert os.getsid(second) == os.getsid(0) or os.getsid(second) != server.pid
    assert ask() == 200
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: not harness.is_alive(second), "the end of the daemon")
    assert not pidfile.exists() and not path.exists()
    assert "Traceback" not in log() and "[ERROR]" not in log()


@pytest.mark.fault("M4")
def test_an_arbiter_without_free_descriptors_still_replaces_workers(serve, worker_class):
    """A hook has used them all up; reload and log rotation do not fail either."""
    server = serve("hello:app", worker_class=worker_class, config=(
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "def child_exit(server, worker):\n"
        "    try:\n"
        "        while True: os.dup(0)\n"
        "    except OSError:\n"
        "        print('none is left', flush=True)\n"))
    first, = server.wait_workers(1)
    server.signal(signal.SIGKILL, first)
    server.wait_log("none is left")
    assert server.get().status == 200
    second, = server.wait_workers(1)
    server.signal(signal.SIGKILL, second)
    wait_until(lambda: second not in server.worker_pids, "its end")
    assert server.get().status == 200
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    assert server.get().status == 200
    assert "Too many open files" not in server.log
    assert server.stop() == 0


def test_chdir_decides_where_the_application_is_found(serve, tmp_path, worker_class):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "here.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [os.getcwd().encode()]\n")
    server = serve("here:app", "--chdir", str(elsewhere), worker_class=worker_class)
    assert server.get().text == str(elsewhere)


def test_raw_env_reaches_the_application(serve, place, worker_class):
    place.joinpath("env.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [os.environ['COLOUR'].encode()]\n")
    server = serve("env:app", "--env", "COLOUR=blue green", worker_class=worker_class)
    assert server.get().text == "blue green"


@pytest.mark.fault("W14")
def test_the_server_holds_no_stray_descriptor_of_its_parent(serve, worker_class):
    """A worker keeps what it needs: no other worker's pipes, nothing inherited by accident."""
    server = serve("hello:app", worker_class=worker_class, workers=2)
    workers = server.wait_workers(2)
    for _ in range(8):
        assert server.get().status == 200

    def inherited(pid):
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        return sum(link.startswith("socket:") for link in links), len(links)
    for pid in workers:
        # After the last answer a worker may need a moment to close the connection.
        wait_until(lambda: inherited(pid)[0] <= 1, lambda: f"one socket in {pid}: {inherited(pid)}")
        assert inherited(pid)[1] <= 16
