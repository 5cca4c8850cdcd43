"""The servers that the ledger's clients are set upon, and how each is started, reloaded and upgraded.

All serve the same two addresses, TCP and unix, and answer every request with its path, the pid of the
process that answers and the number of the generation that was loaded (see request.c). A server works in
a directory of its own, which it may fill.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Every wait ends as soon as its condition holds; the limit says only when it never will.
WAIT_S = 60.0
KEEPALIVE_S = 10

APP = (HERE / "app.py").read_text()


def wait_until(condition: Callable[[], object], what: str, limit_s: float = WAIT_S):
    """Returns the first true value of condition(); TimeoutError with what after limit_s seconds."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.005)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children_of(pid: int) -> list[int]:
    """Children of a process that still run, from /proc."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in found if is_alive(int(child))]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


class Server:
    """One server with a master and its workers.

    :ivar name: as it stands in reports.
    :ivar master: pid of the master process that takes signals now.
    :ivar generation: what answers of the newest configuration carry.
    """

    name = ""
    plain = False  # answers without a look at the body; no pauses and sizes to ask for
    counts = False  # TTIN and TTOU change the number of workers
    more: list[str] = []  # more arguments, for those that take gunicorn's

    def __init__(self, place: Path, workers: int = 2) -> None:
        self.place, self.workers, self.generation = place, workers, 0
        self.port, self.unix = free_port(), place / "s.sock"
        self.pidfile, self.log = place / "pid", place / "log"
        self.master = 0
        self.repeated = 0  # signals that were lost on the way and sent again
        self.process: subprocess.Popen | None = None

    # ---- what differs

    def command(self) -> list[str]:
        raise NotImplementedError

    def write(self, generation: int, broken: bool = False) -> None:
        """Writes what the server loads at its next start or reload."""
        raise NotImplementedError

    def reload(self) -> None:
        """Tells the server to load anew; wait_generation() says when it has."""
        os.kill(self.master, signal.SIGHUP)

    def upgrade(self) -> None:
        """Replaces the running program by itself; returns when the old master is gone."""
        raise NotImplementedError

    def fail_to_upgrade(self) -> None:
        """Tries an upgrade to what is broken; returns when only the old master is left."""
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    # ---- the same for all

    @property
    def targets(self) -> list[str]:
        return [f"tcp:127.0.0.1:{self.port}", f"unix:{self.unix}"]

    def start(self) -> None:
        self.launch()
        self.master = self.process.pid
        self.wait_generation()

    def launch(self) -> None:
        self.load_next()
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.place, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment | peer_environment(),
                                            start_new_session=True)

    def load_next(self) -> None:
        """Writes the next generation; not yet told to the server."""
        self.generation += 1
        self.write(self.generation)

    def answers(self) -> list[int]:
        """[pid, generation] of who answers a new connection now, or [] if nobody does."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as sock:
                sock.sendall(b"GET /probe-0/0/0 HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\r\n")
                text = b""
                while data := sock.recv(65536):
                    text += data
            path, pid, generation = text.partition(b"\r\n\r\n")[2].split()[:3]
        except (OSError, ValueError):
            return []
        return [int(pid), int(generation)]

    def wait_generation(self) -> None:
        """Waits until the newest generation answers."""
        self.wait(lambda: self.died() or self.answers()[1:] == [self.generation],
                  f"generation {self.generation} to answer")
        if self.died():
            raise RuntimeError(f"{self.name} has ended: {self.tail()}")

    def wait(self, condition: Callable[[], object], what: str):
        """wait_until(), with the end of the log in the error."""
        try:
            return wait_until(condition, what)
        except TimeoutError as error:
            raise TimeoutError(f"{self.name}: {error}; {self.tail()}") from None

    def tell(self, sign: int, condition: Callable[[], object], what: str):
        """Sends a signal to the master until condition() holds: one may be lost, or come too early."""
        end = time.monotonic() + WAIT_S
        while True:
            os.kill(self.master, sign)
            try:
                return wait_until(condition, what, limit_s=5)
            except TimeoutError as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"{self.name}: {error}; {self.tail()}") from None
                self.repeated += 1

    def died(self) -> bool:
        return not is_alive(self.master)

    def tail(self) -> str:
        return f"end of {self.log}:\n" + "\n".join(self.text().splitlines()[-15:])

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def worker_pids(self) -> list[int]:
        return children_of(self.master)

    def change_count(self, more: bool) -> None:
        os.kill(self.master, signal.SIGTTIN if more else signal.SIGTTOU)

    def read_pid(self, suffix: str = "") -> int:
        try:
            return int(Path(f"{self.pidfile}{suffix}").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def stop(self) -> None:
        """Ends what is left of the server, gently; what is left after a while by force."""
        for sign, limit_s in ((signal.SIGTERM, 40), (signal.SIGKILL, 10)):
            if self.died():
                break
            below = self.worker_pids()
            for pid in [self.master, *(below if sign == signal.SIGKILL else [])]:
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    pass
            try:
                wait_until(self.died, "the end of the server", limit_s)
            except TimeoutError:
                continue
        if self.process and self.process.pid == self.master:
            self.process.wait()
        else:
            reaped(self.master)


class Gunicorn(Server):
    """gunicorn, and what is a drop-in for it: the same options and signals."""

    counts = True

    def __init__(self, place: Path, workers: int = 2, *, worker_class: str, program: Path,
                 title: str = "gunicorn") -> None:
        super().__init__(place, workers)
        self.worker_class, self.program = worker_class, program
        self.name = f"{title} {worker_class}"

    def command(self) -> list[str]:
        return [str(self.program), "ledger_app:app", "-k", self.worker_class, "-w", str(self.workers),
                "--threads", "4" if self.worker_class == "gthread" else "1",
                "-b", f"127.0.0.1:{self.port}", "-b", f"unix:{self.unix}", "--pid", str(self.pidfile),
                "--keep-alive", str(KEEPALIVE_S), *self.more]

    def write(self, generation: int, broken: bool = False) -> None:
        text = f"raise RuntimeError('broken build {generation}')\n" if broken else \
            APP.replace("GENERATION = 0", f"GENERATION = {generation}")
        (self.place / "new").write_text(text)
        (self.place / "new").rename(self.place / "ledger_app.py")

    def upgrade(self) -> None:
        old = self.master
        self.master = self.tell(signal.SIGUSR2, self._second, f"{self.pidfile}.2")
        self.wait_generation()
        os.kill(old, signal.SIGTERM)
        self.wait(lambda: reaped(old), f"the end of the old arbiter {old}")
        self.wait(lambda: self.read_pid() == self.master, "the pid file to name the new arbiter")

    def fail_to_upgrade(self) -> None:
        self.write(self.generation + 1, broken=True)
        size = len(self.text())
        new = self.tell(signal.SIGUSR2, self._second, f"{self.pidfile}.2")
        self.wait(lambda: f"broken build {self.generation + 1}" in self.text()[size:],
                  "the broken build to be tried")
        # Reaped too: until then the old arbiter takes no other USR2.
        self.wait(lambda: not os.path.exists(f"/proc/{new}"), f"the end of the new arbiter {new}")
        self.write(self.generation)


    def _second(self) -> int:
        """The arbiter that the pid file's name with .2 names, or 0; a file left by a failure names nobody."""
        pid = self.read_pid(".2")
        return pid if is_alive(pid) else 0

    def version(self) -> str:
        done = subprocess.run([str(self.program), "--version"], capture_output=True, text=True)
        return (done.stdout + done.stderr).strip()


class Nginx(Server):
    """nginx with a location that returns the path."""

    name = "nginx"
    plain = True

    def command(self) -> list[str]:
        return [find_program("nginx"), "-p", str(self.place), "-c", str(self.place / "nginx.conf"),
                "-e", str(self.log)]

    def start(self) -> None:
        # In the foreground nginx takes no USR2; as a daemon it becomes the child of run.py, a subreaper.
        self.launch()
        self.process.wait()
        self.master = self.wait(self.read_pid, "the pid file")
        self.wait_generation()

    def write(self, generation: int, broken: bool = False) -> None:
        (self.place / "tmp").mkdir(exist_ok=True)
        paths = "".join(f"    {name}_temp_path tmp/{name};\n" for name in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.place / "nginx.conf").write_text(f"""worker_processes {self.workers};
pid {self.pidfile};
error_log {self.log} warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout {KEEPALIVE_S};
    client_body_buffer_size 128k;
{paths}
    server {{
        listen 127.0.0.1:{self.port} backlog=2048;
        listen unix:{self.unix} backlog=2048;
        location / {{ return 200 "$uri $pid {generation} 0 0\\n"; }}
    }}
}}
{'broken build;' if broken else ''}
""")

    def upgrade(self) -> None:
        old = self.master
        os.kill(old, signal.SIGUSR2)
        self.master = self.wait(lambda: self.read_pid() if self.read_pid() != old else 0,
                                 "the new master")
        self.wait_generation()
        os.kill(old, signal.SIGQUIT)
        self.wait(lambda: reaped(old), f"the end of {old}")

    def fail_to_upgrade(self) -> None:
        self.write(self.generation + 1, broken=True)
        size = len(self.text())
        os.kill(self.master, signal.SIGUSR2)
        self.wait(lambda: '"broken"' in self.text()[size:], "the broken build to be tried")
        self.wait(lambda: self.read_pid() == self.master, "the end of the new master")
        self.write(self.generation)

    def version(self) -> str:
        return subprocess.run([find_program("nginx"), "-v"], capture_output=True, env=peer_environment(),
                              text=True).stderr.strip().removeprefix("nginx version: ")


class Haproxy(Server):
    """haproxy, master-worker: HUP and USR2 are one thing, the master executes itself anew."""

    name = "haproxy"
    plain = True

    def command(self) -> list[str]:
        return [find_program("haproxy"), "-W", "-f", str(self.place / "haproxy.cfg"), "-p",
                str(self.pidfile), "-S", str(self.place / "master.sock")]

    def write(self, generation: int, broken: bool = False) -> None:
        (self.place / "haproxy.cfg").write_text(f"""global
    nbthread {self.workers}
    tune.bufsize 131072
    stats socket {self.place / 'stats.sock'} mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
    timeout http-keep-alive {KEEPALIVE_S}s
    timeout http-request 60s
frontend ledger
    bind 127.0.0.1:{self.port}
    bind unix@{self.unix}
    http-request wait-for-body time 60s if {{ method POST }}
    http-request return status 200 content-type text/plain lf-string "%[path] %pid {generation} 0 0\\n"
{'broken build' if broken else ''}
""")

    def reload(self) -> None:
        # A signal that comes while the master executes itself is lost.
        self.tell(signal.SIGUSR2, lambda: self.answers()[1:] == [self.generation], "the reload")

    def upgrade(self) -> None:
        self.reload()
        self.wait_generation()

    def fail_to_upgrade(self) -> None:
        self.write(self.generation + 1, broken=True)
        size = len(self.text())
        self.tell(signal.SIGUSR2, lambda: "broken" in self.text()[size:], "the broken build to be tried")
        self.write(self.generation)
        # The master waits for the next try; an orderly reload takes it out of that.
        self.wait(lambda: "Loading failure" in self.text()[size:], "the master to give up")

    def version(self) -> str:
        done = subprocess.run([find_program("haproxy"), "-v"], capture_output=True, text=True,
                              env=peer_environment())
        return done.stdout.splitlines()[0].split(" - ")[0]


def reaped(pid: int) -> bool:
    """The process has ended; if it is our child it is reaped."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return not is_alive(pid)


PEERS = ROOT / "build/ledger/peers"  # tools/fetch_peers.sh unpacks Debian's packages there


def peer_environment() -> dict[str, str]:
    libraries = [str(path) for path in PEERS.glob("usr/lib/*-linux-gnu")]
    return {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}


def find_program(name: str) -> str:
    program = PEERS / "usr/sbin" / name
    if not program.exists():
        raise FileNotFoundError(f"{name} is missing: make ledger-peers fetches it")
    return str(program)


def make(name: str, place: Path, workers: int = 2) -> Server:
    """The server of a name: saola-sync, saola-gthread, gunicorn-sync, gunicorn-gthread, nginx, haproxy."""
    title, _, worker_class = name.partition("-")
    place.mkdir(parents=True, exist_ok=True)
    if title == "nginx":
        return Nginx(place, workers)
    if title == "haproxy":
        return Haproxy(place, workers)
    program = Path(sys.executable).with_name("saola") if title == "saola" else \
        ROOT / "build/ledger/venv/bin/gunicorn"
    if title not in ("saola", "gunicorn") or worker_class not in ("sync", "gthread"):
        raise ValueError(f"no server {name!r}")
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing: make ledger, make ledger-peers install it")
    return Gunicorn(place, workers, worker_class=worker_class, program=program, title=title)
