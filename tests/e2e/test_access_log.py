"""The access log in C: the very lines of Python's logger, JSON, exclusion, rotation, slow files."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import harness
from harness import format_request, wait_until

#: Everything that does not differ from run to run.
FORMAT = ('%(h)s %(l)s %(u)s "%(r)s" %(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(b)s|%(B)s|%(f)s|%(a)s|%(T)s|'
          '%({X-Id}i)s|%({x-trace}o)s|%({none}i)s|%(none)s|100%%')

REQUESTS = [
    format_request(target="/"),
    format_request(target="/a%20b%ffc%0a%zz?q=1&r=%20"),
    format_request(target="/?"),
    format_request(target="/fail"),
    format_request(target="/empty"),
    format_request(target="/pieces"),
    format_request(method="HEAD", target="/"),
    format_request(method="POST", target="/", body=b"x" * 100),
    format_request(target="http://other:81/absolute?x"),
    *(format_request(target="/", headers=headers) for headers in [
        [("User-Agent", 'a"b\\c \xe9 \x80\x9f\xff')],
        [("User-Agent", "one"), ("user-agent", "two"), ("Referer", "http://from/")],
        [("X-Id", "1"), ("x-ID", "\t2\t3 ")],
        [("X-Id", "")],
        [("Authorization", "Basic YnJpYW46cHc=")],
        [("Authorization", "basic   YnJpYW4=")],
        [("Authorization", "Basic YXLCm+KAqDp4")],
        [("Authorization", "Basic YXL/OmI=")],
        [("Authorization", "Basic YnJpYW4")],
        [("Authorization", "Basic YQpiOnB3")],
        [("Authorization", "Bearer abc")],
        [("Authorization", "Basic YnJpYW46cHc="), ("Authorization", "Basic YnJpYW46cHc=")],
    ]),
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def lines_after(serve, tmp_path, name, *args, **options) -> list[str]:
    """The access log of a server that gets REQUESTS, one connection each."""
    log = tmp_path / name
    server = serve("logged:app", "--access-logfile", str(log), *args, **options)
    for request in REQUESTS:
        with server.connect() as connection:
            connection.send(request)
            while connection.sock.recv(65536):
                pass
    assert server.stop() == 0
    return lines_of(log)


@pytest.mark.log_may_contain("Traceback")
def test_the_core_writes_the_lines_that_python_writes(serve, tmp_path, worker_class):
    args = "--access-logformat", FORMAT, "--keep-alive", "0"
    core = lines_after(serve, tmp_path, "core", *args, worker_class=worker_class)
    python = lines_after(serve, tmp_path, "python", *args, "--logger-class", "logged.PythonLogger",
                         worker_class=worker_class)
    assert len(core) == len(REQUESTS)
    for request, ours, theirs in zip(REQUESTS, core, python, strict=True):
        assert ours == theirs, request


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("kind", ["json", "logfmt"])
def test_structured_lines_are_the_same_in_core_and_python(serve, tmp_path, kind):
    args = "--access-logformat", kind, "--keep-alive", "0"
    core = lines_after(serve, tmp_path, "core", *args)
    python = lines_after(serve, tmp_path, "python", *args, "--logger-class", "logged.PythonLogger")
    assert len(core) == len(python) == len(REQUESTS)
    if kind == "json":
        rows = [(json.loads(a), json.loads(b)) for a, b in zip(core, python, strict=True)]
    else:
        rows = [(dict(part.partition("=")[::2] for part in a.split(" ")),
                 dict(part.partition("=")[::2] for part in b.split(" ")))
                for a, b in zip(core, python, strict=True)]
    for ours, theirs in rows:
        assert list(ours) == list(theirs)
        for changing in ("time", "duration_us", "pid"):
            ours.pop(changing, None), theirs.pop(changing, None)
        assert ours == theirs


def test_a_logging_configuration_gets_the_lines_of_the_core(serve, tmp_path):
    """Handlers of the user's: the core makes the line, the logger hands it on."""
    log = tmp_path / "access"
    server = serve("logged:app", settings={
        "access_log_format": "json",
        "logconfig_dict": {
            "formatters": {"mine": {"format": "MINE %(message)s"}},
            "handlers": {"mine": {"class": "logging.FileHandler", "filename": str(log),
                                  "formatter": "mine"},
                         "error": {"class": "logging.StreamHandler"}},
            "root": {"level": "INFO", "handlers": []},
            "loggers": {"gunicorn.error": {"handlers": ["error"], "level": "INFO"},
                        "gunicorn.access": {"handlers": ["mine"], "level": "INFO",
                                            "propagate": False}}}})
    server.get("/a")
    wait_until(lambda: lines_of(log), "a line")
    mark, _, text = lines_of(log)[0].partition(" ")
    assert mark == "MINE" and json.loads(text)["path"] == "/a"


def test_excluded_requests_have_no_line(serve, tmp_path, worker_class):
    log = tmp_path / "access"
    server = serve("logged:app", "--access-logfile", str(log), "--access-logformat", "%(U)s %(s)s",
                   "--access-log-exclude", "/health 2xx", "--access-log-exclude", "/static/*",
                   "--access-log-exclude", "204", worker_class=worker_class)
    for path in "/health", "/static/a", "/empty", "/healthy", "/static":
        server.get(path)
    assert server.stop() == 0
    assert lines_of(log) == ["/healthy 200", "/static 200"]


def test_a_wrong_exclusion_is_one_line(serve):
    server = serve("logged:app", "--access-logfile", "-", "--access-log-exclude", "health",
                   wait=False)
    assert server.wait_exit() == 1
    assert "access_log_exclude: health: neither a path such as /health" in server.log


@pytest.mark.fault("M28")
def test_rotation_under_load_loses_and_doubles_no_line(serve, tmp_path, worker_class):
    log = tmp_path / "access"
    server = serve("logged:app", "--access-logfile", str(log), "--access-logformat", "%(q)s",
                   worker_class=worker_class, workers=2)
    server.wait_workers(2)
    sent = 0
    for turn in range(20):
        with server.connect() as connection:
            for _ in range(25):
                connection.send(format_request(target=f"/?{sent}"))
                connection.read_response()
                sent += 1
        log.rename(tmp_path / f"access.{turn}")
        server.signal(signal.SIGUSR1)
        wait_until(log.exists, "the new file")
    assert server.stop() == 0
    lines = sorted(int(line) for file in tmp_path.glob("access*") for line in lines_of(file))
    assert lines == list(range(sent))


@pytest.mark.fault("M28")
def test_a_log_that_nobody_reads_holds_up_no_request(serve, tmp_path, worker_class):
    """A fifo whose reader sleeps: requests go on, lines are dropped and counted."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = serve("logged:app", "--access-logfile", str(fifo), "--access-logformat",
                       "%(a)s" * 60, "--graceful-timeout", "5", worker_class=worker_class)
        request = format_request(target="/", headers=[("User-Agent", "x" * 4000)])
        began = time.monotonic()
        with server.connect() as connection:
            for _ in range(40):  # 240 KB of lines each
                connection.send(request)
                assert connection.read_response().status == 200
        assert time.monotonic() - began < harness.WAIT
        server.wait_log(r"The access log lost \d+ lines")
        assert server.stop() == 0
        assert "the last ones are lost" in server.log
    finally:
        os.close(reader)
