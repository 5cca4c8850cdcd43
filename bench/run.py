#!/usr/bin/env python3
"""Measures what a request costs in Saola, in other servers and in the least loop there can be.

    python bench/run.py [--runs 3] [--seconds 3] [--servers saola,gunicorn] [--cases hello,sleep50]

Each server is started on CPU 0 beside a raw epoll loop that answers a canned response; wrk on CPU 1 puts
load on one and the other with 64 keep-alive connections, a second each by turns. The figure is CPU time
(user and system, whole process tree) per request in microseconds and its ratio to the raw loop's in the
same seconds; medians over runs, each with processes of its own. Rates depend on the machine and its
neighbours, the ratio hardly. Results go to bench/results/ as JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import WS_LOAD, BenchError, Load, Result, free_port, idle, in_turns, loaded, raise_file_limit, started  # noqa: E402
from servers import RAW, ROOT, SERVERS, Server, Tools, install_peers, prepare_debian, versions  # noqa: E402

CPU_CASES = {
    "hello": (Load(), 13),
    "10k": (Load(path="/10k"), 10240),
    "post10k": (Load("POST", "/echo", 10240), 10240),
    "pipeline": (Load(depth=16), 13),
}
#: For applications on an event loop. What raw does with them would say nothing: hello is their floor.
LOOP_CASES = {
    "wait": Load(path="/wait", connections=512),
    "websocket": Load(path="/ws", body=64, websocket=True),
}
CASES = [*CPU_CASES, *LOOP_CASES, "sleep50", "idle"]
THREADS, SLEEP_THREADS = 4, 16
SLEEP_SECONDS = 5  # a shorter time is mostly the first and last requests
SLEEP_LIMIT = SLEEP_THREADS / 0.05  # requests a second that so many threads can do
IDLE = 10000
NO_LOOP = "has no event loop"


def _why_not(server: Server, case: str) -> str | None:
    """Why a case says nothing of a server, in a few words."""
    if case == "pipeline" and not server.keepalive:
        return "closes connections"
    if case in LOOP_CASES and not server.loop:
        return NO_LOOP
    return "knows no WebSockets" if case == "websocket" and not server.websocket else None


@dataclass
class Row:
    """What was measured of one server: a list per case, one value a run."""

    name: str
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    ratio: dict[str, list[float]] = field(default_factory=dict)
    per_second: dict[str, list[float]] = field(default_factory=dict)
    idle_bytes: float | None = None
    problems: dict[str, str] = field(default_factory=dict)


class Progress:
    """One line on a terminal that says what runs; nothing elsewhere."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self.terminal:
            sys.stderr.write(f"\r\033[K{text[:118]}")
            sys.stderr.flush()

    def clear(self) -> None:
        self("")


