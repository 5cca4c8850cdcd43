"""How pools end: signals in every order, what hangs, what is killed at random."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from signal import SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSEGV, SIGTERM

import pytest

from harness import wait_until
from pool_scripts import count, descriptors, pids_of, pool, wait_reaped  # noqa: F401 (a fixture)

BOTH = """
class SlowEnd:
    async def end(self):
        say("end-begun", self.id)
        await asyncio.sleep(0.3)
        say("async-end", self.id)
class Coroutine(SlowEnd, Loop): pass
class Blocking(SlowEnd, Plain): pass
Supervisor(lambda number, loop: (Coroutine, Blocking)[number % 2](number, loop), workers=4).main()
"""


@pytest.mark.parametrize("signals", [(SIGTERM, SIGTERM), (SIGTERM, SIGINT), (SIGINT, SIGTERM), (SIGINT, SIGINT),
                                     (SIGQUIT, SIGTERM)], ids=lambda s: "-".join(n.name for n in s))
def test_a_second_signal_interrupts_no_callback(pool, signals):
    server = pool(BOTH)
    server.wait_log("said main-begun", 4)
    server.signal(signals[0])
    server.wait_log("said end-begun", 4)
    server.signal(signals[1])
    assert server.wait_exit() == 0
    for number in range(4):
        assert count(server, f"said async-end {number}") == count(server, f"said sync-end {number}") == 1


def test_ctrl_c_in_a_terminal_reaches_everybody_and_ends_in_order(pool):
    """The terminal sends INT to the supervisor, its workers and the collector."""
    server = pool(BOTH)
    server.wait_log("said main-begun", 4)
    os.killpg(server.pid, SIGINT)
    assert server.wait_exit() == 0
    assert count(server, "said async-end") == count(server, "said sync-end") == 4


def test_a_hang_in_on_start_is_ended_by_boot_timeout(pool):
    server = pool("""
class Hangs(Loop):
    async def begin(self):
        say("hangs")
        time.sleep(1000)
Supervisor(Hangs, workers=1, boot_timeout=3).main()
""")
    assert server.wait_exit() not in (0, None)
    assert "CRITICAL" in server.log and "time.sleep(1000)" not in server.log
    assert re.search(r'File ".*pool.py", line \d+ in begin', server.log), server.log  # its stack


@pytest.mark.parametrize("hang", ["begin", "main", "plain main", "end"])
def test_a_stop_has_an_end_whatever_hangs(pool, hang):
    """In an on_start callback, in main() of both kinds, in an on_shutdown callback."""
    kind, where = ("Plain" if " " in hang else "Loop"), hang.split()[-1]
    server = pool(f"""
class Hangs({kind}):
    {"" if hang == "plain main" else "async"} def {where}(self):
        say("hangs", self.id)
        while True:
            time.sleep(1)
Supervisor(Hangs, workers=2, graceful_timeout=1, exit_timeout=1).main()
""")
    if where == "end":
        server.wait_log("said main-begun", 2)
    else:
        server.wait_log("said hangs", 2)
    server.signal(SIGTERM)
    server.wait_exit()
    assert count(server, "said hangs") == 2
    assert re.search(r"File \".*pool.py\", line \d+ in " + where, server.log), server.log


def test_a_plain_main_that_does_not_look_is_interrupted_by_int(pool):
    server = pool("""
class Deaf(Plain):
    def main(self):
        say("main-begun", self.id)
        while True:
            time.sleep(1)
Supervisor(Deaf, workers=2).main()
""")
    server.wait_log("said main-begun", 2)
    server.signal(SIGTERM)
    server.signal(SIGINT)
    assert server.wait_exit() == 0
    assert count(server, "said async-end") == 2


def test_an_interruption_may_be_wrapped_in_another_exception(pool):
    server = pool("""
class Wraps(Plain):
    def main(self):
        try:
            say("main-begun", self.id)
            time.sleep(1000)
        except BaseException as exc:
            raise RuntimeError("wrapped") from exc
Supervisor(Wraps, workers=2).main()
""")
    server.wait_log("said main-begun", 2)
    server.signal(SIGINT)
    assert server.wait_exit() == 0
    assert count(server, "said async-end") == 2 and "wrapped" not in server.log


# ---- deaths ------------------------------------------------------------------------------------------

STRUCK = """
class Struck(Loop):
    async def begin(self):
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self.leave)
        self.code = None
        await super().begin()

    def leave(self):
        self.code = int(open(f"code.{self.id}").read())

    async def main(self):
        say("main-begun", self.id)
        while self.is_running():
            if self.code is not None:
                sys.exit(self.code)
            await asyncio.sleep(0.01)
Supervisor(Struck, workers=[2, 3, 5, 7], graceful_timeout=5, boot_timeout=20).main()
"""
ORDERLY = {SIGTERM, SIGINT, SIGQUIT, SIGABRT, signal.SIGWINCH}  # ABRT leaves time for the callbacks


def strike(server, seconds: float, seed: int) -> None:
    """Ends workers one after the other by a signal or an exit code; the pool is whole after each."""
    dice = random.Random(seed)
    pids = pids_of(server, 4)
    before, begun, orderly = descriptors(server.pid), 4, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or begun < 10:
        server.wait_log("said main-begun", begun)
        number = dice.choice(sorted(pids))
        how = dice.choice([SIGTERM, SIGINT, SIGQUIT, SIGKILL, SIGSEGV, SIGABRT, SIGHUP, signal.SIGWINCH])
        (server.cwd / f"code.{number}").write_text(str(dice.choice([0, 1, 3, 4, 77, 255])))
        os.kill(pids[number], how)
        if how == SIGHUP:  # is for the supervisor
            server.wait_log(rf"SIGHUP ignored in worker \(pid:{pids[number]}\)")
            continue
        begun += 1
        orderly += how in ORDERLY
        after = pids_of(server, begun)
        assert sorted(after) == [2, 3, 5, 7], server.log[-3000:]
        assert {key for key in pids if after[key] != pids[key]} == {number}
        pids = after
    server.wait_log("said main-begun", begun)
    wait_reaped(server)
    wait_until(lambda: descriptors(server.pid) <= before, "no more descriptors than before")
    assert server.stop() == 0
    assert count(server, "said async-end") == count(server, "said sync-end") == orderly + 4


@pytest.mark.leaves("code.2", "code.3", "code.5", "code.7")
@pytest.mark.log_may_contain("Traceback")
def test_whatever_ends_a_worker_the_pool_returns_to_its_size_and_ids(pool):
    strike(pool(STRUCK), 2, 7)


@pytest.mark.long
@pytest.mark.leaves("code.2", "code.3", "code.5", "code.7")
@pytest.mark.log_may_contain("Traceback")
def test_a_minute_of_random_ends(pool):
    strike(pool(STRUCK), 60, int(time.time()))


@pytest.mark.parametrize("restarts", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_restarts_leave_nothing_behind(pool, restarts):
    """Workers whose main() returns at once: no zombie, no descriptor, no place is lost."""
    server = pool("""
class Short(Loop):
    async def main(self):
        await asyncio.sleep(0.02)
Supervisor(Short, workers=4).main()
""")
    server.wait_log("said begin", 8)
    before = descriptors(server.pid)
    server.wait_log("said begin", restarts + 8, timeout=300)
    assert {int(number) for number in re.findall(r"said begin (\d+)", server.log)} == {0, 1, 2, 3}
    samples = []
    wait_until(lambda: samples.append(descriptors(server.pid)) or min(samples) <= before, "no more descriptors")
    assert server.stop() == 0
    assert count(server, "said async-end") == count(server, "said begin")
