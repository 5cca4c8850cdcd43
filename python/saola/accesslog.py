"""Which access log the C core writes, and what is left to Python's logger.

The core makes and writes the lines of an engine's worker wherever nobody would see a difference but
the time it takes: the logger is ours and its format one that the core knows. With handlers of the
user's (logconfig, syslog) the core makes the line and the logger hands it on. A logger class that
overrides how lines are made gets every request in Python, as under gunicorn.
"""

import logging

from . import _saola, glogging

# What a subclass of Logger may override to change its lines.
_MAKES_THE_LINE = ("access", "atoms", "atoms_wrapper_class", "now", "access_fmt", "_line_atoms",
                   "_get_user")


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
