"""Pools: processes that serve no HTTP, alone (Supervisor) and beside web workers."""

from __future__ import annotations

import os
import re
import signal
import sys
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from harness import is_alive, wait_until
from pool_scripts import NO_LEAK_SEARCH, count, pids_of, pool  # noqa: F401 (a fixture)

@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
@pytest.mark.parametrize("kind", ["Loop", "Plain"])
def test_both_kinds_of_main_end_in_order_and_run_every_callback(pool, kind, number):
    server = pool(f"Supervisor({kind}, workers=2).main(); say('after', os.getpid())")
    server.wait_log("said main-begun", 2)
    assert server.stop(number) == 0
    for words in ("async-end 0", "async-end 1", "sync-end 0", "sync-end 1"):
        assert count(server, f"said {words}") == 1, server.log
    assert re.findall(r"said after (\d+)", server.log) == [str(server.pid)]  # the parent's code, there only
    assert count(server, "main-over") == (2 if (kind, number) == ("Plain", SIGTERM) else 0)


@pytest.mark.log_may_contain("Traceback")
def test_a_main_that_raises_shows_its_traceback_and_status_and_backs_off(pool):
    server = pool("""
class Raises(Loop):
    async def main(self):
        raise ValueError("boo")
Supervisor(Raises, workers=1).main()
say("after", os.getpid())
""")
    server.wait_log(r"died 3 times in a row; next attempt in")
    assert "ValueError: boo" in server.log and "exited with code 1" in server.log
    assert server.stop() == 0
    assert re.findall(r"said after (\d+)", server.log) == [str(server.pid)]
    assert count(server, "said async-end") == count(server, "said begin")


@pytest.mark.log_may_contain("Traceback")
def test_a_pool_that_cannot_boot_ends_the_program_with_3(pool):
    server = pool("""
class Fails(Loop):
    async def begin(self):
        raise ValueError("no database")
Supervisor(Fails).main()
""")
    assert server.wait_exit() == 3
    assert count(server, "ValueError: no database") == 1


def test_killed_workers_come_back_with_their_ids(pool):
    server = pool("Supervisor(Loop, workers=[3, 5]).main()")
    before = pids_of(server, 2)
    assert sorted(before) == [3, 5]
    os.kill(before[3], SIGKILL)
    after = pids_of(server, 3)
    assert after[3] != before[3] and after[5] == before[5]
    assert server.stop() == 0


def test_a_supervisor_with_a_loop_runs_callbacks_and_changes_its_pool(pool):
    server = pool("""
import select

async def begin():
    say("supervisor-begins")
    supervisor.loop.create_task(change())

async def change():
    begun = 0
    while begun < 2:  # one that is asked to leave before it has begun says nothing
        await asyncio.sleep(0.01)
        begun += len(os.read(readable, 2)) if select.select([readable], [], [], 0)[0] else 0
    supervisor.add_worker(7)
    await supervisor.remove_worker(0)
    say("removed", sorted(supervisor.workers))

class Tells(Loop):
    async def begin(self):
        await super().begin()
        os.write(writable, b"1")

readable, writable = os.pipe()
supervisor = Supervisor(Tells, workers=2, preserve_fds=[writable])
supervisor.on_start(begin)
supervisor.on_shutdown(lambda: say("supervisor-ends"))
supervisor.main()
""")
    server.wait_log(r"said removed \[1, 7\]")
    assert sorted(pids_of(server, 3)) == [0, 1, 7]
    assert server.stop() == 0
    assert server.log.index("supervisor-begins") < server.log.index("said begin")
    assert server.log.rindex("said sync-end") < server.log.index("supervisor-ends")
    assert count(server, "said sync-end 0") == 1


def test_workers_die_with_a_supervisor_that_is_killed_and_run_their_callbacks(pool, adopt):
    server = pool("Supervisor(Plain, workers=2).main()")
    pids = pids_of(server, 2)
    others = [pid for pid in server.worker_pids]
    for pid in others:
        adopt(pid)
    server.signal(SIGKILL)
    server.wait_exit()
    for pid in pids.values():
        wait_until(lambda: not is_alive(pid), f"end of {pid}")
    wait_until(lambda: not any(is_alive(pid) for pid in others), "end of the collector")
    assert count(server, "async-end") == 2


