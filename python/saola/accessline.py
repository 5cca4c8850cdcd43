"""Lines of the access log that Python makes: json, logfmt, and which requests get none.

What the C core writes by itself is the same, byte for byte (src/http/access_line.c).
"""

import json
import os
import re
import time

from . import _saola

#: Values of access_log_format that are no % format.
STRUCTURED = ("json", "logfmt")

# Quote and backslash so that fields stay apart; C0, DEL, C1 and the line separators because
# terminals and log readers act on them.
_UNSAFE = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')


def _escape_char(match):
    char = match.group()
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def escape(text):
    """text as one line of printable characters inside double quotes."""
    return _UNSAFE.sub(_escape_char, text) if _UNSAFE.search(text) else text


def check(exclude):
    """Refuses a wrong access_log_exclude: RuntimeError with one line."""
    try:
        _saola.AccessLog("", -1, print, exclude or []).close(0)
    except ValueError as exc:
        raise RuntimeError(f"access_log_exclude: {exc}") from None


def is_excluded(exclude, path, status):
    """True if access_log_exclude leaves out a request with that path and status (text)."""
    for item in exclude or ():
        place, _, code = item.partition(" ") if item.startswith("/") else ("", "", item)
        if place and not (path.startswith(place[:-1]) if place.endswith("*") else path == place):
            continue
        if not code or status == code or (code[1:].lower() == "xx" and status[:1] == code[0]):
            return True
    return False


def path_of(target):
    """The path of a request target, percent-encoded as received (RFC 9112 section 3.2)."""
    path = target.partition("?")[0]
    if path.startswith("/") or "://" not in path:
        return path
    return "/" + path.partition("://")[2].partition("/")[2]


def structured_line(kind, atoms):
    """A line of access_log_format json or logfmt from the atoms of gunicorn's format, unescaped."""
    now = time.localtime()
    zone = time.strftime("%z", now)
    target = atoms["r"].split(" ")[1] if atoms["r"].count(" ") == 2 else atoms["U"]
    values = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000", now) + f"{zone[:3]}:{zone[3:]}",
        "remote_addr": atoms["h"],
        "user": atoms["u"],
        "method": atoms["m"],
        "path": path_of(target),
        "query": atoms["q"],
        "protocol": atoms["H"],
        "status": int(atoms["s"]) if str(atoms["s"]).isdigit() else atoms["s"],
        "bytes": atoms["B"],
        "duration_us": atoms["D"],
        "referer": atoms["f"],
        "user_agent": atoms["a"],
        "pid": os.getpid(),
    }
    if kind == "json":
        for name in ("user", "referer", "user_agent"):
            values[name] = None if values[name] == "-" else values[name]
        return json.dumps(values, separators=(",", ":"))
    return " ".join(f"{name}={_logfmt(value)}" for name, value in values.items())


def _logfmt(value):
    text = "-" if value is None else str(value)
    if text and all("!" <= char <= "~" and char not in '"\\=' for char in text):
        return text
    return f'"{escape(text)}"'
