"""The worker class tornado: tornado.web applications on the engine."""

from __future__ import annotations

import asyncio
import signal

import pytest

from harness import wait_until

pytest.importorskip("tornado")
websockets = pytest.importorskip("websockets")


def test_requests_and_responses(serve):
    server = serve("many_faces:tornado", "--access-logfile", "-", worker_class="tornado")
    with server.connect() as c:
        stream = c.request("GET", "/stream")
        assert (stream.text, stream.header("Transfer-Encoding")) == ("0.1.2.", "chunked")
        posted = c.request("POST", "/stream?q=1", body=b"a=%C3%A4&b=2", headers=[
            ("Content-Type", "application/x-www-form-urlencoded")])
        assert posted.reason == "Own words"
        assert (posted.status, posted.text) == (299, "12 127.0.0.1 q=1 \u00e4")
        assert [value for name, value in posted.headers if name == "X-Own"] == ["1", "2"]
        usual = c.request("GET", "/")
        assert usual.text.startswith("pid ") and usual.header("Content-Length") == str(len(usual.body))
        same = c.request("GET", "/", headers=[("If-None-Match", usual.header("Etag"))])
        assert (same.status, same.body) == (304, b"")
        assert c.request("HEAD", "/").status == 405
        assert c.request("POST", "/stream", body=bytes(300000)).text.startswith("300000 ")
    server.wait_log(r'"GET /stream HTTP/1.1" 200 6')
    assert server.stop() == 0


def test_a_client_that_leaves_is_told_to_the_handler(serve):
    server = serve("many_faces:tornado", worker_class="tornado")
    with server.connect() as c:
        c.send(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log("forever begins")
    server.wait_log("client has gone")
    assert server.stop() == 0


def test_a_plain_request_that_detaches_is_answered_and_told_in_a_line(serve):
    server = serve("many_faces:tornado", worker_class="tornado")
    with server.connect() as c:
        assert c.request("GET", "/detach").status == 501
        assert c.request("GET", "/detach?flush=1").text == "begun"
        assert c.request("GET", "/").status == 200
    assert server.log.count("detach(): the connection of a plain request is the engine's") == 2
    assert server.stop() == 0


def test_websockets_until_the_server_stops(serve):
    server = serve("many_faces:tornado", worker_class="tornado")

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/websocket") as ws:
            for text in ("one", "two"):
                await ws.send(text)
                assert await ws.recv() == f"echo {text}"
            assert server.get("/").status == 200
            server.signal(signal.SIGTERM)
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await asyncio.wait_for(ws.recv(), 20)

    asyncio.run(talk())
    assert server.wait_exit() == 0
    assert "websocket closed" in server.log


def test_a_wsgi_application_is_served_too(serve):
    server = serve("many_faces:wsgi", worker_class="tornado")
    with server.connect() as c:
        assert c.request("GET", "/").text.startswith("pid ")
        assert c.request("GET", "/").text.startswith("pid ")
    assert server.stop() == 0
