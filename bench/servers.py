"""The servers of the benchmark: how each is installed and started."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
APP = "bench.app:app"
ASGI_APP = "bench.asgi_app:app"
AIOHTTP_APP = "bench.aiohttp_app:app"


@dataclass
class Tools:
    """Where the programs are. ``peers`` is the bin folder of the virtual environment of the peers; ``log`` the
    file into which Saola and gunicorn write their access log, or None."""

    saola: Path | None
    raw: Path
    peers: Path
    log: Path | None = None

    def log_flags(self) -> list[str]:
        return ["--access-logfile", str(self.log)] if self.log else []


@dataclass(frozen=True)
class Server:
    """One server: a row of the result.

    :param package: what pip installs (several words: several packages), or None.
    :param command: makes the command line from the tools, the port and the number of threads.
    :param keepalive: whether it keeps connections open; others cannot pipeline nor idle.
    :param threads: whether it runs several slow requests at once.
    :param loop: whether its application is on an event loop: the cases wait and websocket.
    :param websocket: ... and whether it knows WebSockets.
    """

    name: str
    package: str | None
    command: Callable[[Tools, int, int], list[str]]
    keepalive: bool = True
    threads: bool = False
    loop: bool = False
    websocket: bool = True


def _saola(kind: str) -> Callable[[Tools, int, int], list[str]]:
    def command(tools: Tools, port: int, threads: int) -> list[str]:
        flags = ["--threads", str(threads)] if kind == "gthread" else []
        return [
            str(tools.saola), "-k", kind, *flags, "-b", f"127.0.0.1:{port}", "-w", "1",
            "--worker-connections", "20000", "--keep-alive", "75", "--log-level", "warning", *tools.log_flags(),
            {"asgi": ASGI_APP, "aiohttp": AIOHTTP_APP}.get(kind, APP),
        ]

    return command


def _saola_c(tools: Tools, port: int, threads: int) -> list[str]:
    return [
        str(tools.saola), "-b", f"127.0.0.1:{port}", "-w", "1", "--worker-connections", "20000",
        "--keep-alive", "75", "--log-level", "warning", *tools.log_flags(), "./build/bench/c_app.so",
    ]


def _uvicorn(tools: Tools, port: int, threads: int) -> list[str]:
    return [
        str(tools.peers / "uvicorn"), "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75",
        ASGI_APP,
    ]


def _hypercorn(tools: Tools, port: int, threads: int) -> list[str]:
    return [
        str(tools.peers / "hypercorn"), "-b", f"127.0.0.1:{port}", "-w", "1", "-k", "uvloop", "--keep-alive", "75",
        "--log-level", "warning", ASGI_APP,
    ]


def _gunicorn(kind: str) -> Callable[[Tools, int, int], list[str]]:
    def command(tools: Tools, port: int, threads: int) -> list[str]:
        flags = ["--threads", str(threads)] if kind == "gthread" else []
        return [
            str(tools.peers / "gunicorn"), "-k", kind, *flags, "-b", f"127.0.0.1:{port}", "-w", "1",
            "--worker-connections", "20000", "--keep-alive", "75", "--log-level", "warning", *tools.log_flags(),
            AIOHTTP_APP if kind.startswith("aiohttp.") else ASGI_APP if kind == "asgi" else APP,
        ]

    return command


def _uwsgi(tools: Tools, port: int, threads: int) -> list[str]:
    return [
        str(tools.peers / "uwsgi"), "--http11-socket", f"127.0.0.1:{port}", "--module", APP,
        "--master", "--processes", "1", "--threads", str(threads), "--disable-logging", "--die-on-term",
        "--listen", "128", "--single-interpreter", "--need-app", "--buffer-size", "16384",
    ]


def _granian(interface: str) -> Callable[[Tools, int, int], list[str]]:
    def command(tools: Tools, port: int, threads: int) -> list[str]:
        wsgi = interface == "wsgi"
        flags = ["--blocking-threads", str(threads), "--no-ws"] if wsgi else ["--loop", "uvloop"]
        return [
            str(tools.peers / "granian"), "--interface", interface, "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", *flags, "--http", "1", "--no-access-log", "--log-level", "warning",
            "--backlog", "2048", "--backpressure", "20000", APP if wsgi else ASGI_APP,
        ]

    return command


def _waitress(tools: Tools, port: int, threads: int) -> list[str]:
    return [
        str(tools.peers / "waitress-serve"), f"--listen=127.0.0.1:{port}", f"--threads={threads}",
        "--connection-limit=20000", "--channel-timeout=75", "--asyncore-use-poll", APP,
    ]


def _script(name: str) -> Callable[[Tools, int, int], list[str]]:
    def command(tools: Tools, port: int, threads: int) -> list[str]:
        return [str(tools.peers / "python"), "-m", "bench.serve", name, str(port)]

    return command


#: Of Debian's packages, unpacked by tools/fetch_peers.sh.
DEBIAN = ROOT / "build" / "ledger" / "peers" / "usr"
NGINX = """
worker_processes 1; daemon off; pid {place}/pid; error_log stderr crit; worker_rlimit_nofile 32768;
events {{ worker_connections 20000; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type text/plain;
    client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location = / {{ return 200 "Hello, World!"; }}
        location = /10k {{ alias {place}/10k; }}
    }}
}}
"""


def _nginx(tools: Tools, port: int, threads: int) -> list[str]:
    place = ROOT / "build" / "bench" / "nginx"
    place.mkdir(parents=True, exist_ok=True)
    (place / "10k").write_bytes(b"x" * 10240)
    (place / "nginx.conf").write_text(NGINX.format(place=place, port=port))
    return [str(DEBIAN / "sbin" / "nginx"), "-e", "stderr", "-p", str(place), "-c", str(place / "nginx.conf")]


def _microhttpd(tools: Tools, port: int, threads: int) -> list[str]:
    return [str(ROOT / "build" / "bench" / "microhttpd"), str(port)]


def prepare_debian() -> dict[str, str]:
    """Builds what runs on Debian's libraries.

    :return: for each server that cannot be had, the reason.
    """
    missing = {}
    if not (DEBIAN / "sbin" / "nginx").exists():
        missing["nginx"] = "type: tools/fetch_peers.sh"
    libraries = [path.parent for path in DEBIAN.glob("lib/*/libmicrohttpd.so")]
    done = subprocess.run(
        ["cc", "-O2", "-D_GNU_SOURCE", f"-I{DEBIAN / 'include'}", "-o", str(ROOT / "build" / "bench" / "microhttpd"),
         str(ROOT / "bench" / "microhttpd.c"), *(f"-L{path}" for path in libraries),
         *(f"-Wl,-rpath,{path}" for path in libraries), "-lmicrohttpd"], capture_output=True, text=True)
    if done.returncode != 0:
        missing["libmicrohttpd"] = "type: tools/fetch_peers.sh"
    return missing


def _raw(body: int) -> Callable[[Tools, int, int], list[str]]:
    return lambda tools, port, threads: [str(tools.raw), str(port), str(body)]


#: The floor has two rows inside, one a size of response; the result shows one.
RAW = {13: Server("raw", None, _raw(13)), 10240: Server("raw", None, _raw(10240))}

SERVERS = [
    Server("saola C", None, _saola_c),
    Server("nginx return", None, _nginx),
    Server("libmicrohttpd", None, _microhttpd),
    Server("saola sync", None, _saola("sync")),
    Server("saola gthread", None, _saola("gthread"), threads=True),
    Server("saola asgi", None, _saola("asgi"), loop=True),
    Server("saola aiohttp", None, _saola("aiohttp"), loop=True),
    Server("gunicorn sync", "gunicorn", _gunicorn("sync"), keepalive=False),
    Server("gunicorn gthread", "gunicorn", _gunicorn("gthread"), threads=True),
    Server("gunicorn asgi", "gunicorn uvloop", _gunicorn("asgi"), loop=True),
    Server("gunicorn aiohttp", "gunicorn aiohttp", _gunicorn("aiohttp.GunicornWebWorker"), loop=True),
    Server("gunicorn aiohttp uvloop", "gunicorn aiohttp uvloop",
           _gunicorn("aiohttp.GunicornUVLoopWebWorker"), loop=True),
    Server("aiohttp", "aiohttp", _script("aiohttp"), loop=True),
    Server("uvicorn", "uvicorn[standard]", _uvicorn, loop=True),
    Server("hypercorn", "hypercorn uvloop", _hypercorn, loop=True),
    Server("granian asgi", "granian uvloop", _granian("asgi"), loop=True),
    Server("fastpysgi asgi", "fastpysgi", _script("fastpysgi-asgi"), loop=True, websocket=False),
    Server("uwsgi", "uwsgi", _uwsgi, threads=True),
    Server("granian", "granian", _granian("wsgi"), threads=True),
    Server("bjoern", "bjoern", _script("bjoern")),
    Server("fastpysgi", "fastpysgi", _script("fastpysgi")),
    Server("waitress", "waitress", _waitress, threads=True),
]


def install_peers(venv: Path, wanted: list[Server], say: Callable[[str], None]) -> dict[str, str]:
    """Installs the packages of the wanted servers into venv.

    :return: for each package that cannot be had, the reason in one line.
    """
    packages = sorted({s.package for s in wanted if s.package is not None})
    if not packages:
        return {}
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"making {venv}")
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    missing = {}
    for package in packages:
        mark = venv / f".no-{package.replace(' ', '-')}"
        words = package.split()
        if all(subprocess.run([str(python), "-m", "pip", "show", "-q", word],
                              capture_output=True).returncode == 0 for word in words):
            continue
        if mark.exists():
            missing[package] = mark.read_text()
            continue
        say(f"installing {package}")
        done = subprocess.run(
            [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", *words],
            capture_output=True, text=True)
        if done.returncode != 0:
            missing[package] = _reason(done.stderr)
            mark.write_text(missing[package])
    return missing


def _reason(stderr: str) -> str:
    """The most telling line of a failed pip run."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for wanted in ("fatal error:", "ERROR: No matching", "ERROR: Could not find", "error:", "ERROR:"):
        for line in lines:
            if wanted in line:
                return line[:160]
    return lines[-1][:160] if lines else "pip failed"


def versions(tools: Tools, wanted: list[Server]) -> dict[str, str]:
    """Version of each installed server, by package name."""
    found = {}
    for package in sorted({word for s in wanted for word in (s.package or "").split()}):
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([str(tools.peers / "python"), "-c", code], capture_output=True, text=True)
        if done.returncode == 0:
            found[package] = done.stdout.strip()
    if tools.saola is not None:
        done = subprocess.run([str(tools.saola), "--version"], capture_output=True, text=True, cwd=ROOT)
        found["saola"] = (done.stdout + done.stderr).strip()
    return found
