"""Every command of docs/c.md is run, with the program that the page shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from harness import SANITIZED, TOP, WAIT, wait_until

PAGE = (TOP / "docs" / "c.md").read_text()
BIN = os.path.dirname(sys.executable)
COMMANDS = [line.replace(".venv/bin", BIN) for line in re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)]
SERVING = [line for line in COMMANDS if line.split()[0] in (f"{BIN}/saola", "./embed")]
COMPILING = [line for line in COMMANDS if line.startswith("cc ")]

pytestmark = pytest.mark.skipif(SANITIZED, reason="the commands name the installed package")


@pytest.fixture
def workshop(place):
    """The server's directory with the files that the page speaks of; runs a line of shell there."""
    for name, text in re.findall(r"```c (\S+)\n(.*?)```", PAGE, re.DOTALL):
        (place / name).write_text(text)
    shutil.copy(TOP / "examples" / "c" / "embed.c", place)
    (place / "wsgi.py").write_text("def app(environ, start_response):\n"
                                    "    start_response('200 OK', [])\n    return [b'Hello from Python\\n']\n")
    set_up = COMMANDS[0]
    assert set_up.startswith("export ")

    def run(line):
        done = subprocess.run(f"{set_up} && {line}", shell=True, cwd=place, text=True, capture_output=True,
                              timeout=WAIT)
        assert done.returncode == 0, (line, done.stderr)
    for line in COMPILING:
        run(line)
    return run


def test_the_commands_of_the_page(serve, workshop):
    rest = set(COMMANDS[1:]) - {*SERVING, *COMPILING}
    assert rest == {"kill -HUP $(cat saola.pid)", "curl http://127.0.0.1:8000/", "curl http://127.0.0.1:8000/fast"}
    assert len(SERVING) == 3 and len(COMPILING) == 3
    for line in SERVING:
        words = line.replace("127.0.0.1:8000", "127.0.0.1:0").split()
        if "--bind" not in words:
            words[1:1] = ["--bind", "127.0.0.1:0"]
        server = serve(command=[*words, "--pid", "saola.pid"], bind=None)
        if "--mount" in words:
            assert server.get("/fast").text == "Hello from C\n"
            assert server.get("/").text == "Hello from Python\n"
        elif words[0] == "./embed":
            assert server.get("/").text == "embedded\n"
        else:
            assert server.get("/").text == "Hello from C\n"
            worker = server.wait_workers(1)[0]
            workshop("kill -HUP $(cat saola.pid)")
            wait_until(lambda: server.worker_pids and worker not in server.worker_pids, "the new worker")
            assert server.get("/").text == "Hello from C\n"
        assert server.stop(signal.SIGTERM) == 0
