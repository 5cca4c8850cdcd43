"""Programs written for aioworkerpool under the shim, and the examples of pools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from signal import SIGCONT, SIGHUP, SIGSTOP, SIGTERM

import pytest

from harness import TOP, Connection, wait_until

EXAMPLES = TOP / "examples" / "pools"


@pytest.fixture
def shim(serve, tmp_path):
    """Runs a script under python -m saola.aioworkerpool."""
    def start(text: str, **options):
        script = tmp_path / "script.py"
        script.write_text(text)
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "saola.aioworkerpool", str(script)]
        return serve(command=command, bind=None, wait=False, **options)
    return start


def answers_of_all(address, count: int, pattern: str) -> dict[int, int]:
    """id -> pid of the workers behind one socket. Those that have answered are stopped, so that the others must."""
    seen: dict[int, int] = {}
    try:
        while len(seen) < count:
            with Connection(address) as connection:
                text = connection.request(headers=[("Connection", "close")]).text
            match = re.fullmatch(pattern, text)
            assert match, text
            assert int(match[1]) not in seen
            seen[int(match[1])] = int(match[2])
            os.kill(int(match[2]), SIGSTOP)
    finally:
        for pid in seen.values():
            os.kill(pid, SIGCONT)
    return seen


def listening_port(log: str) -> int:
    return int(re.search(r"port (\d+)", log)[1])


# The calls of the original's documented program: aiohttp's loop argument, make_handler, its own start and end.
SOCKETS = r'''
import asyncio, os, socket
from aiohttp import web
from aioworkerpool import master, worker

class WorkerHandler(worker.WorkerBase):
    def __init__(self, worker_id, loop):
        super().__init__(worker_id, loop)
        self.on_start(self.init_web_app)
        self.server = self.app = self.handler = None

    async def pong(self, _):
        return web.Response(text='pong from #%s %s!\n' % (self.id, os.getpid()))

    async def init_web_app(self):
        self.app = web.Application(loop=self.loop)
        self.app.router.add_route('GET', '/', self.pong)
        self.handler = self.app.make_handler()
        self.server = await self.loop.create_server(self.handler, sock=sock)
        await self.app.startup()
        print("listens", flush=True)

    async def main(self):
        while self.is_running():
            await asyncio.sleep(1)

sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
sock.bind(('127.0.0.1', 0))
print("port", sock.getsockname()[1], flush=True)
master.Supervisor(worker_factory=WorkerHandler, workers=4, preserve_fds=[sock.fileno()]).main()
'''


def test_the_documented_program_answers_from_four_workers_on_one_socket(shim):
    server = shim(SOCKETS)
    server.wait_log("listens", 4)
    address = ("127.0.0.1", listening_port(server.log))
    assert sorted(answers_of_all(address, 4, r"pong from #(\d) (\d+)!\n")) == [0, 1, 2, 3]
    assert server.stop() == 0


def test_the_example_with_a_socket(serve):
    server = serve(script=EXAMPLES / "sockets.py", script_args=("0",), wait=False)
    match = server.wait_log(r"pong at http://127.0.0.1:(\d+)/")
    server.wait_workers(5)
    seen = wait_until(lambda: refused_or(lambda: answers_of_all(("127.0.0.1", int(match[1])), 4,
                                                                r"pong from #(\d) (\d+)!\n")), "answers")
    assert sorted(seen) == [0, 1, 2, 3]
    assert server.stop() == 0


def refused_or(ask):
    try:
        return ask()
    except ConnectionRefusedError:
        return None


LOGGING = r'''
import asyncio, logging, sys
from aioworkerpool import master, worker
from aioworkerpool.logging import PickleStreamHandler

def of_master():
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="[%(process)d] %(name)s %(levelname)s: %(message)s")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("Custom: %(message)s"))
    logger = logging.getLogger("custom")
    logger.propagate = False
    logger.addHandler(handler)

def of_worker():
    logging.root.handlers.clear()
    logger = logging.getLogger("custom")
    logger.handlers.clear()
    logger.addHandler(PickleStreamHandler.instance)

class WorkerHandler(worker.WorkerBase):
    def __init__(self, worker_id, loop):
        super().__init__(worker_id, loop)
        self.on_start(of_worker)
        self.on_shutdown(self.say_bye)

    async def say_bye(self):
        await asyncio.sleep(0.01)
        self.logger.info("bye of %s", self.id)

    async def main(self):
        while self.is_running():
            logging.getLogger("custom").info("I am here!")
            print("printed here")
            await asyncio.sleep(0.1)

s = master.Supervisor(WorkerHandler)
s.on_start(of_master)
s.on_shutdown(lambda: logging.info("over"))
s.main()
'''


def test_logging_set_up_as_the_original_documents_it(shim):
    server = shim(LOGGING)
    server.wait_log("^Custom: I am here!$", 2)
    server.wait_log(r"^\[[01]\] printed here$", 2)
    pids = {int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", server.log)}
    assert server.stop() == 0
    said = re.findall(r"^\[(\d+)\] aioworkerpool.Worker INFO: bye of (\d)$", server.log, re.MULTILINE)
    assert {int(pid) for pid, _ in said} == pids and sorted(number for _, number in said) == ["0", "1"]
    assert f"[{server.pid}] root INFO: over" in server.log


def test_the_shim_says_what_is_wrong_in_one_line(tmp_path):
    for args, status, words in [([], 2, "usage:"), (["nowhere.py"], 1, "there is no such file")]:
        done = subprocess.run([sys.executable, "-m", "saola.aioworkerpool", *args], cwd=tmp_path, text=True,
                              capture_output=True)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1) and words in done.stderr


# ---- beside web workers --------------------------------------------------------------------------------


def test_the_scheduler_runs_each_job_once_beside_four_web_workers(serve, place):
    """APScheduler beside Flask: one run a tick, in one process; a reload hands over, with never two of them."""
    pytest.importorskip("apscheduler")
    pytest.importorskip("flask")
    server = serve(script=EXAMPLES / "scheduler.py", script_args=("127.0.0.1:0",))
    server.wait_log(r"\[scheduler/0\] tick \d+ \d+", 2)
    workers = {server.get("/").text for _ in range(40)}
    assert all(re.fullmatch(r"worker \d+\n", text) for text in workers)
    server.signal(SIGHUP)
    server.wait_log("Reload done")
    ticks = len(re.findall("tick", server.log))
    server.wait_log("tick", ticks + 2)
    assert server.stop(SIGTERM) == 0
    ticks = re.findall(r"^\[scheduler/0\] tick (\d+) (\d+)$", server.log, re.MULTILINE)
    seconds = [second for second, _ in ticks]
    assert len(seconds) == len(set(seconds)), ticks  # no tick twice
    pids = [pid for _, pid in ticks]
    assert len(set(pids)) == 2 and pids == sorted(pids, key=pids.index)  # one after the other
    order = re.findall(r"scheduler (begins|ends) (\d+)", server.log)
    assert [what for what, _ in order] == ["begins", "ends", "begins", "ends"], order
