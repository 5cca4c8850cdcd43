#!/usr/bin/env python3
"""Static files of 4 KB, 1 MB and 100 MB: throughput per CPU second, Saola's beside nginx's.

    python bench/static.py [--runs 3] [--seconds 3] [--nginx PROGRAM]

One worker of each server on CPU 0 in turn, wrk on CPU 1. nginx is Debian's with sendfile, tcp_nopush, keep-alive
without a limit and no access log, and no cache of open files: both open the file for each request.
Exit code 1 when Saola's throughput per CPU second is below 0.8 of nginx's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import CLIENT_CPU, BenchError, Running, cpu_seconds, free_port, started  # noqa: E402
from servers import ROOT  # noqa: E402

SIZES = {"4 KB": (4 << 10, 64), "1 MB": (1 << 20, 32), "100 MB": (100 << 20, 8)}  # bytes, connections
LIMIT = 0.8
FOUND = ROOT / "build" / "ledger" / "peers" / "usr" / "sbin" / "nginx"  # tools/fetch_peers.sh

NGINX = """
worker_processes 1; daemon off; master_process off; pid {place}/pid; error_log stderr crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    types {{ }} default_type application/octet-stream;
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    server {{ listen 127.0.0.1:{port}; location /static/ {{ alias {place}/files/; }} location / {{ return 200; }} }}
}}
"""
APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""


def measure(server: Running, name: str, connections: int, seconds: int) -> float:
    """MB per CPU second of the server."""
    def wrk(duration: int) -> dict:
        done = subprocess.run(
            ["taskset", "-c", str(CLIENT_CPU), "wrk", "-t1", f"-c{connections}", f"-d{duration}s", "--timeout", "30s",
             "-s", str(ROOT / "bench" / "static.lua"), f"{server.url}/static/{name}"], capture_output=True, text=True)
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                return json.loads(line[7:])
        raise BenchError("wrk failed: " + (done.stderr or done.stdout)[-200:])

    wrk(1)
    before = cpu_seconds(server.process.pid)
    result = wrk(seconds)
    spent = cpu_seconds(server.process.pid) - before
    if result["errors"] or not result["bytes"]:
        raise BenchError(f"errors: {result}")
    return result["bytes"] / spent / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--nginx", default=str(FOUND) if FOUND.exists() else shutil.which("nginx"))
    args = parser.parse_args()
    if not args.nginx:
        print("bench/static.py: there is no nginx. Type: tools/fetch_peers.sh", file=sys.stderr)
        return 2
    saola = Path(sys.executable).with_name("saola")
    found: dict[str, dict[str, list[float]]] = {"saola": {}, "nginx": {}}
    with tempfile.TemporaryDirectory(prefix="saola-static-") as text:
        place = Path(text)
        (place / "files").mkdir()
        place.chmod(0o755)
        for name, (size, _) in SIZES.items():
            (place / "files" / name.replace(" ", "")).write_bytes(os.urandom(size))
        (place / "static_bench_app.py").write_text(APP)
        for _ in range(args.runs):
            for server in found:
                port = free_port()
                (place / "nginx.conf").write_text(NGINX.format(place=place, port=port))
                command = {
                    "saola": [str(saola), "-b", f"127.0.0.1:{port}", "--static", f"/static={place}/files",
                              "--keep-alive", "75", "--worker-connections", "4096", "--log-level", "warning",
                              "--chdir", str(place), "static_bench_app:app"],
                    "nginx": [args.nginx, "-e", "stderr", "-p", str(place), "-c", str(place / "nginx.conf")],
                }[server]
                with started(command, port, ROOT / "build" / "bench" / "logs" / f"static-{server}.log") as running:
                    for name, (_, connections) in SIZES.items():
                        found[server].setdefault(name, []).append(
                            measure(running, name.replace(" ", ""), connections, args.seconds))
    worst = 9.9
    print("static files, MB per CPU second of the server (median)\n")
    print(f"{'size':>8}{'nginx':>10}{'saola':>10}{'ratio':>8}   limit {LIMIT}")
    for name in SIZES:
        theirs, ours = (statistics.median(found[server][name]) for server in ("nginx", "saola"))
        worst = min(worst, ours / theirs)
        print(f"{name:>8}{theirs:>10.0f}{ours:>10.0f}{ours / theirs:>8.2f}")
    return 0 if worst >= LIMIT else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench/static.py: {error}")
