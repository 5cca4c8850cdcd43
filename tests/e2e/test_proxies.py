"""What a proxy says of its client reaches the application from a trusted peer only, whoever the host is.

Clients come from several addresses of 127.0.0.0/8, so that one server sees trusted and untrusted ones.
"""

from __future__ import annotations

import json
import socket
import struct

import pytest

from harness import Connection, format_request
from hosts import WSGI, host, serve_probe  # noqa: F401

# A network and an address; what is beside them.
FORWARDED = "127.0.0.2,127.0.0.16/28"
TRUSTED = ["127.0.0.2", "127.0.0.16", "127.0.0.31"]
STRANGERS = ["127.0.0.1", "127.0.0.3", "127.0.0.15", "127.0.0.32"]
SAID = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"),
        ("X_Forwarded_For", "7.7.7.7"), ("PATH_INFO", "/admin")]


def report(connection: Connection, *headers: tuple[str, str]) -> dict:
    response = connection.request(target="/report", headers=headers)
    assert response.status == 200, response
    return json.loads(response.text)


def knows_scheme(host: str) -> bool:  # noqa: F811
    """aiohttp's request.scheme is the socket's; what proxies say is for its middlewares."""
    return not host.startswith("aiohttp")


def check(connection: Connection, host: str, trusted: bool) -> dict:  # noqa: F811
    given = report(connection, *SAID)
    fields = given["headers"]
    assert knows_scheme(host) is False or given["scheme"] == ("https" if trusted else "http")
    if host != "aiohttp_public":  # whose own parser has the connection from its first request on
        assert fields["x-forwarded-for"] == "6.6.6.6" and fields["forwarded"] == "for=6.6.6.6"
        assert ("path-info" in fields) == trusted
    assert report(connection)["scheme"] == "http"  # the next request is another one
    return given


def test_only_a_trusted_peer_says_what_its_client_used(serve_probe, host):  # noqa: F811
    server = serve_probe("--forwarded-allow-ips", FORWARDED)
    for source in TRUSTED + STRANGERS:
        with Connection(server.address, source=source) as connection:
            given = check(connection, host, source in TRUSTED)
            assert given["remote_addr"] == source
            connection.send(format_request(target="/report", headers=[
                ("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")]))
            status = connection.read_response().status
            assert status == (400 if source in TRUSTED and host != "aiohttp_public" else 200)


def test_a_unix_socket_is_trusted_also_where_no_address_is(serve_probe, host):  # noqa: F811
    server = serve_probe("--forwarded-allow-ips", "", bind="unix:s")
    with server.connect() as connection:
        given = check(connection, host, True)
        assert not given["remote_addr"]


