"""Error and access log: what is written, and that neither clients nor disks can break it."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

import harness
from saola import accessline, glogging


def settings(**changed):
    values = dict(
        accesslog=None, errorlog="-", loglevel="info", capture_output=False, syslog=False,
        syslog_addr="udp://localhost:514", syslog_prefix=None, syslog_facility="user",
        disable_redirect_access_to_syslog=False, logconfig=None, logconfig_dict={},
        logconfig_json=None, user=os.geteuid(), group=os.getegid(), proc_name="app",
        access_log_format='%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"')
    return SimpleNamespace(**{**values, **changed})


@pytest.fixture
def make(request, monkeypatch):
    """Makes loggers and closes what they opened."""
    # pytest's own handlers would be reopened and closed with ours.
    monkeypatch.setattr(logging.root, "handlers", [])

    def close():
        for name in ("gunicorn.error", "gunicorn.access"):
            log = logging.getLogger(name)
            for handler in log.handlers[:]:
                log.removeHandler(handler)
                handler.close()
    request.addfinalizer(close)
    return lambda **changed: glogging.Logger(settings(**changed))


ENVIRON = {
    "REMOTE_ADDR": "192.0.2.1", "REQUEST_METHOD": "GET", "RAW_URI": "/a?b=1", "PATH_INFO": "/a",
    "QUERY_STRING": "b=1", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_REFERER": "http://from/",
    "HTTP_USER_AGENT": "curl/8", "HTTP_AUTHORIZATION": "Basic YnJpYW46cHc=",
}
RESPONSE = SimpleNamespace(status="200 OK", sent=1024, headers=[("Content-Type", "text/plain")])
REQUEST = SimpleNamespace(headers=[("X-TRACE", "t1"), ("USER-AGENT", "curl/8")])
TIME = datetime.timedelta(seconds=2, microseconds=3456)


def line(make, tmp_path, fmt, environ=ENVIRON, response=RESPONSE, request=REQUEST):
    log = make(accesslog=str(tmp_path / "access"), access_log_format=fmt)
    log.access(response, request, environ, TIME)
    return (tmp_path / "access").read_text(encoding="utf-8")


@pytest.mark.parametrize("atom, value", [
    ("%(h)s", "192.0.2.1"), ("%(l)s", "-"), ("%(u)s", "brian"), ("%(r)s", "GET /a?b=1 HTTP/1.1"),
    ("%(m)s", "GET"), ("%(U)s", "/a"), ("%(q)s", "b=1"), ("%(H)s", "HTTP/1.1"), ("%(s)s", "200"),
    ("%(b)s", "1024"), ("%(B)s", "1024"), ("%(f)s", "http://from/"), ("%(a)s", "curl/8"),
    ("%(T)s", "2"), ("%(M)s", "2003"), ("%(D)s", "2003456"), ("%(L)s", "2.003456"),
    ("%(p)s", "<PID>"), ("%({X-Trace}i)s", "t1"), ("%({content-type}o)s", "text/plain"),
    ("%({request_method}e)s", "GET"), ("%({absent}i)s", "-"), ("%(absent)s", "-"),
])
def test_an_atom_has_gunicorns_value(make, tmp_path, atom, value):
    assert line(make, tmp_path, atom) == value.replace("PID", str(os.getpid())) + "\n"


def test_the_time_is_english_in_every_locale(make, tmp_path):
    text = line(make, tmp_path, "%(t)s")
    parsed = datetime.datetime.strptime(text.strip(), "[%d/%b/%Y:%H:%M:%S %z]")
    age = datetime.datetime.now(datetime.timezone.utc) - parsed
    assert abs(age) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize("header", ["YnJpYW4=", "!!!", "", "\xff"])
def test_broken_credentials_are_no_user_or_a_user_without_password(make, tmp_path, header):
    environ = {**ENVIRON, "HTTP_AUTHORIZATION": "Basic " + header}
    assert line(make, tmp_path, "%(u)s", environ) in ("-\n", "brian\n")


@pytest.mark.parametrize("sent, written", [
    ('a"b', 'a\\"b'), ("a\\", "a\\\\"), ("a\nb\r", "a\\x0ab\\x0d"), ("\x1b[2J", "\\x1b[2J"),
    ("\x9b2J", "\\x9b2J"), ("a\x00", "a\\x00"), ("\u2028", "\\u2028"), ("\udcff", "\\udcff"),
    ("caf\xe9 \u4e2d", "caf\xe9 \u4e2d"),
])
def test_a_client_can_neither_end_a_field_nor_reach_a_terminal(make, tmp_path, sent, written):
    environ = {**ENVIRON, "HTTP_USER_AGENT": sent}
    request = SimpleNamespace(headers=[("X-TRACE", sent)])
    text = line(make, tmp_path, '"%(a)s" "%({x-trace}i)s"', environ, request=request)
    assert text == f'"{written}" "{written}"\n'


def test_a_user_name_is_escaped_too(make, tmp_path):
    environ = {**ENVIRON, "HTTP_AUTHORIZATION": "Basic YQpiOnB3"}  # a LF b
    assert line(make, tmp_path, "%(u)s", environ) == "a\\x0ab\n"


def test_nothing_is_written_without_an_access_log(make):
    log = make()
    assert not log.access_log_enabled
    log.access(None, None, None, None)  # would raise if it looked at anything
    assert log._get_gunicorn_handler(log.access_log) is None


def test_a_subclass_adds_atoms(make, tmp_path):
    class Mine(glogging.Logger):
        def atoms(self, resp, req, environ, request_time):
            return {**super().atoms(resp, req, environ, request_time), "mine": "x\ny"}

        def now(self):
            return "[now]"

    make()
    log = Mine(settings(accesslog=str(tmp_path / "a"), access_log_format="%(t)s %(mine)s"))
    log.access(RESPONSE, REQUEST, ENVIRON, TIME)
    assert (tmp_path / "a").read_text() == "[now] x\\x0ay\n"


def test_an_impossible_access_format_is_refused_at_start(make):
    with pytest.raises(RuntimeError, match="access_log_format"):
        make(accesslog="-", access_log_format="%(h)q")


def test_the_error_log_has_gunicorns_format(make, tmp_path):
    log = make(errorlog=str(tmp_path / "error"))
    log.info("hello %s", "you")
    log.debug("not this")
    text = (tmp_path / "error").read_text()
    stamp, _, rest = text.partition("] ")
    datetime.datetime.strptime(stamp + "]", "[%Y-%m-%d %H:%M:%S %z]")
    assert rest == f"[{os.getpid()}] [INFO] hello you\n"


def test_reopen_follows_a_rotated_file(make, tmp_path):
    path = tmp_path / "error"
    log = make(errorlog=str(path))
    log.info("one")
    path.rename(tmp_path / "old")
    log.info("two")
    log.reopen_files()
    log.info("three")
    assert "two" in (tmp_path / "old").read_text()
    assert "two" not in path.read_text() and "three" in path.read_text()


def test_a_file_that_cannot_be_reopened_stays_in_use(make, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = make(errorlog=str(folder / "error"))
    folder.rename(tmp_path / "moved")
    log.reopen_files()
    log.info("still here")
    text = (tmp_path / "moved" / "error").read_text()
    assert "Cannot reopen" in text and "still here" in text


def test_a_file_of_the_users_own_logger_is_reopened(make, tmp_path):
    handler = logging.FileHandler(tmp_path / "mine")
    own = logging.getLogger("test_logging.own")
    own.addHandler(handler)
    try:
        log = make()
        (tmp_path / "mine").rename(tmp_path / "old")
        log.reopen_files()
        own.warning("after")
        assert (tmp_path / "mine").read_text() == "after\n"
    finally:
        own.removeHandler(handler)
        handler.close()


def test_a_log_file_that_cannot_be_written_is_one_line(make, tmp_path):
    with pytest.raises(RuntimeError) as failure:
        make(errorlog=str(tmp_path / "absent" / "error"))
    assert str(failure.value) == \
        f"Error: '{tmp_path}/absent/error' isn't writable [No such file or directory]"


def test_a_setup_that_fails_leaves_the_loggers_as_they_were(make, tmp_path):
    log = make(errorlog=str(tmp_path / "error"))
    with pytest.raises(RuntimeError):
        log.setup(settings(errorlog=str(tmp_path / "other"), loglevel="error",
                           logconfig_dict={"version": 7}))
    log.info("as before")
    assert "as before" in (tmp_path / "error").read_text()
    assert log.cfg.errorlog == str(tmp_path / "error")


@pytest.mark.parametrize("changed, words", [
    ({"logconfig": "absent.ini"}, "log config 'absent.ini'"),
    ({"logconfig_json": "absent.json"}, "log config 'absent.json'"),
    ({"logconfig_dict": {"formatters": {"x": {"()": "no.such.thing"}}}}, "logconfig_dict"),
    ({"syslog": True, "syslog_facility": "kitchen"}, "kitchen"),
    ({"syslog": True, "syslog_addr": "http://x"}, "http://x"),
])
def test_a_wrong_logging_setting_is_one_line_that_names_it(make, changed, words):
    with pytest.raises(RuntimeError) as failure:
        make(**changed)
    assert words in str(failure.value) and "\n" not in str(failure.value)


@pytest.mark.parametrize("kind", ["dict", "json", "ini"])
def test_a_logging_configuration_takes_over(make, tmp_path, kind):
    path = str(tmp_path / "own")
    config = {"handlers": {"own": {"class": "logging.FileHandler", "filename": path,
                                   "formatter": "bare"}},
              "formatters": {"bare": {"format": "own:%(message)s"}},
              "root": {"level": "INFO", "handlers": []},
              "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["own"],
                                             "propagate": False}}}
    if kind == "dict":
        log = make(logconfig_dict=config)
    elif kind == "json":
        (tmp_path / "log.json").write_text(json.dumps(config))
        log = make(logconfig_json=str(tmp_path / "log.json"))
    else:
        (tmp_path / "log.ini").write_text(textwrap.dedent(f"""\
            [loggers]
            keys=root, error
            [handlers]
            keys=own
            [formatters]
            keys=bare
            [logger_root]
            handlers=
            [logger_error]
            qualname=gunicorn.error
            handlers=own
            propagate=0
            [handler_own]
            class=FileHandler
            args=({path!r},)
            formatter=bare
            [formatter_bare]
            format=own:%(message)s
            """))
        log = make(logconfig=str(tmp_path / "log.ini"))
    assert log.access_log_enabled
    log.info("hello")
    assert (tmp_path / "own").read_text() == "own:hello\n"


def test_syslog_gets_gunicorns_ident(make):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        log = make(syslog=True, syslog_prefix="shop", syslog_facility="local3",
                   syslog_addr=f"udp://127.0.0.1:{server.getsockname()[1]}")
        log.error("hello")
        data = server.recv(1000)
    assert data.rstrip(b"\0") == f"<155>gunicorn.shop.error: [{os.getpid()}] hello".encode()


# ---- a log that cannot be written: in a process of its own, nothing may come out of it ------------

WITHOUT_A_LOG = """
import os, sys
sys.path.insert(0, {here!r})
from test_logging import settings, glogging, ENVIRON, RESPONSE, REQUEST, TIME
log = glogging.Logger(settings(**{changed!r}))
{breakage}
for _ in range(3):
    log.error("error")
    log.access(RESPONSE, REQUEST, ENVIRON, TIME)
