"""aiohttp on the engine: what a `web.Server` (AppRunner.server) is given requests by.

Two paths. *Public*: the engine gives each connection away with the bytes that have come, and
aiohttp's own protocol goes on with it on a transport of the loop; nothing but documented API. *Fast*: plain
requests become aiohttp's request objects straight from the engine's parser, and its responses are
written by the engine; taken only where the installed release is known to fit and a synthetic
response, made both ways at the start, is the same byte for byte. Everything that is no plain
request (WebSockets, Expect, compressed bodies, CONNECT) goes the public path there, too.

Process: a worker. Thread: the main one, on its loop.
"""

import asyncio
import inspect
import os
import re
import socket

from .stream import StreamTransport

#: Releases whose internals the fast path was tested with: from (inclusive), to (exclusive).
KNOWN = ((3, 10), (3, 15))


def release(text):
    """(3, 14, 5) of "3.14.5", "3.14.5.dev0"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def is_known(text):
    """Whether the fast path fits this release of aiohttp."""
    return KNOWN[0] <= release(text)[:2] < KNOWN[1] and not re.search(r"[a-z]", text)


# ---- public path -------------------------------------------------------------------------------


class ProxiedTransport:
    """A transport as it is, but for its peer: the one that a PROXY header has told of. Who is shown
    the proxy's address instead may take its client for somebody local."""

    def __init__(self, transport, peer):
        self._transport, self._peer = transport, peer

    def get_extra_info(self, name, default=None):
        """See asyncio.BaseTransport."""
        return self._peer if name == "peername" else self._transport.get_extra_info(name, default)

    def __getattr__(self, name):
        return getattr(self._transport, name)


class Adopted(asyncio.Protocol):
    """First protocol of a connection that comes from the engine: puts the one of `factory` in its
    place and gives that the bytes which the engine has received."""

    def __init__(self, factory, data, peer):
        self._factory, self._data, self._peer = factory, data, peer

    def connection_made(self, transport):
        """See asyncio.BaseProtocol."""
        protocol = self._factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport if self._peer is None else ProxiedTransport(transport, self._peer))
        protocol.data_received(self._data)


class Adopter:
    """Takes connections from the engine to aiohttp's own protocol.

    engine: the one that is the loop's selector, which then watches over these connections, too; None: the
    loop's own transports do. count: connections taken so far. log: for what goes wrong before aiohttp has
    the connection.
    """

    def __init__(self, loop, server, log, engine=None):
        self._loop, self._server, self._log, self._engine = loop, server, log, engine
        self._coming = set()
        self.count = 0

    def give_away(self, fd, data, peer):
        """Called by the engine: fd is ours from now on. peer: whom a PROXY header told of, or None."""
        sock = socket.socket(fileno=fd)
        self.count += 1
        if self._engine is not None:
            self._coming.add(sock)
            self._loop.call_soon(self._begin, sock, data, peer)
            return
        task = self._loop.create_task(self._adopt(sock, data, peer), name="saola-adopt")
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    @property
    def busy(self):
        """Connections that are on their way to aiohttp."""
        return len(self._coming)

    def _begin(self, sock, data, peer):
        self._coming.discard(sock)
        try:
            sock.setblocking(False)
            StreamTransport(self._engine, self._loop, sock, self._server(), peer).begin(data)
        except OSError:
            sock.close()
        except Exception:
            sock.close()
            self._log.exception("A connection could not be given to aiohttp")

    async def _adopt(self, sock, data, peer):
        try:
            await self._loop.connect_accepted_socket(lambda: Adopted(self._server, data, peer), sock)
        except OSError:
            sock.close()
        except Exception:
            sock.close()
            self._log.exception("A connection could not be given to aiohttp")


# ---- fast path ---------------------------------------------------------------------------------


