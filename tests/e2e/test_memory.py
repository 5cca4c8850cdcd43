"""max_worker_memory: who takes too much is replaced in order, who takes far too much is aborted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import harness
from harness import SERVER, Load, wait_until

pytestmark = pytest.mark.skipif(harness.SANITIZED, reason="the sanitizers themselves take the memory")


def test_a_leak_costs_no_request(serve, worker_class):
    """Each request keeps a megabyte: workers are replaced, and no client notices."""
    server = serve("hoarder:app", "--max-worker-memory", "80M", "--max-worker-memory-hard", "1G",
                   workers=2, worker_class=worker_class)
    before = server.wait_workers(2)
    with Load(server.address, clients=3, target="/leak") as load:
        text = server.wait_log(r"Worker \(pid:(\d+)\) uses (\d+)\.\d MiB \d+\.\d s after its start, more "
                               r"than max_worker_memory \(80\.0 MiB\), and is replaced")
        wait_until(lambda: int(text[1]) not in server.worker_pids, "the end of the heavy worker")
        load.wait_for(50)
    load.assert_clean(50)
    assert int(text[1]) in before
    assert 80 <= int(text[2]) <= 400
    assert len(server.wait_workers(2)) == 2
    assert "WORKER MEMORY" not in server.log
    assert server.stop() == 0


def test_a_request_that_takes_far_too_much_is_told_and_aborted(serve, worker_class):
    """The line names it, the stacks show where it was; the other worker serves on."""
    server = serve("hoarder:app", "--max-worker-memory-hard", "96M", workers=2, worker_class=worker_class)
    before = server.wait_workers(2)
    with server.connect() as connection:
        connection.send(harness.format_request(target="/hoard?id=7"))
        text = server.wait_log(r"WORKER MEMORY \(pid:(\d+)\) uses (\d+)\.\d MiB, more than "
                               r"max_worker_memory_hard \(96\.0 MiB\), and is aborted: "
                               r"GET /hoard\?id=7 running \d+\.\d s")
        victim, = {int(text[1])} & set(before)
        assert b" 200 " not in connection.read_to_end()
    server.wait_log(rf"(?s)Stacks of worker \(pid:{victim}\):.*hoarder\.py")
    wait_until(lambda: len(server.worker_pids) == 2 and victim not in server.worker_pids, "its successor")
    assert set(before) - {victim} < set(server.worker_pids)
    assert server.get().status == 200
    assert server.stop() == 0


def test_the_command_of_the_documentation_is_accepted():
    command = re.search(r"^ +saola (.*--max-worker-memory .*) app:app$",
                        (harness.TOP / "docs" / "reload.md").read_text(), re.MULTILINE)[1]
    done = subprocess.run([*SERVER, *command.split(), "--print-config", "--pythonpath", str(harness.DATA),
                           "hoarder:app"], capture_output=True, text=True, timeout=harness.WAIT)
    assert done.returncode == 0, done.stderr
    for name in set(re.findall(r"--([a-z-]+)", command)):
        assert re.search(rf"^{name.replace('-', '_')} += ", done.stdout, re.MULTILINE), done.stdout


def test_limits_that_make_no_sense_are_refused_before_the_start(tmp_path: Path):
    file = tmp_path / "saola.conf.py"
    for line, words in (("max_worker_memory = 512", "write 512M for 512 MiB"),
                        ("max_worker_memory = '1G'; max_worker_memory_hard = '1G'",
                         "must be more than max_worker_memory and its jitter together")):
        file.write_text(line + "\n")
        done = subprocess.run([*SERVER, "-c", str(file), "--check-config", "--pythonpath",
                               str(harness.DATA), "hello:app"], capture_output=True, text=True,
                              timeout=harness.WAIT)
        assert done.returncode == 1
        assert words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert re.search(r"max_worker_memory(_hard)?: ", done.stderr)
