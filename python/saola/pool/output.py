"""Output of a pool's workers: pipes, and the collector that reads them.

    worker 1 stdout, stderr --pipe--+
    worker 2 stdout, stderr --pipe--+--> collector --> the arbiter's stdout and stderr, or the user's streams
    all workers' log records --socket--+      ^
                        arbiter --control-----+   new pipes, "worker N is gone", "open the log files anew"

The collector is a process of its own, a child of the arbiter that is no worker: the arbiter itself reads
nothing and never waits for a terminal. A pipe belongs to a place in a pool, not to a process: the arbiter
keeps both ends, so a successor goes on where the one before was torn off, and when the collector dies the
next one reads what is left in the pipes. It ends when all writing ends are closed: after the arbiter and the
last worker, with everything written. Who reads slowly makes the writers wait: nothing is dropped, and no
process keeps more than LINE bytes of a stream.
"""

from __future__ import annotations

import array
import gc
import json
import logging
import os
import select
import selectors
import signal
import socket
import sys
import time
from typing import Any, Dict, List, Optional, Set, Tuple

from .. import util
from . import logs

#: Bytes of an unfinished line that are waited for; longer ones are shown in pieces.
LINE = 64 * 1024
#: Seconds that an arbiter that ends waits for the collector; it goes on alone after that.
LAST_LINES = 2.0

Key = Tuple[str, int]


