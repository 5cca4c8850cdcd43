"""What the name of an aiohttp application means. Works, and says so, without the package aiohttp."""

import importlib.util
import inspect

from ..errors import AppImportError, ConfigError


async def make(target):
    """What the application's name means, as web.Application or AppRunner. Functions are called, in the
    loop; coroutines awaited. AppImportError for anything else."""
    from aiohttp import web
    kinds = (web.Application, web.AppRunner)
    found = target
    if not isinstance(found, kinds) and not inspect.isawaitable(found) and callable(found):
        found = found()
    if inspect.isawaitable(found):
        found = await found
    if isinstance(found, kinds):
        return found
    came = "" if found is target else f"{target!r} gave "
    raise AppImportError(f"The worker class aiohttp serves a web.Application or an AppRunner, or a function "
                         f"that makes one; {came}{found!r:.100} is none.")


def need_aiohttp():
    """ConfigError with what to do when the package aiohttp is missing. Does not import it."""
    if importlib.util.find_spec("aiohttp") is None:
        raise ConfigError("the worker class aiohttp needs the package aiohttp: pip install aiohttp")
