"""Programs with a pool: their beginning, and the fixture that runs them."""

from __future__ import annotations

import os
import re

import pytest

from harness import SANITIZED, children_of, wait_until

# Under `make asan`: what only frames of the arbiter hold, in whose call a worker lives, looks like a leak at its end
# (CPython's floats and exceptions); errors are found all the same, and leaks of pools in C.
NO_LEAK_SEARCH = {"ASAN_OPTIONS": "detect_leaks=0"} if SANITIZED else {}

HEAD = """
import asyncio, logging, os, signal, sys, time
from saola.pool import Supervisor, WorkerBase

def say(*words):
    print("said", *words, flush=True)

class Loop(WorkerBase):
    def __init__(self, worker_id, loop):
        super().__init__(worker_id, loop)
        self.on_start(self.begin)
        self.on_shutdown(self.end)
        self.on_shutdown(lambda: say("sync-end", self.id))

    async def begin(self):
        say("begin", self.id, os.getpid())

    async def end(self):
        await asyncio.sleep(0.05)
        say("async-end", self.id)

    async def main(self):
        say("main-begun", self.id)
        while self.is_running():
            await asyncio.sleep(0.05)

class Plain(Loop):
    def main(self):
        say("main-begun", self.id)
        while self.wait(60):
            pass
        say("main-over", self.id)
"""


@pytest.fixture
def pool(serve, tmp_path):
    """Runs a script: HEAD and the text given; `python script.py`."""
    def start(text: str, *args: str, **options):
        script = tmp_path / "pool.py"
        script.write_text(HEAD + text)
        return serve(script=script, script_args=args, wait=False, env=NO_LEAK_SEARCH, **options)
    return start


def pids_of(server, count: int) -> dict[int, int]:
    """id -> pid of those who have said "begin", the last ones."""
    server.wait_log(r"said begin", count)
    return {int(i): int(pid) for i, pid in re.findall(r"said begin (\d+) (\d+)", server.log)}


def count(server, words: str) -> int:
    return len(re.findall(words, server.log))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(pid: int) -> list[int]:
    return [process.pid for process in children_of(pid) if process.state == "Z"]


def wait_reaped(server) -> None:
    wait_until(lambda: not zombies(server.pid), "no zombie")
