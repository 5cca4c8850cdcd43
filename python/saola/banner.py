"""What a person at a terminal sees when the server is ready. Nothing of it goes into a log file."""

import os
import sys


def wants_colour(stream, environ=os.environ):
    """True for a terminal that shows colours and a user who has not set NO_COLOR."""
    return (_is_terminal(stream) and not environ.get("NO_COLOR")
            and environ.get("TERM", "dumb") != "dumb")


def _is_terminal(stream):
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def wanted(cfg, stream=None):
    """True when the error log goes to a terminal in the foreground."""
    stream = sys.stderr if stream is None else stream
    return (_is_terminal(stream) and cfg.errorlog == "-" and not cfg.daemon
            and not cfg.capture_output)


def attach(app):
    """Lets the banner of app appear once its arbiter is ready, if anybody is there to see it."""
    # After an upgrade (USR2) nobody looks for a banner.
    if not wanted(app.cfg) or os.environ.get("SAOLA_FD"):
        return
    hook = app.cfg.when_ready

    def when_ready(server):
        hook(server)
        show(app, server)

    app.cfg.set("when_ready", when_ready)


def text(version, addresses, app, worker_class, workers, source, pid, colour=False):
    """The banner as lines. addresses are URLs or unix: paths, source is the configuration file."""
    def paint(code, word):
        return f"\x1b[{code}m{word}\x1b[0m" if colour else word

    rows = [("application", app),
            ("workers", f"{workers} x {worker_class}"),
            ("settings", source or "defaults and command line"),
            ("pid", f"{pid}, Ctrl-C to stop")]
    lines = ["", f"  {paint('1', 'saola')} {version}", ""]
    lines += ["  " + paint("1;36", _printable(a)) for a in addresses]
    lines += [f"  {paint('2', name.ljust(12))} {_printable(value)}" for name, value in rows]
    return "\n".join([*lines, ""])


def _printable(value):
    return "".join(c if c.isprintable() else "?" for c in str(value))


def show(app, arbiter, stream=None):
    """Writes the banner of a running arbiter; never raises."""
    stream = sys.stderr if stream is None else stream
    try:
        from . import __version__ as version
    except ImportError:
        version = ""
    cfg = app.cfg
    try:
        stream.write(text(version, [str(listener) for listener in arbiter.LISTENERS],
                          app.app_uri, cfg.worker_class_str, cfg.workers,
                          getattr(app, "config_source", None), os.getpid(),
                          wants_colour(stream)) + "\n")
        stream.flush()
    except (OSError, ValueError):
        pass
