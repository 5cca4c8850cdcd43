#!/usr/bin/env python3
"""Writes docs/faults.md from tests/e2e/faults.toml and the tests that inject the faults.

    tools/generate_faults.py            write docs/faults.md
    tools/generate_faults.py --check    exit with 1 if it is not what would be written
    tools/generate_faults.py --results build/faults.xml    a table of one run (`make faults`): a row a
        fault, its tests passed and failed; exit with 1 unless every row that is built is green
"""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs" / "faults.md"
HEAD = """<!-- Made by tools/generate_faults.py from tests/e2e/faults.toml and the tests. Do not edit. -->
# Faults

What can go wrong with a server that runs for years, what you see of it, what Saola does, and what is left
for you. Every row is injected for real by the tests named in it: signals, `prlimit`, failing system
calls, full disks, killed and stopped processes. `make faults` runs them and prints the verdict of each
row.

"""
SECTIONS = (("W", "Workers"), ("M", "Arbiter, signals, files, system"))


def rows() -> list[dict]:
    with (TOP / "tests" / "e2e" / "faults.toml").open("rb") as file:
        return tomllib.load(file)["fault"]


def marks_of(node: ast.AST) -> list[str]:
    """Arguments of every pytest.mark.fault(...) below the node."""
    return [argument.value for call in ast.walk(node) if isinstance(call, ast.Call)
            and ast.unparse(call.func) == "pytest.mark.fault"
            for argument in call.args if isinstance(argument, ast.Constant)]


def tests() -> dict[str, list[str]]:
    """fault -> files below tests/ that inject it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((TOP / "tests" / "e2e").glob("test_*.py")):
        module = ast.parse(path.read_text())
        for name in sorted(set(marks_of(module))):
            found[name].append(str(path.relative_to(TOP / "tests")))
    for path in sorted((TOP / "tests" / "unit").rglob("*.c")):
        names = " ".join(re.findall(r"/\* fault: ([WM0-9, ]+) \*/", path.read_text()))
        for name in sorted(set(names.replace(",", " ").split())):
            found[name].append(str(path.relative_to(TOP / "tests")))
    return found


def page() -> str:
    faults, found = rows(), tests()
    known = {row["id"] for row in faults}
    unknown = set(found) - known
    if unknown:
        sys.exit(f"tools/generate_faults.py: tests name faults that faults.toml does not have: "
                 f"{', '.join(sorted(unknown))}")
    text = HEAD
    for letter, title in SECTIONS:
        text += f"## {title}\n\n| | Fault | What you see | What happens | What to do | Tests |\n"
        text += "|---|---|---|---|---|---|\n"
        for row in faults:
            if row["id"].startswith(letter):
                text += f"| {row['id']} | {row['fault']} | {cells(row)} | {where(row, found)} |\n"
        text += "\n"
    open_rows = [row["id"] for row in faults if not row.get("later") and row["id"] not in found]
    if open_rows:
        text += f"Open, without a test yet: {', '.join(open_rows)}.\n"
    return text.rstrip("\n") + "\n"


def cells(row: dict) -> str:
    if row.get("later"):
        return f"not built yet: {row['later']} | | "
    return " | ".join(row[key] for key in ("see", "happens", "do"))


def where(row: dict, found: dict) -> str:
    if row.get("later"):
        return ""
    files = found.get(row["id"])
    if not files:
        return "**none yet**"
    return ", ".join(f"[{Path(name).name}](../tests/{name})" for name in files)


def show_results(report: Path) -> int:
    """Prints the verdict of each row from pytest's JUnit report."""
    verdicts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for case in ElementTree.parse(report).iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        index = 1 if bad else 2 if case.find("skipped") is not None else 0
        for item in case.iter("property"):
            if item.get("name") == "fault":
                verdicts[item.get("value")][index] += 1
    by_unit = {name for name, files in tests().items()
               if any(file.startswith("unit/") for file in files)}
    red = []
    for row in rows():
        passed, failed, skipped = verdicts[row["id"]]
        if row.get("later"):
            verdict = f"not built yet ({row['later']})"
        elif failed:
            verdict = "RED"
        elif passed:
            verdict = "green"
        else:
            verdict = "green (C tests, make test)" if row["id"] in by_unit else "OPEN"
        if verdict in ("RED", "OPEN"):
            red.append(row["id"])
        counts = f"{passed} passed" + (f", {failed} failed" if failed else "") + (
            f", {skipped} skipped" if skipped else "")
        print(f"{row['id']:>4}  {verdict:<28} {counts:<32} {row['fault']}")
    print(f"{len(red)} rows not green: {', '.join(red)}" if red else "every row is green")
    return 1 if red else 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--results"]:
        return show_results(Path(arguments[1]))
    text = page()
    if arguments == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != text:
            print("docs/faults.md is stale: run tools/generate_faults.py")
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
