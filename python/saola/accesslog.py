"""Which access log the C core writes, and what is left to Python's logger.

The core makes and writes the lines of an engine's worker wherever nobody would see a difference but
the time it takes: the logger is ours and its format one that the core knows. With handlers of the
user's (logconfig, syslog) the core makes the line and the logger hands it on. A logger class that
overrides how lines are made gets every request in Python, as under gunicorn.
"""

import json
import logging
import os
import time

from . import _saola, glogging

#: Values of access_log_format that are no % format.
STRUCTURED = ("json", "logfmt")

# What a subclass of Logger may override to change its lines.
_MAKES_THE_LINE = ("access", "atoms", "atoms_wrapper_class", "now", "access_fmt", "_line_atoms",
                   "_get_user")


def check(exclude):
    """Refuses a wrong access_log_exclude: RuntimeError with one line."""
    try:
        _saola.AccessLog("", -1, print, exclude or []).close(0)
    except ValueError as exc:
        raise RuntimeError(f"access_log_exclude: {exc}") from None


def open_core_log(log, script_name):
    """The _saola.AccessLog for a worker with this logger, or None: log.access() is to be called.

    script_name: the environment's SCRIPT_NAME, which is no part of %(U)s.
    """
    cfg = getattr(log, "cfg", None)
    if cfg is None or not isinstance(log, glogging.Logger):
        return None
    if any(getattr(type(log), name) is not getattr(glogging.Logger, name)
           for name in _MAKES_THE_LINE):
        return None
    logger, fmt = log.access_log, cfg.access_log_format or ""
    if not logger.isEnabledFor(logging.INFO) or (script_name and "(U)" in fmt):
        return None
    descriptor = _plain_descriptor(logger)
    on_line = None if descriptor is not None else lambda line: logger.info("%s", line)
    try:
        return _saola.AccessLog(fmt, -1 if descriptor is None else descriptor, on_line,
                                getattr(cfg, "access_log_exclude", None) or [])
    except NotImplementedError:
        return None


def reopen_core_log(core, log):
    """The logger has opened its files anew (USR1): the core follows."""
    descriptor = _plain_descriptor(log.access_log)
    if descriptor is not None:
        core.reopen(descriptor)


def _plain_descriptor(logger):
    """Descriptor behind a logger that only adds a line end to its messages, or None."""
    if logger.propagate or logger.filters or len(logger.handlers) != 1:
        return None
    handler = logger.handlers[0]
    if type(handler) not in (glogging.FileHandler, glogging.StreamHandler) or handler.filters:
        return None
    if handler.level > logging.INFO or handler.terminator != "\n":
        return None
    formatter = handler.formatter
    if type(formatter) is not logging.Formatter or formatter._fmt != "%(message)s":
        return None
    try:
        handler.stream.flush()
        return handler.stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


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
    return f'"{glogging.escape(text)}"'
