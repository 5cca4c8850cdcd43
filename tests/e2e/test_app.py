"""Where settings come from, and how the application is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import SERVER
from saola import util

SHOW = """
import json, sys
from saola.app.wsgiapp import WSGIApplication
app = WSGIApplication("%(prog)s", prog="saola")
names = "workers threads timeout bind proc_name worker_class_str".split()
print(json.dumps({n: getattr(app.cfg, n) for n in names} | {"app": app.app_uri,
      "source": app.config_source}))
"""


def python(code, *args, cwd, **env):
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("SAOLA_CMD_ARGS", "GUNICORN_CMD_ARGS")}
    return subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, text=True,
                          capture_output=True, timeout=60, env={**environment, **env})


def settings(*args, cwd, **env):
    done = python(SHOW, *args, cwd=cwd, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- order of the sources --------------------------------------------------------------------


def test_each_source_wins_over_the_one_before(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("timeout = 11\nworkers = 2\nthreads = 2\nbind = ':1'\n")
    found = settings("-b", "127.0.0.1:5", "ok:app", cwd=tmp_path,
                     GUNICORN_CMD_ARGS="--workers 3 --threads 3 --bind :3",
                     SAOLA_CMD_ARGS="--threads 4 --bind :4")
    assert (found["timeout"], found["workers"], found["threads"], found["bind"]) == \
        (11, 3, 4, ["127.0.0.1:5"])


def test_our_file_goes_before_gunicorns(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\n")
    assert settings("ok", cwd=tmp_path)["workers"] == 2
    (tmp_path / "saola.conf.py").write_text("workers = 3\n")
    found = settings("ok", cwd=tmp_path)
    assert (found["workers"], found["source"]) == (3, "saola.conf.py")


@pytest.mark.parametrize("location", ["other.py", "file:other.py", "python:other", "odd.conf"])
def test_the_file_can_be_named(tmp_path, location):
    for name in ("other.py", "odd.conf"):
        (tmp_path / name).write_text("workers = 5\n")
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\n")
    assert settings("-c", location, "ok", cwd=tmp_path)["workers"] == 5
    assert settings("ok", cwd=tmp_path, GUNICORN_CMD_ARGS=f"-c {location}")["workers"] == 5


def test_the_flag_names_the_file_before_the_environment_does(tmp_path):
    (tmp_path / "a.py").write_text("workers = 3\n")
    (tmp_path / "b.py").write_text("workers = 4\n")
    (tmp_path / "c.py").write_text("workers = 5\n")
    both = {"GUNICORN_CMD_ARGS": "-c b.py", "SAOLA_CMD_ARGS": "-c c.py"}
    assert settings("-c", "a.py", "ok", cwd=tmp_path, **both)["workers"] == 3
    assert settings("ok", cwd=tmp_path, **both)["workers"] == 5


def test_the_file_is_the_module_config_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent("""\
        import sys
        assert sys.modules[__name__].__dict__ is globals() and __name__ == "__config__"
        assert __file__.endswith("gunicorn.conf.py")
        workers = 6
        """))
    assert settings("ok", cwd=tmp_path)["workers"] == 6
    assert os.listdir(tmp_path) == ["gunicorn.conf.py"]


def test_chdir_of_the_file_is_where_the_application_is_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inner.py").write_text("def app(environ, start_response): pass\n")
    (tmp_path / "gunicorn.conf.py").write_text("chdir = 'sub'\nwsgi_app = 'inner:app'\n")
    done = subprocess.run([*SERVER, "--check-config"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert (done.returncode, done.stderr) == (0, "")


def test_the_positional_argument_goes_before_wsgi_app(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("wsgi_app = 'one:app'\n")
    assert settings(cwd=tmp_path)["app"] == "one:app"
    found = settings("two:app", cwd=tmp_path)
    assert (found["app"], found["proc_name"]) == ("two:app", "two:app")


def test_init_of_a_subclass_gives_settings_that_everything_else_overrides(tmp_path):
    code = """
import sys
from saola.app.base import Application
class Mine(Application):
    def init(self, parser, opts, args):
        return {"workers": 7, "THREADS": 3}
    def load(self):
        return None
