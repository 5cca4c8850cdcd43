"""Gives mutated requests to our parser, to llhttp and to h11, and looks at every disagreement.

    differential.py --build DIR [--count N] [--seed N] [--table FILE] [--list] [--show CLASS]

Each disagreement belongs to a class: who, and the reason of the stricter one, or what differs. The table
between two marks in docs/http.md must explain every class that occurs. What we accept must besides be
what RFC 9110 and 9112 allow, after rfc.py. Ends with 1 if either is not so.
"""

from __future__ import annotations

import argparse
import collections
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import h11

import rfc
from mutations import generate

TOP = Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- differential: begin -->", "<!-- differential: end -->"
PARTS = ("method", "target", "version", "length", "body", "fields")


def parse_line(line: str) -> tuple:
    """A verdict as ("accept", method, target, version, length, body, fields), ("reject", why), ("wait",)."""
    kind, *rest = line.split("\t")
    if kind != "accept":
        return (kind, *rest)
    method, target, version, length, body, *fields = rest
    pairs = tuple(tuple(bytes.fromhex(part) for part in field.split("=")) for field in fields)
    return ("accept", bytes.fromhex(method), bytes.fromhex(target), version, int(length),
            bytes.fromhex(body), tuple((name.lower(), value.strip(b" \t")) for name, value in pairs))


def ask_program(program: Path, stream: Path) -> list[tuple]:
    """Verdicts of a program on a file of requests."""
    with open(stream, "rb") as file:
        out = subprocess.run([program], stdin=file, stdout=subprocess.PIPE, check=True).stdout
    return [parse_line(line) for line in out.decode("ascii").splitlines()]


def ask_h11(data: bytes) -> tuple:
    """h11's verdict, as a server."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return ("wait",)
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return ("wait",)
    except h11.RemoteProtocolError as error:
        why = re.sub(r"b'.*|bytearray.*|\(.*|\d{5,}", "...", str(error))
        return ("reject", why.strip())
    return ("accept", request.method, request.target, request.http_version.decode(),
            len(data) - len(connection.trailing_data[0]), body, tuple(request.headers))


def describe_difference(ours: tuple, theirs: tuple) -> str | None:
    """What two accepted requests differ in; of fields, the names."""
    differ = [part for part, a, b in zip(PARTS, ours[1:], theirs[1:]) if a != b]
    if not differ:
        return None
    if differ[-1] == "fields":
        names = {name.decode("latin-1") for name, _ in set(ours[6]) ^ set(theirs[6])}
        differ[-1] = f"fields {' '.join(sorted(names))}" if len(names) < 3 else "many fields"
    return f"differs{' after CONNECT' if ours[1] == b'CONNECT' else ''}: {', '.join(differ)}"


def classify(ours: tuple, theirs: tuple) -> str | None:
    """The class of a disagreement; None if there is none."""
    if ours[0] == theirs[0]:
        if ours[0] != "accept":
            return None
        return describe_difference(ours, theirs)
    if ours[0] == "reject":
        return f"we refuse: {ours[1]}"
    if theirs[0] == "reject":
        return f"it refuses: {theirs[1]}" if ours[0] == "accept" else "it refuses, we wait"
    return "we accept, it waits" if ours[0] == "accept" else "we wait, it accepts"


class Report:
    """Classes of disagreement with their counts and an example each."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.examples: dict[tuple[str, str], list[bytes]] = collections.defaultdict(list)

    def add(self, peer: str, name: str, data: bytes) -> None:
        self.counts[peer, name] += 1
        if len(self.examples[peer, name]) < 12:
            self.examples[peer, name].append(data)


def read_table(path: Path) -> dict[tuple[str, str], str]:
    """(parser, class) -> explanation, from the table between the marks."""
    text = path.read_text()
    found = {}
    for line in text[text.index(BEGIN):text.index(END)].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 3 and cells[0] in ("llhttp", "h11"):
            found[cells[0], cells[1].replace("&#124;", "|")] = cells[2]
    return found


def stale_rows(table: dict[tuple[str, str], str]) -> list[str]:
    """Rows that name a sentence that our parser no longer says."""
    said = "".join(path.read_text() for path in (TOP / "src" / "http").glob("*.c"))
    said = re.sub(r'"\s*"', "", said)
    return [name for _, name in table if name.startswith("we refuse: ")
            and name.removeprefix("we refuse: ") not in said]


def run(build: Path, count: int, seed: int) -> tuple[Report, list[tuple[str, bytes]], list[str], int]:
    """Compares; returns the report, what we wrongly accept, the peers, and how many we accepted."""
    requests = list(generate(seed, count))
    with tempfile.NamedTemporaryFile(prefix="differential") as stream:
        for data in requests:
            stream.write(struct.pack("<I", len(data)) + data)
        stream.flush()
        ours = ask_program(build / "verdict_saola", Path(stream.name))
        peers = {"h11": map(ask_h11, requests)}
        if (build / "verdict_llhttp").exists():
            peers["llhttp"] = iter(ask_program(build / "verdict_llhttp", Path(stream.name)))
    report = Report()
    for peer, verdicts in peers.items():
        for data, own, other in zip(requests, ours, verdicts, strict=True):
            name = classify(own, other)
            if name:
                report.add(peer, name, data)
    wrong = [(why, data) for data, own in zip(requests, ours)
             if own[0] == "accept" and (why := rfc.complaint(data, own[4]))]
    return report, wrong, list(peers), sum(own[0] == "accept" for own in ours)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--build", type=Path, required=True, help="directory of the verdict programs")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=9112)
    parser.add_argument("--table", type=Path, default=TOP / "docs" / "http.md")
    parser.add_argument("--list", action="store_true", help="print every class with an example")
    parser.add_argument("--show", help="print examples of the classes that contain this text")
    args = parser.parse_args()
    report, wrong, peers, accepted = run(args.build, args.count, args.seed)
    explained = read_table(args.table) if args.table.exists() else {}
    unknown = [key for key in report.counts if key not in explained]
    for (peer, name), number in sorted(report.counts.items()):
        if args.list or (args.show and args.show in name):
            print(f"{number:7} {peer}: {name}")
            for data in report.examples[peer, name][:1 if args.list else 12]:
                print(f"          {data!r}")
    for peer, name in unknown:
        print(f"not explained in {args.table.name}: {peer}: {name}: {report.examples[peer, name][0]!r}")
    stale = stale_rows(explained)
    for name in stale:
        print(f"{args.table.name} explains a sentence that is said nowhere: {name}")
    for why, data in wrong[:20]:
        print(f"accepted, though RFC 9112 forbids it: {why}: {data!r}")
    print(f"{args.count} requests, seed {args.seed}, {accepted} accepted; with {' and '.join(peers)}: "
          f"{sum(report.counts.values())} disagreements in {len(report.counts)} classes, "
          f"{len(unknown)} not explained; {len(wrong)} wrongly accepted")
    return 1 if unknown or wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main())
