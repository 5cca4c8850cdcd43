"""Makes `import gunicorn...` mean Saola's modules, for programs written for gunicorn.

`python -m saola.gunicorn script.py [args]` runs a script so; a program calls install() before
its first import of gunicorn. The `saola` command always does. What Saola has no counterpart of
fails at import with one sentence that names it.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

import saola

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
        raise AttributeError(f"Saola has no counterpart of gunicorn.{name}")


class _Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return _Gunicorn("gunicorn", _Gunicorn.__doc__) if spec.name == "gunicorn" else None

    def exec_module(self, module):
        name = module.__spec__.name
        if name == "gunicorn":
            return
        ours = importlib.import_module("saola" + name.removeprefix("gunicorn"))
        if "__getattr__" not in vars(ours):
            def missing(attribute, name=name, ours=ours):
                raise AttributeError(f"Saola has no counterpart of {name}.{attribute}"
                                     f" in {ours.__name__}")
            ours.__getattr__ = missing
        sys.modules[name] = ours


class _Finder(importlib.abc.MetaPathFinder):
    loader = _Loader()

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "gunicorn":
            return importlib.machinery.ModuleSpec(fullname, self.loader, is_package=True)
        if not fullname.startswith("gunicorn."):
            return None
        ours = "saola" + fullname.removeprefix("gunicorn")
        if fullname.split(".")[1] in _OURS or importlib.util.find_spec(ours) is None:
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
