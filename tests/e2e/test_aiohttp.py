"""aiohttp.web applications over real sockets, on both paths: requests made by the engine, and
connections given to aiohttp's own protocol."""

import asyncio
import gzip
import importlib.metadata
import importlib.util
import json
import re
import signal
import socket
import struct
import sys
import zlib
from pathlib import Path

import pytest

from harness import DATA, TOP, Truncated, wait_until
from saola.aio.web import release

aiohttp = pytest.importorskip("aiohttp")

FAST = "requests are made by the engine"
PUBLIC = "connections go to aiohttp's own protocol"
RELEASE = release(aiohttp.__version__)
UVLOOP = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="no uvloop for this Python")


@pytest.fixture(params=["fast", "public", pytest.param("uvloop", marks=UVLOOP)])
def start(serve, request):
    """Starts the cases on both paths, and under uvloop."""
    def run(*args, **options):
        app = "aiohttp_app:make_runner" if request.param == "public" else "aiohttp_app:make_async"
        loop = "uvloop" if request.param == "uvloop" else "asyncio"
        server = serve(app, "-k", "aiohttp", "--loop", loop, *args, **options)
        server.wait_log(PUBLIC if request.param == "public" else FAST)
        return server
    run.path = request.param
    return run


def ask(server, target, method="GET", **options):
    response = server.fetch(method, target, **options)
    assert response.status == 200, (target, response.status, server.log)
    return response


# ---- HTTP --------------------------------------------------------------------------------------------


def test_requests_and_responses(start):
    server = start()
    with server.connect() as c:
        seen = json.loads(c.request("GET", "/named/a%20%e2%82%ac?x=%20&y", headers=[
            ("X-Mixed", "V"), ("x-mixed", "w"), ("accept", "*/*"), ("Cookie", "a=b")]).text)
        again = json.loads(c.request("GET", "/show").text)
        assert c.request("HEAD", "/hello").body == b""
        assert c.request("GET", "/hello").header("X-Prepared") == "1"
    assert seen["method"] == "GET" and seen["path"] == "/named/a \u20ac" and seen["name"] == "a \u20ac"
    assert seen["raw"] == "/named/a%20%e2%82%ac?x=%20&y" and seen["query"] == {"x": " ", "y": ""}
    assert seen["version"] == [1, 1] and seen["remote"] == seen["peer"] == "127.0.0.1"
    assert ["x-mixed", "w"] in seen["headers"] and ["X-Mixed", "V"] in seen["raw_headers"]
    assert ["Accept", "*/*"] in seen["headers"] and ["accept", "*/*"] in seen["raw_headers"]
    assert seen["middleware"] == "went through" and seen["cookies"] == {"a": "b"}
    assert seen["scheme"] == "http" and not seen["closing"] and not seen["body"]
    assert again["query"] == {} and again["name"] is None and again["cookies"] == {}
    with server.connect() as c:
        c.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
               b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [c.read_response().text for _ in range(3)] == ["abc", "slow", "hello"]
        assert c.request("POST", "/ignore_body", body=bytes(1000)).text == "did not read"
        assert c.request("GET", "/hello").text == "hello"
    assert ask(server, "/form", "POST", body=b"a=1&b=2", headers=[
        ("Content-Type", "application/x-www-form-urlencoded")]).text == "a=1 b=2"
    with server.connect() as c:  # HTTP/1.0
        c.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert c.read_response().header("Connection").lower() == "keep-alive"
        c.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert c.read_to_end().endswith(b"\r\n\r\n0.1.2.")
    with server.connect() as c:
        response = c.request("GET", "/close")
        assert response.text == "close" and response.closes and c.at_end()
    assert server.stop() == 0


