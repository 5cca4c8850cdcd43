"""Every request is accounted for: the small version of `make ledger`, and the ledger itself on trial.

Expected behaviour: ARCHITECTURE.md, section 4 ("Drain"). The clients are in tests/ledger.
"""

import json
import socket
import struct
import subprocess
import sys
import threading

import pytest

from harness import SANITIZED, TOP, WAIT

sys.path.insert(0, str(TOP / "tests/ledger"))
import run as ledger  # noqa: E402

pytestmark = pytest.mark.skipif(SANITIZED, reason="run.py starts the installed program")


def account(tmp_path, *arguments):
    """Runs run.py; its output, exit code and results."""
    file = tmp_path / "ledger.json"
    done = subprocess.run(
        [sys.executable, str(TOP / "tests/ledger/run.py"), "--json", str(file), "--seed", "1", *arguments],
        capture_output=True, text=True, timeout=WAIT * 20)
    return done.stdout + done.stderr, done.returncode, json.loads(file.read_text())["results"]


def test_reloads_upgrades_and_changing_counts_lose_nothing(tmp_path, worker_class):
    output, code, (result,) = account(
        tmp_path, "--servers", f"saola-{worker_class}", "--requests", "10000", "--rate", "5000",
        "--hup", "5", "--usr2", "2", "--broken", "1", "--ttin", "6")
    assert code == 0 and result["lost"] == 0, output
    assert result["events"] == {"hup": 5, "usr2": 1, "broken": 1, "ttin": 6}
    for where, verdicts in result["report"]["verdicts"].items():
        assert verdicts["ok"] > 0, f"{where} was not tried:\n{output}"
    assert result["passed"] >= 10000
    # 2 at the start, 2 for each reload and the upgrade.
    assert result["report"]["pids"] >= 14, output


@pytest.mark.fault("W2")
def test_what_fails_belongs_to_a_killed_worker(tmp_path, worker_class):
    output, code, (result,) = account(
        tmp_path, "--servers", f"saola-{worker_class}", "--requests", "10000", "--rate", "5000",
        "--hup", "0", "--usr2", "0", "--ttin", "0", "--kill", "6")
    assert code == 0 and result["lost"] == 0, output
    # Uploads are always under way: a worker's death costs some.
    assert 0 < result["killed"] == result["report"]["failed"], output
    assert len(result["respawn_ms"]) == 6, output


# ---- the ledger on trial: servers that do it wrong -------------------------------------------------------

GOOD = "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}"


class Wrong(threading.Thread):
    """A server that treats each connection by a function of the socket and what it received first."""

    def __init__(self, treat) -> None:
        super().__init__(daemon=True)
        self.listener, self.treat = socket.create_server(("127.0.0.1", 0)), treat
        self.start()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client) -> None:
        with client:
            try:
                data = client.recv(65536)
                if data:
                    self.treat(client, data)
            except OSError:
                pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()


def answer(data: bytes, fields: str = "", number: int = 0) -> bytes:
    path = data.split(b"\r\n\r\n")[number].split()[1].decode()
    body = f"{path} 1 1 0 00000000\n"
    return GOOD.format(length=len(body), fields=fields, body=body).encode()


def reset(client, data=b""):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def truncated(client, data):
    client.sendall(answer(data)[:-5])


def first_only(client, data):
    client.sendall(answer(data, "Connection: close\r\n"))


def another(client, data):
    client.sendall(answer(data).replace(b"\n/", b"\n/9"))


def error(client, data):
    client.sendall(answer(data).replace(b"200 OK", b"500 Oh"))


def twice(client, data):
    client.sendall(answer(data) * 2)


def chunked(client, data):
    client.sendall(answer(data, "Transfer-Encoding: chunked\r\n"))


def never(client, data):
    client.recv(1)


@pytest.mark.parametrize("treat, clients, verdict", [
    (None, "1,0,0,0", "refused"),
    (reset, "0,1,0,0", "reset"),
    (lambda client, data: None, "0,1,0,0", "eof"),
    (truncated, "0,1,0,0", "truncated"),
    (first_only, "0,0,1,0", "unanswered"),
    (another, "0,1,0,0", "wrong"),
    (error, "1,0,0,0", "wrong"),
    (twice, "1,0,0,0", "wrong"),
    (chunked, "1,0,0,0", "wrong"),
    (never, "0,1,0,0", "timeout"),
])
def test_every_way_to_lose_a_request_is_seen_and_named(treat, clients, verdict):
    server = Wrong(treat)
    port = server.listener.getsockname()[1]
    if treat is None:
        server.close()
    try:
        report, failures = accounts(port, "--requests", "2", "--plain", "--clients", clients)
    finally:
        if treat is not None:
            server.close()
    failed = {name for verdicts in report["verdicts"].values() for name, n in verdicts.items() if n and name != "ok"}
    assert failed == {verdict}
    assert failures and {failure["verdict"] for failure in failures} == {verdict}
    assert report["failed"] == len(failures) and report["done"] >= 2


def test_a_right_answer_and_an_announced_close_are_no_failure():
    server = Wrong(lambda client, data: client.sendall(
        b"".join(answer(data, "Connection: close\r\n" if n == 7 else "", n) for n in range(8))))
    try:
        report, failures = accounts(server.listener.getsockname()[1], "--requests", "16", "--plain", "--clients",
                                    "0,0,1,0")
    finally:
        server.close()
    assert not failures and report["failed"] == 0 and report["done"] >= 16
    assert report["remarks"]["closed_idle"] == 0


def accounts(port, *arguments):
    """The ledger's report about the server at a port, and what failed."""
    done = subprocess.run([str(ledger.ledger_program()), "--timeout", "1", *arguments, f"tcp:127.0.0.1:{port}"],
                          input="", capture_output=True, text=True, timeout=WAIT * 4, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return events[-1], [event for event in events if event["event"] == "failed"]