class Bench:
    def __init__(self, args: argparse.Namespace, tools: Tools, say: Progress) -> None:
        self.args, self.tools, self.say = args, tools, say
        self.rows: dict[str, Row] = {}
        self.logs = ROOT / "build" / "bench" / "logs"

    def row(self, server: Server) -> Row:
        return self.rows.setdefault(server.name, Row(server.name))

    def start(self, server: Server, threads: int):
        port = free_port()
        if self.tools.log:
            self.tools.log.unlink(missing_ok=True)
        log = self.logs / (server.name.replace(" ", "-") + ".log")
        return started(server.command(self.tools, port, threads), port, log)

    def note(self, server: Server, case: str, result: Result, floor: float) -> None:
        row = self.row(server)
        row.cpu_us.setdefault(case, []).append(result.cpu_us)
        row.per_second.setdefault(case, []).append(result.per_second)
        row.ratio.setdefault(case, []).append(result.cpu_us / floor)
        if result.errors > 0 and (server.keepalive or result.errors > result.requests):
            row.problems[case] = f"{result.errors} errors in {result.requests} requests"

    def cpu_case(self, server: Server, case: str, run: int) -> None:
        """The server beside the raw loop; with a case of LOOP_CASES that gets the load of hello."""
        floor_case = "hello" if case in LOOP_CASES else case
        floor_load, body = CPU_CASES[floor_case]
        load = LOOP_CASES.get(case, floor_load)
        self.say(f"run {run + 1} of {self.args.runs}: {server.name}, {case}")
        with self.start(RAW[body], 1) as raw, self.start(server, THREADS) as running:
            floor, result = in_turns([(raw, floor_load), (running, load)], self.args.warm_up, self.args.seconds)
        self.note(RAW[body], floor_case, floor, floor.cpu_us)
        self.note(server, case, result, floor.cpu_us)

    def measure_server(self, server: Server, cases: list[str], run: int) -> None:
        row = self.row(server)
        for case in cases:
            if case in row.problems:
                continue
            if reason := _why_not(server, case):
                row.problems[case] = reason
                continue
            try:
                self.cpu_case(server, case, run)
            except BenchError as error:
                row.problems[case] = str(error)

    def measure_sleep(self, server: Server, run: int) -> None:
        row = self.row(server)
        self.say(f"run {run + 1} of {self.args.runs}: {server.name}, sleep50")
        try:
            with self.start(server, SLEEP_THREADS) as running:
                seconds = max(self.args.seconds, SLEEP_SECONDS)
                result = loaded(running, Load(path="/sleep"), self.args.warm_up, seconds)
                row.per_second.setdefault("sleep50", []).append(result.per_second)
        except BenchError as error:
            row.problems["sleep50"] = str(error)

    def measure_idle(self, server: Server) -> None:
        row = self.row(server)
        self.say(f"{server.name}, {self.args.idle} idle connections")
        try:
            with self.start(server, THREADS) as running:
                row.idle_bytes = idle(running, self.args.idle).bytes_each
        except BenchError as error:
            row.problems["idle"] = str(error)

    def run(self, servers: list[Server], cases: list[str]) -> None:
        cpu = [c for c in cases if c in CPU_CASES or c in LOOP_CASES]
        if cpu:
            self.row(RAW[13])  # the table's first line
        for run in range(self.args.runs):
            for server in servers:
                self.measure_server(server, cpu, run)
                if "sleep50" in cases and server.threads:
                    self.measure_sleep(server, run)
        if "idle" in cases:
            for server in [RAW[13], *(s for s in servers if s.keepalive)]:
                self.measure_idle(server)


# ---- output ------------------------------------------------------------------------------------------


def cells(row: Row, cases: list[str]) -> list[str]:
    out = [row.name]
    for case in cases:
        if case == "idle":
            out.append("-" if row.idle_bytes is None else f"{row.idle_bytes:.0f} B")
        elif case == "sleep50":
            rate = row.per_second.get(case)
            out.append(f"{statistics.median(rate):.0f}/s" if rate else "-")
        elif case in row.ratio and case not in row.problems:
            us, ratio = statistics.median(row.cpu_us[case]), statistics.median(row.ratio[case])
            out.append(f"{us:.2f} us {ratio:6.2f}")
        else:
            out.append("-")
    return out


def print_table(rows: list[Row], cases: list[str]) -> None:
    table = [["server", *cases], *(cells(row, cases) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        first, rest = line[0].ljust(widths[0]), zip(line[1:], widths[1:])
        print("  ".join([first, *(cell.rjust(width) for cell, width in rest)]))
    print(f"\nCPU microseconds per request and ratio to raw; wait: 512 connections, 10 ms, and websocket: an echo of 64 "
          f"bytes, to raw's hello; sleep50: of {SLEEP_LIMIT:.0f} possible; idle: memory per connection.")
    for row in rows:
        for case, problem in row.problems.items():
            if problem != NO_LOOP:
                print(f"{row.name}, {case}: {problem}")


def machine() -> dict[str, object]:
    cpu = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None


def save(bench: Bench, facts: dict[str, object], missing: dict[str, str]) -> Path:
    args = vars(bench.args)
    data = {
        "machine": facts,
        "commit": commit(),
        "settings": {k: args[k] for k in ("runs", "seconds", "warm_up", "idle", "access_log")},
        "not_installed": missing,
        "servers": [asdict(row) for row in bench.rows.values()],
    }
    folder = ROOT / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = str(facts["date"])[:19].replace(":", "").replace("-", "")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


# ---- command line ------------------------------------------------------------------------------------


def build_raw() -> Path:
    path = ROOT / "build" / "bench" / "raw_epoll"
    source = ROOT / "bench" / "raw_epoll.c"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", str(path), str(source)], check=True)
    return path


def build_ws_load() -> None:
    WS_LOAD.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", str(WS_LOAD), str(ROOT / "bench" / "ws_load.c")], check=True)


def build_c_app(saola: Path | None) -> None:
    """The application in C, by the headers that the package of the saola program has."""
    if saola is None:
        return
    target, source = ROOT / "build" / "bench" / "c_app.so", ROOT / "bench" / "c_app.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", f"-I{ROOT / 'include'}", "-o", str(target), str(source)],
                   check=True)