SAME = ["/built?body=text", "/built", "/built?status=204", "/built?status=304", "/built?status=404&body=x",
        "/built?status=299&reason=Own%20words&body=x", "/built?body=x&header=Content-Type:text/own",
        "/built?body=x&header=X-A:1&header=X-A:2&header=x-b:%E2%82%AC", "/built?body=x&header=Date:never",
        "/built?body=x&header=Server:mine", "/built?body=x&header=Connection:close", "/built?body=x&cookie=v",
        "/built?body=xxxxxxxxxxxxxxxxxxxxxxxxxxxxx&gzip", "/built?body=x&close",
        "/built?body=x&header=Content-Length:1", "/built?status=999&body=x",
        "/built?body=x&header=X-Long:" + "l" * 3000, "/built?body=x" + "&header=X-A:b" * 150
        + "&header=X-Z:" + "l" * 3000,
        *("/built?body=x&header=X-Odd:" + "." * before + odd + "." * 12 + "%C3%BC"
          for odd in ("%09", "%20", "~", "%C2%80") for before in (1, 7, 8, 15, 21)),
        "/hello", "/show", "/stream", "/stream?length", "/squeezed", "/refused", "/no_such", "/hello/no", "/close",
        "/named/%C3%BC?x=1#y", "/static/hello.py"]


def test_both_paths_give_the_same_bytes(serve):
    servers = [serve(f"aiohttp_app:{app}", "-k", "aiohttp") for app in ("make_unhooked", "make_unhooked_runner")]
    for server, words in zip(servers, (FAST, PUBLIC)):
        server.wait_log(words)

    def answer(server, request):
        with server.connect() as c:
            c.send(request.encode())
            return re.sub(rb"\r\nDate: \w{3}, [^\r]+ GMT", b"\r\nDate: now", c.read_to_end()).replace(
                b"%d" % server.port, b"PORT")

    for method, version, fields in (("GET", "1.1", "Connection: close\r\n"), ("GET", "1.0", ""),
                                    ("HEAD", "1.1", "Accept-Encoding: gzip\r\nConnection: close\r\n"),
                                    ("GET", "1.1", "Accept-Encoding: gzip\r\nConnection: close\r\n")):
        for target in SAME:
            request = f"{method} {target} HTTP/{version}\r\nHost: x\r\n{fields}\r\n"
            ours, theirs = (answer(server, request) for server in servers)
            assert ours == theirs and ours.startswith(b"HTTP/"), request


