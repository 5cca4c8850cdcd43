"""Small functions that servers, worker classes and configuration files use.

The names and meanings are those of gunicorn.util, because public code imports them. Nothing here
keeps state; every function may be called in any process and thread.
"""

import difflib
import email.utils
import errno
import fcntl
import html
import importlib
import importlib.metadata
import inspect
import io
import os
import pwd
import random
import re
import socket
import sys
import time
import urllib.parse
import warnings

from .app.locate import import_app, check_wsgi  # noqa: F401 (part of this module's surface)
from .errors import AppImportError  # noqa: F401

REDIRECT_TO = getattr(os, "devnull", "/dev/null")

hop_headers = frozenset("""connection keep-alive proxy-authenticate proxy-authorization te trailers
    transfer-encoding upgrade server date""".split())

GLOB_MAGIC_RE = re.compile(r"[*?\[]")


# ---- process ---------------------------------------------------------------------------------


def _setproctitle(title):
    """Sets what ps shows for this process: `saola: TITLE`."""
    from . import _saola
    _saola.set_title(f"saola: {title}".replace("\0", "?").encode("utf-8", "replace"))


def daemonize(enable_stdio_inheritance=False):
    """Leaves the terminal: a new session, umask 022, standard streams on /dev/null.

    Does nothing in an arbiter that was started by an upgrade (USR2), which is a daemon already.
    enable_stdio_inheritance keeps output streams that are not a terminal.
    """
    if os.environ.get("GUNICORN_FD") or os.environ.get("SAOLA_FD"):
        return
    from . import _saola
    _saola.daemonize(enable_stdio_inheritance)


def get_username(uid):
    """Login name of a uid. KeyError when there is none."""
    return pwd.getpwuid(uid).pw_name


def set_owner_process(uid, gid, initgroups=False):
    """Gives up privileges in this process: group first, then user. OSError when not allowed."""
    if gid:
        if uid and initgroups:
            try:
                os.initgroups(get_username(uid), gid)
            except KeyError:
                pass
        if gid != os.getgid():
            os.setgid(gid)
    if uid and uid != os.getuid():
        os.setuid(uid)


def seed():
    """New random state after a fork, so that workers do not share a sequence."""
    # From the system, and without a value: CPython 3.13 imports modules to hash one, and a worker
    # that has given up its privileges may no longer read them.
    random.seed()


def getcwd():
    """The working directory as the user wrote it: $PWD with its symbolic links when it is true."""
    real = os.getcwd()
    try:
        shown = os.environ["PWD"]
        a, b = os.stat(shown), os.stat(real)
        if os.path.isabs(shown) and (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev):
            return shown
    except (KeyError, OSError):
        pass
    return real


def _start_dir():
    try:
        return getcwd()
    except OSError:  # deleted
        return os.environ.get("PWD", "/")


#: The directory in which the program was started; USR2 starts the next one there.
START_DIR = _start_dir()


def interpreter_of(script):
    """The Python that the first line of a script names, or None."""
    try:
        with open(script, "rb") as file:
            line = os.fsdecode(file.readline(4096))
    except OSError:
        return None
    program = line[2:].strip() if line.startswith("#!/") and line.endswith("\n") else ""
    named = os.path.basename(program).startswith(("python", "pypy"))
    return program if named and os.access(program, os.X_OK) else None


def script_with_interpreter():
    """The script as which this program was started by its own first line (`#!`), or None."""
    argv = sys.orig_argv
    if len(argv) > 1 and interpreter_of(argv[1]) == argv[0] != "":
        return argv[1]
    return None


def warn(message):
    """Prints a warning that nobody overlooks on standard error."""
    print(f"\nWARNING: {message}\n", file=sys.stderr)


# ---- classes by name -------------------------------------------------------------------------

def load_entry_point(distribution, group, name):
    """Loads an entry point of an installed distribution. ImportError when it does not exist."""
    for point in importlib.metadata.distribution(distribution).entry_points:
        if point.group == group and point.name == name:
            return point.load()
    raise ImportError(f"{distribution} has no entry point {name!r} in {group!r}")


