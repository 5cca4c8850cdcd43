"""WebSockets of ASGI applications, with the client of the package websockets."""

import ast
import asyncio
import contextlib
import importlib.util
import os
import resource
import signal
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest

from harness import WAIT, wait_until

pytest.importorskip("websockets", minversion="13")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

APP = "websocket_app:app"
UVLOOP = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="no uvloop for this Python")
HEAD = (b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
EMPTY_MASK = bytes(4)  # masks nothing


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=UVLOOP)])
def start(serve, request):
    def run(*args, **options):
        return serve(APP, "-k", "asgi", "--loop", request.param, *args, **options)
    return run


def call(server, path, **options):
    host, port = server.address
    options = {"open_timeout": WAIT, "close_timeout": WAIT, "proxy": None, **options}
    return connect(f"ws://{host}:{port}/{path}", **options)


def tell(server):
    return ast.literal_eval(server.get("/tell").text)


def wait_told(server, *expected):
    """Waits until the application has noted exactly this."""
    told = []

    def look():
        told.extend(tell(server))
        return told == list(expected)
    wait_until(look, lambda: f"{list(expected)}, but: {told}")


def frame(opcode, data=b"", fin=True):
    assert len(data) < 126
    return bytes([opcode | (0x80 if fin else 0), 0x80 | len(data)]) + EMPTY_MASK + data


def open_by_hand(server, path):
    c = server.connect()
    c.send(HEAD % path.encode())
    assert c.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    return c


def read_frame(c):
    head = c.read_exactly(2)
    size = head[1]
    if size == 126:
        size, = struct.unpack(">H", c.read_exactly(2))
    elif size == 127:
        size, = struct.unpack(">Q", c.read_exactly(8))
    return head[0] & 15, c.read_exactly(size)


def close_code(c):
    """Reads frames up to the close; its code."""
    while True:
        opcode, data = read_frame(c)
        if opcode == 8:
            return struct.unpack(">H", data[:2])[0] if data else 1005


