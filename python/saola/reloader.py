"""Watches the files of a running application (`--reload`) and tells when one has changed.

A daemon thread in each worker: the callback it calls stops the worker, the arbiter replaces it. The
engine `poll` looks at every file once a second; `inotify` is told by the kernel (Linux, no extra
package); `auto` does both, since some file systems (network, containers' shared folders) tell
nothing.
"""

import ctypes
import errno
import glob
import os
import select
import struct
import sys
import threading
import time
import traceback

from . import util

# inotify(7)
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0o2000000)
_IN_MODIFY, _IN_ATTRIB, _IN_CLOSE_WRITE = 0x2, 0x4, 0x8
_IN_MOVED_TO, _IN_CREATE, _IN_IGNORED, _IN_ONLYDIR = 0x80, 0x100, 0x8000, 0x01000000
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_WATCHED = _IN_MODIFY | _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_CREATE | _IN_ONLYDIR

_QUIET_SECONDS = 0.05  # an editor or a checkout writes several files: one restart for all


def _signature(path):
    """What differs when a file was written or replaced; None while it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Reloader(threading.Thread):
    """The engine `poll`.

    extra_files: paths and glob patterns beside the imported modules. interval: seconds between two
    looks. callback(path): called in this thread for each round of changes, with one of the files.
    """

    def __init__(self, extra_files=None, interval=1, callback=None):
        super().__init__(name="saola-reloader", daemon=True)
        self._extra_files = set(extra_files or ())
        self._lock = threading.Lock()
        self._interval = interval
        self._callback = callback
        self._known = {}

    def add_extra_file(self, filename):
        """Watches one more file; it need not exist yet. Any thread."""
        with self._lock:
            self._extra_files.add(filename)

    def get_files(self):
        """Paths of the imported modules' sources and of the extra files, patterns expanded."""
        files = set()
        for module in tuple(sys.modules.values()):
            path = getattr(module, "__dict__", {}).get("__file__")
            if isinstance(path, str) and path:
                files.add(path[:-1] if path.endswith((".pyc", ".pyo")) else path)
        with self._lock:
            extra = tuple(self._extra_files)
        for path in extra:
            if util.is_glob_pattern(path):
                files.update(glob.glob(path, recursive=True))
            else:
                files.add(path)
        return files

    def start(self):
        """Remembers the files as they are now, before the first request, then watches."""
        self._changes()
        super().start()

    def run(self):
        while True:
            self._wait()
            changed = self._changes()
            if changed:
                self._settle()
                if self._callback:
                    self._callback(changed[0])

    def _wait(self):
        time.sleep(self._interval)

    def _changes(self):
        """Files that differ from the last look. A file seen for the first time is no change, unless
        it was watched while it did not exist; one that vanished is none until it is back."""
        changed = []
        for path in self.get_files():
            now = _signature(path)
            if path not in self._known:
                self._known[path] = now
            elif now is not None and now != self._known[path]:
                self._known[path] = now
                changed.append(path)
        return sorted(changed)

    def _settle(self):
        for _ in range(20):
            time.sleep(_QUIET_SECONDS)
            if not self._changes():
                return


def files_to_repair(exc):
    """Files whose change may mend an application that could not be loaded.

    Those of the traceback, the one with the syntax error, and where a missing module would be.
    """
    files, seen = set(), set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        for frame, _ in traceback.walk_tb(exc.__traceback__):
            if os.path.exists(frame.f_code.co_filename):
                files.add(frame.f_code.co_filename)
        if isinstance(exc, SyntaxError) and exc.filename:
            files.add(exc.filename)
        if isinstance(exc, ModuleNotFoundError) and exc.name:
            base = os.path.join(os.getcwd(), *exc.name.removesuffix(".py").split("."))
            files.update((base + ".py", os.path.join(base, "__init__.py")))
        exc = exc.__cause__ or exc.__context__
    return files


class _Inotify:
    """A descriptor that becomes readable when something happens in the watched directories."""

    def __init__(self):
        if not sys.platform.startswith("linux"):
            raise OSError(errno.ENOSYS, "inotify is a Linux interface")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._directories = {}  # watch descriptor -> directory
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def watch(self, directory):
        """Adds a directory once. One that cannot be watched is left to the next call."""
        if directory in self._directories.values():
            return
        added = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _WATCHED)
        if added >= 0:
            self._directories[added] = directory
        elif ctypes.get_errno() == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "fs.inotify.max_user_watches is used up")

    def wait(self, seconds):
        """True when something happened. The caller compares files; of the events only the end of a
        watch matters, after which the directory can be watched anew."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            while events := os.read(self._fd, 65536):
                self._forget_ended(events)
        except BlockingIOError:
            pass
        return True

    def _forget_ended(self, events):
        offset = 0
        while offset < len(events):
            descriptor, mask, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size + length
            if mask & _IN_IGNORED:
                self._directories.pop(descriptor, None)

    def close(self):
        """Gives the descriptor back; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class InotifyReloader(Reloader):
    """The engine `inotify`. OSError when the system has none left or none at all."""

    _also_poll = False

    def __init__(self, extra_files=None, interval=1, callback=None):
        super().__init__(extra_files, interval, callback)
        self._inotify = None

    def start(self):
        self._inotify = self._open()
        self._watch_all()
        super().start()

    def _open(self):
        return _Inotify()

    def _watch_all(self):
        directories = {os.path.dirname(os.path.abspath(f)) for f in self.get_files()}
        with self._lock:
            patterns = [p for p in self._extra_files if util.is_glob_pattern(p)]
        for pattern in patterns:
            # New files of a pattern can appear where none is yet.
            fixed = os.path.dirname(pattern)
            while util.is_glob_pattern(fixed):
                fixed = os.path.dirname(fixed)
            directories.add(os.path.abspath(fixed))
        for directory in directories:
            self._inotify.watch(directory)

    def _wait(self):
        while True:
            told = self._inotify.wait(self._interval)
            self._watch_all()
            if told or self._also_poll:
                return
            self._remember_new()

    def _remember_new(self):
        """Modules imported since the last look are known as they are now."""
        for path in self.get_files():
            if path not in self._known:
                self._known[path] = _signature(path)


class AutoReloader(InotifyReloader):
    """The engine `auto`: inotify for speed where there is one, and a look every second."""

    _also_poll = True

    def _open(self):
        try:
            return _Inotify()
        except OSError:
            return None

    def _watch_all(self):
        if self._inotify is None:
            return
        try:
            super()._watch_all()
        except OSError:
            self._inotify.close()
            self._inotify = None

    def _wait(self):
        if self._inotify is None:
            time.sleep(self._interval)
        else:
            super()._wait()


preferred_reloader = AutoReloader

reloader_engines = {
    "auto": AutoReloader,
    "poll": Reloader,
    "inotify": InotifyReloader,
}
