#!/usr/bin/env python3
"""5,000 slow clients beside 50 normal ones: what the normal ones feel of it, and what memory it takes.

    python bench/slow.py [--count 5000] [--seconds 4] [--pause 5] [--classes sync,gthread,asgi] [--kinds head,body,reader]

One worker on CPU 0, both kinds of clients on CPU 1. Slow clients send one byte a second of a head or of a body of
100 KB, or read one byte a second of an answer of 256 KB; when the server ends a connection, they come again. Normal
clients ask for 13 bytes on connections that stay open, and again --pause milliseconds after the answer (0: at once).
Times and limits are the server's defaults, but for worker_connections. Exit code 1 when the normal clients' 99th
percentile (median of three measurements) is twice that without the attack or more, when one of their requests fails,
or when the memory (PSS of all processes) grows by 64 MiB or more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import CLIENT_CPU, BenchError, Running, free_port, pss_bytes, raise_file_limit, started  # noqa: E402
from servers import APP, ASGI_APP, ROOT  # noqa: E402

LIMIT_P99, LIMIT_MEMORY = 2.0, 64 << 20
NORMAL = 50
ROUNDS = 3
PROGRAM = ROOT / "build" / "bench" / "slow_load"


@dataclass
class Feeling:
    """What normal clients feel: medians of the rounds in microseconds, and what did not succeed."""

    p50: float
    p99: float
    worst: float
    errors: int


def build(cc: str = "cc") -> None:
    """Compiles the load program.

    :raises BenchError: when the compiler does not like it.
    """
    source = ROOT / "bench" / "slow_load.c"
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > source.stat().st_mtime:
        return
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([cc, "-O2", "-D_GNU_SOURCE", "-o", str(PROGRAM), str(source)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip()[-300:])


def command(*arguments: object) -> list[str]:
    return ["taskset", "-c", str(CLIENT_CPU), str(PROGRAM), *map(str, arguments)]


def normal_clients(server: Running, seconds: float, pause: float) -> Feeling:
    """Runs them a few times."""
    found = []
    for _ in range(ROUNDS):
        done = subprocess.run(command("normal", server.port, NORMAL, seconds, pause), capture_output=True, text=True)
        if done.returncode != 0 or not json.loads(done.stdout)["requests"]:
            raise BenchError(f"no normal request was answered: {done.stdout}{done.stderr}")
        found.append(json.loads(done.stdout))
    middle = {name: statistics.median(one[name] for one in found) for name in ("p50", "p99")}
    return Feeling(**middle, worst=max(one["max"] for one in found), errors=sum(one["errors"] for one in found))


@contextlib.contextmanager
def attack(server: Running, kind: str, count: int) -> Iterator[dict]:
    """Slow clients, all connected; what became of them is in the dictionary after the block."""
    process = subprocess.Popen(command("attack", kind, server.port, count), stdout=subprocess.PIPE, text=True)
    result: dict = {}
    try:
        if "ready" not in process.stdout.readline():
            raise BenchError(f"the slow clients ({kind}) did not all connect")
        yield result
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        result.update(json.loads(rest.strip().splitlines()[-1]) if rest.strip() else {})


def measure(worker_class: str, kind: str, args: argparse.Namespace) -> bool:
    """One row of the table; False when a limit is exceeded."""
    port = free_port()
    saola = [str(Path(sys.executable).with_name("saola")), "-k", worker_class, "-b", f"127.0.0.1:{port}", "-w", "1",
             "--worker-connections", "20000", "--log-level", "error", ASGI_APP if worker_class == "asgi" else APP]
    log = ROOT / "build" / "bench" / "logs" / f"slow-{worker_class}-{kind}.log"
    with started(saola, port, log) as server:
        without = normal_clients(server, args.seconds, args.pause)
        before = pss_bytes(server.process.pid)
        with attack(server, kind, args.count) as slow:
            beside = normal_clients(server, args.seconds, args.pause)
            memory = pss_bytes(server.process.pid) - before
    ratio = beside.p99 / without.p99
    good = ratio < LIMIT_P99 and memory < LIMIT_MEMORY and without.errors + beside.errors == 0
    print(f"{worker_class:>8}{kind:>8}{without.p50:>8.0f}{without.p99:>8.0f}{beside.p50:>8.0f}{beside.p99:>8.0f}"
          f"{beside.worst / 1000:>9.1f}{ratio:>7.2f}{memory / (1 << 20):>9.1f}{beside.errors:>7}{slow['opened']:>8}"
          f"{slow['ended']:>7}{'' if good else '   OVER'}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pause", type=float, default=5)
    parser.add_argument("--classes", default="sync,gthread,asgi")
    parser.add_argument("--kinds", default="head,body,reader")
    args = parser.parse_args()
    raise_file_limit()
    build()
    print(f"{args.count} slow clients beside {NORMAL} normal ones (microseconds; memory in MiB over that before)\n")
    print(f"{'':>16}{'without':>16}{'beside them':>16}\n{'class':>8}{'kind':>8}{'p50':>8}{'p99':>8}{'p50':>8}{'p99':>8}"
          f"{'worst ms':>9}{'ratio':>7}{'memory':>9}{'failed':>7}{'opened':>8}{'ended':>7}")
    results = [measure(worker_class, kind, args)
               for worker_class in args.classes.split(",") for kind in args.kinds.split(",")]
    return 0 if all(results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench/slow.py: {error}")
