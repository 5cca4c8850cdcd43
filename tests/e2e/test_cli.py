"""What is typed -> one line and an exit code; never a traceback of ours."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import SERVER

FILES = {
    "ok.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
def create_app(name, *, debug=False):
    return application
def nothing():
    pass
async def asgi(scope, receive, send):
    pass
settings = {}
""",
    "imports_missing.py": "import a_module_that_is_not_installed\n",
    "raises.py": "def boot():\n    raise ValueError('no database')\nboot()\n",
    "syntax.py": "def application(environ, start_response)\n    pass\n",
    "late.py": "def create_app():\n    len(5)\n",
    "not_a_file.conf": "workers = 1\n",
    "bad_name.py": "import os\nworkers = cpus * 2\n",
    "bad_value.py": "bind = '127.0.0.1:0'\nworkers = 'many'\n",
    "bad_syntax.py": "workers = = 2\n",
    "bad_import.py": "import a_module_that_is_not_installed\n",
    "bad_hook.py": "def pre_fork(server): pass\n",
    "typo.py": "worker = 4\n",
    "dead.py": "frobnicate = 4\n",
    "tls.py": "certfile = 'cert.pem'\n",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    place = tmp_path / "typed"
    place.mkdir()
    for name, text in FILES.items():
        (place / name).write_text(text)
    return place


