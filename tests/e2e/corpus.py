"""Reads the cases of tests/e2e/corpus; the format is described in its README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "corpus"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = HEAD.replace(b"GET", b"POST")
SOURCE = re.compile(r"(RFC \d{4} [\d.]+|CVE-\d{4}-\d+|gunicorn [\w.]+|h11 [\d.]+): \S.*")
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|\{((?:[^}\\*]|\\.)+)\*(\d+)\}|(.))", re.S)
PLAIN = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "s": " ", "\\": "\\"}
REPORTED = {"method", "target", "path", "query", "version", "scheme", "body", "length", "type",
            "script"}


@dataclass
class Answer:
    """One response: its status, and what the application must have been given."""

    status: int
    given: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One case. answers is empty when the server must wait for more."""

    title: str
    file: str
    line: int
    data: bytes = b""
    fin: bool = False
    answers: list[Answer] = field(default_factory=list)
    end: str = ""  # keep, close or nothing

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.title}"


@dataclass
class File:
    """A file of cases with the settings of the server they are for."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    only: str | None = None
    cases: list[Case] = field(default_factory=list)


class CorpusError(Exception):
    """A file is not in the format; says where."""


def unescape(text: str) -> str:
    """Text with its escapes replaced; each character is a byte."""
    def replace(match: re.Match[str]) -> str:
        hexadecimal, repeated, times, letter = match.groups()
        if hexadecimal:
            return chr(int(hexadecimal, 16))
        if repeated:
            return unescape(repeated) * int(times)
        if letter not in PLAIN:
            raise CorpusError(f"unknown escape \\{letter}")
        return PLAIN[letter]
    return ESCAPE.sub(replace, text)


def to_bytes(word: str, text: str) -> bytes:
    data = unescape(text).encode("latin-1")
    return {"send": data, "line": data + b"\r\nHost: x\r\n\r\n", "field": HEAD + data + b"\r\n\r\n",
            "host": b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n", "post": POST + data,
            "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n" + data}[word]


def read_line(case: Case, text: str) -> None:
    """Takes one indented line of a case."""
    word, _, rest = text.partition(" ")
    if case.end:
        if word not in "=-":
            raise CorpusError(f"{word!r} after {case.end!r}")
    if word in ("send", "line", "field", "host", "post", "chunks"):
        case.data += to_bytes(word, rest)
    elif word == "fin":
        case.fin = True
    elif word == "nothing":
        case.end = word
    elif re.fullmatch(r"\d{3}", word) and rest in ("", "keep", "close"):
        case.answers.append(Answer(int(word)))
        case.end = rest
    elif word in ("=", "-") and case.answers:
        name, value = re.fullmatch(r"(header \S+|\S+) ?(.*)", rest, re.S).groups()
        if name not in REPORTED and not name.startswith("header "):
            raise CorpusError(f"the application does not report {name!r}")
        if word == "=":
            case.answers[-1].given[name] = unescape(value)
        else:
            case.answers[-1].absent.append(name)
    else:
        raise CorpusError(f"{text!r} is neither sent nor answered")


def read_file(path: Path) -> File:
    """Parses one file; CorpusError names file and line."""
    file = File(path.name)
    case = None
    # Only LF ends a line here; str.splitlines() knows other ends.
    for number, text in enumerate(path.read_text("ascii").rstrip("\n").split("\n"), 1):
        try:
            if text.startswith("%"):
                name, value = (part.strip() for part in text[1:].split("=", 1))
                if name == "only":
                    file.only = value
                else:
                    file.settings[name] = value
            elif text.startswith("  ") and case:
                read_line(case, text[2:])
            elif text and not text.startswith("#"):
                if not SOURCE.fullmatch(text):
                    raise CorpusError(f"{text!r} does not name a source and what it is about")
                case = Case(text, path.name, number)
                file.cases.append(case)
        except (CorpusError, ValueError, UnicodeError) as error:
            raise CorpusError(f"{path.name}:{number}: {error}") from None
    for case in file.cases:
        if not case.data or not case.end:
            raise CorpusError(f"{case}: nothing is sent, or no end is said")
    return file


def read_corpus() -> list[File]:
    """Every file of the corpus."""
    return [read_file(path) for path in sorted(FOLDER.glob("*.txt"))]
