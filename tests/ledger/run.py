#!/usr/bin/env python3
"""Sends signals to servers under the ledger's load and says what became of every request.

    run.py [--servers saola-sync,saola-gthread] [--requests 1000000] [--hup 100] [--usr2 10] [--ttin 50]

Requests and signals are shared out among the servers (--each: every server gets all of them). Of the
upgrades, --broken (a fifth) go to a build that does not load. With --kill workers are killed; a failed request whose
connection the killed process held is counted apart, any other fails the run. Exit code 0: none failed.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import json
import os
import platform
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import owner
import servers
from servers import HERE, ROOT, Server, children_of, wait_until


def ledger_program() -> Path:
    """The clients, compiled if their source is newer (SAOLA_LEDGER: another program)."""
    if "SAOLA_LEDGER" in os.environ:
        return Path(os.environ["SAOLA_LEDGER"])
    sources = sorted(HERE.glob("*.[ch]"))
    program = ROOT / "build/ledger/ledger"
    if not program.exists() or program.stat().st_mtime < max(s.stat().st_mtime for s in sources):
        program.parent.mkdir(parents=True, exist_ok=True)
        # Several runs may start at once; each moves a whole program into place.
        with tempfile.TemporaryDirectory(dir=program.parent) as place:
            subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-o", f"{place}/ledger",
                            *(str(s) for s in sources if s.suffix == ".c")], check=True)
            os.replace(f"{place}/ledger", program)
    return program


class Clients:
    """The running ledger: its progress, the failures it has told of and, at the end, its report."""

    def __init__(self, server: Server, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [str(ledger_program()), *arguments, *(["--plain"] if server.plain else []), *server.targets],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.done, self.failed = 0, 0
        self.failures: list[dict] = []
        self.report: dict = {}
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            entry = json.loads(line)
            event = entry.pop("event")
            if event == "progress":
                self.done, self.failed = entry["done"], entry["failed"]
            elif event == "failed":
                self.failures.append(entry)
            else:
                self.report = entry

    def say(self, order: str) -> None:
        self.process.stdin.write(order)
        self.process.stdin.flush()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def finish(self) -> None:
        """Lets the clients make what is missing of their requests, and end."""
        self.process.stdin.close()
        self.reader.join()
        if self.process.wait() != 0 or not self.report:
            raise RuntimeError(f"the ledger ended with {self.process.returncode}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@dataclass
class Result:
    """What one server did."""

    name: str
    version: str = ""
    report: dict = field(default_factory=dict)
    failures: list[dict] = field(default_factory=list)  # without an owner
    killed: int = 0  # failed requests that belonged to killed workers
    events: dict = field(default_factory=dict)
    respawn_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return self.report.get("done", 0) - self.report.get("failed", 0)

    @property
    def lost(self) -> int:
        """Failed requests without an owner."""
        return self.report.get("failed", 0) - self.killed

    def by_class(self) -> dict[str, int]:
        count: collections.Counter = collections.Counter()
        for where, verdicts in self.report.get("verdicts", {}).items():
            for verdict, number in verdicts.items():
                if number and verdict != "ok":
                    count[f"{verdict} ({where})"] += number
        return dict(count)


class Driver:
    """Brings the events over one server, in a random order spread over the requests."""

    def __init__(self, server: Server, clients: Clients, chance: random.Random, requests: int) -> None:
        self.server, self.clients, self.chance, self.requests = server, clients, chance, requests
        self.count = server.workers
        self.killed: list[tuple[int, set[str]]] = []  # time of the kill in ns, what the process held
        self.respawn_ms: list[float] = []

    def run(self, events: list[str]) -> None:
        for number, event in enumerate(events, start=1):
            goal = self.requests * number // (len(events) + 1)
            # A moment of no meaning: not always right behind the ledger's word of its progress.
            wait_until(lambda: self.clients.done >= goal or self.clients.ended(),
                       f"request {goal}", limit_s=3600)
            time.sleep(self.chance.random() * 0.05)
            if self.clients.ended():
                raise RuntimeError("the ledger has ended early")
            self.clients.say("+")
            getattr(self, f"do_{event}")()
            self.clients.say("-")

    def do_hup(self) -> None:
        self.server.load_next()
        self.server.reload()
        self.server.wait_generation()
        self.count = self.server.workers

    def do_usr2(self) -> None:
        self.server.load_next()
        self.server.upgrade()
        self.count = self.server.workers

    def do_broken(self) -> None:
        self.server.fail_to_upgrade()

    def do_ttin(self) -> None:
        """One worker more or one less, between 1 and 4."""
        more = self.count == 1 or (self.count < 4 and self.chance.random() < 0.5)
        self.server.change_count(more)
        self.count += 1 if more else -1

    def do_kill(self) -> None:
        """Kills a worker; it is stopped first, so that what it held is known exactly."""
        # Not those that are only booting: somebody serves, and the one killed before is made good.
        self.server.wait_generation()
        self.server.wait(lambda: len(self.server.worker_pids()) >= self.server.workers, "all workers")
        # A worker that dies before it has served for half a second counts as a failed start, and the
        # pause that follows is meant.
        time.sleep(0.6 + self.chance.random())
        victim = self.chance.choice(
            wait_until(self.server.worker_pids, "a worker to kill; " + self.server.tail()))
        before = set(self.server.worker_pids())
        try:
            os.kill(victim, signal.SIGSTOP)
            wait_until(lambda: all_stopped(victim), f"{victim} to stop")
            held = owner.held_by(victim)
            began = time.monotonic_ns()
            os.kill(victim, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            return  # it has just ended by itself
        self.killed.append((began, held))
        # At a quarter of a millisecond: this is the time that is measured.
        while not set(self.server.worker_pids()) - before:
            if time.monotonic_ns() - began > 5e9:
                return  # it was one too many: retired, or an excess
            time.sleep(0.00025)
        self.respawn_ms.append((time.monotonic_ns() - began) / 1e6)

    def owned(self, failure: dict) -> bool:
        """The connection of a failed request was held by a process that was killed meanwhile."""
        here = failure["local"] or f"inode:{failure['inode']}"
        return any(failure["opened_ns"] < when < failure["now_ns"] and here in held
                   for when, held in self.killed)


def all_stopped(pid: int) -> bool:
    """Every thread of the process has stopped: another one may still accept until it has."""
    stats = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in os.listdir(f"/proc/{pid}/task")]
    return all(stat[stat.rindex(")") + 2] in "TZ" for stat in stats)


def share(total: int, number: int, parts: int) -> int:
    """The number-th of so many parts of a whole."""
    return total * (number + 1) // parts - total * number // parts


def plan_events(options: argparse.Namespace, server: Server, number: int, parts: int) -> list[str]:
    def part(total: int) -> int:
        return total if options.each else share(total, number, parts)

    broken = part(options.usr2 // 5 if options.broken is None else options.broken)
    return ["hup"] * part(options.hup) + ["usr2"] * (part(options.usr2) - broken) + \
        ["broken"] * broken + ["ttin"] * (part(options.ttin) if server.counts else 0) + \
        ["kill"] * part(options.kill)


def run_server(name: str, options: argparse.Namespace, place: Path, number: int, parts: int) -> Result:
    chance = random.Random(f"{options.seed} {name}")
    server = servers.make(name, place, options.workers)
    server.more = shlex.split(options.more)
    result = Result(server.name, server.version())
    events = plan_events(options, server, number, parts)
    chance.shuffle(events)
    requests = options.requests if options.each else share(options.requests, number, parts)
    arguments = ["--requests", str(requests), "--seed", str(options.seed * 100 + number),
                 "--timeout", str(options.timeout), "--clients", options.clients,
                 "--rate", str(options.rate), "--piece-ms", str(options.piece_ms)]
    clients = None
    try:
        server.start()
        clients = Clients(server, arguments)
        driver = Driver(server, clients, chance, requests)
        try:
            driver.run(events)
        except (TimeoutError, RuntimeError, OSError) as error:
            result.errors.append(str(error))
        clients.finish()
        result.report = clients.report
        result.failures = [failure for failure in clients.failures if not driver.owned(failure)]
        result.killed = len(clients.failures) - len(result.failures)
        result.respawn_ms = driver.respawn_ms
        result.events = dict(collections.Counter(events))
        if server.repeated:
            result.events["repeated"] = server.repeated
        if server.died():
            result.errors.append(f"the master has ended; {server.tail()}")
    except (TimeoutError, RuntimeError, OSError) as error:
        result.errors.append(str(error))
    finally:
        if clients:
            clients.kill()
        server.stop()
    return result


EVENTS = {"hup": "HUP", "usr2": "USR2", "broken": "USR2 to a broken build", "ttin": "TTIN/TTOU",
          "kill": "SIGKILL of a worker", "repeated": "signals that were lost and sent again"}


def describe(result: Result, shown: int) -> str:
    """The result of one server in some lines."""
    report, lines = result.report, []
    if report:
        busy, quiet = report["busy"], report["quiet"]
        of_killed = f", {result.killed} of killed workers" if result.killed else ""
        lines += [
            f"{result.name} ({result.version}): {result.passed:,} passed, {result.lost} failed{of_killed}; "
            f"{report['seconds']:.1f} s, {report['pids']} processes answered",
            "  " + (", ".join(f"{n} {EVENTS[e]}" for e, n in sorted(result.events.items())) or "no signal"),
            f"  during signals p99 {busy['p99_ms']:.1f} ms, max {busy['max_ms']:.0f} ms; else p99 "
            f"{quiet['p99_ms']:.1f} ms, max {quiet['max_ms']:.0f} ms; worst gap {report['worst_gap_ms']:.0f} ms",
            "  " + ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in report["remarks"].items() if n)]
        lines += [f"  {n} {what}" for what, n in sorted(result.by_class().items())]
    if result.respawn_ms:
        lines.append(f"  a new worker after a SIGKILL: median {statistics.median(result.respawn_ms):.1f} ms, "
                     f"max {max(result.respawn_ms):.1f} ms")
    lines += [f"  {json.dumps(failure)}" for failure in result.failures[:shown]]
    lines += [f"  ERROR {error}" for error in result.errors]
    return "\n".join(lines)


def commit() -> str:
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--servers", default="saola-sync,saola-gthread",
        help="of saola-sync, saola-gthread, gunicorn-sync, gunicorn-gthread, nginx, haproxy")
    add("--requests", type=int, default=1000000)
    add("--hup", type=int, default=100)
    add("--usr2", type=int, default=10)
    add("--broken", type=int, help="of the upgrades; a fifth")
    add("--ttin", type=int, default=50)
    add("--kill", type=int, default=0)
    add("--each", action="store_true", help="all requests and signals for every server")
    add("--clients", default="8,16,4,16", help="connections: close, keep-alive, pipelined, upload")
    add("--rate", type=int, default=0, help="requests a second at most")
    add("--piece-ms", type=int, default=20, help="mean pause between two of an upload's 16 pieces")
    add("--timeout", type=int, default=60, help="seconds that an answer may take")
    add("--workers", type=int, default=2)
    add("--more", default="", help="more arguments for saola and gunicorn: --more=--preload")
    add("--seed", type=int, default=int(time.time()))
    add("--shown", type=int, default=5, help="failures to show in full")
    add("--json", type=Path, help="write the results there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    # Arbiters that outlive the one they were started by become our children.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    # What was started is ended in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names, results = options.servers.split(","), []
    with tempfile.TemporaryDirectory(prefix="ledger-") as place:
        for number, name in enumerate(names):
            try:
                result = run_server(name, options, Path(place) / name, number, len(names))
            except (FileNotFoundError, ValueError) as error:
                result = Result(name, errors=[str(error)])
            results.append(result)
            print(describe(result, options.shown), flush=True)
    for pid in children_of(os.getpid()):
        print(f"ERROR: process {pid} is left over")
        os.kill(pid, signal.SIGKILL)
    passed, lost = sum(r.passed for r in results), sum(r.lost for r in results)
    clean = lost == 0 and not any(r.errors for r in results)
    of_killed = sum(r.killed for r in results)
    print(f"{passed:,} passed, {lost} failed" + (f", {of_killed} of killed workers" if of_killed else "") +
          f"; seed {options.seed}, commit {commit()}, Linux {platform.release()}: {'OK' if clean else 'FAILED'}")
    if options.json:
        options.json.write_text(json.dumps(
            {"seed": options.seed, "commit": commit(), "kernel": platform.release(), "clean": clean,
             "arguments": vars(options) | {"json": None},
             "results": [{"name": r.name, "version": r.version, "passed": r.passed, "lost": r.lost,
                          "killed": r.killed, "events": r.events, "classes": r.by_class(), "errors": r.errors,
                          "respawn_ms": r.respawn_ms, "report": r.report} for r in results]}, indent=1) + "\n")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
