"""The worker class gevent: WSGI in greenlets, on the engine."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from harness import DATA, Load, SANITIZED, Truncated, wait_until

pytest.importorskip("gevent")
pytestmark = pytest.mark.skipif(SANITIZED, reason="greenlets move pieces of the stack: ASan takes that for an error")


@pytest.fixture
def green(serve):
    """A server of green.py with the worker class gevent."""
    def start(*args, **options):
        return serve("green:app", *args, worker_class="gevent", **options)
    return start


@pytest.mark.log_may_contain("Traceback")
def test_requests_and_responses(green):
    server = green()
    with server.connect() as c:
        assert c.request("POST", "/echo", body=b"posted" * 50000).body == b"posted" * 50000
        c.send(b"POST /lines HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na\nb\n\r\n1\r\nc\r\n0\r\n\r\n"
               b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /write HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.read_response().text == "b'a\\n'|b'b\\n'|b'c'"
        stream = c.read_response()
        assert (stream.text, stream.header("X-Own"), stream.header("Transfer-Encoding")) == ("0.1.2.", "1", "chunked")
        assert c.read_response().text == "written by hand and returned"
        usual = c.request("GET", "/sleep?0")
        assert (usual.text, usual.header("Content-Length")) == ("slept", "5")
        assert c.request("HEAD", "/sleep?0").body == b""
        late = c.request("GET", "/late_status")
        assert (late.status, late.text, late.header("X-Own")) == (503, "sorry", "2")
        assert len(c.request("GET", "/big").body) == 256 << 16
        assert c.request("GET", "/talk").text == "slept"
        assert c.request("GET", "/thread").text.startswith("1 ")
    for target in ("/boom", "/no_start"):
        assert server.get(target).status == 500
    with pytest.raises((Truncated, ConnectionResetError)):
        server.get("/boom_late")
    server.wait_log("Error handling request GET /boom\n")
    server.wait_log("ValueError: boom late")
    server.wait_log("stream closed")
    assert server.get("/show").status == 200
    assert server.stop() == 0


def test_environ_is_that_of_the_other_classes(serve):
    shown = []
    for kind in ("sync", "gevent"):
        server = serve("green:app", "--forwarded-allow-ips", "*", worker_class=kind, env={"SCRIPT_NAME": "/mount"})
        found = []
        for request in (b"GET /mount/a%20%e2%82%ac/b?x=%20&y HTTP/1.1\r\nHost: shop:81\r\nX-A: 1\r\nx-a: 2\r\n"
                        b"Cookie: a=1\r\nX-Forwarded-Proto: https\r\nAccept: \xe4\r\n\r\n",
                        b"POST /mount HTTP/1.0\r\nContent-Type: text/own\r\nContent-Length: 1\r\n\r\na"):
            with server.connect() as c:
                c.send(request)
                response = c.read_response()
                environ = json.loads(response.text)
                for name in ("REMOTE_PORT", "SERVER_PORT", "wsgi.input", "wsgi.early_hints", "wsgi.multithread"):
                    assert name in environ, name
                    del environ[name]
                found.append(environ)
        shown.append(found)
        assert server.stop() == 0
    assert shown[0] == shown[1]


@pytest.mark.parametrize("kind", ["sync", "gevent"])
def test_files_that_the_kernel_sends_and_reasons_of_ones_own(serve, kind):
    server = serve("green:app", "--access-logfile", "-", worker_class=kind)
    content = (DATA / "green.py").read_bytes()
    with server.connect() as c:
        whole = c.request("GET", "/file")
        assert whole.body == content and whole.header("Content-Length") == str(len(content))
        assert c.request("GET", "/file?10").body == content[:10]
        head = c.request("HEAD", "/file")
        assert (head.body, head.header("Content-Length")) == (b"", str(len(content)))
        memory = c.request("GET", "/in_memory")
        assert (memory.text, memory.header("Transfer-Encoding")) == ("1234567", "chunked")
        for status, sent in (("299+Own+words", "299 Own words"), ("404+", "404 "), ("204", "204 ")):
            response = c.request("GET", f"/reason?{status}")
            assert f"{response.status} {response.reason}" == sent
    server.wait_log("file closed", 3)
    server.wait_log(f'"GET /file HTTP/1.1" 200 {len(content)} ')
    server.wait_log('"GET /reason.299.Own.words HTTP/1.1" 299 0 ')
    assert server.stop() == 0


def test_a_handler_of_gevents_own_http(serve):
    server = serve("green:app", "--access-logfile", "-", "--max-requests", "6", workers=2, config="""
