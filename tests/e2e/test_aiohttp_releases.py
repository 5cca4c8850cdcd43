"""The tests of aiohttp applications with the releases that docs/aiohttp.md names, one after the other: what is
installed is put in front of the one that the other tests run with."""

import os
import re
import subprocess
import sys

import pytest

from harness import TOP

#: Newest of each minor release, but for the one that is installed anyway.
RELEASES = ("3.10.11", "3.11.18", "3.12.15", "3.13.5")


@pytest.mark.long
@pytest.mark.parametrize("release", RELEASES)
def test_a_release(tmp_path, release, capsys):
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--only-binary",
                           ":all:", "--target", str(tmp_path), f"aiohttp=={release}"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"aiohttp {release} cannot be had for this Python: {done.stderr.strip()[-200:]}")
    assert release == re.search(r'__version__ = "(.*?)"', (tmp_path / "aiohttp" / "__init__.py").read_text())[1]
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider",
                           str(TOP / "tests" / "e2e" / "test_aiohttp.py")], cwd=TOP, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": path})
    with capsys.disabled():
        print(f"\naiohttp {release}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_page_names_the_releases():
    page = (TOP / "docs" / "aiohttp.md").read_text()
    assert all(release in page for release in RELEASES)
