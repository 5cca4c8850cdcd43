"""The program `saola`: help, version, one application.

Everything a user can type wrongly ends here in one line on standard error.
"""

import os
import sys

from . import banner
from .app.wsgiapp import WSGIApplication
from .errors import fail


class CommandLine(WSGIApplication):
    """The application of the program, with a banner for people at a terminal."""

    def _before_start(self):
        super()._before_start()
        # After an upgrade (USR2) nobody looks for a banner.
        if banner.wanted(self.cfg) and not os.environ.get("GUNICORN_PID"):
            self._show_banner_when_ready()

    def _show_banner_when_ready(self):
        hook = self.cfg.when_ready

        def when_ready(server):
            hook(server)
            banner.show(self, server)

        self.cfg.set("when_ready", when_ready)


def _version():
    try:
        from . import __version__
        return __version__
    except ImportError:
        return "unknown"


def _help(argv):
    """Handles -h, --help, --help-all and `--help SETTING`; True when it has answered."""
    for place, word in enumerate(argv):
        if word == "--":
            return False
        if word in ("-h", "--help", "--help-all") or word.startswith("--help="):
            break
    else:
        return False
    from .config import Config
    from . import help as pages
    parser = Config(None, prog="saola").parser()
    topic = word.partition("=")[2] or next(iter(argv[place + 1:place + 2]), None)
    if word == "--help-all":
        print(pages.full(parser))
    elif topic and word != "-h":
        found = pages.setting(topic)
        if found is None:
            fail(f"no setting is called {topic}" + _near_setting(topic), 2)
        print(found)
    else:
        print(pages.short(parser))
    return True


def _near_setting(topic):
    import difflib
    from .config import KNOWN_SETTINGS
    names = [s.name for s in KNOWN_SETTINGS]
    near = difflib.get_close_matches(topic.lstrip("-").replace("-", "_"), names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def main(argv=None):
    """Entry point. argv without the program's name; default sys.argv[1:]. Exits the process."""
    if argv is not None:
        sys.argv = [sys.argv[0] if sys.argv else "saola", *argv]
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `saola --help | head`: whoever read has left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)


def _run(argv):
    if not sys.platform.startswith("linux"):
        fail("Linux is needed (elsewhere: run it in a container)")
    try:
        from . import _saola  # noqa: F401
    except ImportError as exc:
        fail(f"the C core is not built for this Python ({exc}); type: pip install .")
    if any(word in ("-v", "--version") for word in argv[:1]):
        print(f"saola (version {_version()})")
        return
    if _help(argv):
        sys.stdout.flush()
        return
    from . import gunicorn
    gunicorn.install()
    CommandLine("%(prog)s [OPTIONS] [APP_MODULE]", prog="saola").run()


if __name__ == "__main__":
    main()