app = Mine()
print(app.cfg.workers, app.cfg.threads)
"""
    assert python(code, cwd=tmp_path).stdout == "7 3\n"
    assert python(code, "-w", "2", cwd=tmp_path).stdout == "2 3\n"


def test_print_config_names_the_source_of_each_value(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\n")
    (tmp_path / "ok.py").write_text("def app(environ, start_response): pass\n")
    done = subprocess.run(
        [*SERVER, "--print-config", "--timeout", "9", "ok:app"], cwd=tmp_path, timeout=60,
        capture_output=True, text=True,
        env={**os.environ, "GUNICORN_CMD_ARGS": "--threads 3", "PYTHONDONTWRITEBYTECODE": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "workers = 2  # file gunicorn.conf.py" in lines
    assert "threads = 3  # GUNICORN_CMD_ARGS" in lines
    assert "timeout = 9  # command line" in lines


# ---- names in the file -----------------------------------------------------------------------


@pytest.mark.parametrize("text, hint", [
    ("worker = 4", "workers"), ("wrokers = 4", "workers"), ("time_out = 3", "timeout"),
    ("max_request = 100", "max_requests"), ("log_level = 'debug'", "loglevel"),
])
def test_a_name_very_near_a_setting_is_warned_of(tmp_path, text, hint):
    (tmp_path / "gunicorn.conf.py").write_text("import os\n" + text + "\n")
    done = python(SHOW, "ok", cwd=tmp_path)
    name = text.split()[0]
    assert (done.returncode, done.stderr) == (
        0, f"saola: warning: gunicorn.conf.py, line 2: no setting is called {name}; "
           f"did you mean {hint}?\n")


@pytest.mark.parametrize("text", [
    "import timeit as timeouts", "from os import getcwd as binds", "def worker(): pass",
    "WORKERS = 3", "_workers = 3", "class Worker: pass", "worker = object()",
    "worker = 2\nworkers = worker * 2", "for threads_ in (1,): pass", "cores = 3\nworkers = cores",
])
def test_what_is_the_files_own_business_is_not(tmp_path, text):
    (tmp_path / "gunicorn.conf.py").write_text(text + "\n")
    (tmp_path / "ok.py").write_text("def app(environ, start_response): pass\n")
    done = subprocess.run([*SERVER, "--check-config", "ok:app"], cwd=tmp_path, timeout=60,
                          capture_output=True, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert (done.returncode, done.stderr) == (0, "")


# ---- reload of the configuration -------------------------------------------------------------

RELOAD = """
import pathlib, sys
from saola.app.wsgiapp import WSGIApplication
from saola.errors import ConfigError
app = WSGIApplication("%(prog)s", prog="saola")
module = sys.modules["__config__"]
pathlib.Path("gunicorn.conf.py").write_text(sys.stdin.read())
try:
    app.reload()
except ConfigError as exc:
    assert sys.modules["__config__"] is module
    print("refused:", exc)
print(app.cfg.workers)
"""


@pytest.mark.parametrize("text, printed", [
    ("workers = 3", "3"),
    ("workers = 'x'", "refused: gunicorn.conf.py, line 1: workers: "),
    ("workers = ", "refused: gunicorn.conf.py, line 1: SyntaxError: "),
    ("import nothing_of_this_name", "refused: gunicorn.conf.py, line 1: ModuleNotFoundError: "),
    ("raise SystemExit(3)", "refused: the configuration ended the program (3)"),
])
def test_a_reload_that_fails_leaves_the_configuration(tmp_path, text, printed):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\n")
    done = subprocess.run([sys.executable, "-c", RELOAD, "ok"], cwd=tmp_path, input=text,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(printed)
    assert lines[-1] == ("3" if printed == "3" else "2")


# ---- finding the application -----------------------------------------------------------------

MODULE = """
def application(environ, start_response): return "application"
def app(environ, start_response): return "app"
def factory(a=1, *, b="b"): return lambda environ, start_response: (a, b)
class Holder:
    inner = app
"""


@pytest.fixture
def find(tmp_path: Path):
    """Imports a spec in a process of its own and calls what was found."""
    (tmp_path / "ok.py").write_text(MODULE)
    (tmp_path / "only.py").write_text(MODULE.replace("application(e", "other(e"))
    (tmp_path / "my-app.py").write_text(MODULE)
    (tmp_path / "package" / "sub").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "sub" / "__init__.py").write_text("")
    (tmp_path / "package" / "sub" / "web.py").write_text("from . import __name__ as up\n" + MODULE)

    def run(spec):
        done = python("import sys; from saola.util import import_app\n"
                      f"print(import_app({spec!r})(None, None))", cwd=tmp_path)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
    return run


@pytest.mark.parametrize("spec, called", [
    ("ok", "application"), ("ok:app", "app"), ("ok.py", "application"), ("ok.py:app", "app"),
    ("./ok.py:app", "app"), ("only", "app"), ("ok:Holder.inner", "app"), ("my-app:app", "app"),
    ("ok:factory()", "(1, 'b')"), ("ok:factory(2, b=[3])", "(2, [3])"), ("ok:factory(a=-1)", "(-1, 'b')"),
    ("package.sub.web:app", "app"), ("package/sub/web.py:app", "app"),
])
def test_an_application_can_be_written_in_many_ways(find, spec, called):
    assert find(spec) == called


@pytest.mark.parametrize("spec", ["ok:__import__('os').getcwd()", "ok:factory(__import__('os'))",
                                  "ok:factory(1)(2)", "ok:[app][0]", "ok:factory(**{'a': 1})"])
def test_only_names_and_literals_are_understood(find, spec):
    assert "Failed to parse" in find(spec)


CHECK = """
import functools
from saola.app.locate import check_wsgi
from saola.errors import AppImportError
def wsgi(environ, start_response): pass
class Instance:
    def __call__(self, environ, start_response): pass
