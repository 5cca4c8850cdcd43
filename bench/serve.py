"""Starts a server that has no command line of its own: ``python -m bench.serve NAME PORT``."""

from __future__ import annotations

import sys

from bench.app import app


def serve_aiohttp(port: int) -> None:
    """aiohttp's own runner."""
    from aiohttp import web

    from bench.aiohttp_app import app as aiohttp_app

    web.run_app(aiohttp_app, host="127.0.0.1", port=port, access_log=None, print=None)


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "bjoern":
        import bjoern

        bjoern.run(app, "127.0.0.1", port)
    elif name in ("fastpysgi", "fastpysgi-asgi"):
        import fastpysgi

        from bench.asgi_app import app as asgi_app

        fastpysgi.run(app if name == "fastpysgi" else asgi_app, host="127.0.0.1", port=port, workers=1, loglevel=0)
    elif name == "aiohttp":
        serve_aiohttp(port)
    else:
        sys.exit(f"serve: {name} is not a server that is known here")


if __name__ == "__main__":
    main()
