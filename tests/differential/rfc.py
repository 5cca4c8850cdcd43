"""What RFC 9110 and 9112 demand of a request, as regular expressions taken from their ABNF.

A third opinion, far too slow for a server: whatever our parser accepts must pass it.
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Looser than RFC 3986: see `target` in docs/http.md. No space, no control, as 9112 section 3.2 demands.
TARGET = rb"[^\x00-\x20\x7f]+"
VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
FIELD = rb"(" + TOKEN + rb"):(" + VALUE + rb")\r\n"
HEAD = re.compile(rb"(?:\r\n)?(" + TOKEN + rb") (" + TARGET + rb") HTTP/(\d)\.(\d)\r\n((?:" + FIELD
                  + rb")*)\r\n")
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
EXTENSIONS = (rb"(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*")
CHUNK = re.compile(rb"([0-9A-Fa-f]+)" + EXTENSIONS + rb"\r\n")
TRAILERS = re.compile(rb"(?:" + FIELD + rb")*\r\n")
HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%\-_~!$&'()*+,;=]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)"
                  rb"(?::\d*)?")
FORMS = re.compile(rb"/.*|[A-Za-z][A-Za-z0-9+\-.]*://[^/?#@]+.*", re.S)


def chunked_length(data: bytes) -> int | str:
    """Length of a chunked body with its trailer section, or what is wrong with it."""
    at = 0
    while True:
        match = CHUNK.match(data, at)
        if not match:
            return "chunk line (9112 7.1)"
        at, size = match.end(), int(match[1], 16)
        if size == 0:
            match = TRAILERS.match(data, at)
            return match.end() if match else "trailers (9112 7.1.2)"
        at += size + 2
        if data[at - 2:at] != b"\r\n":
            return "end of chunk data (9112 7.1)"


def complaint(data: bytes, length: int) -> str | None:
    """What the RFCs forbid in the request data[:length], or None."""
    head = HEAD.match(data)
    if not head:
        return "form of the head (9112 2.1, 2.2, 3, 5)"
    method, target, major, minor = head[1], head[2], head[3], head[4]
    fields = [(name.lower(), value.strip(b" \t")) for name, value in re.findall(FIELD, head[5])]

    def values(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key == name]

    if major != b"1":
        return "version (9110 15.6.6)"
    hosts, lengths, codings = values(b"host"), values(b"content-length"), values(b"transfer-encoding")
    if len(hosts) > 1 or (not hosts and minor != b"0") or not all(map(HOST.fullmatch, hosts)):
        return "Host (9112 3.2)"
    if method == b"CONNECT":
        if not HOST.fullmatch(target) or not re.search(rb":\d+$", target):
            return "authority form (9112 3.2.3)"
    elif not (FORMS.fullmatch(target) or (target == b"*" and method == b"OPTIONS")):
        return "form of the target (9112 3.2)"
    body = 0
    if codings:
        if lengths or minor == b"0":
            return "Transfer-Encoding beside Content-Length or in HTTP/1.0 (9112 6.1)"
        if [coding.lower() for coding in codings] != [b"chunked"]:
            return "Transfer-Encoding (9112 6.3)"
        found = chunked_length(data[head.end():])
        if isinstance(found, str):
            return found
        body = found
    elif lengths:
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]):
            return "Content-Length (9112 6.3)"
        body = int(lengths[0])
    return None if head.end() + body == length else "length of the message (9112 6.3)"
