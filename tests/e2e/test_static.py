"""Static files and X-Sendfile, as clients see them."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from harness import SANITIZED, TOP, WAIT, Connection, Truncated, wait_until

OLD = 1_000_000_000  # so that entity tags are strong
BIG = os.urandom(3 << 20)
HUGE = 256 << 20


@pytest.fixture
def public(place):
    """The directory that is served, beside a file that is not."""
    top = place / "public"
    files = {"index.html": b"<h1>index</h1>", "a.css": b"body {}", "b.js": b"plain", "b.js.gz": b"gzipped",
             "b.js.br": b"brotli", "stale.js": b"new", "stale.js.gz": b"old", "empty.txt": b"",
             "docs/index.html": b"docs", "bare/file.txt": b"in bare", "big.bin": BIG,
             ".secret": b"no", ".git/config": b"no", ".well-known/acme": b"no", "bare/.well-known/acme": b"acme", "a b%2f.txt": b"odd"}
    for name, content in files.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (OLD, OLD))
    os.utime(top / "stale.js", (OLD + 9, OLD + 9))
    (place / "outside.txt").write_text("outside")
    (top / "out").symlink_to("../outside.txt")
    (top / "etc").symlink_to("/etc")
    (top / "inside.css").symlink_to("a.css")
    os.mkfifo(top / "fifo")
    return top


@pytest.fixture
def huge(public):
    """More than any socket's buffer, and no blocks on the disk."""
    file = public / "huge.bin"
    file.touch()
    os.truncate(file, HUGE)
    yield file
    file.unlink()


@pytest.fixture
def site(serve, public, copy_data, worker_class):
    return serve("static_app:app", "--static", "/static=public", "--static", "/one.css=public/a.css",
                 "--static", "/static/deep=public/docs", "--static", "/=public/bare",
                 "--static-type", "css=text/x-mine", "--sendfile-root", str(public),
                 "--access-logfile", "-", env={"ROOT": str(public)}, worker_class=worker_class)


def ask(connection, target, method="GET", **headers):
    return connection.request(method, target, headers=[(k.replace("_", "-"), v) for k, v in headers.items()])


# target, status, body (None: not looked at)
FOUND = [
    ("/static/", 200, b"<h1>index</h1>"),
    ("/static/a.css", 200, b"body {}"),
    ("/static/%61.css?x=1", 200, b"body {}"),
    ("/static/inside.css", 200, b"body {}"),
    ("/static/docs/", 200, b"docs"),
    ("/static/deep/", 200, b"docs"),
    ("/static/empty.txt", 200, b""),
    ("/static/a%20b%252f.txt", 200, b"odd"),
    ("/.well-known/acme", 200, b"acme"),
    ("/static/big.bin", 200, BIG),
    ("/one.css", 200, b"body {}"),
    ("/file.txt", 200, b"in bare"),
    # no file: the application's, but below a prefix of ours
    ("/", 200, b"the application: GET /"),
    ("/staticx", 200, b"the application: GET /staticx"),
    ("/one.css/", 404, None),
    ("/one.css/x", 404, None),
    ("/nothing", 200, b"the application: GET /nothing"),
    ("//evil.example/", 200, None),
    ("/static/nothing", 404, None),
    ("/static/bare/", 404, None),
    ("/static/a.css/", 404, None),
    ("/static/a.css/x", 404, None),
    ("/static//a.css", 404, None),
    # nothing gets out of the directory, by no spelling, and nothing hidden is shown
    ("/static/../outside.txt", 404, None),
    ("/static/%2e%2e/outside.txt", 404, None),
    ("/static/.%2E/outside.txt", 404, None),
    ("/static/docs/../../outside.txt", 404, None),
    ("/static/docs%2f..%2f..%2foutside.txt", 404, None),
    ("/static/..%5coutside.txt", 404, None),
    ("/static/..%c0%af..%c0%afetc/passwd", 404, None),
    ("/static/%252e%252e/outside.txt", 404, None),
    ("/static/a.css%00.txt", 404, None),
    ("/static/%", 404, None),
    ("/static/out", 404, None),
    ("/static/etc/passwd", 404, None),
    ("/static/.secret", 404, None),
    ("/static/.well-known/acme", 404, None),
    ("/static/.git/config", 404, None),
    ("/static/%2egit/config", 404, None),
    ("/static/fifo", 404, None),
]