class EngineTransport(asyncio.Transport):
    """What `request.transport` is for a plain request: the engine keeps the connection."""

    __slots__ = ("writer", "_protocol")

    def __init__(self, protocol):
        super().__init__()
        self.writer = None
        self._protocol = protocol

    def get_extra_info(self, name, default=None):
        """peername and sockname; there is no socket to be had."""
        if name in ("peername", "sockname"):
            return getattr(self._protocol, name)
        return default

    def get_protocol(self):
        """See asyncio.BaseTransport."""
        return self._protocol

    def is_closing(self):
        """True once nothing can be written any more."""
        return self.writer is None or self.writer.closed

    def close(self):
        """Cuts the exchange if it is not complete, and ends the connection."""
        if self.writer is not None:
            self.writer.close()

    abort = close

    def pause_reading(self):
        """The body is not received any further until resume_reading()."""
        if self.writer is not None:
            self.writer.pause_reading()

    def resume_reading(self):
        """See pause_reading()."""
        if self.writer is not None:
            self.writer.resume_reading()

    def is_reading(self):
        """See asyncio.ReadTransport."""
        return not self.is_closing()

    def get_write_buffer_size(self):
        """Not known here: the engine bounds it."""
        return 0

    def write(self, data):
        """Responses are written by their writer; raw bytes have no place in between."""
        raise RuntimeError("request.transport.write() does not work on this connection: write to a response")

    def sendfile(self, file, offset, count):
        """Part of a file as the rest of the body; returns its length."""
        if count is None:
            count = os.fstat(file.fileno()).st_size - offset
        self.writer.sendfile(file.fileno(), offset, count)
        return count


def let_engine_send_files(loop):
    """loop.sendfile() for FileResponse, on connections of the engine and on those it gave away. Other loops than
    asyncio's say that they cannot, upon which aiohttp reads the file itself."""
    theirs = loop.sendfile

    async def sendfile(transport, file, offset=0, count=None, *, fallback=True):
        if type(transport) is EngineTransport:
            return transport.sendfile(file, offset, count)
        if type(transport) is StreamTransport:
            return await transport.sendfile(file, offset, count)
        return await theirs(transport, file, offset, count, fallback=fallback)

    try:
        loop.sendfile = sendfile
    except AttributeError:
        pass


def _protocol_class(base):
    """aiohttp's RequestHandler for one exchange at a time, used again and again. It has no
    connection of its own: what it parses, times and writes elsewhere is the engine's business."""

    class EngineProtocol(base):
        __slots__ = ("peername", "sockname", "own_transport", "task")

        ssl_context = None

        def pause_reading(self):
            self._reading_paused = True
            if self.transport is not None:
                self.transport.pause_reading()

        def resume_reading(self, resume_parser=True):
            self._reading_paused = False
            if self.transport is not None:
                self.transport.resume_reading()

        def lost(self, closed):
            """The client has closed its side, or (closed) the connection is gone."""
            manager = self._manager
            if manager is not None and getattr(manager, "handler_cancellation", False):
                if self.task is not None:
                    self.task.cancel()
            if closed:
                self.transport = None

    return EngineProtocol


async def _write_squeezed(writer, compressor, chunk):
    """writer.write() of a compressed response."""
    chunk = await compressor.compress(chunk)
    if chunk:
        await writer.put(chunk)


async def _end_squeezed(writer, compressor, chunk):
    """writer.write_eof() of a compressed response."""
    first = await compressor.compress(chunk) if chunk else b""
    writer.put_last(bytes(first) + bytes(compressor.flush()))