def load_class(uri, default="saola.workers.sync.SyncWorker", section="gunicorn.workers"):
    """The class that a setting names: a class, an alias, `package.module.Class`, `egg:dist#name`
    or the name of an entry point in section. Raises RuntimeError with one line."""
    if inspect.isclass(uri):
        return uri
    uri = str(uri)
    kind = "logger class" if "logger" in section else "worker class"
    if uri.startswith("egg:"):
        distribution, _, name = uri[4:].partition("#")
        return _attempt(kind, uri, load_entry_point, distribution, section, name or "main")
    if "." not in uri:
        uri = uri.removeprefix("#")
        aliases = _aliases(section)
        if uri in aliases:
            uri = aliases[uri]
        else:
            for group in (section, section.replace("gunicorn", "saola")):
                for point in importlib.metadata.entry_points(group=group, name=uri):
                    return _attempt(kind, uri, point.load)
            raise RuntimeError(_unknown_class(kind, uri, aliases))
    return _attempt(kind, uri, _load_dotted, uri)


def _aliases(section):
    if section != "gunicorn.workers":
        return {"simple": "saola.glogging.Logger"}
    try:
        from .workers import SUPPORTED_WORKERS
        return SUPPORTED_WORKERS
    except ImportError:
        return {"sync": "saola.workers.sync.SyncWorker"}


