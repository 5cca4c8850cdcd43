"""The transport of connections that are given away: whatever a protocol does, it hears what it would hear
of asyncio's own transport."""

import asyncio
import contextvars
import gc
import socket
import struct
import weakref

import pytest

from saola import _saola
from saola.aio.loops import EngineSelector
from saola.aio.stream import StreamTransport

MUCH = 1 << 22  # more than the kernel takes for a client that does not read


class Recorder(asyncio.Protocol):
    """Writes down what it is told. told: names and values, comparable between transports."""

    def __init__(self, **do):
        self.told, self.do, self.transport = [], do, None
        self.over = asyncio.get_running_loop().create_future()

    def _hear(self, name, *values):
        self.told.append((name, *values))
        if name in self.do:
            return self.do[name](self, *values)

    def connection_made(self, transport):
        self.transport = transport
        self._hear("made")

    def data_received(self, data):
        if self.told[-1][0] == "data":
            data = self.told.pop()[1] + data
        self._hear("data", data)

    def eof_received(self):
        return self._hear("eof")

    def pause_writing(self):
        self._hear("pause")

    def resume_writing(self):
        self._hear("resume")

    def connection_lost(self, exc):
        self._hear("lost", type(exc))
        self.over.set_result(None)


async def stock(engine, sock, protocol):
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: protocol, sock)


async def ours(engine, sock, protocol):
    sock.setblocking(False)
    StreamTransport(engine, asyncio.get_running_loop(), sock, protocol).begin()


def run(case):
    """What case(begin, sock, peer, problems) gives with either transport: the two must be the same."""
    results = []
    for make in (stock, ours):
        engine = _saola.AsyncEngine(None, [], None, {})
        loop = asyncio.SelectorEventLoop(EngineSelector(engine))
        engine.set_loop(loop, True)
        problems = []
        loop.set_exception_handler(lambda loop, context: problems.append(
            (context["message"], type(context.get("exception")))))
        sock, peer = socket.socketpair()
        peer.settimeout(10)
        try:
            results.append(loop.run_until_complete(asyncio.wait_for(
                case(lambda protocol, other=sock: make(engine, other, protocol), sock, peer, problems), 20)))
        finally:
            peer.close()
            loop.close()
            assert not engine.keys and sock.fileno() == -1
            engine.close()
    assert results[0] == results[1]
    return results[1]


async def until(condition):
    async def poll():
        while not condition():
            await asyncio.sleep(0.001)
    await asyncio.wait_for(poll(), 10)


async def read(peer, size):
    """In a thread: the loop goes on."""
    def all_of_it():
        data = b""
        while len(data) < size and (part := peer.recv(1 << 16)):
            data += part
        return data
    return await asyncio.get_running_loop().run_in_executor(None, all_of_it)


# ---- the common way ------------------------------------------------------------------------------------


def test_bytes_go_both_ways_and_the_end_of_file_closes():
    async def case(begin, sock, peer, problems):
        p = Recorder(data=lambda p, data: p.transport.write(b"<" + data[-1:] + b">"))
        await begin(p)
        answers = []
        for part in (b"a", b"b", b"c"):
            peer.send(part)
            answers.append(await read(peer, 3))
        t = p.transport
        seen = [t.is_reading(), t.is_closing(), t.get_write_buffer_size(), t.get_write_buffer_limits(),
                t.get_protocol() is p, t.can_write_eof(), t.get_extra_info("socket").family,
                t.get_extra_info("nothing", 7)]
        peer.shutdown(socket.SHUT_WR)
        await p.over
        return p.told, answers, seen, t.is_closing(), peer.recv(1), problems
    told = run(case)[0]
    assert [t[0] for t in told] == ["made", "data", "eof", "lost"] and told[1][1] == b"abc"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_more_than_the_client_takes_waits_and_pauses_the_protocol(kind):
    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        t = p.transport
        t.write(kind(b"x" * MUCH))
        t.writelines([b"y", b"z"])
        full = t.get_write_buffer_size() > 0
        t.close()
        t.close()
        closing = [t.is_closing(), t.is_reading(), full, list(p.told)]
        data = await read(peer, MUCH + 2)
        await p.over
        return p.told, closing, len(data), data[-3:], peer.recv(1), t.get_write_buffer_size(), problems
    told, closing, length, end, *_ = run(case)
    assert told == [("made",), ("pause",), ("resume",), ("lost", type(None))]
    assert closing[2] and length == MUCH + 2 and end == b"xyz"


