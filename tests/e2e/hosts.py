"""The same probe (data/probe.py, data/probe.c) under every kind of host: fixtures for tests that must
hold whoever answers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from harness import DATA, SERVER
from capi import compile_app

sys.path.append(str(DATA))
import probe  # noqa: E402,F401  (for its pieces)

AIOHTTP = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="no aiohttp")
WSGI = ["sync", "gthread"]
HOSTS = [*WSGI, "asgi", pytest.param("aiohttp", marks=AIOHTTP),
         pytest.param("aiohttp_public", marks=AIOHTTP), "c"]

COMMANDS = {
    "sync": ["-k", "sync", "probe:wsgi"],
    "gthread": ["-k", "gthread", "--threads", "4", "probe:wsgi"],
    "asgi": ["-k", "asgi", "probe:asgi"],
    "aiohttp": ["-k", "aiohttp", "probe:make_aiohttp"],
    "aiohttp_public": ["-k", "aiohttp", "probe:aiohttp_runner"],
}


@pytest.fixture(params=HOSTS)
def host(request) -> str:
    """Each kind of host."""
    return request.param


@pytest.fixture
def serve_probe(serve, host, tmp_path: Path):
    """Starts the probe under the host; one worker. Takes flags of the command line."""
    def start(*args: str, **options):
        if host != "c":
            *flags, app = COMMANDS[host]
            return serve(app, *flags, *args, **options)
        built = compile_app(DATA / "probe.c", tmp_path / "probe.so")
        bind = options.pop("bind", "127.0.0.1:0")
        return serve(None, command=[*SERVER, "--bind", bind, *args, str(built)], bind=None, **options)
    return start
