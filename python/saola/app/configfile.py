"""The configuration file: executed as module `__config__`, with errors that name file and line.

Runs in the arbiter, at start and at every reload.
"""

import ast
import importlib
import importlib.util
import os
import sys
import traceback
import types

from ..errors import ConfigError, is_server_frame

_PLAIN = (str, bytes, int, float, bool, type(None), list, tuple, dict, set)


class ConfigFile:
    """A file or module that was executed: `name` for messages, `values` its globals."""

    def __init__(self, name, source, values):
        self.name = name
        self.values = values
        self._assigned, self._read, self._defined = _names_in(source)

    @classmethod
    def of_path(cls, path):
        """Executes a file. ConfigError with one line when that fails."""
        name = path.removeprefix("./")
        if not os.path.exists(path):
            raise ConfigError(f"{path!r} doesn't exist (configuration file)")
        try:
            with open(path, "rb") as file:
                source = file.read()
        except OSError as exc:
            raise ConfigError(f"{name}: {exc.strerror}") from None
        # Compiled here, not imported: no cache file, and a change within the same second is seen.
        module = types.ModuleType("__config__")
        module.__file__ = path
        before = sys.modules.get("__config__")
        sys.modules["__config__"] = module
        try:
            exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        except Exception as exc:
            if before is None:
                del sys.modules["__config__"]
            else:
                sys.modules["__config__"] = before
            raise ConfigError(_describe(exc, name, path)) from exc
        return cls(name, source, vars(module))

    @classmethod
    def of_module(cls, module_name):
        """Imports a module. ConfigError with one line when that fails."""
        name = f"python:{module_name}"
        try:
            module = importlib.import_module(module_name)
        except Exception as exc:
            raise ConfigError(_describe(exc, name, None)) from exc
        try:
            source = module.__loader__.get_source(module.__name__) or ""
        except Exception:
            source = ""
        return cls(name, source, vars(module))

    def where(self, name):
        """`FILE, line N` of the last assignment or definition of a name."""
        line = self._assigned.get(name) or self._defined.get(name)
        return f"{self.name}, line {line}" if line else self.name

    def unknown_names(self, settings, strict):
        """One line for each name that was surely meant as a setting.

        That is a plain value in lower case whose name is very near a setting's that the file does
        not set. strict adds plain values that nothing in the file reads, whatever their name.
        Imports, functions, classes, upper-case and underscore names are the file's own business.
        """
        found = []
        for name, line in self._assigned.items():
            if (name in settings or name.startswith("_") or name != name.lower()
                    or type(self.values.get(name, found)) not in _PLAIN
                    or name not in self.values):
                continue
            near = next((s for s in settings if is_very_near(name, s)), None)
            if near is not None and near in self.values:
                near = None  # a helper, as in `worker = 4; workers = worker * 2`
            if near is None and not (strict and name not in self._read):
                continue
            hint = f"; did you mean {near}?" if near else ""
            found.append(f"{self.name}, line {line}: no setting is called {name}{hint}")
        return found


def is_very_near(name, setting):
    """True when one slip of the fingers (two in long names) lies between the names."""
    if name.replace("_", "") == setting.replace("_", ""):
        return True
    allowed = 2 if len(setting) >= 8 else 1
    if abs(len(name) - len(setting)) > allowed or len(setting) < 4:
        return False
    return _distance(name, setting) <= allowed


def _distance(a, b):
    """Edit distance with transposition of neighbours."""
    before, last = None, list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if before and i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _names_in(source):
    """(name -> line of its last top-level assignment, names that the file reads, name -> line of
    what is defined)."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}, set(), {}
    assigned = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        for target in targets:
            for node in ast.walk(target):
                if isinstance(node, ast.Name):
                    assigned[node.id] = statement.lineno
    read = {n.id for n in ast.walk(tree)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    defined = {s.name: s.lineno for s in tree.body
               if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return assigned, read, defined


def _describe(exc, name, path):
    text = " ".join(str(exc).split())
    if isinstance(exc, SyntaxError) and exc.filename == path:
        return f"{name}, line {exc.lineno}: {type(exc).__name__}: {exc.msg}"
    frames = [f for f in traceback.extract_tb(exc.__traceback__)
              if not is_server_frame(f.filename)]
    own = [f for f in frames if f.filename == path]
    where = f"{name}, line {own[-1].lineno}" if own else name
    if frames and frames[-1].filename != path and frames[-1].filename != "<string>":
        inner = f" ({os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno})"
    else:
        inner = ""
    return f"{where}: {type(exc).__name__}: {text}{inner}"