def test_limits_of_what_waits():
    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        t = p.transport
        limits = []
        for arguments in ((), (1000,), (1000, 10), (None, 5), (0,)):
            t.set_write_buffer_limits(*arguments)
            limits.append(t.get_write_buffer_limits())
        with pytest.raises(ValueError):
            t.set_write_buffer_limits(1, 2)
        for _ in range(3):
            t.write(b"x" * MUCH)
            await read(peer, MUCH)
            await until(lambda: t.get_write_buffer_size() == 0)
        t.abort()
        await p.over
        return p.told, limits
    assert [t[0] for t in run(case)[0]] == ["made", *["pause", "resume"] * 3, "lost"]


def test_reading_can_be_paused():
    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        t = p.transport
        t.pause_reading()
        t.pause_reading()
        peer.send(b"one")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        before = list(p.told), t.is_reading()
        t.resume_reading()
        t.resume_reading()
        await until(lambda: len(p.told) > 1)
        after = list(p.told), t.is_reading()
        t.abort()
        await p.over
        return before, after, p.told
    before, after, _ = run(case)
    assert before == ([("made",)], False) and after[1]


def test_what_the_protocol_writes_while_it_is_told_of_room():
    async def case(begin, sock, peer, problems):
        p = Recorder(resume=lambda p: p.transport.write(b"more"))
        await begin(p)
        p.transport.write(b"x" * MUCH)
        data = await read(peer, MUCH + 4)
        p.transport.close()
        await p.over
        return p.told, len(data), data[-5:]
    assert run(case)[2] == b"xmore"


# ---- ends --------------------------------------------------------------------------------------------


def test_a_half_closed_connection_is_answered():
    async def case(begin, sock, peer, problems):
        p = Recorder(eof=lambda p: True)
        await begin(p)
        peer.send(b"question")
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: p.told[-1][0] == "eof")
        p.transport.write(b"answer")
        p.transport.write_eof()
        p.transport.write_eof()
        with pytest.raises(RuntimeError):
            p.transport.write(b"too late")
        answer = await read(peer, 100)
        p.transport.close()
        await p.over
        return p.told, answer
    assert run(case)[1] == b"answer"


def test_an_end_of_file_is_written_behind_what_waits():
    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        p.transport.write(b"x" * MUCH)
        p.transport.write_eof()
        data = await read(peer, MUCH + 1)
        p.transport.close()
        await p.over
        return p.told, len(data)
    assert run(case)[1] == MUCH


def test_an_abort_drops_what_waits():
    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        t = p.transport
        t.write(b"x" * MUCH)
        t.abort()
        t.write(b"y")
        t.abort()
        at_once = list(p.told), t.get_write_buffer_size(), t.is_closing()
        await p.over
        t.write(b"y")
        return p.told, at_once, len(await read(peer, MUCH)) < MUCH
    assert run(case)[2]


def test_a_client_that_resets_the_connection():
    async def case(begin, sock, peer, problems):
        p = Recorder(pause=lambda p: peer.close())
        await begin(p)
        p.transport.write(b"x" * MUCH)
        await p.over
        for _ in range(3):
            p.transport.write(b"y")
        return [t[0] for t in p.told if t[0] != "eof"], problems
    assert run(case)[0] == ["made", "pause", "lost"]


def test_a_reset_while_receiving():
    """Of TCP; the protocol is told the error."""
    async def case(begin, sock, peer, problems):
        sock.close()
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            taken, _ = server.accept()
        p = Recorder()
        await begin(p, taken)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        names = p.transport.get_extra_info("peername") == client.getsockname(), \
            p.transport.get_extra_info("sockname") == client.getpeername()
        client.close()
        await p.over
        return p.told, names, problems
    told, names, _ = run(case)
    assert told == [("made",), ("lost", ConnectionResetError)] and names == (True, True)


