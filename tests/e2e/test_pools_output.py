"""What a pool's workers print and log: slow readers, floods, collectors that die, daemons; and big pools."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from harness import SANITIZED, is_alive, wait_until
from pool_scripts import count, pids_of, pool  # noqa: F401 (a fixture)

FLOOD = """
class Floods(Loop):
    async def main(self):
        for number in range(LINES):
            sys.stdout.write("%08d" % number + "x" * 91 + "\\n")
            if number % 1000 == 0:
                await asyncio.sleep(0)
        say("flooded", self.id)
        await super().main()
Supervisor(Floods, workers=1, worker_timeout=2, prefix="", stdout=open("out", "wb")).main()
"""


def memory(pid: int) -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_slowly(server, lines: int, stall: float, pause: float) -> int:
    """Reads the named pipe `out` to the flood's end and stops the server; the most memory that a process took."""
    most, rest, number = 0, b"", 0
    with open(server.cwd / "out", "rb", buffering=0) as out:
        wait_until(lambda: len(server.worker_pids) == 2, "a worker and the collector")
        processes = [server.pid, *server.worker_pids]
        worker = int(server.wait_log(r"Booting worker with pid: (\d+)")[1])
        time.sleep(stall)
        os.kill(worker, SIGSTOP)  # as on a machine that has no time for it when its reader comes back,
        time.sleep(1.5)           # just before its heart is looked at
        threading.Timer(1.4, os.kill, (worker, SIGCONT)).start()
        while data := out.read(1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if not line.startswith(b"said"):
                    assert line == b"%08d" % number + b"x" * 91
                    number += 1
            if b"said flooded 0" in whole:
                server.signal(SIGTERM)
            most = max([most, *(memory(pid) for pid in processes if is_alive(pid))])
            time.sleep(pause)
    assert number == lines
    return most


def flood(pool, place, lines: int, stall: float, pause: float) -> None:
    os.mkfifo(place / "out")
    server = pool(FLOOD.replace("LINES", str(lines)))
    most = read_slowly(server, lines, stall, pause)
    assert server.wait_exit() == 0
    assert count(server, "Booting worker") == 1, server.log  # waiting for the reader is not hanging
    assert most < 64 << 20 or SANITIZED  # who themselves take memory


@pytest.mark.leaves("out")
def test_a_flood_against_a_reader_that_stalls_loses_nothing_and_takes_no_memory(pool, place):
    flood(pool, place, 50_000, 4.5, 0)


@pytest.mark.long
@pytest.mark.leaves("out")
def test_a_flood_of_hundreds_of_megabytes_against_a_slow_reader(pool, place):
    flood(pool, place, 3_000_000, 20, 0.0005)


@pytest.mark.long
def test_a_worker_prints_a_hundred_megabytes_a_second(pool):
    server = pool("""
class Floods(Loop):
    async def main(self):
        piece, begun = b"x" * 99 + b"\\n", time.monotonic()
        for _ in range(500):
            os.write(1, piece * 10000)
        print("rate", 500 / (time.monotonic() - begun), file=sys.stderr)
        await super().main()
Supervisor(Floods, workers=1, stdout=open("/dev/null", "wb")).main()
""")
    assert float(server.wait_log(r"rate (\S+)")[1]) > 100
    assert server.stop() == 0


@pytest.mark.log_may_contain("Traceback")
def test_a_collector_that_is_killed_is_replaced_and_the_pipes_keep_what_was_written(pool):
    server = pool("""
class Counts(Loop):
    async def main(self):
        number = 0
        while self.is_running():
            say("number", number)
            number += 1
            await asyncio.sleep(0.02)
Supervisor(Counts, workers=1).main()
""")
    server.wait_log("said number 5$")
    worker = pids_of(server, 1)[0]
    collector = [pid for pid in server.worker_pids if pid != worker]
    os.kill(collector[0], SIGKILL)
    server.wait_log("collector of the pools' output .* has ended")
    server.wait_log("said number 60$")
    numbers = [int(number) for number in re.findall(r"said number (\d+)$", server.log, re.MULTILINE)]
    assert numbers == list(range(len(numbers)))
    assert pids_of(server, 1)[0] == worker and server.stop() == 0


def test_places_that_are_given_up_take_no_descriptors(pool):
    server = pool("""
async def change():
    while len([pid for pid in supervisor.workers.values() if pid]) < 1:
        await asyncio.sleep(0.01)
    for number in range(10, 22):
        if number == 11:  # the arbiter keeps what belongs to the second worker's slot
            say("fds", len(os.listdir("/proc/self/fd")))
        supervisor.add_worker(number)
        while not supervisor.workers[number]:
            await asyncio.sleep(0.005)
        await supervisor.remove_worker(number, sig=number % 2 and signal.SIGTERM or signal.SIGINT)
    say("fds", len(os.listdir("/proc/self/fd")), sorted(supervisor.workers))

supervisor = Supervisor(Loop, workers=1)
supervisor.on_start(lambda: supervisor.loop.create_task(change()) and None)
supervisor.main()
""")
    last = server.wait_log(r"said fds (\d+)( .*)?", 2)
    first = server.wait_log(r"said fds (\d+)")
    assert last[1] == first[1] and last[2] == " [0]"
    assert server.stop() == 0
    assert count(server, "said begin") == count(server, "said async-end")  # some were removed before they began


def test_a_daemon_has_a_pid_file_its_output_in_files_and_its_user(pool, place, tmp_path, adopt):
    """Bug 9 of the original: main(daemonize=True), with a loop that was made before."""
    server = pool("""
supervisor = Supervisor(Loop, workers=2, stdout=open("out", "w"), loop=asyncio.new_event_loop(),
                        errorlog="errors", umask=0o027, user=USER)
supervisor.on_start(lambda: say("supervisor-begins"))
supervisor.main(daemonize=True, pidfile="pid")
""".replace("USER", '"nobody"' if os.geteuid() == 0 else str(os.geteuid())))
    assert server.wait_exit() == 0
    out = place / "out"
    wait_until(lambda: out.exists() and out.read_text().count("main-begun") == 2, "two workers")
    pid = int((place / "pid").read_text())
    adopt(pid)
    assert pid != server.pid and is_alive(pid)
    assert os.getsid(pid) == pid or os.getsid(pid) != os.getsid(0)
    begun = re.findall(r"said begin \d (\d+)", out.read_text())
    if os.geteuid() == 0:
        assert {os.stat(f"/proc/{worker}").st_uid for worker in begun} != {0}
    assert {re.search(r"Umask:\s*(\d+)", Path(f"/proc/{worker}/status").read_text())[1]
            for worker in begun} == {"0027"}
    os.kill(pid, SIGTERM)
    wait_until(lambda: not is_alive(pid), "the end of the daemon")
    assert out.read_text().count("async-end") == 2 and not (place / "pid").exists()
    out.unlink()
    (place / "errors").unlink()


@pytest.mark.long
def test_a_hundred_workers_start_within_two_seconds_and_idle(pool):
    begun = time.monotonic()
    server = pool("""
class Idle(Loop):
    async def main(self):
        say("main-begun", self.id)
        await self.stopped()
Supervisor(Idle, workers=100).main()
""")
    server.wait_log("said main-begun", 100)
    started = time.monotonic() - begun
    print(f"100 workers started in {started:.2f} s")
    assert started < 2

    def on_cpu_ns() -> int:  # ticks are too coarse: a worker uses less than one in the whole time
        pids = [server.pid, *server.worker_pids]
        threads = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(path.read_text().split()[0]) for path in threads)

    before, begun = on_cpu_ns(), time.monotonic()
    time.sleep(20)
    used = (on_cpu_ns() - before) / 1e9 / (time.monotonic() - begun)
    print(f"100 idle workers: {100 * used:.2f} % CPU")
    assert used < 0.01
    assert server.stop(SIGINT) == 0
