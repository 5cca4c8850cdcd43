"""Finds the application that the user named, and says in one line why it cannot be served.

Runs in the worker (in the arbiter with preload_app): importing is the user's code, so what it raises
passes through untouched. Only failures of the *name* become AppImportError.
"""

import ast
import difflib
import functools
import importlib
import inspect
import os
import sys

from ..errors import AppImportError, AppModuleNotFound, is_server_frame

DEFAULT_NAMES = ("application", "app")


def import_app(spec):
    """Imports an application.

    spec is `module`, `module:name`, `module:name.attribute`, `module:factory(1, key="literal")`,
    `file.py` or `file.py:...`; without a name, `application` or `app` is taken.
    Raises AppImportError when the name cannot be followed; whatever the module raises on import.
    """
    module_name, _, expression = spec.partition(":")
    module = _import(module_name, spec)
    if not expression:
        expression = next((n for n in DEFAULT_NAMES if hasattr(module, n)), DEFAULT_NAMES[0])
    app = _evaluate(module, expression)
    if app is None:
        raise AppImportError(f"Failed to find application object: {expression!r} is None.")
    if not callable(app) and not is_aiohttp(app):
        raise AppImportError(f"Application object must be callable: {expression!r} in "
                             f"{module.__name__!r} is {_article(type(app).__name__)}."
                             + _others(module, expression))
    return app


def _article(noun):
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


# ---- the module ------------------------------------------------------------------------------


def _import(name, spec):
    if not name:
        raise AppImportError(f"No module in {spec!r}; write MODULE:NAME, for example app:application.")
    if name.endswith(".py") or os.sep in name:
        name = _module_of_file(name)
    if not all(name.split(".")):
        raise AppModuleNotFound(f"{name!r} is not a module name; write MODULE:NAME, for example "
                                "app:application.", name=name)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if not _is_about(exc, name):
            raise
        raise AppModuleNotFound(_missing_module(spec, name, exc.name), name=exc.name) from None
    return module


def _module_of_file(path):
    """Makes a file importable and returns its dotted name."""
    if not os.path.isfile(path):
        where = os.path.dirname(os.path.abspath(path))
        near = _nearest(os.path.basename(path), _listing(where, ".py"))
        hint = f" Did you mean {near}?" if near else ""
        raise AppModuleNotFound(f"No file {path!r} in {os.getcwd()}.{hint}", name=path)
    if not path.endswith(".py"):
        raise AppModuleNotFound(f"{path!r} is not a Python file (.py).", name=path)
    folder, name = os.path.split(os.path.abspath(path)[:-3])
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        name = f"{package}.{name}"
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return name.removesuffix(".__init__")


def _is_about(exc, name):
    """True when the import failed at the name itself, not inside a module's own code."""
    if not exc.name or not (name == exc.name or name.startswith(exc.name + ".")):
        return False
    trace = exc.__traceback__
    while trace is not None:
        if not is_server_frame(trace.tb_frame.f_code.co_filename):
            return False
        trace = trace.tb_next
    return True


def _listing(folder, suffix=""):
    try:
        return sorted(e for e in os.listdir(folder) if e.endswith(suffix))
    except OSError:
        return []


def _nearest(word, words):
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return found[0] if found else None


def _missing_module(spec, name, missing):
    parent, _, last = missing.rpartition(".")
    folder = os.getcwd()
    if parent:
        paths = list(getattr(sys.modules.get(parent), "__path__", []))
        if not paths:
            hint = "" if ":" in spec else f" Did you mean {parent}:{last}?"
            return f"No module named {missing!r}: {parent!r} is not a package.{hint}"
        folder = paths[0]
    names = [e[:-3] for e in _listing(folder, ".py")]
    names += [e for e in _listing(folder) if os.path.isdir(os.path.join(folder, e))]
    near = _nearest(last, names)
    if near:
        rest = spec[len(missing):] if spec.startswith(missing) else ""
        return (f"No module named {missing!r} in {folder}. "
                f"Did you mean {'.'.join(filter(None, (parent, near)))}{rest}?")
    return (f"No module named {missing!r} in {folder}; is there {_article(last)}.py? "
            "(--chdir DIR looks elsewhere)")


def module_is_missing(spec):
    """One line when the module of spec certainly does not exist, else None. Imports nothing.

    For a check before any process is started; only the part that can be seen without running user
    code is looked at.
    """
    name = spec.partition(":")[0]
    try:
        if name.endswith(".py") or os.sep in name:
            _module_of_file(name)
            return None
        top = name.partition(".")[0]
        if not top or top in sys.modules or top in sys.builtin_module_names:
            return None
        if any(finder.find_spec(top, None) for finder in sys.meta_path
               if hasattr(finder, "find_spec")):
            return None
        return _missing_module(spec, name, top)
    except AppModuleNotFound as exc:
        return str(exc)
    except Exception:
        return None


