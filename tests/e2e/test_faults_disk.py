"""Disks that are full or read-only: logs, the pid file, the directory for temporary files."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness import SERVER, Load, Server, wait_until


@pytest.fixture
def disk(serve, tmp_path: Path):
    """Starts a server with a small file system of its own at ./disk, seen by nobody else (unshare)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = 'mount -t tmpfs -o "$0" none "$1" && shift'
    try:
        tried = subprocess.run([*alone, "sh", "-c", mount, "size=64k", str(folder)],
                               capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if tried.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")

    def start(app: str, *args: str, options: str = "size=64k", before: str = ":", **rest) -> Server:
        """before: shell commands between the mount and the server."""
        script = f'{mount} && {before} && exec "$@"'
        server = serve(app, *args, command=[*alone, "sh", "-c", script, options, str(folder), *SERVER],
                       **rest)
        server.disk = Path(f"/proc/{server.pid}/root{folder}")
        return server
    start.folder = folder
    return start


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as out:
        size = 4096
        while size:
            try:
                out.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                size //= 2
    return path


@pytest.mark.fault("M7")
def test_requests_go_on_while_the_logs_disk_is_full(disk, worker_class):
    """So do a rotation and a reload; once there is room, lines come again."""
    access, errors = disk.folder / "access", disk.folder / "errors"
    server = disk("hello:app", "--access-logfile", str(access), "--error-logfile", str(errors),
                  workers=2, worker_class=worker_class, wait=False, bind="127.0.0.1:0")
    log = server.disk / "errors"
    wait_until(lambda: log.exists() and "Listening at: http" in log.read_text(), "the server")
    server.log_path.write_text(log.read_text())  # where the harness looks for the address
    before = server.wait_workers(2)
    filler = fill(server.disk)
    size = (server.disk / "access").stat().st_size
    with Load(server.address, clients=2) as load:
        # As many lines as do not fit into what is left of the last block.
        load.wait_for(200)
        server.signal(signal.SIGUSR1)
        load.wait_for(50)
        server.signal(signal.SIGHUP)
        wait_until(lambda: len(server.worker_pids) == 2 and not set(server.worker_pids) & set(before),
                   "other workers")
        load.wait_for(50)
    load.assert_clean(300)
    assert (server.disk / "access").stat().st_size < size + 4096 + 300 * 80, "the disk was not full"
    filler.unlink()
    assert server.get("/room-again").status == 200
    wait_until(lambda: "/room-again" in (server.disk / "access").read_text(), "a line")
    assert server.stop() == 0


@pytest.mark.fault("M7")
@pytest.mark.parametrize("options, before, words", [
    ("size=64k,nr_inodes=1", ":", "No space left on device"),
    ("size=64k", 'mount -o remount,ro "$DISK"', "Read-only file system"),
], ids=["full", "read-only"])
def test_a_pid_file_that_cannot_be_written_ends_the_start(disk, options, before, words):
    pidfile = disk.folder / "pid"
    server = disk("hello:app", "--pid", str(pidfile), options=options, wait=False,
                  before=before.replace("$DISK", str(disk.folder)))
    assert server.wait_exit() == 1
    assert words in server.log and str(disk.folder) in server.log
    assert "Booting worker" not in server.log


@pytest.mark.fault("M7")
def test_a_reload_goes_on_while_the_pid_files_disk_is_full(disk, worker_class):
    pidfile = disk.folder / "pid"
    server = disk("hello:app", "--pid", str(pidfile), worker_class=worker_class)
    before = server.wait_workers(1)
    fill(server.disk)
    (server.disk / "pid").unlink()
    fill(server.disk)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    wait_until(lambda: not set(before) & set(server.worker_pids), "another worker")
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.fault("M7")
def test_a_body_for_which_the_disk_becomes_too_small(disk, worker_class):
    """It is told so; what needs less room is served before and afterwards."""
    server = disk("slow_app:app", options="size=1M", worker_class=worker_class,
                  env={"TMPDIR": str(disk.folder)})
    for _ in range(2):
        with server.connect() as client:
            client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                client.send(b"x" * 3_000_000)
            response = client.read_response()
            assert (response.status, response.closes) == (503, True)
        assert server.fetch("POST", "/up", body=b"x" * 200_000).text.startswith("200000 ")
    assert server.stop() == 0


@pytest.mark.fault("M7")
@pytest.mark.parametrize("options", ["size=64k", "size=64k,nr_inodes=1"])
def test_no_room_for_temporary_files(disk, worker_class, options):
    """A server needs none: workers are made and answer, also with a body of a megabyte."""
    server = disk("hello:app", "--worker-tmp-dir", str(disk.folder), options=options,
                  worker_class=worker_class, env={"TMPDIR": str(disk.folder)},
                  before=f"(cat /dev/zero >{disk.folder}/filler || :) 2>&-")
    assert server.fetch("POST", body=b"x" * (1 << 20)).status == 200
    before = server.wait_workers(1)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    wait_until(lambda: not set(before) & set(server.worker_pids), "another worker")
    assert server.get().status == 200
    assert server.stop() == 0