def test_mapped_addresses_obey_the_list_of_ipv4(serve):
    """One that comes over IPv4 to a socket of both families."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = serve("probe:wsgi", "--forwarded-allow-ips", FORWARDED, bind="[::]:0")
    for source, scheme in (("127.0.0.2", "https"), ("127.0.0.3", "http")):
        with Connection(("127.0.0.1", server.port), source=source) as connection:
            assert report(connection, *SAID)["scheme"] == scheme


# ---- PROXY protocol ------------------------------------------------------------------------------------

ALLOWED = "127.0.0.2,127.0.0.16/28"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_6 = SIGNATURE + b"\x21\x21" + struct.pack(
    "!H16s16sHH", 36, socket.inet_pton(socket.AF_INET6, "2001:db8::7"),
    socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 4712, 443)
LOCAL = SIGNATURE + b"\x20\x00\0\0"
UNKNOWN = b"PROXY UNKNOWN ffff::1 ::1 1 1\r\n"


def bytewise(connection: Connection, data: bytes) -> None:
    for byte in data:
        connection.send(bytes([byte]))


def test_addresses_of_a_proxy_header_hold_for_the_whole_connection(serve_probe, host):  # noqa: F811
    """And they say nothing about who is trusted: 192.0.2.7 is, the proxy is not."""
    server = serve_probe("--proxy-protocol", "--proxy-allow-from", ALLOWED,
                         "--forwarded-allow-ips", "192.0.2.7,127.0.0.16")
    with Connection(server.address, source="127.0.0.2") as connection:
        bytewise(connection, V1)
        for _ in range(3):
            given = check(connection, host, False)
            assert (given["remote_addr"], given["remote_port"]) == ("192.0.2.7", "4711")
            if host in WSGI:
                assert (given["proxy_protocol"], given["proxy_addr"], given["proxy_port"]) == (
                    "TCP4", "198.51.100.1", "443")
        connection.send(format_request(target="/report") * 3)
        assert [json.loads(connection.read_response().text)["remote_port"] for _ in range(3)] == ["4711"] * 3
        if host != "aiohttp_public":
            connection.send(V1 + format_request(target="/report"))
            assert connection.read_response().status == 400 and connection.at_end()
    with Connection(server.address, source="127.0.0.16") as connection:
        connection.send(V2_6 + format_request(target="/report", headers=SAID))
        given = json.loads(connection.read_response().text)
        assert (given["remote_addr"], given["remote_port"]) == ("2001:db8::7", "4712")
        assert given["scheme"] == "https" or not knows_scheme(host)
    for header in (b"", LOCAL, UNKNOWN):
        with Connection(server.address, source="127.0.0.17") as connection:
            connection.send(header)
            assert report(connection)["remote_addr"] == "127.0.0.17"
    if host == "aiohttp":  # such a request is given to aiohttp's own protocol
        with Connection(server.address, source="127.0.0.2") as connection:
            connection.send(V1)
            assert report(connection, ("Connection", "upgrade"), ("Upgrade", "x"))["remote_addr"] == "192.0.2.7"


def test_a_proxy_header_that_may_not_be_or_is_wrong_reaches_nobody(serve_probe, host):  # noqa: F811
    server = serve_probe("--proxy-protocol", "--proxy-allow-from", ALLOWED, "--access-logfile", "-",
                         "--access-logformat", "line %(h)s %(s)s")
    request = format_request(target="/report")
    for source, header, status in (
            ("127.0.0.1", V1, 403), ("127.0.0.3", V2_6, 403), ("127.0.0.1", LOCAL, 403),
            ("127.0.0.1", UNKNOWN, 403), ("127.0.0.2", V1.replace(b"192", b"392"), 400),
            ("127.0.0.2", V1.replace(b"\r\n", b"\n"), 400), ("127.0.0.2", b"PROXY " + b"x" * 110, 400),
            ("127.0.0.2", V2_6.replace(b"\x21\x21", b"\x22\x21"), 400)):
        with Connection(server.address, source=source) as connection:
            connection.send(header + request)
            response = connection.read_response()
            assert (response.status, response.closes) == (status, True), (source, header)
            assert connection.at_end()
    with Connection(server.address, source="127.0.0.1") as connection:
        assert report(connection)["remote_addr"] == "127.0.0.1"
    with Connection(server.address, source="127.0.0.2") as connection:
        connection.send(V1)
        assert report(connection)["remote_addr"] == "192.0.2.7"
    if host != "aiohttp_public":  # its log is aiohttp's
        server.wait_log("^line 192.0.2.7 200$")
    assert server.log.count("This address may not send a PROXY header") == 4


def test_each_mode_knows_its_own_header(serve):
    for mode, good, others in (("v1", V1, (V2_6,)), ("v2", V2_6, (V1,)), ("off", b"", (V1, V2_6))):
        server = serve("probe:wsgi", "--proxy-protocol", mode)
        with server.connect() as connection:
            connection.send(good)
            assert report(connection)["remote_addr"] != "127.0.0.1" or mode == "off"
        for header in others:
            with server.connect() as connection:
                connection.send(header + format_request(target="/report"))
                assert connection.read_response().status == 400 and connection.at_end()


def test_a_unix_socket_may_send_a_proxy_header(serve_probe, host):  # noqa: F811
    server = serve_probe("--proxy-protocol", "--proxy-allow-from", "192.0.2.1", bind="unix:s")
    for header, address in ((V1, "192.0.2.7"), (V2_6, "2001:db8::7"), (UNKNOWN, "")):
        with server.connect() as connection:
            connection.send(header)
            for _ in range(2):
                assert (report(connection)["remote_addr"] or "") == address
