"""Applications and worker classes in C: `saola ./app.so` becomes the program that needs no Python.

The package contains it (native/bin/saola), with the library, the headers and the pkg-config file for
those who write such applications (native/lib, native/include, native/lib/pkgconfig).
"""

import os
import re
import sys
from pathlib import Path

#: Where the parts for C lie.
ROOT = Path(__file__).resolve().parent / "native"

_SHARED_OBJECT = re.compile(r"[^:=]*\.so(:\w*)?")


def is_shared_object(text):
    """Whether text names a table in a shared object, PATH.so[:NAME]."""
    return isinstance(text, str) and _SHARED_OBJECT.fullmatch(text) is not None


def start_if_named(argv):
    """Executes the C program in place of this one when the command line names an application or a
    worker class of a shared object. Returns when it does not. argv with the program's name."""
    if not any(".so" in arg for arg in argv[1:]):
        return
    from . import successor
    from .app import usage
    from .config import Config
    from .errors import UsageError
    try:
        given = usage.parse(Config("%(prog)s [OPTIONS] [APP_MODULE]", prog="saola").parser(), argv[1:])
    except UsageError:
        return  # said again, and properly, by who reads it next
    app = given.args[0] if given.args else getattr(given, "wsgi_app", None)
    if not is_shared_object(app) and not is_shared_object(given.worker_class):
        return
    program = ROOT / "bin" / "saola"
    # USR2 starts what argv[0] says: this command again, which may belong to a newer release by then.
    again = os.path.abspath(argv[0])
    if not os.access(again, os.X_OK):
        again = str(program)
    successor.pass_on()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [again, *argv[1:]])
