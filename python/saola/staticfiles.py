"""Files that are served without the application: settings static_files and sendfile_roots."""

from . import _saola


def open_files(cfg, on_error=None):
    """The _saola.Files for an engine's option files, or None where the settings ask for none.

    on_error: called with one sentence when a file that the application named by X-Sendfile cannot be
    sent. RuntimeError, one line, for a setting that cannot be used or a directory that is not there.
    """
    routes, roots = (getattr(cfg, name, None) or [] for name in ("static_files", "sendfile_roots"))
    if not routes and not roots:
        return None
    try:
        return _saola.Files(routes, getattr(cfg, "static_types", None) or [], roots,
                            getattr(cfg, "static_max_age", 0), on_error)
    except ValueError as exc:
        raise RuntimeError(str(exc)) from None