from gevent import pywsgi
from gunicorn.workers.ggevent import GeventPyWSGIWorker
class Handler(pywsgi.WSGIHandler):
    def get_environ(self):
        return super().get_environ() | {"my.name": "shop"}
class Mine(GeventPyWSGIWorker):
    wsgi_handler = Handler
worker_class = Mine
""")
    with server.connect() as c:
        environ = json.loads(c.request("GET", "/show").text)
        assert environ["my.name"] == "shop" and environ["wsgi.multithread"] is True and "gunicorn.sock" in environ
        assert c.request("GET", "/reason?299+Own+words").reason == "Own words"
    server.wait_log(r'"GET /show HTTP/1.1" 200 \d+ ')
    for _ in range(12):
        assert server.get("/sleep?0").text == "slept"
    server.wait_log("has served max_requests")
    server.wait_log("Worker exiting")
    with server.connect() as idle, server.connect() as c:
        idle.request("GET", "/sleep?0")
        server.wait_workers(2)
        c.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("slow begins")
        server.signal(signal.SIGTERM)
        assert c.read_response().text == "slept"
    assert server.wait_exit() == 0


def test_many_requests_wait_at_once(green):
    server = green("--worker-connections", "300")
    began = time.monotonic()
    connections = [server.connect() for _ in range(100)]
    for connection in connections:
        connection.send(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in connections:
        assert connection.read_response().text == "slept"
        connection.close()
    assert time.monotonic() - began < 25, "one after the other they take 50 s"
    assert server.stop() == 0


def test_hooks_and_the_access_log_of_a_logger_of_ones_own(green):
    server = green(config="""
from gunicorn.glogging import Logger
class Mine(Logger):
    def access(self, resp, req, environ, request_time):
        self.info("ACCESS %s %s %s %s", req.path, resp.status, resp.sent, environ["REQUEST_METHOD"])
logger_class = Mine
def pre_request(worker, req): worker.log.info("PRE %s %s", req.method, req.uri)
def post_request(worker, req, environ, resp): worker.log.info("POST %s", resp.status)
""")
    with server.connect() as c:
        c.request("GET", "/sleep?0")
    server.wait_log("POST 200 OK")
    assert server.stop() == 0
    said = re.findall(r"(?:PRE|ACCESS|POST) .*", server.log)
    assert said == ["PRE GET /sleep?0", "ACCESS /sleep 200 OK 5 GET", "POST 200 OK"]


def test_the_access_log_and_a_handshake_that_the_application_answers(green):
    server = green("--access-logfile", "-")
    with server.connect() as c:
        c.send(b"GET /sleep?0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert c.read_response().text == "slept"
    server.wait_log(r'"GET /sleep\?0 HTTP/1.1" 200 5')
    assert server.stop() == 0


@pytest.mark.parametrize("number, limit", [(signal.SIGTERM, "1"), (signal.SIGQUIT, "30")])
def test_requests_that_do_not_end_are_killed_at_the_end(green, number, limit):
    server = green("--graceful-timeout", limit)
    with server.connect() as c:
        c.send(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("forever begins")
        server.signal(number)
        server.wait_log("forever ends")
        server.wait_exit()
    assert "aborting" not in server.log and "Error handling" not in server.log
    if number == signal.SIGTERM:
        assert "1 requests did not end within graceful_timeout and are killed." in server.log


def test_a_hub_that_is_blocked_is_found_out(green):
    server = green("--timeout", "1")
    with server.connect() as c:
        c.send(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("WORKER TIMEOUT")
    server.wait_log("Booting worker", 2)
    assert server.get("/sleep?0").text == "slept"
    assert server.stop() == 0


def test_reload_and_recycling_lose_nothing(green):
    server = green("--max-requests", "200", workers=2)
    with Load(server.address, clients=4, target="/sleep?0.001", keepalive=True) as load:
        load.wait_for(300)
        server.signal(signal.SIGHUP)
        server.wait_log("Reload done")
        load.wait_for(load.total + 300)
    load.assert_clean(600)
    assert server.stop() == 0
