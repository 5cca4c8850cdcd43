"""Applications in C for the tests: compiled as an outsider would, and served without Python."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from harness import DATA, SERVER, TOP

EXAMPLES = TOP / "examples" / "c"
FAULTY = DATA / "faulty_app.c"


def native() -> Path:
    if "SAOLA_TEST_SITE" in os.environ:
        return Path(os.environ["SAOLA_TEST_SITE"]) / "saola" / "native"
    import saola.native
    return saola.native.ROOT


def flags(*what: str) -> list[str]:
    """What pkg-config says of saola."""
    path = str(native() / "lib" / "pkgconfig")
    done = subprocess.run(["pkg-config", *what, "saola"], check=True, text=True, capture_output=True,
                          env={**os.environ, "PKG_CONFIG_PATH": path})
    return shlex.split(done.stdout)


def compile_app(source: Path, target: Path, *more: str) -> Path:
    """cc -shared; the target is replaced at once, as a linker or install(1) does it."""
    fresh = target.with_name(target.name + ".new")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-shared", "-fPIC", "-pthread",
                    *flags("--cflags"), *more, str(source), "-o", str(fresh)], check=True)
    fresh.rename(target)
    return target


@pytest.fixture
def build(tmp_path: Path):
    """Compiles an example; the shared object lies beside the server's directory."""
    def compile_named(name: str, *more: str, to: str | None = None) -> str:
        source = EXAMPLES / f"{name}.c" if name != "faulty" else FAULTY
        return str(compile_app(source, tmp_path / f"{to or name}.so", *more))
    return compile_named


@pytest.fixture
def serve_c(serve):
    """serve() for applications in C: no option of Python's."""
    def start(app: str | None, *args: str, **options):
        bind = ["--bind", options.pop("bind", "127.0.0.1:0")]
        if options.get("workers") is not None:
            args += ("--workers", str(options.pop("workers")))
        command = [*SERVER, *bind, *args] + ([app] if app else [])
        return serve(None, command=command, bind=None, **options)
    return start