# ---- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_all_sizes_come_back(start, compression):
    server = start()
    with call(server, "echo", compression=compression, max_size=None) as ws:
        assert ("permessage-deflate" in ws.response.headers.get("Sec-WebSocket-Extensions", "")) == bool(compression)
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            ws.send(bytes(i & 255 for i in range(size)))
            assert ws.recv(WAIT) == bytes(i & 255 for i in range(size))
            ws.send("\u20ac" * (size // 3))
            assert ws.recv(WAIT) == "\u20ac" * (size // 3)
        ws.send(["in ", "three ", "parts"])
        assert ws.recv(WAIT) == "in three parts"
        for i in range(100):
            ws.send(f"message {i}")
        assert [ws.recv(WAIT) for _ in range(100)] == [f"message {i}" for i in range(100)]
        assert ws.ping(b"are you there").wait(WAIT)
        ws.close(3000, "enough")
    assert wait_until(lambda: tell(server), "the end")[-1] == "3000 enough"
    assert server.stop() == 0


@pytest.mark.parametrize("parameters", [
    {"server_no_context_takeover": True, "client_no_context_takeover": True},
    {"server_max_window_bits": 9, "client_max_window_bits": 9},
    {"server_max_window_bits": 12, "client_max_window_bits": True, "client_no_context_takeover": True}])
def test_parameters_of_the_compression(serve, parameters):
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    server = serve(APP, "-k", "asgi")
    with call(server, "echo", compression=None, max_size=None,
              extensions=[ClientPerMessageDeflateFactory(**parameters)]) as ws:
        accepted = ws.response.headers["Sec-WebSocket-Extensions"]
        assert all(name in accepted for name in parameters if name.startswith("server_")), accepted
        for text in ("spam " * 50_000, os.urandom(5000).hex(), "", "spam " * 10, "spam " * 10):
            ws.send([text[:7], text[7:20], text[20:]])  # three frames
            assert ws.recv(WAIT) == text


def test_the_client_of_aiohttp(start):
    aiohttp = pytest.importorskip("aiohttp")
    server = start()

    async def talk():
        async with aiohttp.ClientSession() as session:
            for compress in (0, 9, 15):
                async with session.ws_connect(server.url + "/echo", compress=compress, heartbeat=1) as ws:
                    assert bool(ws.compress) == bool(compress)
                    for text in ("", "spam", "spam " * 20_000):
                        await ws.send_str(text)
                        assert await ws.receive_str() == text
                    await ws.send_bytes(bytes(100_000))
                    assert await ws.receive_bytes() == bytes(100_000)
                    await ws.ping(b"there?")
                    await ws.close(code=4321, message=b"enough")
                assert ws.close_code == 4321
            async with session.ws_connect(server.url + "/show", protocols=["one", "two"]) as ws:
                assert ws.protocol == "two"
                await ws.receive_str()
                message = await ws.receive()
                assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4000, "shown")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(server.url + "/refuse")
            assert refused.value.status == 403

    asyncio.run(talk())
    assert tell(server).count("4321 enough") == 3


@pytest.mark.log_may_contain("Traceback")
def test_the_handshake(start):
    server = start("--root-path", "/root")
    with call(server, "show?x=1", subprotocols=["first", "second"]) as ws:
        assert ws.subprotocol == "second" and ws.response.headers["x-mine"] == "yes"
        scope = ast.literal_eval(ws.recv(WAIT))
        with pytest.raises(ConnectionClosed):
            ws.recv(WAIT)
        assert ws.close_code == 4000 and ws.close_reason == "shown"
    assert scope == {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "server": server.address, "scheme": "ws", "root_path": "/root", "path": "/root/show",
        "raw_path": b"/root/show", "query_string": b"x=1", "state": {}, "subprotocols": ["first", "second"],
        "extensions": {"websocket.http.response": {}}}
    wait_told(server, 4000, "unexpected ASGI message 'websocket.send': the WebSocket was closed already",
              "unexpected ASGI message 'websocket.close': the WebSocket was closed already")
    server.stop()


@pytest.mark.log_may_contain("Traceback")
def test_websockets_that_do_not_come_to_be(start):
    server = start()
    for path, status, told in (("refuse", 403, [1006]), ("deny", 401, []), ("boom_early", 500, []), ("ignore", 500, [])):
        with pytest.raises(InvalidStatus) as caught:
            call(server, path)
        assert caught.value.response.status_code == status
        if path == "deny":
            assert caught.value.response.headers["x-why"] == "secret"
            assert caught.value.response.body == b"not you"
        wait_told(server, *told)
    server.wait_log("ValueError: boom before accept")
    server.wait_log("GET /ignore: the ASGI application returned without accepting or closing its WebSocket")
    with server.connect() as c:
        c.send((HEAD % b"echo").replace(b"Version: 13", b"Version: 12"))
        response = c.read_response()
        assert response.status == 426 and response.header("sec-websocket-version") == "13"
    with server.connect() as c:
        c.send((HEAD % b"echo").replace(b"dGhl", b"a"))
        assert c.read_response().status == 400
    with server.connect() as c:  # HTTP/1.0 has no Upgrade
        c.send((HEAD % b"tell").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert c.read_response().status == 200


@pytest.mark.log_may_contain("Traceback")
def test_applications_that_fail(start):
    server = start()
    with call(server, "wrong") as ws:
        assert ws.recv(WAIT) == b"still here"
        with pytest.raises(ConnectionClosed):
            ws.recv(WAIT)
        assert ws.close_code == 1000
    wait_told(server, "RuntimeError", "ValueError", "RuntimeError",
              "RuntimeError", "ValueError", "TypeError", "UnicodeEncodeError", "ValueError", "ValueError")
    with call(server, "boom") as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(WAIT)
        assert ws.close_code == 1011
    server.wait_log("ValueError: boom in a WebSocket")


def test_clients_that_break_the_rules(start):
    server = start("--websocket-max-size", "1000", "--websocket-max-controls", "10")
    for sent, code in ((frame(1, b"\xff"), 1007), (frame(3), 1002), (b"\x82\x01x", 1002),
                       (frame(9, b"x") * 20, 1008), (b"\x82\xfe\x20\x00" + EMPTY_MASK, 1009),
                       (frame(8, b"\x03"), 1002)):
        with open_by_hand(server, "echo") as c:
            c.send(sent)
            assert close_code(c) == code, sent
            assert not c.read_some()
    codes = [int(note.split()[0]) for note in wait_until(lambda: tell(server), "the ends")]
    assert codes == [1007, 1002, 1002, 1008, 1009, 1002]


def test_frames_behind_the_handshake_and_clients_without_a_close(start):
    server = start()
    with server.connect() as c:
        c.send(HEAD % b"echo" + frame(1, b"soon") + frame(9, b"ping"))
        c.read_until(b"\r\n\r\n")
        assert {read_frame(c), read_frame(c)} == {(1, b"soon"), (10, b"ping")}
        c.sock.shutdown(socket.SHUT_WR)
        assert not c.read_some()
    wait_told(server, "text", "1006 ")


# ---- pressure ------------------------------------------------------------------------------------------


def test_a_client_that_does_not_read_holds_the_application_back(start):
    server = start()
    with server.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        c.send(HEAD % b"flood")
        c.read_until(b"\r\n\r\n")
        wait_until(lambda: "block" not in tell(server), "the application to stand still")
        for _ in range(200):  # what the client says does not make room
            c.send(frame(2, b"x"))
        wait_until(lambda: "block" not in tell(server), "the application to stand still")
        read_frame(c)
    wait_until(lambda: "ConnectionResetError" in tell(server), "the application to hear of the end")


def test_an_application_that_does_not_receive_holds_the_client_back(start):
    server = start()
    with server.connect() as c:
        c.send(HEAD % b"deaf")
        c.read_until(b"\r\n\r\n")
        c.send(frame(9, b"ping"))  # is answered all the same
        assert read_frame(c) == (10, b"ping")
        c.sock.setblocking(False)
        part = b"\x82\xfe\x40\x00" + EMPTY_MASK + bytes(1 << 14)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += c.sock.send(part[sent % len(part):])
        assert sent < 64 << 20
        c.sock.settimeout(WAIT)
        server.get("/let_hear")
        c.send(part[sent % len(part):] + frame(8, b"\x03\xe8"))
        assert close_code(c) == 1000
    wait_told(server, f"total {(sent // len(part) + 1) << 14}")


def test_silent_clients_are_pinged_and_cut(start):
    server = start("--websocket-ping-interval", "1", "--websocket-ping-timeout", "1")
    with call(server, "echo", ping_interval=None) as alive, open_by_hand(server, "echo") as dead:
        assert read_frame(dead) == (9, b"")
        assert close_code(dead) == 1011
        assert not dead.read_some()
        alive.send("here")  # its client has answered the pings
        assert alive.recv(WAIT) == "here"
    told = []
    wait_until(lambda: told.extend(tell(server)) or len(told) == 3, lambda: f"three notes: {told}")
    assert told[0] == "1006 keepalive ping timeout"


def test_everybody_hears_everybody(start):
    server = start()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(call(server, "crowd")) for _ in range(20)]
        for i, ws in enumerate(crowd):
            ws.send(f"from {i}")
            assert [other.recv(WAIT) for other in crowd] == [f"from {i}"] * 20
    assert server.stop() == 0


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_websockets_that_end_leave_nothing(start, count):
    server = start("--asgi-disconnect-grace-period", "0")
    worker, = server.wait_workers(1)

    def objects():
        return int(server.get("/objects").text)

    def descriptors():
        return len(list(Path(f"/proc/{worker}/fd").iterdir()))

    def rounds(count):
        for i in range(count):
            with open_by_hand(server, ("echo", "stay", "deaf", "show")[i % 4]) as c:
                c.send(frame(1, b"hello")[:i % 12])
                if i % 3:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    before = objects()
    rounds(20)
    wait_until(lambda: objects() <= before, lambda: f"{before}, but {objects()}")
    open_now = descriptors()
    rounds(count)
    wait_until(lambda: objects() <= before, lambda: f"{before}, but {objects()}")
    wait_until(lambda: descriptors() <= open_now, lambda: f"{open_now}, but {descriptors()}")


# ---- the end of the worker ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 1001), (signal.SIGHUP, 1012)])
def test_a_worker_that_leaves_says_so(start, number, code):
    server = start("--graceful-timeout", "20")
    with call(server, "echo") as ws, open_by_hand(server, "stay") as silent:
        ws.send("there")
        ws.recv(WAIT)
        server.signal(number)
        with pytest.raises(ConnectionClosed):
            ws.recv(WAIT)
        assert ws.close_code == code
        assert close_code(silent) == code
    if number == signal.SIGHUP:
        with wait_until(lambda: call(server, "echo"), "the next worker") as ws:
            ws.send("here")
            assert ws.recv(WAIT) == "here"
        server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "SIGKILL" not in server.log and "graceful_timeout" not in server.log


@pytest.mark.parametrize("limit", [20, pytest.param(2, marks=pytest.mark.long, id="strict")])
def test_clients_that_do_not_answer_the_close_hold_a_stop_up_for_a_moment(start, limit):
    server = start("--graceful-timeout", "60")
    with open_by_hand(server, "tidy") as silent, open_by_hand(server, "echo"):
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert close_code(silent) == 1001
        assert server.wait_exit() == 0
        assert time.monotonic() - began < limit
    assert server.log.index("tidied up") < server.log.index("cleanup")


# ---- many --------------------------------------------------------------------------------------------------


def private_kib(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


@pytest.fixture
def many():
    """As many descriptors as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_200:
        pytest.skip(f"{hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
def test_ten_thousand_idle_websockets_and_a_word_to_all(serve, many, capsys):
    count = 10_000
    server = serve(APP, "-k", "asgi", "--worker-connections", str(2 * count))
    worker, = server.wait_workers(1)
    server.get("/tell")
    before = private_kib(worker)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(open_by_hand(server, "crowd")) for _ in range(count)]
        idle = (private_kib(worker) - before) / count
        began = time.monotonic()
        crowd[0].send(frame(1, b"a word to all"))
        for c in crowd:
            assert read_frame(c) == (1, b"a word to all")
        took = time.monotonic() - began
        with capsys.disabled():
            print(f"\n{count} idle WebSockets: {idle:.1f} KiB each; a word to all of them in {took:.2f} s")
        assert idle < 16
        for c in crowd:
            c.send(frame(8))
            assert close_code(c) == 1005


@pytest.mark.long
@pytest.mark.parametrize("path, size, limit", [("tidy", 200, 20), ("echo", 200, 55), ("echo", 50_000, 300)],
                         ids=["received", "both ways", "both ways, large"])
def test_what_compression_costs_a_websocket(serve, many, capsys, path, size, limit):
    count = 1000
    squeeze = zlib.compressobj(wbits=-15)
    text = (squeeze.compress(os.urandom(size).hex().encode()) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    compressed = bytes([0xc1, 0xfe]) + struct.pack(">H", len(text)) + EMPTY_MASK + text
    head = HEAD.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    server = serve(APP, "-k", "asgi", "--worker-connections", str(2 * count))
    worker, = server.wait_workers(1)
    server.get("/tell")
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(count)]
        for c in crowd:
            c.send(head % path.encode())
            assert b"permessage-deflate" in c.read_until(b"\r\n\r\n")
        idle = private_kib(worker)
        for c in crowd:
            c.send(compressed + frame(9, b"ping"))
            while read_frame(c)[0] != 10:
                pass
        heard = (private_kib(worker) - idle) / count
        with capsys.disabled():
            print(f"\ncompressed messages of {2 * size} bytes, {path}: {heard:.1f} KiB more for a WebSocket")
        assert heard < limit