def test_a_worker_whose_loop_hangs_is_replaced(pool):
    server = pool("""
class Hangs(Loop):
    async def main(self):
        time.sleep(100)
Supervisor(Hangs, workers=1, worker_timeout=1, graceful_timeout=1).main()
""")
    pids_of(server, 2)
    assert "CRITICAL" in server.log
    assert server.stop(SIGINT) == 0


@pytest.mark.log_may_contain("Traceback")
def test_output_is_live_prefixed_whole_and_bounded(pool):
    """A worker that is torn off in a line, another that prints a megabyte without an end, log records."""
    server = pool("""
class Prints(Loop):
    async def main(self):
        os.write(2, b"x" * (1 << 20) + b"\\n")
        logging.getLogger("mine").error("y" * (1 << 20))
        logging.getLogger("mine").error("%d", "no number")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("mine").exception("with traceback")
        say("printed")
        if self.id == 1:
            sys.stdout.write("torn-off")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        await super().main()
logging.basicConfig(format="REC %(name)s %(process)d %(message)s")
Supervisor(Prints, workers=2, prefix="<{name}.{id}> ", name="p").main()
""")
    pids = pids_of(server, 3)
    server.wait_log(r"^<p.1> torn-off$")
    server.wait_log(r"said printed", 2)
    assert server.stop(SIGINT) == 0
    assert f"REC mine {pids[0]} with traceback\nTraceback" in server.log
    assert "characters cut]" in server.log
    lines = [line for line in server.log.splitlines() if set(line[6:]) == {"x"}]
    assert lines and all(line.startswith(("<p.0> ", "<p.1> ")) for line in lines)
    assert max(map(len, lines)) <= (128 << 10) + 6
    assert sum(len(line) - 6 for line in lines if line.startswith("<p.0> ")) == 1 << 20


def test_only_the_descriptors_meant_to_survive_do(pool):
    server = pool("""
import socket
kept, other = socket.socket(), socket.socket()
class Looks(Loop):
    async def main(self):
        def kind(fd):
            try:
                return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
            except OSError as exc:
                return "closed"
        say("fds", self.id, kind(kept.fileno()), kind(other.fileno()))
        await super().main()
Supervisor(Looks, workers=2, preserve_fds=[kept.fileno()]).main()
""")
    server.wait_log(r"said fds \d socket (/dev/null|closed)", 2)
    assert server.stop() == 0


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_the_supervisors_loops_say_so_when_a_worker_uses_them(pool, module):
    """The one it runs in, and another that it has made."""
    pytest.importorskip(module)
    server = pool("""
import MODULE
loop, other = MODULE.new_event_loop(), MODULE.new_event_loop()
class Uses(Loop):
    async def begin(self):
        for used in (loop, other):
            for call in (lambda: used.call_soon(print), lambda: used.call_later(1, print),
                         lambda: used.run_in_executor(None, print)):
                try:
                    call()
                    say("accepted")
                except RuntimeError as exc:
                    say("refused:", exc)
        loop.run_forever()
Supervisor(Uses, loop=loop, workers=1).main()
""".replace("MODULE", module))
    assert server.wait_exit() == 3
    assert count(server, "refused: this event loop is the supervisor's .* self.loop") == 6
    assert count(server, "accepted") == 0


def test_the_shim_runs_a_script_written_for_aioworkerpool(serve, tmp_path):
    """The shape of the original's documented example: a socket bound before, shared by descriptor."""
    script = tmp_path / "sockets.py"
    script.write_text("""
import asyncio, os, socket
from aioworkerpool import master, worker

class Handler(worker.WorkerBase):
    def __init__(self, worker_id, loop):
        super().__init__(worker_id, loop)
        self.on_start(self.init)
        self.on_shutdown(self.close)

    async def answer(self, reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        body = b"pong from %d %d" % (self.id, os.getpid())
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s"
                     % (len(body), body))
        await writer.drain()
        writer.close()

    async def init(self):
        self.server = await asyncio.start_server(self.answer, sock=sock)
        print("Listening at: http://127.0.0.1:%d (1)" % sock.getsockname()[1], flush=True)

    async def close(self):
        self.server.close()

    async def main(self):
        while self.is_running():
            await asyncio.sleep(0.05)

sock = socket.socket()
sock.bind(("127.0.0.1", 0))
master.Supervisor(worker_factory=Handler, workers=4, preserve_fds=[sock.fileno()]).main()
""")
    server = serve(command=[sys.executable, "-m", "saola.aioworkerpool", str(script)], bind=None, wait=False,
                   env=NO_LEAK_SEARCH)
    server.wait_log("Listening at", 4)
    seen = set()
    wait_until(lambda: seen.add(server.get("/").body) or len(seen) > 1, "answers of two workers")
    assert all(body.startswith(b"pong from ") for body in seen)
    assert server.stop() == 0


