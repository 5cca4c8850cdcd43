"""The application under the ledger's requests: request.c says what they ask for."""

import os
import time
import zlib

GENERATION = 0  # written anew for each reload


def app(environ, start_response):
    """Answers PATH PID GENERATION LENGTH CRC32 and as many 'x' as /id/MS/SIZE asks for."""
    path = environ["PATH_INFO"]
    _, _, ms, size = path.split("/")
    body = environ["wsgi.input"].read() if environ.get("CONTENT_LENGTH") else b""
    text = b"%s %d %d %d %08x\n" % (path.encode(), os.getpid(), GENERATION, len(body), zlib.crc32(body))
    text += b"x" * (int(size) - len(text))
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text] if ms == "0" else rest(text, int(ms) / 1000)


def rest(text, seconds):
    half = len(text) // 2
    yield text[:half]
    time.sleep(seconds)
    yield text[half:]
