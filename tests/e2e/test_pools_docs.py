"""Every command in docs/pools.md is run, with the files that it shows; the examples' types are checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from harness import SANITIZED, TOP
from capi import flags, native

GUIDE = (TOP / "docs" / "pools.md").read_text()
FILES = dict(re.findall(r"```python (\S+)\n(.*?)```", GUIDE, re.DOTALL))
COMMANDS = re.findall(r"^    \$ (.+)$", GUIDE, re.MULTILINE)


@pytest.fixture
def shown(place):
    """The files of the guide, and pool.c of the examples."""
    for name, text in FILES.items():
        (place / name).write_text(text.replace("9999", "0"))  # ports are the kernel's to choose
    shutil.copy(TOP / "examples" / "c" / "pool.c", place)
    (place / "script.py").write_text(FILES["mailer.py"].replace(
        "from saola.pool import Supervisor, WorkerBase",
        "from aioworkerpool.master import Supervisor\nfrom aioworkerpool.worker import WorkerBase"))
    return place


def as_installed(command):
    program, *rest = command.split()
    return [os.path.join(os.path.dirname(sys.executable), program), *rest]


@pytest.mark.skipif(SANITIZED, reason="the commands name the installed package")
def test_every_command_of_the_guide(serve, shown):
    told = iter(COMMANDS)
    for expected in ("mailer.py", "-m saola.aioworkerpool script.py"):
        command = next(told)
        assert command == f"python {expected}"
        server = serve(command=as_installed(command), bind=None, wait=False)
        server.wait_log(r"^\[\d\] connected$", 4)
        assert server.stop() == 0
        assert server.log.count("disconnected") == 4
    command = next(told)
    assert command == "saola -c saola.conf.py app:application"
    server = serve(command=[*as_installed(command), "--bind", "127.0.0.1:0"], bind=None)
    server.wait_log(r"^\[cleaner/0\] clean at \d\d:", 2)
    server.wait_log(r"^\[feed/0\] following$")
    assert server.get("/").text == "Hello\n"
    assert server.stop() == 0
    command = next(told).replace("$(pkg-config --cflags saola)", " ".join(flags("--cflags")))
    subprocess.run(command.split(), cwd=shown, check=True)
    command = next(told)
    assert "port=9999" in command and "9999" in FILES["native.conf.py"]
    server = serve(command=as_installed(command.replace("9999", "0")), bind=None, wait=False)
    server.wait_log("pong: port")
    server.wait_log(r"^\[cleaner/0\] cleaning$")
    assert server.stop() == 0 and native().is_dir()
    command = next(told)
    assert command == "saola -c native.conf.py app:application"
    server = serve(command=[*as_installed(command), "--bind", "127.0.0.1:0"], bind=None)
    server.wait_workers(5)
    server.wait_log(r"^\[cleaner/0\] cleaning$")
    assert server.log.count("pong: port") == 1 and server.get("/").text == "Hello\n"
    assert server.stop() == 0
    assert next(told, None) is None
    (shown / "pool.so").unlink()


def test_the_examples_are_typed():
    """mypy, strict; the package says by py.typed that its annotations count."""
    pytest.importorskip("mypy")
    examples = sorted(str(path) for path in (TOP / "examples" / "pools").glob("*.py"))
    assert examples
    cache = TOP / "build" / "mypy"  # what mypy knows of the standard library costs ten seconds
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir",
                           str(cache), *examples], capture_output=True, text=True, cwd=TOP / "examples")
    assert done.returncode == 0, done.stdout + done.stderr