def test_paths(site):
    with Connection(site.address) as connection:
        wrong = []
        for target, status, body in FOUND:
            answer = ask(connection, target)
            if answer.status != status or (body is not None and answer.body != body):
                wrong.append((target, answer.status, answer.body[:80]))
        assert not wrong
        for target, place in (("/static", "/static/"), ("/static/docs?a=b", "/static/docs/?a=b")):
            answer = ask(connection, target)
            assert (answer.status, answer.header("location")) == (301, place)
    # The answers are in the access log like all others.
    site.wait_log(r'"GET /static/%61\.css\?x=1 HTTP/1\.1" 200 7')


def test_methods(site):
    with Connection(site.address) as connection:
        head = ask(connection, "/static/big.bin", "HEAD")
        assert (head.status, head.header("content-length"), head.body) == (200, str(len(BIG)), b"")
        options = ask(connection, "/static/a.css", "OPTIONS")
        assert (options.status, options.header("allow")) == (204, "GET, HEAD, OPTIONS")
        refused = connection.request("POST", "/static/a.css", body=b"x" * 1000)
        assert (refused.status, refused.header("allow")) == (405, "GET, HEAD, OPTIONS")
        # Below / only what exists is ours, and only to be read.
        assert ask(connection, "/file.txt", "POST").body == b"the application: POST /file.txt"


def test_what_a_client_has_already_is_not_sent_again(site):
    with Connection(site.address) as connection:
        first = ask(connection, "/static/a.css")
        tag, date = first.header("etag"), first.header("last-modified")
        assert tag == '"de0b6b3a7640000-7"' and date == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert first.header("content-type") == "text/x-mine"
        assert first.header("x-content-type-options") == "nosniff"
        other = "Sun, 09 Sep 2001 01:46:39 GMT"
        for status, headers in (
                (304, {"If_None_Match": tag}), (304, {"If_None_Match": f'"x", W/{tag}'}),
                (304, {"If_None_Match": "*"}), (200, {"If_None_Match": '"x"'}),
                (304, {"If_Modified_Since": date}), (200, {"If_Modified_Since": other}),
                (200, {"If_None_Match": '"x"', "If_Modified_Since": date}),  # RFC 9110 13.1.3
                (200, {"If_Match": tag}), (412, {"If_Match": f"W/{tag}"}), (412, {"If_Match": '"x"'}),
                (412, {"If_Unmodified_Since": other}), (200, {"If_Unmodified_Since": date}),
                (200, {"If_Modified_Since": "yesterday"})):
            answer = ask(connection, "/static/a.css", **headers)
            assert (answer.status, headers) == (status, headers)
            assert answer.body == (b"body {}" if status == 200 else b"")
            assert answer.header("etag") == tag
        # A list may come on several lines.
        for status, name in ((304, "If-None-Match"), (200, "If-Match")):
            lines = [(name, '"x"'), (name, tag)]
            assert connection.request("GET", "/static/a.css", headers=lines).status == status


