"""Applications of real frameworks, the same cases for each: FastAPI, Starlette, Quart, Litestar, Django."""

import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

from harness import DATA, WAIT, wait_until

PLACE = str(DATA / "frameworks")


def found(*names):
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


FRAMEWORKS = [pytest.param(name, marks=found(name)) for name in ("fastapi", "starlette", "quart", "litestar", "django")]
LOOPS = ["asyncio", pytest.param("uvloop", marks=found("uvloop"))]


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("loop", LOOPS)
def test_an_application(serve, framework, loop):
    server = serve(f"{framework}_app:app", "--loop", loop, "--pythonpath", PLACE)
    server.wait_log("speaks ASGI")  # without being told
    with server.connect() as c:
        seen = json.loads(c.request("GET", "/hello/w%C3%B6rld?q=%E2%82%AC").body)
        host = f"{server.address[0]}:{server.address[1]}"
        assert seen["hello"] == "w\u00f6rld" and seen["q"] == "\u20ac" and seen["word"] == "from lifespan"
        assert seen["url"].startswith("http://") and "/hello/" in seen["url"], host
        assert c.request("POST", "/upload", body=bytes(1 << 20)).text == str(1 << 20)
        assert c.request("GET", "/stream").text == "part0 part1 part2 "
        assert c.request("GET", "/thread").text == "42"
        assert c.request("HEAD", "/thread").status in (200, 405)
        assert c.request("GET", "/nowhere").status == 404
    assert server.get("/fail").status == 500
    if framework != "django":
        server.wait_log("startup")
        assert server.get("/later").text == "soon"
        wait_until(lambda: "done" in server.get("/told").text, "the background task")
        websocket(server)
    assert server.stop() == 0
    if framework != "django":
        assert server.log.count("startup") == server.log.count("cleanup") == 1


def websocket(server):
    client = pytest.importorskip("websockets.sync.client")
    host, port = server.address
    with client.connect(f"ws://{host}:{port}/ws", proxy=None, open_timeout=WAIT) as ws:
        for text in ("one", "zw\u00f6lf" * 5000):
            ws.send(text)
            assert ws.recv(WAIT) == f"echo {text}"
        ws.close(3000)
    wait_until(lambda: "left 3000" in server.get("/told").text, lambda: "the disconnect: " + server.get("/told").text)


@found("starlette", "sniffio")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("debug", ["", "1"])
def test_structured_concurrency_is_as_on_the_stock_loop(serve, loop, debug):
    server = serve("starlette_app:app", "--loop", loop, "--pythonpath", PLACE,
                   env={"PYTHONASYNCIODEBUG": debug, "PYTHONDEVMODE": debug})
    expected = "KeyError timeout one None" if sys.version_info >= (3, 11) else "KeyError None"
    with server.connect() as c:
        for _ in range(3):
            assert c.request("GET", "/structured").text == expected
    assert server.stop() == 0
    for words in ("was never awaited", "never retrieved", "was destroyed", "ResourceWarning", "Non-thread-safe"):
        assert words not in server.log


@pytest.mark.parametrize("framework", FRAMEWORKS[1:2], indirect=True)
def test_a_reload_keeps_serving(serve, framework):
    server = serve(f"{framework}_app:app", "-w", "2", "--pythonpath", PLACE)
    server.wait_log("startup", 2)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload done")
    assert server.get("/thread").text == "42"
    assert server.stop() == 0
    assert server.log.count("cleanup") == 4


@pytest.mark.long
@pytest.mark.parametrize("framework", FRAMEWORKS[1:2], indirect=True)
def test_an_upload_of_a_gigabyte_in_constant_memory(serve, framework):
    server = serve(f"{framework}_app:app", "--pythonpath", PLACE)
    worker, = server.wait_workers(1)

    def peak():
        text = Path(f"/proc/{worker}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))

    assert server.fetch("POST", "/upload", body=bytes(1 << 20)).text == str(1 << 20)
    before, part = peak(), bytes(1 << 20)
    with server.connect() as c:
        c.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        for _ in range(1 << 10):
            c.send(part)
        assert c.read_response().text == str(1 << 30)
    assert peak() - before < 4096, f"{peak() - before} KiB more"
