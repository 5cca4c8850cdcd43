"""ASGI over real sockets: HTTP, lifespan, the loop, the life of a worker. Under asyncio and uvloop."""

import ast
import importlib.util
import re
import signal
import socket
import struct

import pytest

from harness import DATA, TOP, Truncated, wait_until

APP = "asgi_app:app"
AIOHTTP = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="no aiohttp")
TORNADO = pytest.mark.skipif(importlib.util.find_spec("tornado") is None, reason="no tornado")
UVLOOP = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="no uvloop for this Python")


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=UVLOOP)])
def start(serve, request):
    """Starts the cases under each event loop."""
    def run(*args, app=APP, **options):
        return serve(app, "-k", "asgi", "--loop", request.param, *args, **options)
    run.loop = request.param
    return run


def ask(server, target, method="GET", **options):
    response = server.fetch(method, target, **options)
    assert response.status == 200, (target, response.status, server.log)
    return response


# ---- HTTP --------------------------------------------------------------------------------------------


@pytest.mark.log_may_contain("Traceback")
def test_requests_and_responses(start):
    server = start("--root-path", "/root")
    with server.connect() as c:
        first = ast.literal_eval(c.request("GET", "/a%20%e2%82%ac/show_scope?x=%20&y", headers=[
            ("X-Mixed", "V"), ("x-mixed", "w")]).text)
        again = ast.literal_eval(c.request("GET", "/show_scope").text)
    assert first["type"] == "http" and first["method"] == "GET" and first["scheme"] == "http"
    assert first["path"] == "/root/a \u20ac/show_scope" and first["root_path"] == "/root"
    assert first["raw_path"] == b"/root/a%20%e2%82%ac/show_scope"
    assert first["query_string"] == b"x=%20&y" and first["http_version"] == "1.1"
    assert [h for h in first["headers"] if h[0] == b"x-mixed"] == [(b"x-mixed", b"V"), (b"x-mixed", b"w")]
    assert first["server"] == server.address and first["client"] == "127.0.0.1"
    for scope in (first, again):
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4", "mine": 1}
        assert scope["state"] == {"started": True}
        assert scope["extensions"] == {"http.response.trailers": {}, "http.response.pathsend": {},
                                       "http.response.early_hint": {}, "mine": 1}
    assert again["query_string"] == b""
    assert ask(server, "/echo", "POST", body=b"posted").text == "posted"
    total, largest = ask(server, "/count", "POST", body=bytes(3 << 20)).text.split()
    assert int(total) == 3 << 20 and int(largest) <= 1 << 16
    assert ask(server, "/stream").text == "part0 part1 part2 "
    assert ask(server, "/file").text == (DATA / "asgi_app.py").read_text()
    with server.connect() as c:
        c.send(b"GET /trailers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = c.read_to_end()
        assert b"\r\ntrailer: sum, end\r\n" in answer
        assert answer.endswith(b"1\r\nx\r\n0\r\nsum: 42\r\nend: 1\r\n\r\n")
    with server.connect() as c:
        c.send(b"GET /hints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = c.read_to_end()
        assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200")
    with server.connect() as c:
        c.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
               b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [c.read_response().text for _ in range(3)] == ["abc", "slow", "hello"]
        assert c.request("HEAD", "/hello").body == b""
        assert c.request("GET", "/hello").text == "hello"
    assert ask(server, "/wrong").text == "right"
    assert ask(server, "/tell").text == ""
    assert server.stop() == 0


@pytest.mark.log_may_contain("Traceback")
def test_applications_that_fail(start):
    server = start()
    assert server.get("/boom").status == 500
    assert server.get("/never_started").status == 500
    for target in ("/boom_after", "/never_completed"):
        with pytest.raises(Truncated):
            server.get(target)
    assert ask(server, "/hello").text == "hello"
    server.wait_log("ValueError: boom before")
    server.wait_log("ValueError: boom after")
    server.wait_log("GET /never_started: the ASGI application returned without starting a response")
    server.wait_log("GET /never_completed: the ASGI application returned without completing its response")


def test_the_loop_is_as_ever(start):
    server = start()
    assert ask(server, "/tasks").text == "as ever"
    assert ask(server, "/connect_out").text == "round trip\n"
    with server.connect() as c:
        assert {c.request("GET", "/context").text for _ in range(5)} == {"0 1"}
        assert c.request("GET", "/background").text == "answered"
        assert c.request("GET", "/hello").text == "hello"
    wait_until(lambda: ask(server, "/tell").text == "afterwards", "end of the background task")


def test_what_is_done_to_a_scope_is_done_to_no_other_request(start):
    server = start()
    with server.connect() as c:
        for key in ("", "state", "extensions", "asgi", "headers"):
            for action in ("", "keep", "add", "replace", "drop"):
                assert c.request("GET", f"/use_scope?{key}.{action}").text == "fresh", server.log
        assert c.request("POST", "/echo", body=b"x" * 10).text == "x" * 10
        assert c.request("GET", "/use_scope?.").text == "fresh", server.log
        first, second = (ast.literal_eval(c.request("GET", "/show_scope", headers=[("a", value)]).text)
                         for value in "bc")
        assert (b"a", b"b") in first["headers"] and (b"a", b"c") in second["headers"]
    with server.connect() as c:  # another client
        c.send(b"GET /show_scope HTTP/1.0\r\n\r\n")
        scope = ast.literal_eval(c.read_response().text)
        assert scope["http_version"] == "1.0" and scope["headers"] == []


def test_what_is_done_to_a_task_is_done_to_no_other_request(start):
    server = start()
    with server.connect() as c:
        for how in ("nothing", "name", "attribute", "weak", "keep", "kept", "callback", "cancel", "nothing"):
            expected = "True None" if how == "kept" else "fresh"
            assert c.request("GET", f"/touch?{how}").text == expected, server.log
        assert c.request("GET", "/cancel_itself?future").text == "cancelled True"
        assert c.request("GET", "/cancel_itself?sleep").text == "cancelled False"
        assert c.request("GET", "/other_tasks").text == "0"
        assert c.request("GET", "/tell").text == "done None cancelled True"


def test_a_client_that_leaves(start):
    server = start("--asgi-disconnect-grace-period", "1")
    for target, expected in (("/wait_disconnect", "http.disconnect ConnectionResetError"),
                             ("/forever", "cancelled"), ("/reset", "reset")):
        with server.connect() as c:
            c.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: ask(server, "/is_waiting").text == "True", "the request")
        told = []

        def look():
            told.append(ask(server, "/tell").text)
            return " ".join(filter(None, told)) == expected
        wait_until(look, lambda: f"{expected}: {told}")


def test_a_slow_client_holds_the_application_back(start):
    server = start()
    with server.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        c.send(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        c.read_until(b"\r\n\r\n")
        before = -1
        while True:  # until it stands still
            told = ask(server, "/tell").text.count("block")
            if told == 0 and before == 0:
                break
            before = told
        assert len(c.read_to_end()) > 64 << 18


def test_a_limit_of_requests_at_once(start):
    server = start("--limit-concurrency", "1")
    with server.connect() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: server.get("/hello").status == 503, "the first request")
        assert c.read_response().text == "slow"
    assert ask(server, "/hello").text == "hello"


@pytest.mark.parametrize("rounds", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_cancelled_timed_out_and_disconnected_requests_leave_nothing(start, rounds):
    server = start("--asgi-disconnect-grace-period", "0")
    reset = struct.pack("ii", 1, 0)

    def leave(count):
        for i in range(count):
            with server.connect() as c:
                c.send(b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n%s"
                       % ((b"forever", b"wait_disconnect", b"timed_out", b"echo")[i % 4],
                          b"123456789"[:9 if i % 8 == 2 else i % 10]))
                if i % 8 == 2:
                    c.read_response()
                if i % 2:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    def objects():
        return ast.literal_eval(ask(server, "/objects").text)

    leave(20)
    first = wait_until(lambda: (now := objects())["ASGIRequest"] == 1 and now, "the end of the first")
    leave(rounds)
    wait_until(lambda: objects() == first, lambda: f"{first}, now {objects()}")


# ---- life --------------------------------------------------------------------------------------------


def test_startup_and_cleanup_run_once_in_each_worker(start):
    server = start("-w", "2", "--graceful-timeout", "20", "--max-requests", "30")
    server.wait_log("startup in", 2)
    server.signal(signal.SIGHUP)
    server.wait_log("startup in", 4)
    server.wait_log("cleanup in", 2)
    server.wait_workers(2)
    for _ in range(80):  # max_requests
        ask(server, "/hello")
    server.wait_log("cleanup in", 3)
    server.stop(signal.SIGINT)
    started, ended = (sorted(re.findall(rf"{word} in (\d+)", server.log)) for word in ("startup", "cleanup"))
    assert len(set(started)) == len(started) and started == ended, server.log


def test_a_stop_lets_requests_end_and_cancels_those_that_do_not(start):
    server = start("--graceful-timeout", "3", env={"CLEANUP": "2"})
    with server.connect() as slow, server.connect() as never:
        for c, target in ((never, "forever"), (slow, "slow")):
            c.send(f"GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: ask(server, "/is_waiting").text == "True", "the request")
        assert ask(server, "/afterwards").text == "answered"
        server.signal(signal.SIGTERM)
        response = slow.read_response()
        assert response.text == "slow" and response.closes
        assert never.read_response().status == 500
    assert server.wait_exit() == 0
    server.wait_log("1 requests did not end within graceful_timeout and are cancelled")
    server.wait_log("cleanup in")
    assert server.log.index("all done") < server.log.index("cleanup in")
    assert "SIGKILL" not in server.log and "SIGABRT" not in server.log


def test_a_loop_that_is_blocked_is_noticed(serve):
    server = serve(APP, "-k", "asgi", "--timeout", "1")
    first = server.wait_workers(1)
    with server.connect() as c:
        c.send(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("WORKER TIMEOUT")
        server.wait_log(r"asgi_app.py.*block")
    wait_until(lambda: server.worker_pids and server.worker_pids != first, "another worker")
    assert ask(server, "/hello").text == "hello"


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("how, words", [("message", "the application's startup failed: no database"),
                                        ("raise", "ValueError: no database")])
def test_a_startup_that_fails_is_one_report(serve, how, words):
    server = serve("asgi_app:failing", "-k", "asgi", "-w", "2", wait=False, env={"HOW": how})
    assert server.wait_exit() == 3
    assert server.log.count(words) == 1, server.log


def test_a_startup_that_hangs_ends_by_boot_timeout(serve):
    server = serve("asgi_app:failing", "-k", "asgi", "-w", "2", "--boot-timeout", "1", wait=False,
                   env={"HOW": "hang"})
    assert server.wait_exit() == 3
    assert server.log.count("not ready 1.0 s after its start") == 1, server.log
    server.wait_log("Reason: No worker was ready within boot_timeout")


# ---- which applications ---------------------------------------------------------------------------------


@pytest.mark.parametrize("app, text", [("app", "hello"), ("without_lifespan", "plain"), ("instance", "instance"),
                                       ("replies_to_anything", "anything")])
def test_an_asgi_application_is_known_without_being_told(serve, app, text):
    server = serve(f"asgi_app:{app}")
    assert ask(server, "/").text == text
    server.wait_log("speaks ASGI")


@pytest.mark.parametrize("app, args, words", [
    ("asgi_app:Old", ("-k", "asgi"), "ASGI 2"),
    ("hello:app", ("-k", "asgi"), "is no ASGI application"),
    ("asgi_app:app", ("-k", "asgi", "--loop", "no_such_loop:new"), "no module 'no_such_loop'"),
    ("asgi_app:without_lifespan", ("-k", "asgi", "--asgi-lifespan", "on"), "AssertionError: lifespan"),
])
@pytest.mark.log_may_contain("Traceback", "Assertion")
def test_what_cannot_be_served_is_told(serve, app, args, words):
    server = serve(app, *args, wait=False)
    assert server.wait_exit() in (3, 4)
    assert words in server.log


HOOKS = """
from saola.glogging import Logger

def pre_request(worker, req):
    if req.path == "/veto":
        raise RuntimeError("vetoed")
    worker.log.info("pre %s %s %s %s %s", req.method, req.uri, req.query, req.version, dict(req.headers)["HOST"])

def post_request(worker, req, environ, resp):
    worker.log.info("post %s %s %s %s", req.path, environ.get("PATH_INFO"), resp.status, resp.sent)
    if req.path == "/post_fails":
        raise RuntimeError("post fails")

class logger_class(Logger):
    def access(self, resp, req, environ, request_time):
        self.info("own log: %s %s", req.uri, resp.status_code)
"""


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("app, kind", [
    (APP, "asgi"), pytest.param("aiohttp_app:make_async", "aiohttp", marks=AIOHTTP),
    pytest.param("hello_tornado:app", "tornado", marks=TORNADO)])
def test_hooks_around_a_request_and_another_logger_class(serve, app, kind):
    server = serve(app, "-k", kind, config=HOOKS)
    with server.connect() as c:
        assert c.request("GET", "/hello?a=b").text == "hello"
        server.wait_log(r"pre GET /hello\?a=b a=b \(1, 1\) localhost$")
        server.wait_log("post /hello /hello 200 OK 5$")
        assert c.request("GET", "/veto").status == 500
    server.wait_log("RuntimeError: vetoed")
    server.wait_log("post /veto /veto 500 Internal Server Error 0$")
    assert server.get("/post_fails").status in (404, 500)
    server.wait_log("Exception in post_request hook")
    server.wait_log(r"own log: /hello\?a=b 200$")
    assert ask(server, "/hello").text == "hello"


def test_the_access_log_has_asgi_requests(serve):
    server = serve(APP, "-k", "asgi", "--access-logfile", "-")
    ask(server, "/stream")
    server.wait_log(r'"GET /stream HTTP/1.1" 200 18 ')


DOC = (TOP / "docs" / "asgi.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^\$ saola (.+)$", DOC, re.MULTILINE))
def test_the_commands_of_the_page(serve, place, command):
    if "uvloop" in command and importlib.util.find_spec("uvloop") is None:
        pytest.skip("no uvloop for this Python")
    (place / "app.py").write_text(re.search(r"```python app.py\n(.*?)```", DOC, re.DOTALL)[1])
    server = serve(None, *command.split())
    assert ask(server, "/").text == "Hello, World!"
