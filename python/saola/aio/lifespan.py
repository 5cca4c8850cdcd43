"""ASGI's lifespan protocol: startup before the first connection is accepted, shutdown after the last.

Process: a worker. Thread: the main one, on its loop.
"""

import asyncio

from ..errors import ConfigError


class StartupFailed(ConfigError):
    """The application said that it cannot start; the worker does not boot."""


class _Unexpected(RuntimeError):
    """The application took the lifespan for something else."""


class Lifespan:
    """One run of the protocol. mode: auto (an application that does not know it is served all the
    same), on (it must), off. state: the dict that requests get copies of."""

    def __init__(self, app, mode, state, log):
        self._app, self._mode, self._state, self._log = app, mode, state, log
        self._task = None
        self._asked = asyncio.Queue()
        self._answer = None
        self._received = False
        self._wrong = None

    @property
    def supported(self):
        """Whether the application takes part: shutdown() will tell it."""
        return self._task is not None

    async def startup(self):
        """Returns when the application is ready. StartupFailed, or what the application raised."""
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._task = loop.create_task(self._run(), name="saola-lifespan")
        self._asked.put_nowait({"type": "lifespan.startup"})
        await asyncio.wait([self._task, self._answer], return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            failure = self._answer.result()
            if failure is None:
                return
            await self._end()
            raise StartupFailed(f"the application's startup failed: {failure or 'no reason was given'}")
        task, self._task = self._task, None
        exc = None if task.cancelled() else task.exception()
        if self._is_unsupported(exc):
            self._log.debug("The application does not take part in the lifespan protocol (%r)", exc)
            return
        if exc is not None:
            raise exc
        raise StartupFailed("asgi_lifespan is on, and the application returned without "
                            "'lifespan.startup.complete'")

    def _is_unsupported(self, exc):
        """Telling an application that does not know the protocol from one whose startup is broken."""
        if self._mode != "auto":
            return False
        if exc is None or not self._received or self._wrong is not None:
            return True
        return isinstance(exc, (AssertionError, KeyError, NotImplementedError))

    async def shutdown(self):
        """Tells the application and waits until it has cleaned up. Failures are logged."""
        task = self._task
        if task is None:
            return
        if not task.done():
            self._answer = asyncio.get_running_loop().create_future()
            self._asked.put_nowait({"type": "lifespan.shutdown"})
            await asyncio.wait([task, self._answer], return_when=asyncio.FIRST_COMPLETED)
        failure = self._answer.result() if self._answer.done() else None
        if failure is not None:
            self._log.error("The application's shutdown failed: %s", failure or "no reason was given")
        await self._end()

    async def _end(self):
        """The application has answered: it may return in its own time, but not for ever."""
        task, self._task = self._task, None
        done, _ = await asyncio.wait([task], timeout=1.0)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
        if task.done() and not task.cancelled() and task.exception() is not None:
            self._log.error("Exception in the application's lifespan", exc_info=task.exception())

    async def _run(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"},
                 "state": self._state}
        await self._app(scope, self._receive, self._send)

    async def _receive(self):
        self._received = True
        return await self._asked.get()

    async def _send(self, message):
        kind = message["type"]
        phase, _, outcome = kind.removeprefix("lifespan.").partition(".")
        if not kind.startswith("lifespan.") or phase not in ("startup", "shutdown") \
                or outcome not in ("complete", "failed"):
            self._wrong = kind
            raise _Unexpected(f"unexpected ASGI message {kind!r} in the lifespan protocol")
        if self._answer.done():
            raise _Unexpected(f"unexpected ASGI message {kind!r}: it was answered already")
        self._answer.set_result(None if outcome == "complete" else message.get("message", ""))
