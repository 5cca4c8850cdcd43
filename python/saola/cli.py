"""The program `saola`: the command line, one application, a banner for people at a terminal.

Whatever a user can type wrongly ends in one line on standard error. Help is in help.py.
"""

import os
import sys

from . import banner, native
from .app.wsgiapp import WSGIApplication


class CommandLine(WSGIApplication):
    """The application of the program, with a banner for people at a terminal."""

    def _before_start(self):
        super()._before_start()
        banner.attach(self)


def main(argv=None):
    """Entry point. argv without the program's name; default sys.argv[1:]. Exits the process."""
    if argv is not None:
        sys.argv = [sys.argv[0] if sys.argv else "saola", *argv]
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `saola --help | head`: whoever read has left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as exc:
        # Out of descriptors, memory, ...: of the machine, not of the program or the application.
        print(f"saola: cannot start: {exc}", file=sys.stderr)
        sys.exit(1)


def _run():
    if sys.argv[1:2] == ["upgrade"]:  # an application of that name: saola upgrade:application
        from . import upgrade
        sys.exit(upgrade.main(sys.argv[2:]))
    native.start_if_named(sys.argv)
    from . import gunicorn, util
    util.open_standard_streams()
    gunicorn.install()
    CommandLine("%(prog)s [OPTIONS] [APP_MODULE]", prog="saola").run()


if __name__ == "__main__":
    main()
