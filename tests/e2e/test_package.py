"""What was installed: the extension's hardening, the package's metadata, what an import needs."""

import importlib.metadata
import shutil
import subprocess
import sys

import pytest

from harness import TOP

from harness import SANITIZED

plain_build = pytest.mark.skipif(SANITIZED, reason="a build with sanitizers is another one")
needs_readelf = pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not installed")


@pytest.fixture(scope="module")
def extension():
    saola = pytest.importorskip("saola._saola")
    return saola.__file__


def readelf(*args):
    return subprocess.run(["readelf", "-W", *args], check=True, capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout


@plain_build
@needs_readelf
def test_the_extension_is_hardened(extension):
    dynamic, segments = readelf("-d", extension), readelf("-l", extension)
    symbols = readelf("--dyn-syms", extension)
    assert "GNU_RELRO" in segments and "BIND_NOW" in dynamic, "not full RELRO"
    stack = next(line for line in segments.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack and "TEXTREL" not in dynamic
    assert "__stack_chk_fail" in symbols
    assert "__memcpy_chk" in symbols, "built without _FORTIFY_SOURCE"
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


@plain_build
@needs_readelf
def test_asserts_stay_on_in_the_extension(extension):
    assert "__assert_fail" in readelf("--dyn-syms", extension)


@plain_build
@needs_readelf
def test_the_extension_needs_libc_and_zlib_and_exports_its_init_and_what_c_calls(extension):
    needed = {line.split("[")[1].rstrip("]") for line in readelf("-d", extension).splitlines()
              if "(NEEDED)" in line}
    foreign = {name for name in needed if not name.startswith(
        ("libc.", "libpthread.", "librt.", "libdl.", "ld-linux", "libpython",
         "libz."))}  # a build option: the compression of WebSocket
    assert not foreign
    exported = {line.split()[7] for line in readelf("--dyn-syms", extension).splitlines()
                if " GLOBAL DEFAULT " in line and " UND " not in line}
    # What <saola/...> declares is there for applications in C that are mounted.
    assert {name for name in exported if not name.startswith("sl_")} == {"PyInit__saola"}
    headers = "".join(path.read_text() for path in (TOP / "include" / "saola").glob("*.h"))
    assert [name for name in exported if name.startswith("sl_") and name not in headers] == []


@plain_build
def test_the_metadata_asks_for_no_other_package():
    about = importlib.metadata.distribution("saola")
    assert [line for line in about.requires or () if "extra ==" not in line] == []
    assert about.metadata["Requires-Python"] == ">=3.10"
    assert about.metadata["Description-Content-Type"] == "text/markdown"
    scripts = {point.name: point.value for point in about.entry_points
               if point.group == "console_scripts"}
    assert scripts == {"saola": "saola.cli:main"}
    assert about.version == pytest.importorskip("saola").__version__


IMPORT_ALL = """
import importlib, pkgutil, sys, sysconfig
import saola
names = [module.name for module in pkgutil.walk_packages(saola.__path__, "saola.")
         if not module.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
assert "saola.workers.gthread" in names and "saola._saola" in names, names
ours = saola.__path__[0]
standard = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
sites = ("site-packages", "dist-packages")
for name, module in sorted(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if not file or file.startswith(ours) or name == "__main__":
        continue
    if any(site in file for site in sites) or not file.startswith(tuple(standard)):
        print(name, file)
"""


def test_importing_everything_needs_the_wheel_only_and_warns_of_nothing():
    """-W error: what a newer Python has deprecated is found here, not by its users."""
    # Installers leave start-up files (*.pth) that import what is theirs: not our doing.
    before = "import sys\nknown = set(sys.modules)\n"
    code = before + IMPORT_ALL.replace("if not file or", "if name in known or not file or")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                          text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