def _unknown_class(kind, uri, aliases):
    near = difflib.get_close_matches(uri, list(aliases), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    names = ", ".join(sorted(aliases))
    return f"unknown {kind} {uri!r}{hint} (known: {names}, or package.module.Class)"


def _attempt(kind, uri, load, *args):
    try:
        found = load(*args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:
        raise RuntimeError(f"{kind} {uri!r}: {type(exc).__name__}: "
                           + " ".join(str(exc).split())) from exc
    return found


def _load_dotted(uri):
    names = uri.split(".")
    # A class of gunicorn means ours, whether or not the name `gunicorn` is mapped in this process.
    if names[0] == "gunicorn":
        names[0] = "saola"
    module = importlib.import_module(".".join(names[:-1]))
    try:
        return getattr(module, names[-1])
    except AttributeError:
        near = difflib.get_close_matches(names[-1], dir(module), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"no {names[-1]} in {'.'.join(names[:-1])}{hint}") from None


positionals = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def get_arity(function):
    """Number of positional parameters."""
    return sum(p.kind in positionals for p in inspect.signature(function).parameters.values())


# ---- addresses -------------------------------------------------------------------------------


def is_ipv6(addr):
    """True for the text of an IPv6 address."""
    try:
        socket.inet_pton(socket.AF_INET6, addr)
    except (OSError, ValueError):
        return False
    return True


def parse_address(netloc, default_port="8000"):
    """`unix:PATH` -> path, `fd://N` -> int, `HOST`, `HOST:PORT`, `[V6]:PORT` -> (host, port).

    A `tcp://` in front is allowed. Raises RuntimeError with one line.
    """
    unix = re.match(r"unix:(//)?", netloc)
    if unix:
        path = netloc[unix.end():]
        if not path:
            raise RuntimeError(f"{netloc!r} has no path; write unix:/run/app.sock")
        return path
    if netloc.startswith("fd://"):
        number = netloc[5:]
        if not (number.isascii() and number.isdigit()):
            raise RuntimeError(f"{number!r} is not a valid file descriptor.")
        return int(number)
    netloc = netloc.removeprefix("tcp://")
    if netloc.startswith("[") and "]" in netloc:
        host, _, rest = netloc[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise RuntimeError(f"{netloc!r}: a colon is missing before the port, as in [::1]:8000")
        port = rest[1:] if rest else str(default_port)
    elif netloc.count(":") > 1:
        raise RuntimeError(f"{netloc!r} is ambiguous; write an IPv6 address as [ADDRESS]:PORT")
    else:
        host, colon, port = netloc.partition(":")
        port = port if colon else str(default_port)
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise RuntimeError(f"{port!r} is not a valid port number.")
    return (host.lower() or "0.0.0.0", int(port))


def split_request_uri(uri):
    """urlsplit() of a request target; a path that begins with // is not taken for a host."""
    if uri.startswith("//"):
        parts = urllib.parse.urlsplit("." + uri)
        return parts._replace(path=parts.path[1:])
    return urllib.parse.urlsplit(uri)


# ---- files and descriptors -------------------------------------------------------------------


def open_standard_streams():
    """Opens /dev/null where descriptor 0, 1 or 2 is closed, so that no socket and no log file takes its
    place; the application's child processes would write into it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def close_on_exec(fd):
    """The descriptor is closed by exec()."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFD)
    fcntl.fcntl(fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)


def set_non_blocking(fd):
    """Reads and writes of the descriptor no longer wait."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def close(sock):
    """Closes a socket; one that is gone already is no error."""
    try:
        sock.close()
    except OSError:
        pass


def close_graceful(sock, timeout=2.0, max_drain=64 * 1024):
    """Ends the sending side and reads what the peer still sends, so that no reset destroys the
    last response. Reads at most max_drain bytes for at most timeout seconds."""
    try:
        sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + timeout
        left = max_drain
        while left > 0 and (rest := deadline - time.monotonic()) > 0:
            sock.settimeout(rest)
            data = sock.recv(min(left, 8192))
            if not data:
                break
            left -= len(data)
    except (OSError, ValueError):
        pass
    finally:
        close(sock)


closerange = os.closerange


def unlink(filename):
    """Removes a file; a missing one is no error."""
    try:
        os.unlink(filename)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise


def chown(path, uid, gid):
    """Changes the owner of a file."""
    os.chown(path, uid, gid)


def check_is_writable(path):
    """Raises RuntimeError with one line when a log file cannot be opened for appending."""
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as exc:
        raise RuntimeError(f"Error: '{path}' isn't writable [{exc.strerror or exc}]") from None


def has_fileno(obj):
    """True when obj has a real descriptor, so that sendfile() can be used."""
    if not hasattr(obj, "fileno"):
        return False
    try:
        obj.fileno()
    except (AttributeError, OSError, io.UnsupportedOperation):
        return False
    return True


is_fileobject = has_fileno


def is_glob_pattern(path):
    """True when a file name has *, ? or [ in it."""
    return GLOB_MAGIC_RE.search(path) is not None


# ---- HTTP ------------------------------------------------------------------------------------


def write_chunk(sock, data):
    """Sends one chunk of a chunked body."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    sock.sendall(b"%X\r\n%b\r\n" % (len(data), data))


def write(sock, data, chunked=False):
    """Sends data, as a chunk when chunked."""
    if chunked:
        return write_chunk(sock, data)
    sock.sendall(data)


def write_nonblock(sock, data, chunked=False):
    """As write(), without waiting for a slow peer."""
    timeout = sock.gettimeout()
    if timeout == 0.0:
        return write(sock, data, chunked)
    try:
        sock.setblocking(False)
        return write(sock, data, chunked)
    finally:
        sock.settimeout(timeout)


def write_error(sock, status_int, reason, mesg):
    """Sends a small error page and asks the peer to close."""
    body = (f"<html>\n  <head>\n    <title>{html.escape(reason)}</title>\n  </head>\n  <body>\n"
            f"    <h1><p>{html.escape(reason)}</p></h1>\n    {html.escape(mesg)}\n"
            "  </body>\n</html>\n").encode("latin-1", "replace")
    head = (f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: text/html\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode("latin-1", "replace")
    write_nonblock(sock, head + body)


def http_date(timestamp=None):
    """`Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7). timestamp in seconds, default now."""
    return email.utils.formatdate(time.time() if timestamp is None else timestamp, usegmt=True)


def is_hoppish(header):
    """True for headers that belong to one connection and are not passed on."""
    return header.lower().strip() in hop_headers


def make_fail_app(msg):
    """A WSGI application that answers every request with 500 and msg as text."""
    body = to_bytestring(msg)

    def fail_app(environ, start_response):
        start_response("500 Internal Server Error",
                       [("Content-Type", "text/plain; charset=utf-8"),
                        ("Content-Length", str(len(body)))])
        return [body]

    return fail_app


# ---- text ------------------------------------------------------------------------------------


def to_bytestring(value, encoding="utf8"):
    """bytes as they are, str encoded; TypeError for anything else."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value.encode(encoding)


def bytes_to_str(b):
    """str as it is, bytes as latin-1."""
    return b if isinstance(b, str) else str(b, "latin1")


def unquote_to_wsgi_str(string):
    """Percent-decoded, one character a byte, as PEP 3333 wants PATH_INFO."""
    return urllib.parse.unquote_to_bytes(string).decode("latin-1")


def reraise(tp, value, tb=None):
    """Raises an exception given as sys.exc_info() gives it."""
    try:
        if value is None:
            value = tp()
        if value.__traceback__ is not tb:
            raise value.with_traceback(tb)
        raise value
    finally:
        value = None
        tb = None


def deprecated(message):
    """A DeprecationWarning at the caller's caller."""
    warnings.warn(message, DeprecationWarning, stacklevel=3)