class Class:
    def __init__(self, environ, start_response): pass
def rest(*args): pass
def keywords(environ, start_response, extra=None, **more): pass
for app in (wsgi, Instance(), Class, rest, keywords, functools.partial(keywords, extra=1),
            lambda e, s: None, Instance().__call__, print):
    check_wsgi(app)
async def asgi(scope, receive, send): pass
class Asgi:
    async def __call__(self, scope, receive, send): pass
class Wrapped:
    def __call__(self, scope, receive, send): pass
async def generator(environ, start_response): yield b""
async def aiohttp_factory(): pass
for app, word in ((asgi, "ASGI"), (Asgi(), "ASGI"), (Wrapped(), "ASGI"), (generator, "ASGI"),
                  (functools.partial(asgi), "ASGI"), (aiohttp_factory, "aiohttp"),
                  (lambda: None, "MODULE:NAME()"), (lambda scope: None, "1 argument")):
    try:
        check_wsgi(app, "ok:app")
    except AppImportError as exc:
        assert word in str(exc) and "ok:app" in str(exc) and "\\n" not in str(exc), exc
    else:
        raise AssertionError(app)
print("fine")
"""


def test_an_interface_that_cannot_work_is_told_and_no_other(tmp_path):
    done = python(CHECK, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_the_callable_is_loaded_once(tmp_path):
    code = """
from saola.app.base import BaseApplication
class Mine(BaseApplication):
    loads = 0
    def __init__(self, **options):
        self.options = options
        super().__init__()
    def load_config(self):
        for name, value in self.options.items():
            self.cfg.set(name, value)
    def load(self):
        self.loads += 1
        return lambda environ, start_response: []
one = Mine(workers=3)
assert one.wsgi() is one.wsgi() and one.loads == 1 and one.cfg.workers == 3
Mine(workers="many")
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "workers" in done.stderr


# ---- small functions that public code uses ---------------------------------------------------


@pytest.mark.parametrize("text, address", [
    ("", ("0.0.0.0", 8000)), ("HOST:80", ("host", 80)), ("[::1]:9", ("::1", 9)),
    ("[::1]", ("::1", 8000)), ("tcp://h:1", ("h", 1)), ("unix:/x", "/x"), ("unix:///x", "/x"),
    ("unix:x", "x"), ("fd://3", 3), (":80", ("0.0.0.0", 80)),
])
def test_an_address_is_read_as_gunicorn_does(text, address):
    assert util.parse_address(text) == address


@pytest.mark.parametrize("text", ["::1", "h:", "h:x", "h:65536", "h:-1", "h:\u0661", "[::1]9", "fd://x",
                                  "fd://", "unix:"])
def test_an_address_that_is_none_is_refused_in_one_line(text):
    with pytest.raises(RuntimeError) as failure:
        util.parse_address(text)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("uri, path, query", [("/a?b=1", "/a", "b=1"), ("//a/b?c", "//a/b", "c"),
                                              ("http://h/x", "/x", ""), ("*", "*", "")])
def test_a_request_target_is_split(uri, path, query):
    parts = util.split_request_uri(uri)
    assert (parts.path, parts.query) == (path, query)


def test_http_date_is_the_format_of_rfc_9110():
    assert util.http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_the_title_is_what_ps_shows(tmp_path):
    done = python("import os, saola.util as u\nu._setproctitle('worker [ok]')\n"
                  "print(open('/proc/self/cmdline').read().rstrip('\\0'), open('/proc/self/comm').read())",
                  "a", "b", cwd=tmp_path)
    assert done.stdout.split() == ["saola:", "worker", "[ok]", "saola:", "worker"]


def test_a_failing_logger_class_shows_its_own_frames_only(tmp_path):
    (tmp_path / "mine.py").write_text("class Logger:\n    def __init__(self, cfg):\n        1 / 0\n")
    (tmp_path / "ok.py").write_text("def app(environ, start_response): pass\n")
    done = subprocess.run([*SERVER, "--logger-class", "mine.Logger", "-b", "127.0.0.1:0", "ok:app"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 1
    assert 'mine.py", line 3' in done.stderr and "ZeroDivisionError" in done.stderr
    assert "saola/" not in done.stderr
