#!/usr/bin/env python3
"""Finds the CPythons on this machine that saola can be built for.

    tools/find_pythons.py [--other | --brief]

Looks in PATH and in pyenv's versions, for python3.10 and newer. Prints a line "VERSION PROGRAM" each
(a d after the version: a debug build), newest last; with --other without those that have the version
of the Python that runs this; with --brief only the newest of each other minor version, and the debug
builds. What cannot be used is named on stderr, with the reason.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 10)
NAME = re.compile(r"python3\.\d+(-dbg|d)?")
# Prints version, mark of a debug build, base executable, what is missing.
QUESTIONS = """
import os, sys, sysconfig
missing = []
if sys.implementation.name != "cpython":
    missing.append("is no CPython")
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    missing.append("is a free-threaded build")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    missing.append("has no Python.h: install its -dev package")
try:
    import ensurepip, venv
except ImportError:
    missing.append("has no venv: install its -venv package")
print(*sys.version_info[:3], sep=".", end="")
print("d" if hasattr(sys, "gettotalrefcount") else "", os.path.realpath(sys.executable),
      "; ".join(missing), sep="\\t")
"""


def candidates():
    """Programs by name: on PATH, then pyenv's. Its shims are scripts, not interpreters."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(":")
               if folder and Path(folder) != pyenv / "shims"]
    for folder in [*folders, *sorted(pyenv.glob("versions/*/bin"))]:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            program = folder / name
            # A virtual environment's is one that is found elsewhere as well.
            if NAME.fullmatch(name) and not (folder.parent / "pyvenv.cfg").exists() and \
                    os.access(program, os.X_OK):
                yield program


def ask(program):
    """(version, real path, what is missing), or None if it does not run."""
    try:
        done = subprocess.run([program, "-I", "-c", QUESTIONS], capture_output=True, text=True,
                              timeout=60, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = done.stdout.rstrip("\n").split("\t")
    return tuple(fields) if done.returncode == 0 and len(fields) == 3 else None


def numbers(version):
    return tuple(int(part) for part in version.rstrip("d").split("."))


def find():
    """{version: program}, the first of each version, oldest first; reasons go to stderr."""
    found, told = {}, set()
    for program in candidates():
        answer = ask(program)
        if answer is None or numbers(answer[0]) < OLDEST:
            continue
        version, real, missing = answer
        if not missing:
            found.setdefault(version, program)
        elif real not in told:
            told.add(real)
            print(f"{program} ({version}) is left out: it {missing}", file=sys.stderr)
    return dict(sorted(found.items(), key=lambda item: (numbers(item[0]), item[0])))


def minor(version):
    return numbers(version)[:2], version.endswith("d")


def main():
    ours = ".".join(map(str, sys.version_info[:3]))
    if hasattr(sys, "gettotalrefcount"):
        ours += "d"
    found = find()
    if "--brief" in sys.argv[1:]:
        newest = {minor(version): version for version in found if minor(version) != minor(ours)}
        found = {version: found[version] for version in newest.values()}
    elif "--other" in sys.argv[1:]:
        found.pop(ours, None)
    for version, program in found.items():
        print(version, program)


if __name__ == "__main__":
    main()