def test_ranges(site):
    with Connection(site.address) as connection:
        tag = ask(connection, "/static/big.bin").header("etag")
        size = len(BIG)
        for text, first, last in (("bytes=0-0", 0, 0), ("bytes=-5", size - 5, size - 1),
                                  (f"bytes={size - 7}-", size - 7, size - 1),
                                  ("bytes=1000-1999999", 1000, 1999999)):
            answer = ask(connection, "/static/big.bin", Range=text)
            assert answer.status == 206 and answer.body == BIG[first:last + 1]
            assert answer.header("content-range") == f"bytes {first}-{last}/{size}"
        for headers in ({"Range": "bytes=0-1,3-4"}, {"Range": "bytes=2-1"}, {"Range": "x=1-2"},
                        {"Range": "bytes=0-1", "If_Range": '"x"'},
                        {"Range": "bytes=0-1", "If_Range": f"W/{tag}"}):
            assert ask(connection, "/static/big.bin", **headers).body == BIG
        assert ask(connection, "/static/big.bin", Range="bytes=0-1", If_Range=tag).body == BIG[:2]
        answer = ask(connection, "/static/big.bin", Range=f"bytes={size}-")
        assert (answer.status, answer.header("content-range")) == (416, f"bytes */{size}")
        assert ask(connection, "/static/empty.txt", Range="bytes=0-").status == 416


def test_compressed_siblings(site):
    with Connection(site.address) as connection:
        for accept, coding, body in (("gzip", "gzip", b"gzipped"), ("br, gzip", "br", b"brotli"),
                                     ("gzip, br;q=0.5", "gzip", b"gzipped"), ("br;q=0, gzip;q=0", None, b"plain"),
                                     ("*", "br", b"brotli"), ("deflate", None, b"plain"),
                                     ("gzip;q=0.5, identity", None, b"plain"), ("gzip, identity", "gzip", b"gzipped"),
                                     ("*;q=0.1, identity;q=0.5", None, b"plain")):
            answer = ask(connection, "/static/b.js", Accept_Encoding=accept)
            assert (answer.header("content-encoding"), answer.body) == (coding, body)
            assert answer.header("vary") == "Accept-Encoding"
            assert answer.header("content-type") == "text/javascript; charset=utf-8"
        tags = {ask(connection, "/static/b.js", Accept_Encoding=accept).header("etag")
                for accept in ("gzip", "br", "x")}
        assert len(tags) == 3
        # Older than the file itself: left alone. Not text: none is looked for.
        assert ask(connection, "/static/stale.js", Accept_Encoding="gzip").body == b"new"
        assert ask(connection, "/static/big.bin", Accept_Encoding="gzip").header("vary") is None


def test_x_sendfile(site, public):
    with Connection(site.address) as connection:
        answer = ask(connection, "/send/a.css")
        assert (answer.status, answer.body) == (200, b"body {}")
        assert answer.header("x-sendfile") is None and answer.header("x-app") == "yes"
        assert answer.header("content-type") == "text/x-mine"
        tag = answer.header("etag")
        answer = ask(connection, "/send/big.bin?typed", Range="bytes=5-9")
        assert (answer.status, answer.body) == (206, BIG[5:10])
        assert answer.header("content-type") == "application/x-app"
        assert ask(connection, "/send/a.css", If_None_Match=tag).status == 304
        # What another method has done is done, and its answer is whole.
        for method in ("PUT", "POST"):
            answer = ask(connection, "/send/a.css", method, If_None_Match="*", Range="bytes=0-1")
            assert (answer.status, answer.body) == (200, b"body {}")
        # The state that the application tells is its own business.
        answer = ask(connection, "/send/a.css?tagged", If_None_Match='"mine"', Range="bytes=0-1")
        assert (answer.status, answer.header("etag"), answer.body) == (200, '"mine"', b"body {}")
        answer = ask(connection, "/send/a.css?status=203+Not+Mine", Range="bytes=0-1")
        assert (answer.status, answer.body) == (203, b"body {}")
        head = ask(connection, "/send/big.bin", "HEAD")
        assert (head.header("content-length"), head.body) == (str(len(BIG)), b"")
    for target, status, reason in (("/send/none", 404, "No such file"), ("/send/docs", 404, "not a regular"),
                                   ("/send/out", 500, "a link leads out"), ("/send/../outside.txt", 500, "not inside"),
                                   ("x/a.css", 500, "not inside")):
        target = target if target.startswith("/") else "/send" + target
        with Connection(site.address) as connection:
            answer = ask(connection, target)
            assert answer.status == status and b"outside" not in answer.body
        site.wait_log(re.escape(f"X-Sendfile: {public}{target[5:]}: ") + reason)