# ---- protocols that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["data", "eof", "pause", "resume"])
def test_a_protocol_that_fails_is_told_to_the_loop(where):
    def broken(p, *_):
        raise ZeroDivisionError

    async def case(begin, sock, peer, problems):
        p = Recorder(**{where: broken})
        await begin(p)
        if where in ("pause", "resume"):
            p.transport.write(b"x" * MUCH)
            await read(peer, MUCH)
            p.transport.close()
        peer.send(b"data")
        peer.shutdown(socket.SHUT_WR)
        await p.over
        return p.told, problems
    assert run(case)[1][0][1] is ZeroDivisionError


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_protocol_leaves_the_loop(error):
    def leave(p, data):
        raise error

    async def case(begin, sock, peer, problems):
        p = Recorder(data=leave)
        await begin(p)
        peer.send(b"data")
        await p.over

    engine = _saola.AsyncEngine(None, [], None, {})
    loop = asyncio.SelectorEventLoop(EngineSelector(engine))
    engine.set_loop(loop, True)
    sock, peer = socket.socketpair()
    with peer, pytest.raises(error):
        loop.run_until_complete(case(lambda p: ours(engine, sock, p), sock, peer, []))
    loop.close()
    engine.close()
    sock.close()


def test_a_connection_has_a_context_of_its_own():
    seen = contextvars.ContextVar("seen", default=0)

    def count(p, *_):
        seen.set(seen.get() + 1)
        p.told.append(("count", seen.get()))

    async def case(begin, sock, peer, problems):
        seen.set(10)
        p = Recorder(data=count, eof=count)
        await begin(p)
        seen.set(20)
        peer.send(b"one")
        await until(lambda: p.told[-1][0] == "count")
        peer.send(b"two")
        await until(lambda: p.told[-1] == ("count", 12))
        peer.shutdown(socket.SHUT_WR)
        await p.over
        return p.told, seen.get()
    told, outside = run(case)
    assert [value for name, *value in told if name == "count"] == [[11], [12], [13]] and outside == 20


# ---- other things --------------------------------------------------------------------------------------


def test_another_protocol_takes_over():
    async def case(begin, sock, peer, problems):
        second = Recorder()
        p = Recorder(data=lambda p, data: p.transport.set_protocol(second))
        await begin(p)
        second.told.append(("made",))
        peer.send(b"one")
        await until(lambda: p.told[-1][0] == "data")
        peer.send(b"two")
        peer.shutdown(socket.SHUT_WR)
        await second.over
        return p.told, second.told
    assert run(case)[1][1] == ("data", b"two")


def test_a_file_behind_what_was_written(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789" * 100000)

    async def case(begin, sock, peer, problems):
        p = Recorder()
        await begin(p)
        t = p.transport
        t.write(b"x" * MUCH)
        reading = asyncio.ensure_future(read(peer, MUCH + 999990))
        with (tmp_path / "file").open("rb") as file:
            if isinstance(t, StreamTransport):
                sent = await t.sendfile(file, 10, None)
            else:
                sent = await asyncio.get_running_loop().sendfile(t, file, 10, None)
        data = await reading
        state = t.is_reading()
        t.close()
        await p.over
        return p.told, sent, state, data[MUCH:MUCH + 3], len(data)
    assert run(case)[1] == 999990


def test_a_transport_that_is_over_leaves_nothing():
    async def main(engine):
        sock, peer = socket.socketpair()
        p = Recorder()
        await ours(engine, sock, p)
        transport = weakref.ref(p.transport)
        peer.close()
        await p.over
        await asyncio.sleep(0)
        p.transport = None
        gc.collect()
        return transport()

    engine = _saola.AsyncEngine(None, [], None, {})
    loop = asyncio.SelectorEventLoop(EngineSelector(engine))
    engine.set_loop(loop, True)
    assert loop.run_until_complete(main(engine)) is None
    loop.close()
    engine.close()


def test_what_is_no_engine_is_refused():
    with pytest.raises(TypeError, match="an AsyncEngine is needed, not"):
        _saola.Stream(None, None, 0, asyncio.Protocol())
    bare = _saola.Stream.__new__(_saola.Stream)
    bare.write(b"nowhere")
    bare.close()
    assert bare.is_closing() and bare.get_protocol() is None