class Bridge:
    """What the engine needs of aiohttp, as attributes; see src/host_python/aio/aiohttp.h.

    server: web.Server. fast: whether plain requests are made by the engine; serve is None for the public path.
    logged: the engine writes the access log of requests that it makes.
    """

    def __init__(self, server, loop, adopter, fast, logged=True):
        names = """make_protocol make_headers make_url fail_body serialize date server closed_error message_type
                   version10 version11 reader_type reader_limit empty_payload compressor
                   write_squeezed end_squeezed serve"""
        for name in names.split():
            setattr(self, name, None)
        self.give_away = adopter.give_away
        if fast:
            self._fill(server, loop, logged)

    def _fill(self, server, loop, logged):
        from aiohttp import client_exceptions, hdrs, helpers, http, http_parser, http_writer, streams
        from aiohttp import web_protocol
        from aiohttp.compression_utils import ZLibCompressor
        from multidict import CIMultiDict, CIMultiDictProxy, istr
        from yarl import URL

        self.message_type = http_parser.RawRequestMessage
        self.version10, self.version11 = http.HttpVersion10, http.HttpVersion11
        self.reader_type, self.reader_limit = streams.StreamReader, 2 ** 16
        self.empty_payload = streams.EMPTY_PAYLOAD
        self.serialize = http_writer._serialize_headers
        self.date, self.server = helpers.rfc822_formatted_time, http.SERVER_SOFTWARE
        self.closed_error = getattr(client_exceptions, "ClientConnectionResetError", ConnectionResetError)
        self.write_squeezed, self.end_squeezed = _write_squeezed, _end_squeezed
        known = {str(value).lower().encode(): value for value in vars(hdrs).values() if isinstance(value, istr)}

        def make_headers(raw):
            return CIMultiDictProxy(CIMultiDict(
                [(known.get(name.lower()) or name.decode("utf-8", "surrogateescape"),
                  value.decode("utf-8", "surrogateescape")) for name, value in raw]))

        def make_url(target):
            target, _, fragment = target.partition("#")
            path, _, query = target.partition("?")
            return URL.build(path=path, query_string=query, fragment=fragment, encoded=True)

        def compressor(encoding, strategy):
            if strategy is None:
                return ZLibCompressor(encoding=encoding)
            return ZLibCompressor(encoding=encoding, strategy=strategy)

        def fail_body(payload, malformed):
            payload.set_exception(
                web_protocol.RequestPayloadError("the request body is malformed, or did not arrive in time")
                if malformed else ConnectionResetError("Connection lost"))

        self.make_headers, self.make_url = make_headers, make_url
        self.compressor, self.fail_body = compressor, fail_body
        protocol_type = _protocol_class(web_protocol.RequestHandler)
        kwargs = dict(server._kwargs)
        if logged:
            kwargs["access_log"] = None

        def make_protocol():
            protocol = protocol_type(server, loop=loop, **kwargs)
            protocol.own_transport = EngineTransport(protocol)
            protocol.task = None
            # They would only be told of connections that are not theirs.
            for name in ("_request_parser", "_parser"):
                if hasattr(protocol, name):
                    setattr(protocol, name, None)
            return protocol

        self.make_protocol = make_protocol
        self.serve = _serve_function(server, loop, streams.EMPTY_PAYLOAD, kwargs.get("access_log") is not None)


def _hooked(request):
    """Whether somebody wants to see the response before its head is sent."""
    match_info = getattr(request, "_match_info", None)
    if match_info is not None:
        for app in match_info._apps:  # any() would make a generator for each request
            if app.on_response_prepare:
                return True
    return False


def _serve_function(server, loop, empty, logged):
    factory, handler = server.request_factory, server.request_handler
    current_task, time = asyncio.current_task, loop.time
    from aiohttp.web_protocol import PayloadAccessError
    from aiohttp.web_response import Response

    async def serve(message, payload, protocol, writer):
        """One request, as RequestHandler.start() runs it. What is no plain response of a handler that
        has returned one goes through aiohttp's own steps."""
        task = protocol.task = current_task(loop)
        server.requests_count += 1
        request = factory(message, payload, protocol, writer, task)
        outcome = None
        try:
            protocol._current_request = request
            try:
                resp = await handler(request)
            except asyncio.CancelledError:
                raise
            except Exception as exc:
                outcome = _raising(exc)
            else:
                if type(resp) is Response and not (
                        resp._compression or resp._cookies or resp._chunked or resp._eof_sent
                        or resp._payload_writer is not None or request._post is not None or logged
                        or _hooked(request)) \
                        and writer.answer(resp._status, resp._reason, resp._headers, resp._body, resp._keep_alive):
                    resp._eof_sent = True
                    resp._body_length = writer.output_size
                    return
                outcome = _returning(resp)
            await protocol._handle_request(request, time(), outcome)
        except ConnectionError:
            pass  # the client has gone, or the response is broken off
        finally:
            outcome = protocol.task = protocol._current_request = None
            if payload is not empty:
                payload.set_exception(PayloadAccessError())

    return serve


def _returning(resp):
    async def outcome(request):
        return resp

    return outcome


def _raising(exc):
    async def outcome(request):
        raise exc

    return outcome