def find_saola(given: str | None) -> Path | None:
    for path in [Path(given)] if given else [Path(sys.prefix) / "bin/saola", ROOT / ".venv/bin/saola"]:
        if path.exists():
            return path.absolute()
    if given:
        sys.exit(f"bench: {given} does not exist; --saola is the path of the saola program")
    return None


def words(known: list[str]):
    """A comma list of beginnings of known names; anything else is an error of argparse."""
    def parse(text: str) -> list[str]:
        out = [k for k in known for w in text.split(",") if w and k.startswith(w)]
        for w in text.split(","):
            if not any(k.startswith(w) for k in known):
                raise argparse.ArgumentTypeError(f"{w!r} is none of {', '.join(known)}")
        return list(dict.fromkeys(out))

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = [s.name for s in SERVERS]
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument("--seconds", type=int, default=3, help="of load per case, and as many on the raw loop")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before")
    parser.add_argument("--servers", type=words(names), default=names, metavar="NAMES", help="comma list")
    parser.add_argument("--cases", type=words(CASES), default=CASES, metavar="NAMES", help="comma list")
    parser.add_argument("--idle", type=int, default=IDLE, help="connections of the case idle")
    parser.add_argument("--access-log", action="store_true",
                        help="Saola and gunicorn write theirs to build/bench/access.log (up to some GB)")
    parser.add_argument("--saola", help="the saola program")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "bench" / "venv",
                        help="where the other servers are installed")
    args = parser.parse_args()
    if args.runs < 1 or args.seconds < 1 or args.warm_up < 1 or args.idle < 1:
        parser.error("--runs, --seconds, --warm-up and --idle must be at least 1")
    return args


def main() -> int:
    args = arguments()
    say = Progress()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server is left behind
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: two CPUs are needed, one for the server and one for wrk")
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux"), ("cc", "gcc")):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True).returncode != 0:
            sys.exit(f"bench: {tool} is missing. Type: sudo apt-get install {package}")
    raise_file_limit()
    servers = [s for s in SERVERS if s.name in args.servers]
    missing = install_peers(args.venv, servers, say)
    tools = Tools(find_saola(args.saola), build_raw(), args.venv / "bin")
    if args.access_log:
        tools.log = ROOT / "build" / "bench" / "access.log"
    build_c_app(tools.saola)
    missing |= prepare_debian()
    if "websocket" in args.cases:
        build_ws_load()
    if tools.saola is None and any(s.name.startswith("saola") for s in servers):
        missing["saola"] = "no saola program; type: make venv, or give --saola PATH"
    servers = [s for s in servers if (s.package or s.name.split()[0]) not in missing]
    facts = machine()
    facts["versions"] = versions(tools, servers)
    bench = Bench(args, tools, say)
    status = 0
    try:
        bench.run(servers, args.cases)
    except KeyboardInterrupt:
        status = 130
        say.clear()
        print("interrupted; what was measured so far:", file=sys.stderr)
    say.clear()
    print_table(list(bench.rows.values()), args.cases)
    for name, reason in missing.items():
        print(f"{name}: not installed: {reason}")
    path = save(bench, facts, missing)
    print(f"saved {path.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
