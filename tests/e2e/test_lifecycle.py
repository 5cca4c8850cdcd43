"""How often an application is loaded, started and cleaned up: each row of docs/lifecycle.md is played, and what
the application says, what the trace says and what the report says must be what the row says."""

import importlib.util
import re
import signal
from pathlib import Path

import pytest

from harness import TOP, is_alive, wait_until

AIOHTTP = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="no aiohttp")
KINDS = [("asgi", "lifecycle_app:make_asgi()"),
         pytest.param(("aiohttp", "lifecycle_app:make_aiohttp()"), marks=AIOHTTP, id="aiohttp"),
         ("gthread", "lifecycle_app:make_wsgi()")]


def table_rows():
    """(event, arguments, load, startup, cleanup, stop) of each row."""
    text = (TOP / "docs" / "lifecycle.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.*?) \| (\d+) \| (\d+) \| (\d+) \| (.+?) \|$", text, re.MULTILINE)
    assert len(rows) >= 18
    return rows


def wait_for(server, step, count):
    server.wait_log(rf"Lifecycle: {step} \d+ ", count)


def boot(server):
    wait_for(server, "ready", server.wanted)
    return server.wait_workers(server.wanted)


def replaced(server, number, pid):
    """Sends the signal and waits until the worker has gone and another one serves."""
    old, = boot(server)
    server.signal(number, old if pid else None)
    wait_until(lambda: not is_alive(old), "the end of the worker")
    wait_for(server, "ready", 2)


def add(server):
    server.signal(signal.SIGTTIN)
    wait_for(server, "ready", server.wanted + 1)


def remove(server):
    boot(server)
    server.signal(signal.SIGTTOU)
    wait_for(server, "exit", 1)


def reload(server):
    boot(server)
    server.signal(signal.SIGHUP)
    wait_for(server, "ready", 2 * server.wanted)
    wait_for(server, "exit", server.wanted)


def reload_badly(server):
    boot(server)
    Path(server.cwd, "what").write_text("raise")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed|given up|stays in force")


def limit(server):
    boot(server)
    while "Lifecycle: ready 1" not in server.log.partition("Autorestarting")[2]:
        if server.ended():
            break
        try:
            server.get("/")
        except (OSError, ValueError):
            pass


def block(server):
    boot(server)
    with server.connect() as c:
        c.send(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("WORKER TIMEOUT")
        wait_for(server, "ready", 2)


def stop_while_busy(server):
    boot(server)
    with server.connect() as c:
        c.send(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("request in")
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0


EVENTS = {
    "nothing": boot,
    "HUP": reload,
    "HUP, and the new startup raises": reload_badly,
    "TTIN": add,
    "TTOU": remove,
    "`max_requests` are served": limit,
    "INT to the server": lambda server: (boot(server), server.signal(signal.SIGINT), server.wait_exit()),
    "TERM to the worker": lambda server: replaced(server, signal.SIGTERM, True),
    "INT to the worker": lambda server: replaced(server, signal.SIGINT, True),
    "KILL to the worker": lambda server: replaced(server, signal.SIGKILL, True),
    "ABRT to the worker": lambda server: replaced(server, signal.SIGABRT, True),
    "the loop is blocked for `timeout`": block,
    "TERM while a request does not end": stop_while_busy,
    "the startup raises": lambda server: server.wait_exit(),
    "the startup hangs": lambda server: server.wait_exit(),
}
# What a WSGI application has no startup of its own for, and where worker_exit runs all the same.
ASYNC_ONLY = {"TERM while a request does not end", "the startup raises", "the startup hangs",
              "HUP, and the new startup raises", "ABRT to the worker", "the loop is blocked for `timeout`"}


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.leaves("what")
@pytest.mark.parametrize("row", table_rows(), ids=lambda row: f"{row[0]} {row[1]}"[:40])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_the_table(serve, place, kind, row):
    event, arguments, load, startup, cleanup, cause = row
    name, app = kind
    if name == "gthread" and event in ASYNC_ONLY:
        pytest.skip("the row is about event loops")
    args = arguments.replace("`", "").split()
    fails = event.startswith("the startup")
    what = event.rpartition(" ")[2].removesuffix("s") if fails else str(place / "what")
    server = serve(app, "-k", name, "--trace-lifecycle", "--lifecycle-report", "--graceful-timeout", "4",
                   *args, env={"WHAT": what}, wait=not fails)
    server.wanted = int(args[args.index("-w") + 1]) if "-w" in args else 1
    EVENTS[event](server)
    if not server.ended():
        server.stop()
    log = server.log
    report = re.search(r"Lifecycle report .* load (\d+) \(\d in the arbiter\), startup (\d+), cleanup (\d+)", log)
    assert report.groups() == (load, startup, cleanup), log
    for step, count in (("load", load), ("startup", startup), ("cleanup", cleanup)):
        assert len(re.findall(rf"Lifecycle: {step} 1 ", log)) == int(count), log
    assert f"stop: {cause}," in log, log
    assert len(re.findall("^load in", log, re.MULTILINE)) == int(load), log
    if name == "gthread":
        return
    begun, ended = (re.findall(rf"^{word} in (\d+)", log, re.MULTILINE) for word in ("payload begins", "cleanup"))
    assert len(set(begun)) == len(begun) == int(startup) and len(set(ended)) == len(ended) == int(cleanup), log
    if "exclusive" in arguments:  # never two payloads at once
        assert re.findall(r"^payload (\w+)", log, re.MULTILINE) == ["begins", "ends"] * int(startup)
