"""`--reload`: every engine sees a change, and only changes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from harness import Truncated, wait_until

from saola import reloader

ENGINES = ["auto", "poll", "inotify"]


class Watch:
    """A running engine in a process of its own (its thread has no end); prints what changed."""

    CODE = """
import sys
sys.path.insert(0, "")
from saola.reloader import reloader_engines
import watched
engine = reloader_engines[sys.argv[1]]
r = engine(extra_files=sys.argv[2:], callback=lambda path: print("changed", path, flush=True),
           **({} if sys.argv[1] == "default" else {"interval": 0.2}))
r.start()
print("watching", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""

    def __init__(self, engine, folder, *extra):
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", self.CODE, engine, *extra], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.read() == "watching"

    def read(self):
        timer = threading.Timer(30, self.process.kill)
        timer.start()
        try:
            return self.process.stdout.readline().rstrip("\n")
        finally:
            timer.cancel()

    def execute(self, code):
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        assert self.read() == "done"


@pytest.fixture(params=ENGINES)
def watch(request, tmp_path):
    started = []
    (tmp_path / "watched.py").write_text("x = 1\n")

    def start(*extra):
        started.append(Watch(request.param, tmp_path, *extra))
        return started[-1]

    yield start
    for one in started:
        one.process.stdin.close()
        one.process.stdout.close()
        one.process.kill()
        one.process.wait()


def test_a_changed_module_is_told(watch, tmp_path):
    one = watch()
    (tmp_path / "watched.py").write_text("x = 22\n")
    assert one.read() == f"changed {tmp_path}/watched.py"


def test_a_module_replaced_by_rename_is_told(watch, tmp_path):
    one = watch()
    (tmp_path / "new").write_text("x = 2\n")
    os.rename(tmp_path / "new", tmp_path / "watched.py")
    assert one.read() == f"changed {tmp_path}/watched.py"


def test_a_module_imported_later_is_watched(watch, tmp_path):
    one = watch()
    (tmp_path / "later.py").write_text("y = 1\n")
    one.execute("import later, time; "
                "exec('while not any(p.endswith(\"later.py\") for p in r._known): time.sleep(0.01)')")
    (tmp_path / "later.py").write_text("y = 22\n")
    assert one.read() == f"changed {tmp_path}/later.py"


def test_an_extra_file_is_told_even_when_it_appears_later(watch, tmp_path):
    path = tmp_path / "conf.toml"
    one = watch(str(path))
    path.write_text("a = 1\n")
    assert one.read() == f"changed {path}"


def test_a_pattern_covers_files_that_exist(watch, tmp_path):
    (tmp_path / "templates").mkdir()
    page = tmp_path / "templates" / "page.html"
    page.write_text("one")
    one = watch(str(tmp_path / "templates" / "*.html"))
    page.write_text("three")
    assert one.read() == f"changed {page}"


def test_several_writes_are_one_change_and_nothing_else_is_told(watch, tmp_path):
    marker = tmp_path / "end"
    (tmp_path / "other").write_text("")
    one = watch(str(marker))
    for number in range(5):
        (tmp_path / "watched.py").write_text(f"x = {'9' * (number + 2)}\n")
    (tmp_path / "unwatched").write_text("no")
    assert one.read() == f"changed {tmp_path}/watched.py"
    marker.write_text("now")
    assert one.read() == f"changed {marker}"


def test_a_vanished_file_is_no_change_until_it_is_back(watch, tmp_path):
    marker = tmp_path / "zz_end"
    one = watch(str(marker))
    text = (tmp_path / "watched.py").read_text()
    os.unlink(tmp_path / "watched.py")
    marker.write_text("1")
    assert one.read() == f"changed {marker}"
    (tmp_path / "watched.py").write_text(text + "# back\n")
    assert one.read() == f"changed {tmp_path}/watched.py"


def test_a_directory_that_was_made_anew_is_watched_again(watch, tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    page = folder / "page.html"
    page.write_text("one")
    one = watch(str(page))
    page.unlink()
    folder.rmdir()
    folder.mkdir()
    page.write_text("three")
    assert one.read() == f"changed {page}"
    page.write_text("fifteen")
    assert one.read() == f"changed {page}"


def test_the_names_are_gunicorns():
    assert set(reloader.reloader_engines) == set(ENGINES)
    one = reloader.Reloader(extra_files=["x"], interval=1, callback=None)
    one.add_extra_file("y")
    assert {"x", "y", reloader.__file__} <= one.get_files()


# ---- in a running server ---------------------------------------------------------------------

GOOD = """
def app(environ, start_response):
    body = b"%s"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def answers(server, status, words):
    def asked():
        try:
            response = server.get()
        except (OSError, Truncated):
            return False  # between two workers
        return response.status == status and words in response.text
    wait_until(asked, lambda: f"{status} {words!r}; log: {server.log}")


@pytest.fixture
def live(serve, place, worker_class, monkeypatch):
    """A server with --reload on live.py, and the file."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    file = place / "live.py"
    file.write_text(GOOD % "one")
    server = serve("live:app", "--reload", worker_class=worker_class)
    answers(server, 200, "one")
    return server, file


def test_a_change_is_served(live):
    server, file = live
    arbiter = server.pid
    file.write_text(GOOD % "second")
    answers(server, 200, "second")
    assert server.pid == arbiter and server.process.poll() is None
    assert f"Worker reloading: {file} modified" in server.log


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("broken, words", [
    ("def app(environ, start_response)\n    pass\n", "SyntaxError"),
    ("import a_module_that_is_not_there\n", "No module named 'a_module_that_is_not_there'"),
    ("raise ValueError('no database')\n", 'live.py", line 1'),
    ("application = None\n", "Failed to find attribute 'app' in 'live'"),
])
def test_a_broken_application_is_shown_and_waits_for_the_next_change(live, broken, words):
    server, file = live
    file.write_text(broken)
    answers(server, 500, words)
    said = server.log.count("The application cannot be loaded; waiting for a change")
    assert said == 1
    answers(server, 500, words)
    assert server.log.count("The application cannot be loaded") == said
    file.write_text(GOOD % "mended")
    answers(server, 200, "mended")
    assert server.stop() == 0


ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        %s
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})
"""
AIOHTTP = """
from aiohttp import web

async def serve(request):
    return web.Response(text="served")

async def start(app):
    %s

app = web.Application()
app.router.add_get("/", serve)
app.on_startup.append(start)
"""


@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("name, source, more", [("asgi", ASGI, ("--asgi-lifespan", "on")), ("aiohttp", AIOHTTP, ())])
def test_an_application_of_a_loop_that_is_broken_is_shown_and_waits(serve, place, monkeypatch, name, source, more):
    if name == "aiohttp":
        pytest.importorskip("aiohttp")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    file = place / "live.py"
    file.write_text(source % "raise ValueError('no database')")
    server = serve("live:app", "-k", name, "--reload", *more)
    answers(server, 500, "no database")
    file.write_text("this is no Python\n")
    answers(server, 500, "SyntaxError")
    file.write_text(source % "pass")
    answers(server, 200, "served")
    assert server.stop() == 0
    assert server.log.count("The application cannot be started; waiting for a change") == 1
