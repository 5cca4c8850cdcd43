"""Workers that miss the signal to leave, or what it raises, all the same leave."""

from __future__ import annotations

import importlib.util
import signal
import time

import pytest

from harness import DATA

needs_uvloop = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="no uvloop for this Python")
needs_aiohttp = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="no aiohttp for this Python")
needs_gevent = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="no gevent for this Python")
needs_tornado = pytest.mark.skipif(importlib.util.find_spec("tornado") is None, reason="no tornado for this Python")
needs_uvicorn = pytest.mark.skipif(importlib.util.find_spec("uvicorn_worker") is None, reason="no uvicorn_worker")


def leaves_by_itself(server):
    assert server.wait_exit() == 0
    assert "did not stop within" not in server.log and "TIMEOUT" not in server.log, server.log


@pytest.mark.parametrize("kind, app", [
    pytest.param("late.Aiohttp", "late:make_aiohttp()", marks=needs_aiohttp),
    pytest.param("late.AiohttpUvloop", "late:make_aiohttp()", marks=[needs_aiohttp, needs_uvloop]),
    pytest.param("late.Uvicorn", "late:asgi", marks=needs_uvicorn),
    pytest.param("late.Own", "late:wsgi", marks=needs_uvloop),
])
def test_asked_to_leave_between_the_handlers_and_the_loop(serve, kind, app):
    server = serve(app, "--graceful-timeout", "6", worker_class=kind, wait=False,
                   env={"PYTHONPATH": str(DATA)})
    server.wait_log("at the gate")
    server.signal(signal.SIGTERM)
    leaves_by_itself(server)


@needs_uvicorn
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_of_uvicorns_ends_with_all_its_hooks(serve, number):
    server = serve("many_faces:asgi", "--graceful-timeout", "6", worker_class="uvicorn_worker.UvicornWorker",
                   config="def worker_exit(server, worker): worker.log.info('HOOK exit')")
    assert server.get("/").status == 200
    server.signal(number)
    leaves_by_itself(server)
    assert "HOOK exit" in server.log and "was sent" not in server.log


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_an_application_that_takes_the_signal_for_itself(serve, kind):
    server = serve("late:hears_nothing()", "--graceful-timeout", "6", worker_class=kind)
    assert server.get("/").status == 200
    server.signal(signal.SIGTERM)
    leaves_by_itself(server)
    assert "mine" in server.log


@pytest.mark.parametrize("kind", [
    "sync", "asgi", "gthread",
    pytest.param("aiohttp", marks=needs_aiohttp),
    pytest.param("gevent", marks=needs_gevent),
    pytest.param("tornado", marks=needs_tornado),
])
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_who_imports_for_long_leaves_at_once(serve, kind, number):
    server = serve("late:sleeps()", "--graceful-timeout", "30", worker_class=kind, wait=False)
    server.wait_log("^loading", 1)
    began = time.monotonic()
    server.signal(number)
    leaves_by_itself(server)
    assert time.monotonic() - began < 15
    assert "ERROR" not in server.log and "Traceback" not in server.log, server.log


@pytest.mark.parametrize("kind, number, options", [
    ("sync", signal.SIGQUIT, ()),
    ("gthread", signal.SIGINT, ("--reload",)),
    pytest.param("uvicorn_worker.UvicornWorker", signal.SIGTERM, (), marks=needs_uvicorn),
])
def test_a_stop_during_the_import_is_no_failure_of_the_application(serve, kind, number, options):
    """Code that wraps our SystemExit in an exception of its own; so does CPython 3.11 around __set_name__."""
    server = serve("late:wraps()", *options, worker_class=kind, workers=2, wait=False)
    server.wait_log("^loading", 2)
    server.signal(number)
    leaves_by_itself(server)
    assert "ERROR" not in server.log and "not my fault" not in server.log, server.log