print("alive")
"""


@pytest.mark.parametrize("changed, breakage", [
    ({"errorlog": "/dev/full", "accesslog": "/dev/full"}, ""),
    ({"accesslog": "/dev/full"}, "os.close(2)"),
    ({"accesslog": "/dev/full"}, "sys.stderr.close()"),
    ({}, "log.error_log.handlers[0].stream = None"),
], ids=["full disk", "closed descriptor", "closed stream", "no stream"])
def test_a_log_that_cannot_be_written_drops_the_line(changed, breakage):
    code = WITHOUT_A_LOG.format(here=os.path.dirname(__file__), changed=changed, breakage=breakage)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_escaping_leaves_ordinary_text_alone():
    text = "ordinary /path?x=1&y=%20 caf\xe9"
    assert accessline.escape(text) is text


# ---- in a running server ---------------------------------------------------------------------


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_a_request_is_one_line_of_the_access_log(serve, tmp_path, worker_class):
    log = tmp_path / "access"
    server = serve("hello:app", "--access-logfile", str(log), worker_class=worker_class)
    body = server.get("/a%20b?x=1", headers=[("User-Agent", "test \"1\"")]).body
    line, = harness.wait_until(lambda: lines_of(log), "the line")
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /a%20b\?x=1 HTTP/1\.1" 200 '
                        + str(len(body)) + r' "-" "test \\"1\\""', line)


def test_hostile_bytes_stay_inside_their_field(serve, tmp_path, worker_class):
    log = tmp_path / "access"
    server = serve("hello:app", "--access-logfile", str(log), "--access-logformat",
                   "%(U)s|%(a)s|%({x-y}i)s", worker_class=worker_class)
    server.get("/%0a%1b%5b2J", headers=[("User-Agent", "a\x9b2J\xe9"), ("X-Y", "\\\"")])
    line, = harness.wait_until(lambda: lines_of(log), "the line")
    assert line == "/\\x0a\\x1b[2J|a\\x9b2J\xe9|\\\\\\\""


def test_usr1_reopens_both_logs_in_every_process(serve, tmp_path, worker_class):
    access, error = tmp_path / "access", tmp_path / "error"
    server = serve("hello:app", "--access-logfile", str(access), "--error-logfile", str(error),
                   worker_class=worker_class, workers=2, wait=False)
    harness.wait_until(lambda: error.exists() and error.read_text().count("Booting worker") == 2,
                       "two workers")
    for path in (access, error):
        if path.exists():
            path.rename(str(path) + ".1")
    server.signal(signal.SIGUSR1)
    harness.wait_until(lambda: access.exists() and error.exists(), "new files")

    def every_process_has_the_new_files():
        pids = [server.pid, *(c.pid for c in harness.children_of(server.pid))]
        for pid in pids:
            held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            if {f"{access}.1", f"{error}.1"} & held or not {str(access), str(error)} <= held:
                return False
        return len(pids) == 3
    harness.wait_until(every_process_has_the_new_files, "reopened files")
    assert server.stop() == 0


@pytest.mark.fault("M7")
def test_a_full_disk_does_not_stop_the_server(serve, worker_class):
    server = serve("hello:app", "--access-logfile", "/dev/full", worker_class=worker_class)
    for _ in range(3):
        assert server.get().status == 200
    assert "No space left" not in server.log
    assert server.stop() == 0


def test_captured_output_goes_to_the_error_log(serve, tmp_path, place):
    (place / "prints.py").write_text(
        "import os\nprint('from python', flush=True)\nos.write(2, b'from below\\n')\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n")
    error = tmp_path / "error"
    server = serve("prints:app", "--capture-output", "--error-logfile", str(error), wait=False,
                   env={"PYTHONDONTWRITEBYTECODE": "1"})
    harness.wait_until(lambda: any("from below" in text for text in lines_of(error)), "output")
    assert "from python" in lines_of(error)
    assert server.stop() == 0
    assert server.log == ""