def test_asgi(serve, public, copy_data):
    """Files and X-Sendfile are the engine's, whoever sits behind it."""
    server = serve("static_app:aio", "--static", "/static=public", "--sendfile-root", str(public),
                   env={"ROOT": str(public)}, worker_class="asgi")
    with Connection(server.address) as connection:
        assert ask(connection, "/static/big.bin").body == BIG
        assert ask(connection, "/static/../outside.txt").status == 404
        answer = ask(connection, "/big.bin", Range="bytes=5-9")
        assert (answer.status, answer.body, answer.header("x-sendfile")) == (206, BIG[5:10], None)
        assert ask(connection, "/big.bin").body == BIG


def test_without_roots_the_header_is_the_applications(serve, public, copy_data):
    server = serve("static_app:app", env={"ROOT": str(public)})
    answer = server.get("/send/a.css")
    assert answer.header("x-sendfile") == f"{public}/a.css" and answer.body == b"not this"


@pytest.mark.leaves("got", "head", "tag")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(serve, public, place, copy_data):
    """What people type: resume, only if newer, only if another tag, uncompress, follow."""
    for name, content in (("z.css", b"body {} "), ("z.css.gz", gzip.compress(b"body {} "))):
        (public / name).write_bytes(content)
        os.utime(public / name, (OLD, OLD))
    server = serve("static_app:app", "--static", "/static=public", "--static-max-age", "60")

    def curl(target, *options):
        done = subprocess.run(["curl", "-sS", "--path-as-is", *options, "-w", "%{http_code}", "-o", "got",
                               f"http://127.0.0.1:{server.address[1]}{target}"], cwd=place, capture_output=True,
                              text=True, timeout=WAIT)
        assert done.returncode == 0, done.stderr
        return done.stdout, (place / "got").read_bytes()

    (place / "got").write_bytes(BIG[:1000])
    assert curl("/static/big.bin", "-C", "-") == ("206", BIG)
    assert curl("/static/big.bin", "-r", "-9") == ("206", BIG[-9:])
    assert curl("/static/z.css", "--compressed", "-D", "head") == ("200", b"body {} ")
    head = (place / "head").read_text().lower()
    assert "content-encoding: gzip" in head and "cache-control: public, max-age=60" in head
    assert curl("/static/docs", "-L") == ("200", b"docs")
    assert curl("/static/a.css", "--etag-save", "tag") == ("200", b"body {}")
    assert curl("/static/a.css", "--etag-compare", "tag")[0] == "304"
    assert curl("/static/a.css", "-z", "Sun, 09 Sep 2001 01:46:40 GMT")[0] == "304"
    assert curl("/static/../outside.txt")[0] == curl("/static/..%2foutside.txt")[0] == "404"


