#!/usr/bin/env python3
"""Checks who includes whom, and what the core exports.

    tools/check_includes.py [libsaola_core.a]

The table is section 2 of ARCHITECTURE.md. With the library given, every symbol that it exports must
start with sl_, and no variable may be writable except those listed here with a reason.
Prints one line a violation and exits with 1 if there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

# Room -> rooms whose headers it may include besides its own and <saola/...>.
MAY_INCLUDE = {
    "base": set(),
    "config": {"base"},
    "net": {"base"},
    "http": {"base", "net"},
    "files": {"base", "http"},
    "proc": {"base", "config", "net", "http"},
    "host_c": set(),
    "host_python": set(),
}
# Folders of one room that do not know each other; what they share lies beside them.
APART = {"wsgi": "aio", "aio": "wsgi"}
# Writable variables of the core: object file, name -> why it must exist.
WRITABLE = {
    ("src_proc_signals.c.o", "note_fd"): "a signal handler has no argument; write end of the pipe",
    ("src_proc_signals.c.o", "beside"): "likewise; the signals for which the pipe had no room",
    ("src_proc_spawn.c.o", "self"): "sl_worker_*() have no argument; set once, after the fork",
    ("src_proc_orphan.c.o", "last"): "a signal handler has no argument; set once, after the fork",
    ("src_proc_stacks.c.o", "here"): "a signal handler has no argument; set once, after the fork",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def target_of(source: Path, quote: str, name: str) -> str:
    """Names the room that an #include line enters: "saola", a room, "system" or "nowhere"."""
    if name.startswith("saola/"):
        return "saola" if (TOP / "include" / name).exists() else "nowhere"
    if quote == '"':
        for base in (source.parent, TOP / "src"):
            path = (base / name).resolve()
            if path.exists() and path.is_relative_to(TOP / "src"):
                return path.relative_to(TOP / "src").parts[0]
        # Made by the build: settings tables and the like stay in their room.
        return source.parent.name if "/" not in name else "nowhere"
    return name.split("/")[0] if name.split("/")[0] in MAY_INCLUDE else "system"


def check_file(source: Path) -> list[str]:
    relative = source.relative_to(TOP)
    room = relative.parts[1] if relative.parts[0] == "src" else None
    allowed = {"saola", "system"} | ({room} | MAY_INCLUDE.get(room, set()) if room else set())
    wrong = []
    for match in INCLUDE.finditer(source.read_text()):
        target = target_of(source, match[1], match[2])
        apart = APART.get(source.parent.name, "/")
        if target in allowed and apart not in Path(match[2]).parts:
            continue
        line = source.read_text().count("\n", 0, match.start()) + 1
        if target in allowed:
            target = f"{room}/{apart}"
        reason = "there is no such file" if target == "nowhere" else (
            f"{room or 'a public header'} may not include {target}")
        wrong.append(f"{relative}:{line}: {match[2]}: {reason} (ARCHITECTURE.md, section 2)")
    return wrong


def check_rooms() -> list[str]:
    wrong = [f"src/{path.name}: a room that tools/check_includes.py does not know"
             for path in sorted((TOP / "src").iterdir())
             if path.is_dir() and path.name not in MAY_INCLUDE]
    for top in ("include", "src"):
        for source in sorted((TOP / top).rglob("*")):
            if source.suffix in (".c", ".h", ".def"):
                wrong += check_file(source)
    return wrong


def symbols_of(library: str) -> list[tuple[str, str, str, bool]]:
    """(object file, section, name, is global) of every defined symbol of the archive."""
    output = subprocess.run(["objdump", "-t", library], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    found, member = [], "?"
    row = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\s+[0-9a-f]+\s+(?:\.hidden )?(\S+)$")
    for line in output.splitlines():
        if ":     file format" in line:
            member = line.split(":")[0]
        elif match := row.match(line):
            flags, section, name = match.groups()
            if section not in ("*UND*", "*ABS*") and name != section:
                found.append((member, section, name, flags[0] in "gu!" or flags[1] == "w"))
    return found


def check_library(library: str) -> list[str]:
    symbols = symbols_of(library)
    if not symbols:
        return [f"{library}: no symbol found"]
    wrong = []
    for member, section, name, is_global in symbols:
        if is_global and not name.startswith("sl_"):
            wrong.append(f"{member}: {name} is visible outside its file and does not start with sl_")
        writable = section == "*COM*" or (
            re.match(r"\.(data|bss)", section) and not section.startswith(".data.rel.ro"))
        if writable and (Path(member).name, name) not in WRITABLE:
            wrong.append(f"{member}: {name} is a global variable that can be written")
    return wrong


def main() -> int:
    wrong = check_rooms()
    for library in sys.argv[1:]:
        wrong += check_library(library)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
