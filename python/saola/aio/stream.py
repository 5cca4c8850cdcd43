"""The transport of a connection that the engine has given away to an asyncio protocol.

What happens often is C (_saola.Stream, src/host_python/aio/stream.c); the rest of asyncio.Transport is here.

Process: a worker. Thread: the main one, on its loop.
"""

import asyncio
import asyncio.trsock

from .. import _saola


class StreamTransport(_saola.Stream):
    """An asyncio.Transport on the loop whose selector the engine is. It is made in the context in which
    its protocol will be called.

    engine: _saola.AsyncEngine. sock: connected and not blocking; closed with the transport. peer: whom
    get_extra_info("peername") tells of; None: the one that the socket knows.
    """

    __slots__ = ("_loop", "_sock", "_extra", "__weakref__")

    def __init__(self, engine, loop, sock, protocol, peer=None):
        super().__init__(engine, loop, sock.fileno(), protocol)
        self._loop, self._sock = loop, sock
        self._extra = {"socket": asyncio.trsock.TransportSocket(sock), "sockname": sock.getsockname(),
                       "peername": peer or _peer_of(sock)}

    def __repr__(self):
        state = "closing" if self.is_closing() else "open"
        return f"<{type(self).__name__} {state} fd={self._sock.fileno()} waiting={self.get_write_buffer_size()}>"

    def begin(self, data=b""):
        """Tells the protocol that it is connected, gives it what was received before, and goes on with
        what comes."""
        protocol = self.get_protocol()
        protocol.connection_made(self)
        if data and not self.is_closing():
            protocol.data_received(data)
        self._start()

    def get_extra_info(self, name, default=None):
        """See asyncio.BaseTransport: socket, sockname and peername."""
        return self._extra.get(name, default)

    def writelines(self, parts):
        """See asyncio.WriteTransport."""
        self.write(b"".join(parts))

    def can_write_eof(self):
        """See asyncio.WriteTransport."""
        return True

    def get_write_buffer_limits(self):
        """See asyncio.WriteTransport."""
        return self._low, self._high

    def set_write_buffer_limits(self, high=None, low=None):
        """See asyncio.WriteTransport."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        self._limit(high, high // 4 if low is None else low)

    async def sendfile(self, file, offset, count):
        """Part of a file behind what was written; returns how many bytes it was. OSError."""
        reading = self.is_reading()
        self.pause_reading()
        try:
            if self.get_write_buffer_size():
                empty = self._loop.create_future()
                self._emptied = lambda: empty.done() or empty.set_result(None)
                await empty
            if self.is_closing():
                raise ConnectionResetError("Cannot write to closing transport")
            return await self._loop.sock_sendfile(self._sock, file, offset, count)
        finally:
            if reading:
                self.resume_reading()

    # ---- called by Stream ------------------------------------------------------------------------

    def _tell(self, name):
        """The protocol's pause_writing() or resume_writing()."""
        try:
            getattr(self.get_protocol(), name)()
        except Exception as exc:
            self._complain(exc, f"protocol.{name}() failed")

    def _ended(self):
        """The client sends no more."""
        if not self.get_protocol().eof_received():
            self.close()

    def _failed(self, exc, message):
        """An error of the connection, or an exception of the protocol."""
        if not isinstance(exc, OSError):
            self._complain(exc, message)
        self._cut(exc)

    def _lost(self, exc):
        try:
            self.get_protocol().connection_lost(exc)
        finally:
            if self._emptied is not None:
                self._emptied()
            self._release()
            self._sock.close()

    def _complain(self, exc, message):
        self._loop.call_exception_handler({"message": message, "exception": exc, "transport": self,
                                           "protocol": self.get_protocol()})


def _peer_of(sock):
    try:
        return sock.getpeername()
    except OSError:  # it has gone
        return None
