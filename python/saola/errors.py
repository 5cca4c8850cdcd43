"""What can go wrong before requests are served, and how a failure is told to the user.

Exit codes of the program: 0 orderly end, 1 configuration or address, 2 command line, 3 the
application failed while a worker booted, 4 the application could not be used, 255 internal.
"""

import importlib
import os
import sys
import traceback

from . import successor

_PACKAGE_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
_IMPORTLIB_DIR = os.path.join(os.path.dirname(os.path.abspath(importlib.__file__)), "")


class HaltServer(BaseException):
    """Ends the arbiter in order: workers are stopped, then the program exits with exit_status."""

    def __init__(self, reason, exit_status=1):
        super().__init__(reason, exit_status)
        self.reason = reason
        self.exit_status = exit_status

    def __str__(self):
        return f"<HaltServer {self.reason!r} {self.exit_status}>"


class ConfigError(Exception):
    """A setting, or the file it stands in, cannot be used. The text is one line for the user."""


class UsageError(ConfigError):
    """The command line cannot be understood; the program exits with 2."""


class AppImportError(Exception):
    """The application named by the user does not exist or cannot be served. One line says why."""

    exit_code = 4


class AppModuleNotFound(AppImportError, ModuleNotFoundError):
    """The module that the user named does not exist (not one that the module itself imports).

    An ImportError too, since that is what callers of import_app() have always caught; the exit
    code is the one gunicorn ends with.
    """

    exit_code = 3


def is_server_frame(filename):
    """True for frames of this package and of the import system, which say nothing to a user."""
    return filename.startswith((_PACKAGE_DIR, _IMPORTLIB_DIR, "<frozen "))


def _trim(report, seen):
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    ours = [is_server_frame(f.filename) for f in report.stack]
    # What stands before our first frame is the script that started the server: `.run()`, no news.
    first = ours.index(True) if True in ours else 0
    kept = [f for f, server in zip(report.stack[first:], ours[first:]) if not server]
    report.stack = traceback.StackSummary.from_list(kept)
    _trim(report.__cause__, seen)
    _trim(report.__context__, seen)
    for part in getattr(report, "exceptions", None) or ():
        _trim(part, seen)


def format_app_traceback(exc):
    """The traceback of an application's failure without the server's own frames.

    Returns text without a final line end. The causes are trimmed in the same way.
    """
    report = traceback.TracebackException.from_exception(exc)
    _trim(report, set())
    return "".join(report.format()).rstrip("\n")


def comes_of(exc, first):
    """True when exc is the exception first, or was raised while first was handled, whatever it was wrapped in."""
    seen, waiting = set(), [exc]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        if link is first:
            return True
        seen.add(id(link))
        waiting += [link.__cause__, link.__context__, *(getattr(link, "exceptions", None) or ())]
    return False


def has_user_frame(exc):
    """True when exc passed through code that is not the server's, start script left aside."""
    frames = [is_server_frame(f.filename) for f in traceback.extract_tb(exc.__traceback__)]
    first = frames.index(True) if True in frames else 0
    return False in frames[first:]


def describe_boot_failure(exc):
    """What to print when a worker cannot boot, and the exit code it ends with.

    Returns (text, exit_code): one line and 4 (or 3 for a missing module) when the application the
    user named is not there or not usable, else the application's traceback and 3.
    """
    if isinstance(exc, AppImportError):
        return str(exc), exc.exit_code
    if isinstance(exc, ConfigError):
        return str(exc), 3
    if isinstance(exc, NotImplementedError) and not has_user_frame(exc):
        # A worker class without run(): the way to where it is called is what its author wants to see.
        return "".join(traceback.format_exception(exc)).rstrip("\n"), 3
    return format_app_traceback(exc), 3


def fail(message, status=1, prog="saola"):
    """Prints one line on standard error and ends the program."""
    text = " ".join(str(message).split("\n"))
    successor.tell(text)
    try:
        print(f"{prog}: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass
    sys.exit(status)
