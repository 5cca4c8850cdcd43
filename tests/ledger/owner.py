"""Which connections does a process hold? The kernel is asked (sock_diag(7)), not the process.

So a failed request can be given to the worker that was killed, or to nobody.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Iterator

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_DUMP, _DONE, _ERROR = 0x301, 3, 2
# TCP states in which a worker owes something: ESTABLISHED, FIN_WAIT1/2, CLOSE_WAIT, LAST_ACK.
_TCP_STATES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9
_UNIX_SHOW_PEER, _UNIX_PEER = 4, 2


def held_by(pid: int) -> set[str]:
    """The other ends of the connections that a process has open.

    :return: "ADDRESS:PORT" for TCP over IPv4, "inode:N" (of the peer's socket) for unix.
    """
    inodes = set(_socket_inodes(pid))
    held = {peer for inode, peer in _tcp_peers() if inode in inodes}
    return held | {f"inode:{peer}" for inode, peer in _unix_peers() if inode in inodes}


def _socket_inodes(pid: int) -> Iterator[int]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            yield int(link[8:-1])


def _dump(request: bytes) -> Iterator[bytes]:
    """The messages that answer a dump request, without their netlink header."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
        sock.send(header + request)
        while True:
            data = sock.recv(1 << 18)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, 16)[0], "sock_diag")
                yield data[16:length]
                data = data[(length + 3) & ~3:]


def _tcp_peers() -> Iterator[tuple[int, str]]:
    request = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, _TCP_STATES)
    for message in _dump(request):
        port = struct.unpack_from("!H", message, 6)[0]
        address = socket.inet_ntoa(message[24:28])
        yield struct.unpack_from("=I", message, 68)[0], f"{address}:{port}"


def _unix_peers() -> Iterator[tuple[int, int]]:
    request = struct.pack("=BBHIII8x", socket.AF_UNIX, 0, 0, 0xffffffff, 0, _UNIX_SHOW_PEER)
    for message in _dump(request):
        inode, at = struct.unpack_from("=I", message, 4)[0], 16
        while at + 4 <= len(message):
            length, kind = struct.unpack_from("=HH", message, at)
            if kind == _UNIX_PEER:
                yield inode, struct.unpack_from("=I", message, at + 4)[0]
            at += (length + 3) & ~3 or 4