# ---- the name in it --------------------------------------------------------------------------


def _evaluate(module, expression):
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise AppImportError(f"Failed to parse {expression!r} as an attribute name or function "
                             "call.") from None
    if isinstance(node, ast.Call):
        factory = _lookup(module, _dotted(node.func, expression))
        return _call(factory, node, expression)
    return _lookup(module, _dotted(node, expression))


def _dotted(node, expression):
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise AppImportError(f"Failed to parse {expression!r} as an attribute name or function "
                             "call.")
    return [node.id, *reversed(names)]


def _lookup(module, names):
    found = module
    for depth, name in enumerate(names):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = ".".join([module.__name__, *names[:depth]])
            raise AppImportError(f"Failed to find attribute {name!r} in {where!r}."
                                 + _others(found, name)) from None
    return found


def _call(factory, node, expression):
    try:
        args = [ast.literal_eval(a) for a in node.args]
        kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
        if len(kwargs) != len(node.keywords):
            raise ValueError
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise AppImportError("Failed to parse arguments as literal values: "
                             f"{expression!r}.") from None
    if not callable(factory):
        raise AppImportError(f"{expression!r}: {ast.unparse(node.func)} is "
                             f"{_article(type(factory).__name__)}, it cannot be called.")
    try:
        return factory(*args, **kwargs)
    except TypeError as exc:
        # Raised by the call itself, not in the factory's own code: the user typed wrong arguments.
        if exc.__traceback__.tb_next is None:
            raise AppImportError(f"{expression!r}: {exc}.") from None
        raise


def _others(holder, name):
    """' Did you mean ...' with the callables that a module or object has; '' when there are none."""
    callables = []
    for key, value in list(getattr(holder, "__dict__", {}).items()):
        if key.startswith("_") or not callable(value):
            continue
        if inspect.isclass(value) and value.__module__ != getattr(holder, "__name__", None):
            continue
        if inspect.isfunction(value) and value.__module__ != getattr(holder, "__name__", None):
            continue
        callables.append(key)
    if not callables:
        return " There is no callable in it."
    near = _nearest(name, callables)
    if near is None:
        near = next((n for n in DEFAULT_NAMES if n in callables and n != name), None)
    shown = sorted(callables)[:8]
    more = ", ..." if len(callables) > len(shown) else ""
    text = f" Did you mean {near!r}?" if near else ""
    return f"{text} Callables there: {', '.join(shown)}{more}."


# ---- the interface ---------------------------------------------------------------------------

_WSGI_CLASSES = frozenset(
    ("sync", "gthread", "gevent", "gevent_wsgi", "gevent_pywsgi")
    + tuple(f"{package}.workers.{name}" for package in ("saola", "gunicorn")
            for name in ("sync.SyncWorker", "gthread.ThreadWorker", "ggevent.GeventWorker")))


def is_wsgi_class(name):
    """True for the worker classes of ours that call WSGI applications. A class derived from them may
    do anything, so nothing is said about it."""
    return name in _WSGI_CLASSES


def check_interface(app, name, cfg):
    """Raises AppImportError when app is not what the worker class of cfg serves. Where nobody chose a
    worker class, an ASGI application makes it asgi."""
    kind = cfg.worker_class_str
    if kind in _ASGI_CLASSES:
        check_asgi(app, name)
    elif kind in _AIOHTTP_CLASSES:
        check_aiohttp(app, name)
    elif is_wsgi_class(kind) and not (is_free_to_choose(cfg) and (is_asgi(app) or is_aiohttp(app))):
        check_wsgi(app, name, kind)


def is_free_to_choose(cfg):
    """Nobody has said which worker class it shall be."""
    from ..config import DEFAULT_SOURCE
    return cfg.settings["worker_class"].source == DEFAULT_SOURCE


_ASGI_CLASSES = frozenset(("asgi", "saola.workers.asgi.ASGIWorker", "gunicorn.workers.gasgi.ASGIWorker",
                           "saola.workers.gasgi.ASGIWorker"))

_AIOHTTP_CLASSES = frozenset(("aiohttp", "saola.workers.gaiohttp.AiohttpWorker",
                              "gunicorn.workers.gaiohttp.AiohttpWorker"))


