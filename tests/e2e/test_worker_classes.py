"""Each worker class under the same checks: those that are bundled, those of aiohttp and uvicorn, and one
custom class in Python and one in C (examples/worker)."""

from __future__ import annotations

import importlib.util
import os
import re
import signal

import pytest

from harness import SANITIZED, TOP, Truncated, is_alive, read_process, wait_until
from capi import compile_app

EXAMPLES = TOP / "examples" / "worker"


without_asan = pytest.mark.skipif(SANITIZED, reason="see test_gevent.py")


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)} for this Python")


# worker class, application, whether connections are kept alive.
CLASSES = [
    pytest.param("sync", "many_faces:wsgi", True, id="sync"),
    pytest.param("gthread", "many_faces:wsgi", True, id="gthread"),
    pytest.param("asgi", "many_faces:asgi", True, id="asgi"),
    pytest.param("aiohttp", "many_faces:make_aiohttp", True, id="aiohttp", marks=needs("aiohttp")),
    pytest.param("gevent", "many_faces:wsgi", True, id="gevent", marks=[needs("gevent"), without_asan]),
    pytest.param("tornado", "many_faces:tornado", True, id="tornado", marks=needs("tornado")),
    pytest.param("aiohttp.GunicornWebWorker", "many_faces:make_aiohttp()", True, id="aiohttp's", marks=needs("aiohttp")),
    pytest.param("aiohttp.GunicornUVLoopWebWorker", "many_faces:make_aiohttp()", True, id="aiohttp's with uvloop",
                 marks=needs("aiohttp", "uvloop")),
    pytest.param("uvicorn_worker.UvicornWorker", "many_faces:asgi", True, id="uvicorn's",
                 marks=needs("uvicorn_worker")),
    # When the signal of an abort meets wsgiref in a write, wsgiref prints what that raises.
    pytest.param("step3.MyWorker", "many_faces:wsgi", False, id="custom",
                 marks=pytest.mark.log_may_contain("Traceback")),
    pytest.param("./my_worker.so:my_worker", None, True, id="custom in C"),
]


@pytest.fixture
def start(serve, tmp_path):
    """Starts a server with a class of the table."""
    def run(kind, app, *args, workers):
        if app is None:
            if not (tmp_path / "my_worker.so").exists():
                compile_app(EXAMPLES / "step3.c", tmp_path / "my_worker.so")
            from harness import SERVER
            command = [*SERVER, "-k", str(tmp_path / "my_worker.so:my_worker"), "--bind", "127.0.0.1:0", "--workers",
                       str(workers), *args]
            return serve(None, command=command, bind=None)
        return serve(app, *args, worker_class=kind, workers=workers, env={"PYTHONPATH": str(EXAMPLES)})
    return run


def patient(server):
    """GET /, again where a server of somebody else's cuts a connection that it accepted just before it left."""
    while True:
        try:
            return server.get("/")
        except (ConnectionResetError, BrokenPipeError, Truncated):
            assert server.process.poll() is None


def pid_of(response):
    assert response.status == 200, response
    return int(re.search(r"(?:pid|from) (\d+)", response.text).group(1))


@pytest.mark.parametrize("kind, app, keeps", CLASSES)
def test_serves_keeps_alive_reloads_and_finishes_what_it_does_when_it_is_told_to_stop(start, kind, app, keeps):
    server = start(kind, app, workers=2)
    before = server.wait_workers(2)
    wait_until(lambda: pid_of(server.get("/")) in before, "an answer")
    with server.connect() as c:
        first = c.request("GET", "/")
        assert first.closes is not keeps
        if keeps:
            assert pid_of(c.request("GET", "/again")) == pid_of(first)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(server.worker_pids), lambda: f"new workers\n{server.log}")
    assert pid_of(server.get("/")) in server.wait_workers(2)
    with server.connect() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        if app is None:  # answers at once
            assert pid_of(c.read_response())
            server.signal(signal.SIGTERM)
        else:
            server.wait_log("slow begins")
            server.signal(signal.SIGTERM)
            assert pid_of(c.read_response())
    assert server.wait_exit() == 0


@pytest.mark.parametrize("kind, app, keeps", CLASSES)
def test_is_replaced_after_max_requests_and_when_it_hangs_and_ends_with_its_arbiter(start, adopt, kind, app, keeps):
    server = start(kind, app, "--max-requests", "4", "--timeout", "3", workers=1)
    first = pid_of(server.get("/"))
    served = [pid_of(server.get("/")) for _ in range(3)]
    assert set(served) == {first}
    wait_until(lambda: pid_of(patient(server)) != first, "max_requests")
    second = pid_of(patient(server))
    assert second != first
    os.kill(second, signal.SIGSTOP)
    server.wait_log(rf"WORKER TIMEOUT \(pid:{second}\)")
    wait_until(lambda: pid_of(patient(server)) not in (first, second), "the worker after it")
    third = pid_of(patient(server))
    wait_until(lambda: not read_process(second), "it was reaped by its arbiter, not by us")
    adopt(third)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    wait_until(lambda: not is_alive(third), lambda: f"the end of the worker\n{server.log}")
