"""What the engine does for every host alike: pieces of an answer are sent at once, and there is no body
where none is allowed."""

from __future__ import annotations

import json

import pytest

from harness import format_request
from hosts import host, probe, serve_probe  # noqa: F401

PIECES = probe.PIECES

#: Ways of streaming that only some hosts have.
MORE = {"sync": ["stream_write"], "gthread": ["stream_write"], "asgi": ["stream_head", "stream_trailers"],
        "aiohttp": ["stream_head"], "aiohttp_public": ["stream_head"], "c": ["stream_head", "stream_trailers"]}


def read_piece(connection, number: int, chunked: bool) -> None:
    """A whole piece, in as many chunks as the host likes."""
    missing = PIECES[number]
    while missing:
        size = int(connection.read_until(b"\r\n"), 16) if chunked else missing
        assert 0 < size <= missing
        assert connection.read_exactly(size) == probe.piece(number)[:size]
        missing -= size
        assert not chunked or connection.read_exactly(2) == b"\r\n"


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_each_piece_is_here_before_the_next_is_made(serve_probe, host, tmp_path, version):  # noqa: F811
    server = serve_probe()
    for way in ["stream", "stream_length", *MORE[host]]:
        steps = tmp_path / way
        steps.mkdir()
        with server.connect() as connection:
            connection.send(format_request(target=f"/{way}?{steps}", version=version))
            response = connection.read_head()
            (steps / "head").touch()
            assert response.status == 200
            chunked = response.header("transfer-encoding") == "chunked"
            assert chunked == (version == "HTTP/1.1" and way != "stream_length"), way
            assert response.header("content-length") == (str(probe.LENGTH) if way == "stream_length" else None)
            for number in range(len(PIECES)):
                read_piece(connection, number, chunked)
                (steps / str(number)).touch()
            if chunked:
                trailers = b"sum: 42\r\n" if way == "stream_trailers" else b""
                assert connection.read_until(b"\r\n\r\n") + b"\r\n" == b"0\r\n" + trailers, way
            if version == "HTTP/1.0":
                assert connection.at_end()


def test_no_body_is_sent_where_none_is_allowed(serve_probe, host):  # noqa: F811
    """RFC 9110 6.4.1; what an application gives all the same must not be taken for the next response."""
    server = serve_probe()
    asked = [("HEAD", "/report", 200), ("GET", "/status?204", 204), ("GET", "/status?304", 304),
             ("HEAD", "/status?404", 404), ("GET", "/status?404", 404)]
    if not host.startswith("aiohttp"):  # which frames by itself, with a body
        asked.append(("GET", "/status?205", 205))
    with server.connect() as connection:
        connection.send(b"".join(format_request(method, target) for method, target, _ in asked * 2))
        for method, _, status in asked * 2:
            response = connection.read_response(method)
            assert response.status == status and not response.closes
            assert response.body == (b"a body" if (method, status) == ("GET", 404) else b"")
            assert status != 204 or response.header("content-length") is None
            assert response.header("transfer-encoding") is None
        assert connection.request(target="/report").status == 200


@pytest.mark.parametrize("more", [[], [("User-Agent", "same"), ("Accept", "*/*")]])
def test_what_one_client_sends_is_not_shown_to_another(serve_probe, host, more):  # noqa: F811
    """Hosts know header fields by their bytes. In the absolute form (RFC 9112 3.2.2) the same bytes mean another host."""
    server = serve_probe()
    fields = [("Host", "asked.example"), *more]

    def host_of(target):
        with server.connect() as connection:
            response = connection.request(target=target, headers=fields)
            assert response.status == 200
            return json.loads(response.text)["headers"]["host"]

    # aiohttp's own parser leaves Host as it is, and takes the authority for the URL.
    other = "asked.example" if host.startswith("aiohttp") else "other.example"
    for _ in range(6):
        assert host_of("http://other.example/report") == other
        assert host_of("/report") == "asked.example"