def test_bodies_that_stream(start):
    server = start()
    with server.connect() as c:
        for query, text in (("", "0.1.2."), ("?length", "0.1.2."), ("?wait", "0.1.2."), ("?eof", "0.1.2.end")):
            response = c.request("GET", "/stream" + query)
            assert response.text == text and response.header("X-Own") == "1"
        response = c.request("GET", "/stream?gzip", headers=[("Accept-Encoding", "gzip")])
        assert gzip.decompress(response.body) == b"0.1.2." and response.header("Content-Encoding") == "gzip"
        response = c.request("GET", "/squeezed", headers=[("Accept-Encoding", "deflate")])
        assert zlib.decompress(response.body) == b"squeezed " * 100
        for query in ("", "?slow"):
            assert c.request("POST", "/count" + query, body=bytes(5 << 20)).text == str(5 << 20)
        c.send(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(300):
            c.send(b"1000\r\n" + bytes(4096) + b"\r\n")
        c.send(b"0\r\n\r\n")
        assert c.read_response().text == str(300 * 4096)
        squeezed = gzip.compress(b"posted" * 1000)
        assert c.request("POST", "/echo", body=squeezed, headers=[
            ("Content-Encoding", "gzip")]).text == "posted" * 1000
    with server.connect() as c:
        response = c.request("POST", "/echo", body=bytes(2 << 20))
        assert response.status == 413
    assert ask(server, "/hello").text == "hello"


@pytest.mark.long
def test_an_upload_of_a_gigabyte_in_constant_memory(start):
    server = start()
    worker, = server.wait_workers(1)

    def peak():
        text = Path(f"/proc/{worker}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))

    assert ask(server, "/count", "POST", body=bytes(8 << 20)).text == str(8 << 20)
    before, part = peak(), bytes(1 << 20)
    with server.connect() as c:
        c.send(b"POST /count?slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        for _ in range(1 << 10):
            c.send(part)
        assert c.read_response().text == str(1 << 30)
    assert peak() - before < 4096, f"{peak() - before} KiB more"


def test_expectations(start):
    server = start()
    for target, first in ((b"/expect", 100), (b"/expect?refuse", 417), (b"/echo", 100)):
        with server.connect() as c:
            c.send(b"POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n" % target)
            response = c.read_response(interim=True)
            assert response.status == first
            if first == 100:
                c.send(b"body")
                assert c.read_response().text == "body"


def test_files(start, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (3 << 12))
    server = start(env={"LARGE_FILE": str(large)})
    text = (DATA / "aiohttp_app.py").read_bytes()
    with server.connect() as c:
        response = c.request("GET", "/file")
        assert response.body == text and response.header("Content-Length") == str(len(text))
        response = c.request("GET", "/file", headers=[("Range", "bytes=10-19")])
        assert response.status == 206 and response.body == text[10:20]
        etag = response.header("ETag")
        assert c.request("GET", "/file", headers=[("If-None-Match", etag)]).status == 304
        assert c.request("HEAD", "/file").body == b""
        assert c.request("GET", "/large_file").body == large.read_bytes()
        assert c.request("GET", "/static/hello.py").body == (DATA / "hello.py").read_bytes()
        assert c.request("GET", "/static/none").status == 404
        assert c.request("GET", "/hello").text == "hello"


@pytest.mark.log_may_contain("Traceback")
def test_handlers_that_fail(start):
    server = start()
    with server.connect() as c:
        response = c.request("GET", "/refused")
        assert (response.status, response.text, response.header("X-Why")) == (403, "no", "because")
        assert c.request("GET", "/no_such").status == 404
        assert c.request("POST", "/hello").status == 405
    assert server.get("/boom").status == 500
    assert server.get("/nothing").status == 500
    with pytest.raises((Truncated, ConnectionResetError)):
        server.get("/boom_after")
    with server.connect() as c:
        c.send(b"GET /abort HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"never seen" not in c.read_to_end()
    assert ask(server, "/hello").text == "hello"
    server.wait_log("ValueError: boom after")


@pytest.mark.log_may_contain("Traceback", "Unhandled exception")
def test_a_response_cannot_be_split(serve):
    """Control characters in a field's value, where the engine makes the head: aiohttp is asked about them, and says
    no to all since 3.14."""
    server = serve("aiohttp_app:make_unhooked", "-k", "aiohttp")
    server.wait_log(FAST)
    for odd in ("%0D%0AX-Split:1", "%00", *(["%01", "%1F", "%7F"] if RELEASE >= (3, 14) else [])):
        for before in (*range(1, 18), 30):
            target = "/built?body=x&header=X-Odd:" + "." * before + odd
            with server.connect() as c:
                c.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert b"X-Odd" not in c.read_to_end(), target
    assert ask(server, "/hello").text == "hello"


@pytest.mark.log_may_contain("Traceback")
def test_what_is_not_http_is_refused(start):
    server = start()
    for request in (b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n",
                    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"):
        with server.connect() as c:
            c.send(request)
            assert c.read_response().status == 400
    with server.connect() as c:
        c.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert c.read_response().status in (400, 500)
    assert ask(server, "/hello").text == "hello"


def test_a_slow_client_holds_the_application_back(start):
    server = start()
    with server.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        c.send(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        c.read_until(b"\r\n\r\n")
        before = -1
        while True:  # until it stands still
            now = ask(server, "/tell").text.count("block")
            if now == 0 and before == 0:
                break
            before = now
        assert len(c.read_to_end()) > 64 << 18


@pytest.mark.log_may_contain("Traceback")
def test_clients_that_leave_are_noticed_and_leave_nothing(start):
    server = start()
    reset = struct.pack("ii", 1, 0)
    with server.connect() as c:
        c.send(b"GET /write_forever HTTP/1.1\r\nHost: x\r\n\r\n")
        c.read_until(b"tick")
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    told = []
    wait_until(lambda: told.append(ask(server, "/tell").text) or "Reset" in " ".join(told), "the end of writing")

    def leave(count):
        for i in range(count):
            with server.connect() as c:
                c.send(b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n%s"
                       % ((b"echo", b"count", b"form")[i % 3], b"123456789"[:i % 10]))
                if i % 2:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    def objects():
        return json.loads(ask(server, "/objects").text)

    def rest():
        """Twice the same: nothing is on its way."""
        return wait_until(lambda: (now := objects()) == objects() and now, "rest")

    leave(30)
    ask(server, "/hello")
    first = rest()
    leave(200)
    wait_until(lambda: objects() == first, lambda: f"{first}, now {objects()}")


def test_websockets(start):
    server = start()

    async def talk():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(server.url + "/websocket") as ws:
                await ws.send_str("one")
                assert await ws.receive_str() == "echo one"
                await ws.send_bytes(bytes(200000))
                assert await ws.receive_bytes() == bytes(200000)
            ws = await session.ws_connect(server.url + "/websocket")
            other = await session.ws_connect(server.url + "/websocket")
            await other.send_str("two")
            assert await other.receive_str() == "echo two"
            server.signal(signal.SIGTERM)
            for socket_ in (ws, other):  # on_shutdown closes them
                message = await socket_.receive()
                assert message.type == aiohttp.WSMsgType.CLOSE and message.data == 1001, message
                await socket_.close()

    asyncio.run(talk())
    assert server.wait_exit() == 0
    words = re.findall(r"^(shutdown|websocket over|cleanup) in", server.log, re.MULTILINE)
    assert words == ["websocket over", "shutdown", "websocket over", "websocket over", "cleanup"]


def test_a_limit_of_requests_at_once(serve):
    server = serve("aiohttp_app:app", "--limit-concurrency", "1")
    with server.connect() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: server.get("/hello").status == 503, "the first request")
        assert c.read_response().text == "slow"
    assert ask(server, "/hello").text == "hello"


# ---- life --------------------------------------------------------------------------------------------


def events(server, *names):
    """{pid: [event, ...]} of what the application has printed."""
    found = {}
    words = "|".join(names or ("made", "context up", "startup", "shutdown", "cleanup", "context down"))
    for word, pid in re.findall(rf"^({words}) in (\d+)$", server.log, re.MULTILINE):
        found.setdefault(pid, []).append(word)
    return found


LIFE = ["made", "context up", "startup", "shutdown", "context down", "cleanup"]


def test_each_worker_loads_starts_and_cleans_up_once(start):
    server = start("-w", "2", "--max-requests", "30", "--graceful-timeout", "20")
    server.wait_log("startup in", 2)
    server.signal(signal.SIGHUP)
    server.wait_log("startup in", 4)
    server.wait_log("context down in", 2)
    server.wait_workers(2)
    server.signal(signal.SIGTTIN)
    server.wait_log("startup in", 5)
    server.signal(signal.SIGTTOU)
    server.wait_log("context down in", 3)
    with server.connect() as c:
        for _ in range(35):  # max_requests, on one connection
            if c.request("GET", "/hello").closes:
                c.close()
                c = server.connect()
        c.close()
    server.wait_log("context down in", 4)
    server.wait_workers(2)
    server.stop(signal.SIGINT)
    lives = events(server)
    assert len(lives) == 6 and all(sorted(life) == sorted(LIFE) for life in lives.values()), server.log
    assert all(life.index("startup") < life.index("shutdown") < life.index("cleanup") for life in lives.values())


def test_a_stop_lets_requests_end_and_cancels_those_that_do_not(start):
    server = start("--graceful-timeout", "3", env={"CLEANUP": "2"})
    with server.connect() as slow, server.connect() as never:
        for c, target in ((never, "forever"), (slow, "slow")):
            c.send(f"GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: target in ask(server, "/tell").text, "the request")
        server.signal(signal.SIGTERM)
        response = slow.read_response()
        assert response.text == "slow" and (response.closes or start.path == "public")
        never.read_to_end()
    assert server.wait_exit() == 0
    server.wait_log("within graceful_timeout")
    assert events(server).popitem()[1] == LIFE
    assert "SIGKILL" not in server.log and "SIGABRT" not in server.log


def test_a_worker_that_is_asked_to_leave_while_it_boots_leaves_at_once(serve):
    server = serve("aiohttp_app:app", "--graceful-timeout", "1000")
    server.wait_log("made in")
    server.stop()  # before, in or after the check that follows the startup
    for life in events(server).values():
        assert life == LIFE, server.log


def test_a_loop_that_is_blocked_is_noticed(serve):
    server = serve("aiohttp_app:app", "--timeout", "1")
    first = server.wait_workers(1)
    with server.connect() as c:
        c.send(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("WORKER TIMEOUT")
        server.wait_log(r"aiohttp_app.py.*block")
    wait_until(lambda: server.worker_pids and server.worker_pids != first, "another worker")
    assert ask(server, "/hello").text == "hello"


@pytest.mark.log_may_contain("Traceback")
def test_a_startup_that_fails_is_one_report_and_what_it_had_begun_is_cleaned_up(serve):
    server = serve("aiohttp_app:failing", "-k", "aiohttp", wait=False, env={"HOW": "raise"})
    assert server.wait_exit() == 3
    assert server.log.count("ValueError: no database") == 1, server.log
    assert events(server).popitem()[1] == ["made", "context up", "startup", "context down"]


def test_a_startup_that_hangs_ends_by_boot_timeout(serve):
    server = serve("aiohttp_app:failing", "-k", "aiohttp", "--boot-timeout", "1", wait=False,
                   env={"HOW": "hang"})
    assert server.wait_exit() == 3
    server.wait_log("not ready 1.0 s after its start")


def test_with_preload_the_application_is_made_in_the_arbiter_and_started_in_the_workers(serve):
    server = serve("aiohttp_app:app", "--preload", "-w", "2")
    server.wait_log("startup in", 2)
    assert ask(server, "/hello").text == "hello"
    server.stop()
    lives = events(server)
    assert lives.pop(str(server.pid)) == ["made"]
    assert len(lives) == 2 and all(life == LIFE[1:] for life in lives.values())


def test_handler_cancellation_is_the_runners_choice(serve):
    server = serve("aiohttp_app:make_cancelling", "-k", "aiohttp")
    with server.connect() as c:
        c.send(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "forever" in ask(server, "/tell").text, "the request")
    wait_until(lambda: "cancelled" in ask(server, "/tell").text, "the cancellation")


# ---- background tasks -----------------------------------------------------------------------------------


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("how, words", [("raise", "Background task payload .* has failed"),
                                        ("return", "Background task payload .* has returned")])
def test_a_background_task_that_ends_is_reported(serve, how, words):
    server = serve("aiohttp_app:payload", "-k", "aiohttp", env={"HOW": how})
    assert ask(server, "/finish").text == "finish"
    server.wait_log(words)
    assert ("ValueError: payload failed" in server.log) == (how == "raise")
    assert ask(server, "/hello").text == "hello"
    assert server.stop() == 0
    assert "was cancelled while" not in server.log


def test_a_background_task_runs_until_cleanup_and_its_end_can_be_ignored(serve):
    server = serve("aiohttp_app:payload", "-k", "aiohttp", "--payload-exit", "ignore", env={"HOW": "return"})
    server.wait_log("payload runs in")
    server.signal(signal.SIGHUP)
    server.wait_log("payload cancelled in")
    server.wait_workers(1)
    ask(server, "/finish")
    assert ask(server, "/hello").text == "hello"
    assert server.stop() == 0
    assert "Background task" not in server.log


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("workers", [1, 2])
def test_payload_exit_restart_replaces_the_worker(serve, workers):
    server = serve("aiohttp_app:payload", "-k", "aiohttp", "--payload-exit", "restart", "-w", str(workers),
                   env={"HOW": "raise"})
    server.wait_log("payload runs in", workers)
    ask(server, "/finish")
    server.wait_log("has failed")
    server.wait_log("payload runs in", workers + 1)
    server.wait_log("context down in")
    server.wait_workers(workers)
    assert ask(server, "/hello").text == "hello"
    assert server.stop() == 0


@pytest.mark.log_may_contain("Traceback")
def test_payload_exit_halt_stops_the_server(serve):
    server = serve("aiohttp_app:payload", "-k", "aiohttp", "--payload-exit", "halt", "-w", "2",
                   env={"HOW": "raise"})
    server.wait_log("payload runs in", 2)
    ask(server, "/finish")
    assert server.wait_exit() == 5
    server.wait_log("Reason: a worker has asked for it")
    assert len(re.findall("^context down in", server.log, re.MULTILINE)) == 2


# ---- aiohttp's own worker classes --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GunicornWebWorker", pytest.param("GunicornUVLoopWebWorker", marks=UVLOOP)])
def test_the_worker_classes_of_aiohttp_run_unchanged(serve, name):
    if "UVLoop" in name and RELEASE < (3, 13) and release(importlib.metadata.version("uvloop")) >= (0, 22):
        pytest.skip("asks uvloop for a loop in a way that it has no more")
    server = serve("aiohttp_app:make_async", "-k", f"aiohttp.{name}", "-w", "2", "--access-logfile", "-")
    server.wait_log("startup in", 2)
    with server.connect() as c:
        assert c.request("GET", "/hello").text == "hello"
        assert c.request("POST", "/echo", body=b"posted").text == "posted"
    server.wait_log('"POST /echo HTTP/1.1" 200 ')
    server.signal(signal.SIGHUP)
    server.wait_log("cleanup in", 2)
    server.wait_workers(2)
    server.signal(signal.SIGUSR1)
    with server.connect() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "slow" in ask(server, "/tell").text, "the request")
        server.signal(signal.SIGTERM)
        assert c.read_response().text == "slow"
    assert server.wait_exit() == 0
    lives = events(server)
    assert len(lives) == 4 and all(life == LIFE for life in lives.values()), server.log


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.skipif(RELEASE < (3, 14), reason="says nothing of its boot")
def test_a_startup_that_fails_in_aiohttps_class_is_a_boot_that_failed(serve):
    server = serve("aiohttp_app:failing", "-k", "aiohttp.GunicornWebWorker", wait=False, env={"HOW": "raise"})
    assert server.wait_exit() == 3
    assert server.log.count("ValueError: no database") == 1, server.log
    assert server.log.count("Booting worker") == 1


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGQUIT])
def test_aiohttps_class_cleans_up_after_a_quick_stop(serve, signal_):
    server = serve("aiohttp_app:app", "-k", "aiohttp.GunicornWebWorker", config="""
def worker_int(worker): print("worker_int", worker, flush=True)
def worker_exit(server, worker): print("worker_exit", flush=True)
""")
    assert ask(server, "/hello").text == "hello"
    server.stop(signal_)
    assert events(server).popitem()[1] == LIFE
    assert server.log.index("worker_int") < server.log.index("cleanup in") < server.log.index("worker_exit")


def test_aiohttps_class_has_exit_timeout_for_its_cleanup(serve):
    server = serve("aiohttp_app:app", "-k", "aiohttp.GunicornWebWorker", "--graceful-timeout", "2", "--trace-lifecycle",
                   env={"CLEANUP": "3"})
    with server.connect() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "slow" in ask(server, "/tell").text, "the request")
        assert server.stop() == 0
    assert events(server).popitem()[1] == LIFE
    assert "SIGABRT" not in server.log and "did not stop" not in server.log
    assert server.log.index("Lifecycle: shutdown") < server.log.index("cleanup in")


# ---- which applications ---------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["app", "make", "make_async", "make()", "make_async('x')", "make_runner",
                                 "make_sync_runner", "make_sync_runner()"])
def test_an_aiohttp_application_is_known_without_being_told(serve, app):
    server = serve(f"aiohttp_app:{app}")
    assert ask(server, "/hello").text == "hello"
    server.wait_log("The application is aiohttp's")
    assert server.stop() == 0
    assert events(server).popitem()[1] == LIFE


@pytest.mark.parametrize("app, args, words", [
    ("hello:app", ("-k", "aiohttp"), "needs arguments, so it makes no aiohttp application"),
    ("aiohttp_app:needs_arguments", ("-k", "aiohttp"), "Write the call"),
    ("aiohttp_app:make_nothing", ("-k", "aiohttp"), "gave 42 is none"),
    ("aiohttp_app:app", ("-k", "asgi"), "is an aiohttp application, but"),
    ("aiohttp_app:app", ("-k", "sync"), "Leave worker_class out, or say -k aiohttp"),
])
def test_what_cannot_be_served_is_told(serve, app, args, words):
    server = serve(app, *args, wait=False)
    assert server.wait_exit() in (3, 4)
    assert words in server.log


def test_the_access_log_has_requests_of_both_paths(serve):
    for app in ("app", "make_sync_runner"):
        server = serve(f"aiohttp_app:{app}", "--access-logfile", "-")
        ask(server, "/stream?length")
        if app == "app":
            server.wait_log(r'"GET /stream\?length HTTP/1.1" 200 6 ')
            ask(server, "/echo", "POST", body=b"x", headers=[("Expect", "100-continue")])
            server.wait_log(r'"POST /echo HTTP/1.1" 200 ')


# ---- the question of the article, and the page ------------------------------------------------------------


@pytest.mark.parametrize("workers, kind", [(1, "aiohttp"), (2, "aiohttp"), (4, "aiohttp"),
                                           (2, "aiohttp.GunicornWebWorker")])
def test_the_program_of_the_question(serve, place, workers, kind):
    """How often load(), startup and cleanup run, event by event, as the page says."""
    script = TOP / "examples" / "payload" / "payload.py"
    server = serve(command=[sys.executable, "-m", "saola.gunicorn", str(script), "127.0.0.1:0", str(workers), kind],
                   bind=None)

    def lives(*names):
        return events(server, *names or (r"load\(\)", "start_app", "stop_app"))

    def wait_lives(count, ended):
        def look():
            now = lives()
            return len(now) == count and sum("stop_app" in life for life in now.values()) == ended and all(
                "start_app" in life for life in now.values())
        wait_until(look, lambda: f"{count} lives of which {ended} have ended: {lives()}\n{server.log}")

    wait_lives(workers, 0)
    first = json.loads(ask(server, "/").text)
    assert str(first["pid"]) in lives()
    wait_until(lambda: json.loads(ask(server, "/").text)["rounds"] > 3, "the payload")
    server.signal(signal.SIGHUP)
    wait_lives(2 * workers, workers)
    server.wait_workers(workers)
    server.signal(signal.SIGTTIN)
    wait_lives(2 * workers + 1, workers)
    server.wait_workers(workers + 1)
    killed = server.worker_pids[-1]
    server.signal(signal.SIGKILL, killed)
    wait_lives(2 * workers + 2, workers)
    server.wait_workers(workers + 1)
    server.signal(signal.SIGTERM, server.worker_pids[0])
    wait_lives(2 * workers + 3, workers + 1)
    server.wait_workers(workers + 1)
    assert server.stop() == 0
    wait_lives(2 * workers + 3, 2 * workers + 2)
    for pid, life in lives().items():
        assert life == ["load()", "start_app", "stop_app"][:2 if pid == str(killed) else 3], (pid, server.log)
    assert str(server.pid) not in lives() and "Background task" not in server.log


DOC = (TOP / "docs" / "aiohttp.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^\$ saola (.+)$", DOC, re.MULTILINE))
def test_the_commands_of_the_page(serve, place, command):
    if "uvloop" in command and importlib.util.find_spec("uvloop") is None:
        pytest.skip("no uvloop for this Python")
    (place / "app.py").write_text(re.search(r"```python app.py\n(.*?)```", DOC, re.DOTALL)[1])
    server = serve(None, *command.split())
    assert ask(server, "/").text == "Hello, World!"