def test_files_in_a_pipeline(site):
    targets = ["/static/a.css", "/", "/static/big.bin", "/static/nothing", "/static/big.bin", "/file.txt"]
    with Connection(site.address) as connection:
        connection.send(b"".join(f"GET {t} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for t in targets))
        answers = [connection.read_response("GET") for _ in targets]
    assert [a.status for a in answers] == [200, 200, 200, 404, 200, 200]
    assert answers[2].body == answers[4].body == BIG and answers[5].body == b"in bare"


def test_slow_readers_hold_nobody(serve, huge, worker_class):
    """One worker, one thread: a hundred readers that take nothing, and one that is served."""
    server = serve("static_app:app", "--static", "/static=public", worker_class=worker_class,
                   settings={"threads": 2} if worker_class == "gthread" else {})
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(server.address)) for _ in range(100)]
        for connection in slow:
            connection.send(b"GET /static/huge.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        with Connection(server.address) as connection:
            assert ask(connection, "/static/a.css").body == b"body {}"
            assert ask(connection, "/").status == 200
        for connection in slow[:3]:
            connection.read_until(b"\r\n\r\n")
            assert connection.read_exactly(9 << 20) == bytes(9 << 20)


def test_a_file_that_shrinks_is_cut_and_one_that_grows_is_not(serve, huge):
    server = serve("static_app:app", "--static", "/static=public")
    file, size, kept = huge, HUGE, 32 << 20
    with Connection(server.address) as connection:
        connection.send(b"GET /static/huge.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        head = connection.read_until(b"\r\n\r\n")
        assert f"Content-Length: {size}".encode() in head
        with open(file, "ab") as more:
            more.write(b"more")
        assert connection.read_exactly(1 << 20) == bytes(1 << 20)
        os.truncate(file, kept)
        with pytest.raises((Truncated, ConnectionResetError)):
            connection.read_exactly(size - (1 << 20))
    assert server.get("/static/a.css").status == 200


def test_another_directory_in_its_place_is_noticed(serve, place, public):
    server = serve("static_app:app", "--static", "/static=public")
    assert server.get("/static/a.css").body == b"body {}"
    public.rename(place / "before")
    (place / "before" / "docs").rename(public)
    wait_until(lambda: server.get("/static/").body == b"docs", "the new directory")
    public.rename(place / "before" / "docs")
    (place / "before").rename(public)


def test_what_cannot_be_served_is_said_at_the_start(place, public, copy_data):
    copy_data("static_app.py")
    for arguments, reason in (
            (["--static", "/static=nowhere"], r"static_files: /static=nowhere: No such file"),
            (["--static", "static"], r"static_files: static: must be /PREFIX=DIRECTORY"),
            (["--static", "/a=public", "--static", "/a/=public"], r"static_files: /a is there twice"),
            (["--static", "/=public/a.css"], r"static_files: /=public/a.css: a directory is needed"),
            (["--static", "/a=public", "--static-type", "x"], r"static_types: x: must be ENDING=TYPE"),
            (["--sendfile-root", "public"], r"sendfile_roots: public: must begin with a slash"),
            (["--sendfile-root", "/nowhere"], r"sendfile_roots: /nowhere: there is no such directory")):
        done = subprocess.run([os.path.join(os.path.dirname(sys.executable), "saola"), "-b", "127.0.0.1:0",
                               *arguments, "static_app:app"], cwd=place, capture_output=True, text=True, timeout=WAIT)
        assert done.returncode == 1 and re.search(reason, done.stderr), done.stderr
        assert "Traceback" not in done.stderr


# ---- docs/static.md ------------------------------------------------------------------------------------


@pytest.mark.skipif(SANITIZED, reason="the commands name the installed package")
def test_the_commands_of_the_page(serve, place):
    page = (TOP / "docs" / "static.md").read_text()
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    commands = [line for line in lines if line.startswith("saola ")]
    files = dict(re.findall(r"```python (\S+)\n(.*?)```", page, re.DOTALL))
    assert len(commands) >= 2 and files
    for name, text in files.items():
        (place / name).write_text(text.replace("/srv/reports", str(place)))
    for directory in ("public", "dist"):
        (place / directory).mkdir()
        (place / directory / "index.html").write_text("front page")
    (place / "report.pdf").write_bytes(b"%PDF")
    for line in commands:
        words = line.replace("/srv/reports", str(place)).split()
        server = serve(command=[os.path.join(os.path.dirname(sys.executable), "saola"), "-b", "127.0.0.1:0",
                                *words[1:]], bind=None)
        if "--sendfile-root" in words:
            assert server.get("/report.pdf").body == b"%PDF"
        else:
            route = words[words.index("--static") + 1].partition("=")[0]
            assert server.get(route.rstrip("/") + "/").body == b"front page"
        assert server.stop(signal.SIGTERM) == 0