def run(here: Path, *args: str, command=(), **env: str) -> subprocess.CompletedProcess:
    """Runs the program to its end; it must come to one by itself."""
    environment = {k: v for k, v in os.environ.items()
                   if not k.endswith("_CMD_ARGS") and k not in ("PORT", "WEB_CONCURRENCY")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run([*(command or SERVER), *args], cwd=here, capture_output=True, text=True,
                          timeout=harness.WAIT, stdin=subprocess.DEVNULL,
                          env={**environment, **env})


# (what is typed, exit code, what the line says)
REFUSED_AT_ONCE = [
    ("", 1, "no application given. Type: saola "),
    ("--wrokers 3 ok", 2, "unknown option --wrokers; did you mean --workers?"),
    ("--wokers=3 ok", 2, "did you mean --workers?"),
    ("--worker 3 ok", 2, "--workers"),
    ("-w x ok", 2, "-w"),
    ("-w", 2, "expected one argument"),
    ("-w -3 ok", 1, "workers"),
    ("--timeout 99999999999 ok", 1, "timeout"),
    ("--help wrokers", 2, "did you mean workers?"),
    ("-k gthrad ok", 1, "did you mean gthread?"),
    ("-k eventlet ok", 1, "unknown worker class 'eventlet'; did you mean gevent?"),
    ("--check-config -k sync ok:asgi", 1, "ok:asgi is an ASGI application, but the worker class sync"),
    ("--check-config -k asgi ok", 1, "ok cannot be called with (scope, receive, send)"),
    ("-k no.such.Class ok", 1, "'no.such.Class': ModuleNotFoundError"),
    ("-k saola.workers.base.Wroker ok", 1, "did you mean Worker?"),
    ("--logger-class no.such.Class ok", 1, "'no.such.Class'"),
    ("-c absent.py ok", 1, "absent.py"),
    ("-c python:absent ok", 1, "absent"),
    ("-c . ok", 1, "directory"),
    ("-c bad_name.py ok", 1, "bad_name.py, line 2: NameError: name 'cpus' is not defined"),
    ("-c bad_value.py ok", 1, "bad_value.py, line 2: workers: "),
    ("-c bad_syntax.py ok", 1, "bad_syntax.py, line 1: SyntaxError: "),
    ("-c bad_import.py ok", 1, "bad_import.py, line 1: ModuleNotFoundError: "),
    ("-c bad_hook.py ok", 1, "bad_hook.py, line 1: pre_fork"),
    ("-c tls.py ok", 1, "tls.py, line 1: certfile"),
    ("-c typo.py --check-config ok", 1, "typo.py, line 1: no setting is called worker; did you "
                                        "mean workers?"),
    ("-c dead.py --check-config ok", 1, "no setting is called frobnicate"),
    ("--chdir absent ok", 1, "absent"),
    ("-b ::1 ok", 1, "[ADDRESS]:PORT"),
    ("-b 127.0.0.1:99999 ok", 1, "99999"),
    ("-b 127.0.0.1:http ok", 1, "'http' is not a valid port number"),
    ("-e NOVALUE ok", 1, "NOVALUE"),
    ("--error-logfile absent/log ok", 1, "'absent/log' isn't writable"),
    ("--access-logfile absent/log ok", 1, "'absent/log' isn't writable"),
    ("--log-config absent.ini ok", 1, "absent.ini"),
    ("--access-logfile - --access-logformat %(h)q ok", 1, "access_log_format"),
    ("absent", 3, "No module named 'absent' in "),
    ("absent:app", 3, "is there an absent.py?"),
    ("okk:application", 3, "Did you mean ok:application?"),
    ("okk.py", 3, "Did you mean ok.py?"),
    ("absent/app.py", 3, "No file 'absent/app.py'"),
]


@pytest.mark.parametrize("typed, code, words", REFUSED_AT_ONCE, ids=[t for t, *_ in REFUSED_AT_ONCE])
def test_a_mistake_is_one_line(here, typed, code, words):
    done = run(here, *typed.split())
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("saola: ") and words in lines[0], done.stderr
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize("variable", ["SAOLA_CMD_ARGS", "GUNICORN_CMD_ARGS"])
@pytest.mark.parametrize("value, code, words", [
    ("--wrokers 3", 2, "unknown option --wrokers; did you mean --workers?"),
    ("-w '", 2, "No closing quotation"),
    ("-w -3", 1, "workers"),
])
def test_a_mistake_in_the_environment_names_the_variable(here, variable, value, code, words):
    done = run(here, "ok", **{variable: value})
    assert re.fullmatch(rf"saola: {variable}: .*\n", done.stderr) and words in done.stderr
    assert done.returncode == code


# What only importing the application shows. --check-config says it in one line; a server in its log.
UNUSABLE = [
    ("ok:applicaton", 4, "Failed to find attribute 'applicaton' in 'ok'. Did you mean 'application'? "
                         "Callables there: application, asgi, create_app, nothing."),
    ("ok:settings", 4, "Application object must be callable: 'settings' in 'ok' is a dict."),
    ("ok:nothing()", 4, "'nothing()' is None"),
    ("ok:create_app()", 4, "missing 1 required positional argument: 'name'"),
    ("ok:create_app(1, 2)", 4, "takes 1 positional argument but 2 were given"),
    ("ok:create_app(name)", 4, "Failed to parse arguments as literal values"),
    ("ok:1+", 4, "Failed to parse '1+'"),
    ("ok.application", 3, "Did you mean ok:application?"),
]
# The application's own failure: its traceback, once, without frames of ours.
FAILING = [
    ("imports_missing", 'imports_missing.py", line 1', "No module named 'a_module_that_is_not_installed'"),
    ("raises", 'raises.py", line 2, in boot', "ValueError: no database"),
    ("syntax", 'syntax.py", line 1', "SyntaxError: expected ':'"),
    ("late:create_app()", 'late.py", line 2', "TypeError: object of type 'int' has no len()"),
]


@pytest.mark.parametrize("app, code, words", UNUSABLE, ids=[a for a, *_ in UNUSABLE])
def test_check_config_tells_in_one_line_what_is_wrong_with_the_application(here, app, code, words):
    done = run(here, "--check-config", app)
    assert re.fullmatch(r"saola: [^\n]*\n", done.stderr) and words in done.stderr, done.stderr
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("app, place, error", FAILING, ids=[a for a, *_ in FAILING])
def test_check_config_shows_the_applications_own_traceback(here, app, place, error):
    done = run(here, "--check-config", app)
    assert done.returncode == 1
    assert place in done.stderr and error in done.stderr
    assert_no_frame_of_ours(done.stderr)


def assert_no_frame_of_ours(text):
    files = re.findall(r'File "([^"]+)", line', text)
    assert [f for f in files if "/saola/" in f or f.endswith("/saola") or "importlib" in f] == []


@pytest.mark.parametrize("app, code, words", UNUSABLE, ids=[a for a, *_ in UNUSABLE])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_server_without_a_usable_application_ends_with_the_reason_once(here, app, code, words,
                                                                        workers):
    done = run(here, "-b", "127.0.0.1:0", "-w", str(workers), app)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(words) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("app, place, error", FAILING, ids=[a for a, *_ in FAILING])
def test_a_server_whose_application_fails_ends_with_its_traceback_once(here, app, place, error):
    done = run(here, "-b", "127.0.0.1:0", "-w", "3", app)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count(place) == 1, done.stderr
    assert error in done.stderr
    assert_no_frame_of_ours(done.stderr)


def test_a_missing_module_is_looked_for_by_the_worker_when_hooks_may_make_it(here):
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "hidden.py").write_text("def app(environ, start_response): pass\n")
    (here / "hook.py").write_text("import sys\ndef post_fork(server, worker):\n"
                                  "    sys.path.insert(0, 'elsewhere')\n"
                                  "def post_worker_init(worker):\n    raise SystemExit(7)\n")
    done = run(here, "-c", "hook.py", "-b", "127.0.0.1:0", "hidden:app")
    assert "No module named" not in done.stderr


