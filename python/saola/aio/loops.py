"""Event loops: asyncio's own with the engine as its selector, or any other that watches the engine.

Process: a worker. Thread: the main one.
"""

import asyncio
import importlib
import selectors
import sys

from ..errors import ConfigError

#: Longest time between two turns of an engine under a foreign loop, in seconds.
PULSE = 1.0


class EngineSelector(selectors.BaseSelector):
    """The engine as a selector: descriptors of Python wait in the engine's own epoll set, and HTTP is
    served inside select(). engine: _saola.AsyncEngine, which outlives it."""

    def __init__(self, engine):
        self._engine = engine
        self._keys = engine.keys
        self.select = engine.select  # C, without a frame in between

    def select(self, timeout=None):
        """See selectors.BaseSelector."""
        raise NotImplementedError  # the instance's own attribute is called

    def register(self, fileobj, events, data=None):
        """See selectors.BaseSelector."""
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        fd = _descriptor(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self._engine.watch(fd, events)
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj):
        """See selectors.BaseSelector."""
        key = self._keys.pop(self._find(fileobj))
        self._engine.watch(key.fd, 0)  # which is gone already if it was closed
        return key

    def modify(self, fileobj, events, data=None):
        """See selectors.BaseSelector."""
        fd = self._find(fileobj)
        key = self._keys[fd]
        if events != key.events:
            self._engine.watch(fd, events)
        key = self._keys[fd] = key._replace(events=events, data=data)
        return key

    def get_key(self, fileobj):
        """See selectors.BaseSelector."""
        return self._keys[self._find(fileobj)]

    def get_map(self):
        """Descriptor to key; file objects are found by asking get_key()."""
        return self._keys

    def close(self):
        """Forgets everything; the engine is closed by its owner."""
        self._keys.clear()

    def _find(self, fileobj):
        try:
            fd = _descriptor(fileobj)
        except ValueError:  # closed since
            for fd, key in self._keys.items():
                if key.fileobj is fileobj:
                    return fd
            raise
        if fd not in self._keys:
            raise KeyError(f"{fileobj!r} is not registered")
        return fd


def _descriptor(fileobj):
    fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"Invalid file object: {fileobj!r}")
    return fd


class Pulse:
    """Turns an engine under a loop that is not its own."""

    def __init__(self, engine, loop):
        self._engine, self._loop, self._timer = engine, loop, None
        self._fd = engine.fileno()
        loop.add_reader(self._fd, engine.turn)
        self._beat()

    def _beat(self):
        self._engine.turn()
        patience = self._engine.patience()
        wait = PULSE if patience is None else max(0.01, min(patience, PULSE))
        self._timer = self._loop.call_later(wait, self._beat)

    def hasten(self):
        """Something was asked of the engine (a stop) that it shall see to now."""
        if self._timer is not None:
            self._timer.cancel()
            self._beat()

    def close(self):
        """Lets go of the engine."""
        self._loop.remove_reader(self._fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def new_loop(engine, name):
    """A loop for the engine, by the setting asgi_loop: auto, asyncio, uvloop, or MODULE:NAME of what
    makes one without arguments. Returns (loop, Pulse or None). ConfigError when it cannot be had."""
    if name in ("auto", "asyncio"):
        loop = asyncio.SelectorEventLoop(EngineSelector(engine))
        engine.set_loop(loop, True)
        return loop, None
    loop = _factory(name)()
    if not hasattr(loop, "add_reader") or not hasattr(loop, "run_until_complete"):
        raise ConfigError(f"asgi_loop: {name} made {type(loop).__name__}, which is no event loop with "
                          "add_reader()")
    engine.set_loop(loop, False)
    return loop, Pulse(engine, loop)


def _factory(name):
    module, _, attribute = ("uvloop:new_event_loop" if name == "uvloop" else name).partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as exc:
        if exc.name != module.partition(".")[0]:
            raise
        raise ConfigError(f"asgi_loop {name}: there is no module {exc.name!r} for {sys.executable}: "
                          f"pip install {exc.name}, or take --asgi-loop asyncio") from None
    except AttributeError:
        raise ConfigError(f"asgi_loop: {module} has no {attribute!r}") from None
    if not callable(factory):
        raise ConfigError(f"asgi_loop: {name} cannot be called")
    return factory
