"""Requests, and what a mutation makes of them; all from one seed."""

from __future__ import annotations

import random
from typing import Iterator

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"PROPFIND"]
TARGETS = [b"/", b"/a/b?c=d", b"/%41?", b"*", b"http://h.example/p?q", b"h.example:443", b"//a", b"/a#f"]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"]
FIELDS = [
    b"Accept: */*", b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)", b"Connection: close",
    b"Connection: keep-alive, x", b"Cookie: a=b; c=d", b"X-Empty:", b"X-Space: \t a b \t", b"X: \xe9",
    b"Accept-Encoding: gzip, deflate", b"TE: trailers", b"Upgrade-Insecure-Requests: 1", b"X_Y: z",
    b"Content-Type: text/plain", b"X-Colons: a:b::c", b"Transfer-Encodin: chunked", b"Content-Lengt: 3"]
CHUNKED = [b"5\r\nhello\r\n0\r\n\r\n", b"1\r\na\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
           b"3\r\nabc\r\n0\r\nX-T: v\r\nY: w\r\n\r\n", b"0\r\n\r\n", b'2;a="b;c"\r\n\r\n\r\n000\r\n\r\n']
# What tends to be read differently.
TOKENS = [
    b"\r", b"\n", b"\r\n", b"\n\r", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xa0",
    b"\xff", b":", b";", b",", b"=", b'"', b"\\", b"_", b"+", b"-", b"0", b"1", b"f", b"0x", b"g", b"#",
    b"?", b"*", b"/", b"@", b"[", b"]", b"%", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"\n\n", b" :", b": ",
    b"chunked", b"identity", b"gzip", b", chunked", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/", b"close",
    b"keep-alive", b"100-continue", b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Host: y\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\r\n", b"0\r\n\r\n", b"5\r\n",
    b"99999999999999999999", b"ffffffffffffffff", b"GET / HTTP/1.1\r\n", b"Upgrade: x\r\n",
    b"Connection: upgrade\r\n", b"A: b\r\n", b";a=b", b';a="', b";", b"Content-Length : 5\r\n"]


def make(rng: random.Random) -> bytes:
    """A request that is in order, mostly."""
    method = rng.choice(METHODS[:2] * 4 + METHODS)
    target = {b"CONNECT": b"h.example:443"}.get(method) or rng.choice(TARGETS[:3] * 6 + TARGETS)
    version = rng.choice(VERSIONS)
    fields = [b"Host: " + rng.choice([b"x", b"h.example:80", b"[::1]:80"])]
    fields += rng.sample(FIELDS, rng.randint(0, 4))
    body = b""
    kind = rng.random()
    if kind < 0.3:
        body = rng.choice([b"", b"a", b"hello", b"GET / HTTP/1.1\r\n\r\n"])
        fields.append(b"Content-Length: %d" % len(body))
    elif kind < 0.65:
        body = rng.choice(CHUNKED)
        fields.append(b"Transfer-Encoding: chunked")
    rng.shuffle(fields)
    head = method + b" " + target + b" " + version + b"\r\n"
    return head + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Inserts, deletes, replaces or repeats something anywhere."""
    at = rng.randrange(len(data) + 1)
    size = rng.choice([1, 1, 1, 2, 4])
    token = rng.choice(TOKENS) if rng.random() < 0.8 else bytes([rng.randrange(256)])
    kind = rng.randrange(5)
    if kind <= 1:
        return data[:at] + token + data[at:]
    if kind == 2:
        return data[:at] + data[at + size:]
    if kind == 3:
        return data[:at] + token + data[at + size:]
    return data[:at] + data[at:at + size * 4] + data[at:]


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Repeats, removes, moves or ends differently one of the lines."""
    lines = data.split(b"\r\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        lines.insert(at, lines[at])
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    elif kind == 3:
        lines[at] = lines[at].swapcase()
    elif kind == 4:
        lines.insert(at, rng.choice(TOKENS).rstrip(b"\r\n"))
    else:
        end = rng.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n "])
        return b"\r\n".join(lines[:at + 1]) + end + b"\r\n".join(lines[at + 1:])
    return b"\r\n".join(lines)


def generate(seed: int, count: int) -> Iterator[bytes]:
    """count requests: one in twenty untouched, the others with one to three mutations."""
    rng = random.Random(seed)
    for number in range(count):
        data = make(rng)
        for _ in range(0 if number % 20 == 0 else rng.choice([1, 1, 1, 2, 2, 3])):
            data = (mutate_bytes if rng.random() < 0.7 else mutate_lines)(rng, data)
        yield data