def test_pools_and_scheduled_functions_run_beside_web_workers(serve, tmp_path):
    (tmp_path / "jobs.py").write_text("""
import os, time
def tick():
    print("said tick", os.getpid(), flush=True)
async def follow(worker):
    print("said follow", worker.id, os.getpid(), flush=True)
    await worker.stopped()
    print("said follow-over", flush=True)
def once():
    print("said once", flush=True)
""")
    web = tmp_path / "web.py"
    web.write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'web']\n")
    server = serve("web:app", "--pythonpath", str(tmp_path), workers=2, env=NO_LEAK_SEARCH, config="""
pools = {
    "ticker": {"run": "jobs:tick", "every": 0.3},
    "follower": {"run": "jobs:follow", "workers": 2},
    "once": {"run": "jobs:once", "restart": "on-failure"},
}
""")
    server.wait_log(r"^\[ticker/0\] said tick", 3)
    server.wait_log(r"^\[follower/1\] said follow 1 \d+")
    assert server.get("/").body == b"web"
    assert len(set(re.findall(r"said tick (\d+)", server.log))) == 1
    server.signal(signal.SIGHUP)
    server.wait_log(r"said follow \d", 4)
    server.wait_log(r"said follow-over", 2)
    assert count(server, "said once") <= 2
    assert server.stop() == 0


def test_a_wrong_pool_is_one_line(serve, tmp_path):
    (tmp_path / "web.py").write_text("def app(environ, start):\n    return []\n")
    server = serve("web:app", "--pythonpath", str(tmp_path), config="pools = {'p': {'run': 'a:b', 'wokers': 2}}", wait=False)
    assert server.wait_exit() == 1
    assert "there is no option 'wokers'; did you mean workers?" in server.log


def test_uvloop_in_supervisor_and_workers(pool):
    pytest.importorskip("uvloop")
    server = pool("""
import uvloop
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
class Uv(Loop):
    async def begin(self):
        await super().begin()
        say("loop", type(self.loop).__module__)
supervisor = Supervisor(Uv, workers=2, loop=uvloop.new_event_loop())
supervisor.on_start(lambda: say("supervisor", type(supervisor.loop).__module__))
supervisor.main()
""")
    server.wait_log("said loop uvloop", 2)
    assert "said supervisor uvloop" in server.log
    os.kill(pids_of(server, 2)[1], SIGKILL)
    server.wait_log("said loop uvloop", 3)
    assert server.stop() == 0
    assert count(server, "said async-end") == 2


@pytest.mark.log_may_contain("Traceback")
def test_with_reload_a_pool_that_cannot_boot_waits_for_a_change_and_a_change_is_taken(serve, place, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    jobs = place / "jobs.py"
    jobs.write_text("raise ValueError('no database')\n")
    server = serve("hello:app", "--reload", env=NO_LEAK_SEARCH, config="""
pools = {"p": "jobs:follow"}
def post_worker_init(worker):
    print("said watching", worker.group, flush=True)
""")
    server.wait_log(r"^\[p/0\] said watching p$")
    server.wait_log("waiting for a change")
    assert "ValueError: no database" in server.log and server.get("/").status == 200
    for text in ("first", "second"):
        jobs.write_text(f"def follow(worker):\n    print('said {text}', flush=True)\n    worker.wait()\n")
        server.wait_log(rf"^\[p/0\] said {text}$")
    assert server.stop() == 0
    assert count(server, "waiting for a change") == 1
    jobs.unlink()