def test_a_port_in_use_is_one_line(here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(here, "-b", f"127.0.0.1:{port}", "ok")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if str(port) in line]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr


# ---- what is not a mistake -------------------------------------------------------------------


def test_check_config_is_silent_when_all_is_well(here):
    done = run(here, "--check-config", "ok")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_version(here):
    done = run(here, "--version")
    assert re.fullmatch(r"saola \(version \d+\.\d+\.\d+\S*\)\n", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("typed, words", [
    ("--help", "--workers"), ("-h", "--workers"), ("--help-all", "--proxy-allow-from"),
    ("--help timeout", "section"), ("--help max-requests", "max_requests"),
])
def test_help_goes_to_standard_output(here, typed, words):
    done = run(here, *typed.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout and "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_is_short_enough_to_read(here):
    assert len(run(here, "--help").stdout.splitlines()) <= 70


def test_a_closed_pipe_is_no_error(here):
    command = " ".join(SERVER) + " --help-all | true"
    done = subprocess.run(["sh", "-c", command], cwd=here, capture_output=True, timeout=60)
    assert done.stderr == b""


def test_it_is_also_a_module(here):
    done = run(here, "--wrokers", "2", command=[sys.executable, "-m", "saola"])
    assert done.stderr == "saola: unknown option --wrokers; did you mean --workers?\n"
    assert done.returncode == 2


# ---- the banner ------------------------------------------------------------------------------


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, here, *args, command=(*SERVER, "-b", "127.0.0.1:0"), **env):
        self.fd, other = pty.openpty()
        try:
            self.process = subprocess.Popen(
                [*command, *args], cwd=here, stdin=other, stdout=other,
                stderr=other, env={**os.environ, "TERM": "xterm", "PYTHONDONTWRITEBYTECODE": "1",
                                   **env})
        finally:
            os.close(other)
        self.text = ""

    def read_until(self, words):
        def found():
            try:
                self.text += os.read(self.fd, 65536).decode()
            except OSError:
                raise AssertionError(f"ended without {words!r}: {self.text}") from None
            return words in self.text
        harness.wait_until(found, words)
        return self.text

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass  # the last one who had the terminal open has closed it
        os.close(self.fd)
        return self.process.wait(harness.WAIT)


@pytest.mark.parametrize("env, coloured", [({}, True), ({"NO_COLOR": "1"}, False),
                                           ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_a_banner(here, env, coloured):
    terminal = Terminal(here, "-w", "2", "ok", **env)
    try:
        text = terminal.read_until("Ctrl-C to stop")
    finally:
        code = terminal.stop()
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert re.search(r"^  http://127\.0\.0\.1:\d+\r$", plain, re.M)
    assert re.search(r"application +ok\r", plain) and re.search(r"workers +2 x sync\r", plain)
    assert re.search(rf"pid +{terminal.process.pid}, ", plain)
    assert ("\x1b[" in text) is coloured
    assert code == 0


def test_a_script_has_the_banner_and_its_name(here):
    (here / "shop.py").write_text("import saola\nfrom ok import application\n"
                                  "saola.run(application, bind='127.0.0.1:0')\n")
    terminal = Terminal(here, "shop.py", command=(sys.executable,))
    try:
        text = terminal.read_until("Ctrl-C to stop")
        title = Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
    finally:
        code = terminal.stop()
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert re.search(r"application +application\r", plain)
    assert title.rstrip(b"\0") == b"saola: master [shop.py]"
    assert code == 0


def test_a_log_file_gets_no_banner(here, tmp_path):
    log = tmp_path / "error.log"
    terminal = Terminal(here, "--error-logfile", str(log), "ok")
    try:
        harness.wait_until(lambda: log.exists() and "Listening at" in log.read_text(), "start")
    finally:
        assert terminal.stop() == 0
    assert "Ctrl-C" not in log.read_text() + terminal.text
    assert all(line.startswith("[") for line in log.read_text().splitlines())


