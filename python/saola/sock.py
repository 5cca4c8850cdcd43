"""Listeners as hooks and worker classes see them: gunicorn's wrappers around a listening socket.

The descriptor belongs to the C arbiter. In the arbiter process the wrapper only borrows it; in a
worker, a process of its own, the wrapper may be closed like any socket.
"""

import os
import socket


class BaseSocket:
    """A listening socket. What is not defined here is the socket's own: accept(), fileno(),
    getsockname(), setblocking(), ... so event loops accept it in place of a socket."""

    FAMILY = None

    def __init__(self, fd, name):
        self._fd = fd
        self._name = name
        self._sock = None

    @property
    def sock(self):
        """The socket object (non-blocking), made when it is first asked for."""
        if self._sock is None:
            self._sock = socket.socket(fileno=self._fd)
            self._sock.setblocking(False)
        return self._sock

    @sock.setter
    def sock(self, sock):
        self._sock = sock

    @property
    def cfg_addr(self):
        """(host, port, ...) or the path of a unix socket."""
        return self.sock.getsockname()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.sock, name)

    def __str__(self):
        return self._name

    def __repr__(self):
        return f"<{type(self).__name__} {self._name} fd={self.fileno()}>"

    def fileno(self):
        """The descriptor; -1 once closed."""
        return self._fd if self._sock is None else self._sock.fileno()

    def close(self):
        """Closes the socket in this process; may be called again."""
        if self._fd >= 0:
            self.sock.close()
            self._fd = -1

    def _let_go(self):
        """The descriptor is no longer ours (arbiter process)."""
        if self._sock is not None:
            self._sock.detach()
        self._fd = -1


class TCPSocket(BaseSocket):
    """IPv4."""

    FAMILY = socket.AF_INET


class TCP6Socket(BaseSocket):
    """IPv6."""

    FAMILY = socket.AF_INET6


class UnixSocket(BaseSocket):
    """A path in the file system."""

    FAMILY = socket.AF_UNIX


_CLASSES = {socket.AF_INET: TCPSocket, socket.AF_INET6: TCP6Socket, socket.AF_UNIX: UnixSocket}


def wrap_listener(fd, name):
    """The wrapper for a listening descriptor; name is what str() gives, e.g. unix:/run/app.sock."""
    try:
        probe = socket.socket(fileno=fd)  # no dup(): there may be no descriptor left
        family = probe.family
        probe.detach()
    except OSError:  # what it serves must not depend on it
        family = socket.AF_UNIX if name.startswith("unix:") else \
            socket.AF_INET6 if "[" in name else socket.AF_INET
    return _CLASSES.get(family, BaseSocket)(fd, name)
