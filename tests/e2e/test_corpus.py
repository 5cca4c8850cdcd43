"""Sends the corpus (tests/e2e/corpus) to a real server in every way the bytes can arrive."""

from __future__ import annotations

import json
import os
import random
import socket

import pytest

import corpus
from harness import Connection, Response, Truncated, Malformed

FILES = corpus.read_corpus()
CASES = [case for file in FILES for case in file.cases]
SEED = int(os.environ.get("SAOLA_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
ANOTHER = b"GET /another HTTP/1.1\r\nHost: another\r\n\r\n"
# Byte by byte costs a system call a byte: of a long case only the ends are cut so finely.
FINE = 400


def group_name(file: corpus.File) -> str:
    return "default" if not file.settings else file.name.removesuffix(".txt")


GROUPS = {name: [file for file in FILES if group_name(file) == name]
          for name in dict.fromkeys(map(group_name, FILES))}


def test_the_corpus_is_large_and_says_where_each_case_comes_from():
    assert len(CASES) >= 300
    titles = [(file.name, case.title) for file in FILES for case in file.cases]
    assert len(set(titles)) == len(titles), {title for title in titles if titles.count(title) > 1}


# ---- ways of sending --------------------------------------------------------------------------------


def whole(case: corpus.Case) -> list[bytes]:
    return [case.data]


def bytewise(case: corpus.Case) -> list[bytes]:
    data = case.data
    middle = data[FINE:-FINE]
    head, tail = (data[:FINE], data[-FINE:]) if middle else (data, b"")
    return [bytes([b]) for b in head] + ([middle] if middle else []) + [bytes([b]) for b in tail]


def random_cuts(case: corpus.Case) -> list[bytes]:
    """A few pieces, and behind a case that ends the connection one more request."""
    rng = random.Random(f"{SEED} {case.title}")
    data = case.data + (ANOTHER if case.end == "close" and not case.fin else b"")
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 8))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]


WAYS = [whole, bytewise, random_cuts]


# ---- one case ----------------------------------------------------------------------------------------


def send(connection: Connection, case: corpus.Case, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            connection.send(piece)
        if case.fin or case.end == "nothing":
            connection.sock.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError, OSError):
        if case.end != "close":
            raise


def compare(answer: corpus.Answer, response: Response, method: str) -> list[str]:
    problems = []
    if response.status != answer.status:
        return [f"status {response.status}, not {answer.status}: {response.body[:200]!r}"]
    if not answer.given and not answer.absent:
        return []
    report = json.loads(response.text)
    for name, value in answer.given.items():
        if report.get(name) != value:
            problems.append(f"{name} {report.get(name)!r}, not {value!r}")
    problems += [f"{name} was given: {report[name]!r}" for name in answer.absent if name in report]
    return problems


def check_end(connection: Connection, case: corpus.Case, last: Response | None) -> list[str]:
    if case.end == "keep":
        if last is not None and last.closes:
            return ["the connection is announced to close"]
        response = connection.request("GET", "/another")
        if response.status != 200 or json.loads(response.text)["path"] != "/another":
            return [f"another request was answered {response.status} {response.body!r}"]
        return []
    if last is not None and not last.closes and not case.fin:
        return ["the connection is not announced to close"]
    rest = connection.read_to_end()
    return [f"more came: {rest!r}"] if rest else []


def try_case(address, case: corpus.Case, pieces: list[bytes]) -> list[str]:
    """What is wrong, or nothing."""
    try:
        with Connection(address, timeout=10) as connection:
            send(connection, case, pieces)
            method = case.data.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1")
            problems, last = [], None
            for answer in case.answers:
                last = connection.read_response(method)
                problems += compare(answer, last, method)
                if problems:
                    return problems
            return check_end(connection, case, last)
    except (Truncated, Malformed, OSError) as error:
        return [f"{type(error).__name__}: {error}"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_case_is_answered_as_it_must_be(group, serve, worker_class):
    print(f"SAOLA_TEST_SEED={SEED}")
    files = GROUPS[group]
    settings: dict[str, object] = {
        key: {"True": True, "False": False}.get(value, int(value) if value.isdigit() else value)
        for key, value in files[0].settings.items()}
    if worker_class == "gthread":
        settings["threads"] = 4
    server = serve("corpus_echo:app", "--bind", "unix:s", worker_class=worker_class, workers=1,
                   settings=settings)
    failures = []
    for file in files:
        for address in server.addresses:
            transport = "unix" if isinstance(address, str) else "tcp"
            if file.only not in (None, transport):
                continue
            for way in WAYS:
                failures += [f"{case}, {transport}, {way.__name__}: {problem}"
                             for case in file.cases
                             for problem in try_case(address, case, way(case))]
    assert not failures, f"{len(failures)} failures, seed {SEED}\n" + "\n".join(failures[:60])
