"""Makes `import aioworkerpool` mean Saola's pools, for programs written for it.

`python -m saola.aioworkerpool script.py [args]` runs a script so; a program calls install() before its first
import of aioworkerpool.
"""

import importlib
import sys

#: The release whose surface this is.
VERSION = "0.2.3"


def install():
    """From here on `from aioworkerpool import master, worker` finds Saola's. May be called again.

    Raises RuntimeError when the other one is imported already.
    """
    if "aioworkerpool" in sys.modules:
        if sys.modules["aioworkerpool"] is not sys.modules[__name__]:
            raise RuntimeError("aioworkerpool is imported already; call saola.aioworkerpool.install() "
                               "before")
        return
    sys.modules["aioworkerpool"] = sys.modules[__name__]
    for name in ("logging", "master", "worker"):
        sys.modules[f"aioworkerpool.{name}"] = importlib.import_module(f"{__name__}.{name}")
