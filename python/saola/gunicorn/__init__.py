"""Makes `import gunicorn...` mean Saola's modules, for programs written for gunicorn.

`python -m saola.gunicorn script.py [args]` runs a script so; a program calls install() before
its first import of gunicorn. The `saola` command always does. What Saola has no counterpart of
fails with one sentence that names it and says why: a module at its import, or, where public code
imports it and uses it on some paths only, each of its attributes.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import opcode
import sys
import types

import saola
from . import missing

#: The release of gunicorn whose surface this is.
VERSION = (26, 1, 0)

# Saola's own modules; under gunicorn's name they would only mislead.
_OURS = frozenset(("gunicorn", "_saola", "script", "aioworkerpool"))


class _Gunicorn(types.ModuleType):
    """The module `gunicorn`. SERVER and SERVER_SOFTWARE are Saola's, also when assigned to."""

    __path__ = []
    version_info = VERSION
    __version__ = ".".join(map(str, VERSION))

    @property
    def SERVER(self):
        return saola.SERVER

    @SERVER.setter
    def SERVER(self, value):
        saola.SERVER = value

    @property
    def SERVER_SOFTWARE(self):
        return saola.SERVER_SOFTWARE

    @SERVER_SOFTWARE.setter
    def SERVER_SOFTWARE(self, value):
        saola.SERVER_SOFTWARE = value

    def __getattr__(self, name):
        _missing("gunicorn", name)


def _missing(module, attribute, ours=None):
    """Raises the error for an attribute that a module of gunicorn's does not have here."""
    if attribute.startswith("__"):  # the import system asks for some that are optional
        raise AttributeError(attribute)
    reason = missing.reason(module, attribute)
    text = (f"Saola has no counterpart of {module}.{attribute}" + (f" in {ours}" if ours else "")
            + (f": {reason}" if reason else ""))
    if _is_from_import(sys._getframe(2)):
        # `from module import attribute` would put a text of its own in the place of an AttributeError's.
        raise ImportError(text, name=module)
    raise AttributeError(text)


def _is_from_import(frame):
    code, at = frame.f_code.co_code, frame.f_lasti
    return 0 <= at < len(code) and code[at] == opcode.opmap["IMPORT_FROM"]


def _exists(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor what it is part of
        return False


class _Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return _Gunicorn("gunicorn", _Gunicorn.__doc__) if spec.name == "gunicorn" else None

    def exec_module(self, module):
        name = module.__spec__.name
        if name == "gunicorn":
            return
        if missing.is_placeholder(name):
            module.__path__ = []
            module.__getattr__ = lambda attribute: _missing(name, attribute)
            return
        ours = importlib.import_module("saola" + name.removeprefix("gunicorn"))
        if "__getattr__" not in vars(ours):
            ours.__getattr__ = lambda attribute: _missing(name, attribute, ours.__name__)
        sys.modules[name] = ours


class _Finder(importlib.abc.MetaPathFinder):
    loader = _Loader()

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "gunicorn":
            return importlib.machinery.ModuleSpec(fullname, self.loader, is_package=True)
        if not fullname.startswith("gunicorn."):
            return None
        ours = "saola" + fullname.removeprefix("gunicorn")
        if not missing.is_placeholder(fullname) \
                and (fullname.split(".")[1] in _OURS or not _exists(ours)):
            raise ModuleNotFoundError(f"Saola has no counterpart of the module {fullname}",
                                      name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self.loader)


def install():
    """From here on `import gunicorn` in this process finds Saola; an installed gunicorn is hidden.

    Raises RuntimeError when the other one is imported already. May be called again.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if "gunicorn" in sys.modules:
        raise RuntimeError("gunicorn is imported already; call saola.gunicorn.install() before")
    sys.meta_path.insert(0, _Finder())
