"""Log records from a pool's worker to the collector: one JSON text in one message of a SEQPACKET socket.

The kernel keeps messages apart, makes the sender wait while the collector is behind, and never mixes two
senders. Nothing but text and numbers travels, so the receiver executes nothing.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any, Dict, Optional

#: Bytes of one message; longer texts are cut, and the cut is told.
LIMIT = 64 * 1024
_FIELDS = ("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName",
           "created", "msecs", "process", "processName", "thread", "threadName")
_PLAIN = (str, int, float, bool, type(None))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... [{len(text) - limit} characters cut]"


def encode(record: logging.LogRecord, formatter: logging.Formatter) -> bytes:
    """A record as a message of at most LIMIT bytes."""
    data: Dict[str, Any] = {field: getattr(record, field, None) for field in _FIELDS}
    data = {key: value for key, value in data.items() if isinstance(value, _PLAIN)}
    try:
        text = record.getMessage()
    except Exception as exc:  # arguments that do not fit the text
        text = f"{record.msg!r} {record.args!r} ({type(exc).__name__}: {exc})"
    trace = record.exc_text
    if record.exc_info and not trace:
        trace = formatter.formatException(record.exc_info)
    for limit in (LIMIT, LIMIT // 4, LIMIT // 16):
        data["msg"] = _cut(text, limit)
        data["exc_text"] = trace and _cut(trace, limit)
        data["stack_info"] = record.stack_info and _cut(record.stack_info, limit // 4)
        message = json.dumps(data).encode("ascii")
        if len(message) <= LIMIT:
            return message
    data.update(msg=_cut(text, 1000), exc_text=None, stack_info=None)
    return json.dumps(data).encode("ascii")[:LIMIT]


def decode(message: bytes) -> Optional[logging.LogRecord]:
    """The record of a message; None for one that is none."""
    try:
        data = json.loads(message)
        if not isinstance(data, dict) or not all(isinstance(v, _PLAIN) for v in data.values()):
            return None
        record = logging.makeLogRecord(data)
        record.args = None
        record.levelno = int(record.levelno)
        record.name, record.msg = str(record.name), str(record.msg)
        time.localtime(record.created)
        return record
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


class SocketHandler(logging.Handler):
    """Sends each record through a SEQPACKET socket (worker process); waits while the collector is behind."""

    def __init__(self, sock: socket.socket):
        super().__init__()
        self._socket = sock
        self._plain = logging.Formatter()
        self._last: Optional[logging.LogRecord] = None

    def emit(self, record: logging.LogRecord) -> None:
        if record is self._last:  # by way of two loggers
            return
        self._last = record
        try:
            self._socket.send(encode(record, self._plain))
        except OSError:  # nobody will read it any more
            pass
        except Exception:
            self.handleError(record)


#: (worker process) The handler of route().
handler: Optional[SocketHandler] = None


def route(sock: socket.socket) -> None:
    """From here on all records of this process go through sock; the collector, which has the handlers of
    before, hands each to the logger of the same name."""
    global handler
    handler = SocketHandler(sock)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers = [] if logger.propagate else [handler]
    logging.getLogger().handlers = [handler]
    # A program may clear the root's handlers (aioworkerpool's examples do): ours are said all the same.
    logging.getLogger("aioworkerpool").handlers = [handler]
