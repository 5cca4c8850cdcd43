"""The Flask, Django and Bottle examples, used as a browser would, by the standard library's client."""

import hashlib
import html
import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from harness import TOP, WAIT

MEGABYTE = 1 << 20
APPS = {"flask": "app:app", "django": "app:application", "bottle": "app:app"}


@pytest.fixture(params=sorted(APPS))
def site(request, serve, worker_class):
    """The example of each framework under each worker class; two workers, so sessions must carry."""
    pytest.importorskip(request.param)
    return serve(APPS[request.param], "--chdir", str(TOP / "examples" / request.param),
                 worker_class=worker_class, workers=2)


@pytest.fixture
def browser():
    """Follows redirects and keeps cookies."""
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def read(browser, url, form=None):
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    with browser.open(url, data, timeout=WAIT) as response:
        return response.read().decode()


def hidden_fields(page):
    """What a browser would send along, such as Django's token."""
    return {name: html.unescape(value) for name, value in
            re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page)}


def test_the_form_and_the_session(site, browser):
    page = read(browser, site.url)
    assert "Hello stranger" in page and "Visit number 1." in page
    form = {**hidden_fields(page), "name": "Zoë & Łukasz <b>"}
    page = read(browser, site.url + "/name", form)
    assert "Hello " + html.escape("Zoë & Łukasz <b>") in page and "Visit number 2." in page
    assert "Visit number 3." in read(browser, site.url)
    # Another browser is another session.
    stranger = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert "Hello stranger" in read(stranger, site.url)


def test_an_upload_of_20_mb_arrives_whole(site, browser):
    page = read(browser, site.url)
    content = bytes(range(256)) * (20 * MEGABYTE // 256)
    boundary = "----saola-test"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
             for name, value in hidden_fields(page).items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
                 'filename="data.bin"\r\nContent-Type: application/octet-stream\r\n\r\n')
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    upload = urllib.request.Request(
        site.url + "/upload", body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    with browser.open(upload, timeout=WAIT) as response:
        answer = json.load(response)
    assert answer == {"name": "data.bin", "size": len(content),
                      "sha256": hashlib.sha256(content).hexdigest()}


def test_a_download_of_50_mb_arrives_whole(site):
    expected = hashlib.sha256()
    for number in range(50 * 16):
        expected.update(bytes([number % 251]) * (1 << 16))
    connection = http.client.HTTPConnection(*site.address, timeout=WAIT)
    try:
        connection.request("GET", "/download?mb=50")
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Length") is None
        digest, size = hashlib.sha256(), 0
        while block := response.read(1 << 20):
            digest.update(block)
            size += len(block)
    finally:
        connection.close()
    assert (size, digest.hexdigest()) == (50 * MEGABYTE, expected.hexdigest())


def test_a_client_that_leaves_a_download_does_no_harm(site):
    for _ in range(4):
        with site.connect() as connection:
            connection.send(b"GET /download?mb=900 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    for _ in range(4):
        assert site.get("/").status == 200


def test_the_file_is_sent_whole(site, request):
    framework = request.node.callspec.params["site"]
    expected = (TOP / "examples" / framework / "app.py").read_bytes()
    response = site.get("/file")
    assert response.status == 200 and response.header("content-length") == str(len(expected))
    assert response.body == expected
    assert response.header("content-type").startswith("text/x-python")


def test_head_has_the_length_and_no_body(site):
    with site.connect() as connection:
        response = connection.request("HEAD", "/file")
        if response.status != 405:
            assert response.status == 200 and int(response.header("content-length")) > 0
        # Were there a body, it would be read as the next response.
        if not response.closes:
            assert connection.request("GET", "/").status == 200


def test_an_unknown_page_and_a_wrong_method(site):
    assert site.get("/nothing").status == 404
    assert site.fetch("POST", "/download", body=b"").status in (403, 405)