def is_aiohttp(app):
    """True for an aiohttp.web application, its runner, and, where aiohttp is used, what may make one: a
    coroutine, and a function (async or not) of which each argument has a default."""
    if _is_of_aiohttp(app):
        return True
    if "aiohttp" not in sys.modules or inspect.isclass(app):
        return False
    if inspect.iscoroutine(app):
        return True
    if not callable(app) or inspect.isasyncgenfunction(app) or inspect.isgeneratorfunction(app):
        return False
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(p.kind != p.VAR_POSITIONAL and (p.kind == p.VAR_KEYWORD or p.default is not p.empty)
               for p in parameters)


def _is_of_aiohttp(app):
    return any(c.__module__ in ("aiohttp.web_app", "aiohttp.web_runner") for c in type(app).__mro__)


def check_aiohttp(app, name="the application"):
    """Raises AppImportError when app is certainly nothing that the worker class aiohttp serves."""
    if _is_of_aiohttp(app) or inspect.isawaitable(app):
        return
    try:
        if callable(app):
            inspect.signature(app).bind()
            return
    except TypeError:
        raise AppImportError(f"{name} needs arguments, so it makes no aiohttp application: the worker class "
                             "aiohttp serves a web.Application or a function without parameters that makes "
                             "one. Write the call, MODULE:NAME(ARGUMENTS), or leave -k out.") from None
    except ValueError:
        return  # no signature to be had
    raise AppImportError(f"{name} is {_article(type(app).__name__)}, not an aiohttp application.")


def check_wsgi(app, name="the application", worker_class="sync"):
    """Raises AppImportError when app certainly is no WSGI callable, naming what would serve it.

    Said at load, because every request would otherwise end in a 500.
    """
    kind = _other_interface(app)
    if kind is None:
        return
    what, advice = kind
    raise AppImportError(f"{name} is {what}, but the worker class {worker_class} serves WSGI. "
                         f"{advice}")


def is_asgi(app):
    """True when app certainly is an ASGI 3 application."""
    kind = _other_interface(app)
    if kind is None or kind[0] != _ASGI or inspect.isasyncgenfunction(app):
        return False
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:
        pass  # no signature to be had
    return True


def _is_asgi2(app):
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [p for p in parameters if p.default is p.empty
                and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(required) == 1 and (inspect.isclass(app) or not inspect.iscoroutinefunction(app)) \
        and not inspect.iscoroutinefunction(getattr(app, "__call__", None))


def check_asgi(app, name="the application"):
    """Raises AppImportError when app certainly is no ASGI 3 callable, naming what it is."""
    if not callable(app):
        raise AppImportError(f"{name} is {type(app).__name__}, not an ASGI application.")
    kind = _other_interface(app)
    if kind is not None and kind[0] == _ASGI:
        return
    if kind is not None and "aiohttp" in kind[1]:
        raise AppImportError(f"{name} is {kind[0]}, but the worker class asgi serves ASGI. {kind[1]}")
    if _is_asgi2(app):
        raise AppImportError(f"{name} takes one argument, as ASGI 2 applications do. Wrap it: "
                             "asgiref.compatibility.guarantee_single_callable(app).")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        raise AppImportError(f"{name} cannot be called with (scope, receive, send), so it is no ASGI "
                             "application. For WSGI leave worker_class out, or say -k sync.") from None
    except ValueError:
        pass  # no signature to be had


_ASGI = "an ASGI application"


def _other_interface(app):
    asgi = (_ASGI,
            "Leave worker_class out, or say -k asgi.")
    if any(c.__module__ == "aiohttp.web_app" for c in type(app).__mro__):
        return ("an aiohttp application",
                "Leave worker_class out, or say -k aiohttp.")
    target = app
    while isinstance(target, functools.partial):
        target = target.func
    is_async = False
    for candidate in (target, getattr(type(target), "__call__", None)):
        is_async = is_async or inspect.iscoroutinefunction(candidate) \
            or inspect.isasyncgenfunction(candidate)
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return asgi if is_async and not inspect.isclass(target) else None
    if is_async and not inspect.isclass(target):
        if not signature.parameters:
            return ("a coroutine function without parameters, as aiohttp's factories are",
                    "Leave worker_class out, or say -k aiohttp.")
        return asgi
    try:
        signature.bind(None, None)
        return None
    except TypeError:
        pass
    required = [p for p in signature.parameters.values() if p.default is p.empty
                and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(required) == 3:
        return asgi
    if not required and not inspect.isclass(target):
        return ("a function without parameters",
                "If it is a factory, write its call: MODULE:NAME().")
    return (f"a callable that takes {len(required)} argument{'s' * (len(required) != 1)}",
            "A WSGI application is called with (environ, start_response).")
