"""A pid file as scripts know it from gunicorn. The arbiter's own (setting pidfile) is written in C."""

import os
import tempfile

from . import util


class Pidfile:
    """A file that holds the pid of a process that runs, with a line end.

    fname: its name, or None for one in the directory of temporary files.
    """

    def __init__(self, fname):
        self.fname = fname
        self.pid = None

    def create(self, pid):
        """Writes the file, whole or not at all. RuntimeError when it names another process that lives."""
        other = self.validate()
        if other:
            if other == os.getpid():
                return
            raise RuntimeError(f"Already running on PID {other} (or pid file '{self.fname}' is stale)")
        self.pid = pid
        directory = os.path.dirname(self.fname or "")
        if directory and not os.path.isdir(directory):
            raise RuntimeError(f"{directory} doesn't exist. Can't create pidfile.")
        descriptor, name = tempfile.mkstemp(dir=directory or None)
        try:
            os.write(descriptor, f"{pid}\n".encode())
            os.fchmod(descriptor, 0o644)
        finally:
            os.close(descriptor)
        if self.fname:
            os.rename(name, self.fname)
        else:
            self.fname = name

    def rename(self, path):
        """Moves to another name."""
        self.unlink()
        self.fname = path
        self.create(self.pid)

    def unlink(self):
        """Removes the file if it is this one's."""
        try:
            with open(self.fname) as file:
                if int(file.read() or 0) == self.pid:
                    util.unlink(self.fname)
        except (OSError, TypeError, ValueError):
            pass

    def validate(self):
        """The pid of the process that the file names, or None when there is none that lives."""
        try:
            with open(self.fname or "") as file:
                pid = int(file.read())
        except (OSError, ValueError):
            return None
        if pid <= 0:
            return None
        try:
            os.kill(pid, 0)
        except PermissionError:
            pass
        except OSError:
            return None
        return pid