class Stream:
    """One captured stream in the collector: cuts lines, writes them with their prefix."""

    def __init__(self, target: Any, prefix: str):
        self._target = target
        self._prefix = prefix.encode(errors="backslashreplace")
        self._rest = b""
        self._fd = _fd_of(target)
        self._gone = False

    def feed(self, data: bytes) -> None:
        """Takes what was read and writes all whole lines."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        lines, self._rest = data[:end], data[end:]
        if lines:
            self._write(lines)
        if len(self._rest) >= LINE:
            self.flush()

    def flush(self) -> None:
        """Writes the unfinished line, and ends it."""
        rest, self._rest = self._rest, b""
        if rest:
            self._write(rest + b"\n")

    def _write(self, lines: bytes) -> None:
        if self._prefix:
            lines = self._prefix + lines[:-1].replace(b"\n", b"\n" + self._prefix) + b"\n"
        if self._gone:
            return
        try:
            if self._fd is None:
                self._target.write(lines.decode(errors="backslashreplace"))
                self._target.flush()
            else:
                _write_all(self._fd, lines)
        except (OSError, ValueError):
            self._gone = True  # the reader has left; the worker is not to hang of it


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view):]
        except BlockingIOError:  # somebody else has made it so
            poll = selectors.PollSelector()
            poll.register(fd, selectors.EVENT_WRITE)
            poll.select()


def _fd_of(target: Any) -> Optional[int]:
    try:
        return target.fileno()
    except (AttributeError, OSError, ValueError):
        return None


class Output:
    """The arbiter's side. All methods: arbiter process."""

    def __init__(self, log: Any):
        self._log = log
        self._pipes: Dict[Key, Tuple[Tuple[int, int], Tuple[int, int]]] = {}
        self._targets: Dict[str, Tuple[Any, Any]] = {}  # pool -> where its output goes
        self._prefixes: Dict[Key, str] = {}
        self._untold: List[Tuple[Dict[str, Any], Tuple[int, ...]]] = []
        self._full = select.poll()  # writing ends: those that are not writable keep somebody waiting
        self._places: Dict[int, Key] = {}
        self._control: Optional[Tuple[socket.socket, socket.socket]] = None
        self._logs: Optional[Tuple[socket.socket, socket.socket]] = None
        self._collector = 0
        self._forked_at = 0.0

    def aim(self, pool: str, stdout: Any, stderr: Any) -> None:
        """Where the output of a pool goes; None is the arbiter's own. What is said after the collector was
        forked counts for the next one."""
        self._targets[pool] = (stdout, stderr)

    def prepare(self, key: Key, prefix: str) -> None:
        """Before the fork of a worker at this place: its pipes exist and somebody reads them."""
        if self._logs is None:
            self._logs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control[0].setblocking(False)
            self._full.register(self._logs[1], select.POLLOUT)
        if key not in self._pipes:
            self._pipes[key] = pipes = (os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC))
            self._prefixes[key] = prefix
            for pipe in pipes:
                self._full.register(pipe[1], select.POLLOUT)
                self._places[pipe[1]] = key
            if self._collector:
                self._tell({"new": key, "prefix": prefix}, pipes[0][0], pipes[1][0])
        if not self._collector:
            self._fork()

    def places(self) -> Set[Key]:
        """Those that have pipes."""
        return set(self._pipes)

    def waiting(self) -> Set[Optional[Key]]:
        """Places whose workers wait for the reader, if they print at all; None among them: whoever logs."""
        if self._logs is None:
            return set()
        fds = {self._logs[1].fileno(), *self._places}
        return {self._places.get(fd) for fd in fds.difference(fd for fd, _ in self._full.poll(0))}

    def forget(self, key: Key) -> None:
        """Nobody comes to this place any more. The collector still reads what was written there."""
        pipes = self._pipes.pop(key, ())
        self._untold = [(message, fds) for message, fds in self._untold if message.get("new") != key]
        for pipe in pipes:
            self._full.unregister(pipe[1])
            del self._places[pipe[1]]
            for fd in pipe:
                os.close(fd)

    def enter(self, key: Key) -> None:
        """In the worker: standard output and error, and all log records, go to the collector."""
        pipes = self._pipes[key]
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        assert self._logs is not None and self._control is not None
        os.dup2(pipes[0][1], 1)
        os.dup2(pipes[1][1], 2)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        logs.route(self._logs[1])
        for others in self._pipes.values():
            for pipe in others:
                for fd in pipe:
                    os.close(fd)
        self._pipes = {}
        self._logs[0].close()
        for end in self._control:
            end.close()

    def leave(self) -> None:
        """In a process that captures nothing: the pipes are not its own."""
        for pipes in self._pipes.values():
            for pipe in pipes:
                for fd in pipe:
                    os.close(fd)
        self._pipes = {}
        for end in (self._logs or ()) + (self._control or ()):
            end.close()

    def worker_gone(self, key: Key) -> None:
        """The worker at this place was reaped: its unfinished line is written."""
        if self._collector and key in self._pipes:
            self._tell({"gone": key})

    def reopen(self) -> None:
        """The log files are to be opened anew."""
        if self._collector:
            self._tell({"reopen": True})

    def child_gone(self, pid: int, status: int) -> None:
        """A child of the arbiter's that is no worker has ended; perhaps the collector."""
        if pid != self._collector:
            return
        self._collector = 0
        self._log.error("The collector of the pools' output (pid:%s) has ended (status %s); making another",
                        pid, status)
        self._fork()

    def close(self) -> None:
        """At the arbiter's end: everything written is shown, or the collector goes on alone."""
        pid = self._collector
        if not pid:
            return
        self._collector = 0
        self.leave()
        end = time.monotonic() + LAST_LINES
        while time.monotonic() < end:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    return
            except ChildProcessError:
                return
            time.sleep(0.005)
        self._log.warning("Output of the pools is still being read (pid:%s)", pid)

    def _tell(self, message: Dict[str, Any], *fds: int) -> None:
        if (message, fds) not in self._untold:  # one is enough, however often a worker has died
            self._untold.append((message, fds))
        self.tell_rest()

    def tell_rest(self) -> None:
        """What the collector could not be told because it was behind."""
        while self._untold and self._control is not None:
            message, fds = self._untold[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._control[0].sendmsg([json.dumps(message).encode()], rights)
            except OSError:
                return
            del self._untold[0]

    def _fork(self) -> None:
        # Not more than five a second of such as die at once.
        time.sleep(max(0.0, min(0.2, self._forked_at + 0.2 - time.monotonic())))
        self._forked_at = time.monotonic()
        self._untold = []  # the new one knows it from the fork
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _live(self, mask)
            self._collector = pid
        except OSError as exc:
            self._log.error("No process for the pools' output: %s", exc)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# ---- the collector's process ---------------------------------------------------------------------


def _live(output: Output, mask: Any) -> None:
    """Never returns: nothing of the arbiter's stack is unwound here."""
    status = 1
    try:
        for number in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "TTIN", "TTOU", "PIPE"):
            signal.signal(getattr(signal, f"SIG{number}"), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        gc.disable()
        util._setproctitle("output")
        _Collector(output).run()
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(status)


class _Collector:
    def __init__(self, output: Output):
        assert output._control is not None and output._logs is not None
        self._output = output
        self._control, self._logs = output._control[1], output._logs[0]
        self._selector = selectors.EpollSelector()
        self._streams: Dict[Key, Tuple[Stream, Stream]] = {}
        self._close_others()
        for key, pipes in output._pipes.items():
            self._add(key, output._prefixes[key], [pipe[0] for pipe in pipes])
        self._selector.register(self._control, selectors.EVENT_READ, self._on_control)
        self._selector.register(self._logs, selectors.EVENT_READ, self._on_log)

    def _close_others(self) -> None:
        """Every descriptor of the arbiter's but those that this process is for."""
        keep = {0, 1, 2, self._control.fileno(), self._logs.fileno(), self._selector.fileno()}
        keep.update(pipe[0] for pipes in self._output._pipes.values() for pipe in pipes)
        for stdout, stderr in self._output._targets.values():
            keep.update(fd for fd in (_fd_of(stdout), _fd_of(stderr)) if fd is not None)
        loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
        for logger in loggers:
            for handler in getattr(logger, "handlers", ()):
                for held in (getattr(handler, "stream", None), getattr(handler, "socket", None)):
                    fd = _fd_of(held)
                    if fd is not None:
                        keep.add(fd)
        low = 3
        for fd in sorted(keep) + [os.sysconf("SC_OPEN_MAX")]:
            if fd > low:
                os.closerange(low, fd)
            low = max(low, fd + 1)

    def _add(self, key: Key, prefix: str, fds: Any) -> None:
        stdout, stderr = self._output._targets.get(key[0], (None, None))
        both = (Stream(sys.stdout if stdout is None else stdout, prefix),
                Stream(sys.stderr if stderr is None else stderr, prefix))
        self._streams[key] = both
        for fd, stream in zip(fds, both):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, stream)

    def run(self) -> None:
        while self._selector.get_map():
            for event, _ in self._selector.select():
                if event.fd not in self._selector.get_map():
                    continue  # closed by one before it
                if isinstance(event.data, Stream):
                    self._read(event.fd, event.data)
                else:
                    event.data()

    def _read(self, fd: int, stream: Stream) -> bool:
        """One piece, so that a busy stream keeps nobody waiting. False: there is none now."""
        try:
            data = os.read(fd, LINE)
        except BlockingIOError:
            return False
        if data:
            stream.feed(data)
            return True
        stream.flush()
        self._selector.unregister(fd)
        os.close(fd)
        read = [event.data for event in self._selector.get_map().values()]
        self._streams = {key: both for key, both in self._streams.items()
                         if stream not in both or any(other in read for other in both)}
        return False

    def _on_log(self) -> None:
        message = self._logs.recv(2 * logs.LIMIT)
        if not message:
            self._selector.unregister(self._logs)
            return
        record = logs.decode(message)
        if record is not None:
            logging.getLogger(record.name).handle(record)

    def _on_control(self) -> None:
        data, rights, _, _ = self._control.recvmsg(4096, socket.CMSG_LEN(2 * 4))
        if not data:
            self._selector.unregister(self._control)
            return
        fds = array.array("i")
        for level, kind, value in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(value[:len(value) - len(value) % fds.itemsize])
        message = json.loads(data)
        if "new" in message:
            self._add((message["new"][0], message["new"][1]), message["prefix"], list(fds))
        elif "gone" in message:
            self._flush((message["gone"][0], message["gone"][1]))
        elif "reopen" in message:
            self._output._log.reopen_files()

    def _flush(self, key: Key) -> None:
        for event in list(self._selector.get_map().values()):
            if event.data in self._streams.get(key, ()):
                for _ in range(32):  # what it left in the pipe, but not what a fast successor writes
                    if not self._read(event.fd, event.data):
                        break
        for stream in self._streams.get(key, ()):
            stream.flush()
