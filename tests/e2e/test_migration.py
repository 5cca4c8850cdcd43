"""What a team meets that types `saola` where it typed `gunicorn`: start lines, configuration files,
worker and logger classes as public projects have them. The expected facts were read off gunicorn 26.1.
"""

from __future__ import annotations

import json
import re
import signal
import textwrap
from pathlib import Path

import pytest

from harness import wait_until

APP = '''
    import json, os, time

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            time.sleep(float(environ["QUERY_STRING"]))
        if path == "/boom":
            raise ValueError("boom")
        if path == "/environ":
            body = json.dumps({k: v for k, v in environ.items() if isinstance(v, str)})
        else:
            body = f"pid {os.getpid()}"
        start_response("200" if path == "/bare" else "200 OK", [("Content-Type", "text/plain")])
        return [body.encode()]
'''


@pytest.fixture
def write(place: Path):
    """Writes files of the server's directory before it starts; `app` is always there."""
    def put(name: str, text: str) -> Path:
        path = place / name
        path.write_text(textwrap.dedent(text))
        return path
    put("shop.py", APP)
    return put


def masked(log: str, pid: int) -> list[str]:
    """Lines without time; the arbiter's pid as M, others as W."""
    lines = []
    for line in log.splitlines():
        line = re.sub(r"^\[[^\]]*\] ", "", line)
        line = re.sub(rf"\b{pid}\b", "M", line)
        line = re.sub(r"^\[\d+\]", "[W]", line)
        lines.append(re.sub(r"pid: ?\d+", "pid: W", line))
    return lines


# ---- the command line of a Dockerfile ------------------------------------------------------------------


def test_a_container_start_line_prints_gunicorns_lines_in_gunicorns_order(serve, write):
    server = serve("shop:app", "--workers=1", "--threads=4", "--worker-tmp-dir", "/dev/shm",
                   "--log-file=-", env={"GUNICORN_CMD_ARGS": "--access-logfile=-",
                                        "WEB_CONCURRENCY": "3"})
    server.get("/?a=b")
    server.wait_log(r'GET /\?a=b HTTP/1.1')
    assert server.stop() == 0
    starting, *lines = masked(server.log, server.pid)
    assert re.fullmatch(r"\[M\] \[INFO\] Starting \S+ \S+", starting)
    access = re.compile(r'127\.0\.0\.1 - - \[\S+ [+-]\d{4}\] "GET /\?a=b HTTP/1\.1" 200 \d+ "-" "-"')
    assert [line for line in lines if not access.fullmatch(line)] == [
        f"[M] [INFO] Listening at: {server.url} (M)",
        "[M] [INFO] Using worker: gthread",
        "[W] [INFO] Booting worker with pid: W",
        "[M] [INFO] Handling signal: term",
        "[W] [INFO] Worker exiting (pid: W)",
        "[M] [INFO] Shutting down: Master",
    ]


@pytest.mark.parametrize("flag", ["--preload", "--check-config"])
def test_a_missing_module_that_the_arbiter_itself_imports_is_exit_code_1(serve, flag):
    server = serve("nosuch:app", flag, wait=False)
    assert server.wait_exit() == 1
    assert "No module named 'nosuch'" in server.log


# ---- gunicorn.conf.py ----------------------------------------------------------------------------------

CONFIG = '''
    import logging, multiprocessing, os, sys, threading, traceback
    import gunicorn

    gunicorn.SERVER = "shop"
    bind = "127.0.0.1:0"
    backlog = 2048
    workers = min(1, multiprocessing.cpu_count() * 2 + 1)
    worker_class = "gthread"
    threads = 2
    worker_connections = 1000
    timeout = 30
    graceful_timeout = 30
    keepalive = 2
    spew = False
    daemon = False
    raw_env = ["SHOP=open"]
    pidfile = None
    umask = 0
    user = None
    group = None
    tmp_upload_dir = None
    errorlog = "-"
    loglevel = "info"
    accesslog = "-"
    access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s %(L)s'
    proc_name = None
    max_requests = 1000
    max_requests_jitter = 50
    preload_app = False
    worker_tmp_dir = "/dev/shm"
    forwarded_allow_ips = "*"
    secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}

    logger = logging.getLogger("gunicorn.error")

    def say(name, *facts):
        logger.info("HOOK %s %s", name, facts)

    def on_starting(server):
        say("on_starting", type(server).__name__, server.cfg.workers)
    def when_ready(server):
        open("ready", "w").close()
        say("when_ready", server.num_workers)
    def nworkers_changed(server, new_value, old_value):
        say("nworkers_changed", new_value, old_value)
    def pre_fork(server, worker):
        say("pre_fork", worker.age, worker.pid)
    def post_fork(server, worker):
        say("post_fork", worker.age, worker.pid == os.getpid(), worker.ppid == server.pid)
    def post_worker_init(worker):
        say("post_worker_init", callable(worker.wsgi), worker.alive, worker.nr, worker.timeout)
    def pre_request(worker, req):
        say("pre_request", req.method, req.path, req.query, dict(req.headers)["HOST"])
    def post_request(worker, req, environ, resp):
        say("post_request", req.uri, environ["REQUEST_METHOD"], resp.status, resp.sent, worker.nr)
        if req.path == "/fat":
            worker.alive = False
    def worker_int(worker):
        for ident, stack in sys._current_frames().items():
            traceback.extract_stack(stack)
        say("worker_int", worker.age, len(threading.enumerate()) > 0)
    def worker_exit(server, worker):
        say("worker_exit", worker.age, worker.nr)
    def child_exit(server, worker):
        say("child_exit", worker.age, worker.pid in server.WORKERS)
    def on_exit(server):
        os.unlink("ready")
        say("on_exit")
'''


def hooks_of(log: str) -> list[str]:
    return re.findall(r"HOOK (.*)", log)


def test_a_configuration_file_with_all_the_usual_names(serve, write, place):
    write("gunicorn.conf.py", CONFIG)
    server = serve("shop:app", bind=None)
    server.wait_log("HOOK post_worker_init")
    assert (place / "ready").exists()
    response = server.get("/a?b")
    assert response.header("server") == "shop"
    server.wait_log(r'"GET /a\?b HTTP/1.1" 200 \d+ 0\.\d{6}')
    server.signal(signal.SIGQUIT, server.worker_pids[0])
    server.wait_log("HOOK post_worker_init", 2)
    assert server.stop() == 0
    sent = len(response.body)
    assert hooks_of(server.log) == [
        "nworkers_changed (1, None)",
        "on_starting ('Arbiter', 1)",
        "when_ready (1,)",
        "pre_fork (1, '[booting]')",
        "post_fork (1, True, True)",
        "post_worker_init (True, True, 0, 15.0)",
        "pre_request ('GET', '/a', 'b', 'localhost')",
        f"post_request ('/a?b', 'GET', '200 OK', {sent}, 1)",
        "worker_int (1, True)",
        "worker_exit (1, 1)",
        "child_exit (1, False)",
        "pre_fork (2, '[booting]')",
        "post_fork (2, True, True)",
        "post_worker_init (True, True, 0, 15.0)",
        "worker_exit (2, 0)",
        "child_exit (2, False)",
        "on_exit ()",
    ]


def test_a_hook_that_clears_alive_replaces_the_worker(serve, write, place):
    """As files do that watch the memory of their workers."""
    write("gunicorn.conf.py", CONFIG)
    server = serve("shop:app", bind=None)
    old = server.wait_workers(1)
    assert server.get("/fat").status == 200
    wait_until(lambda: server.worker_pids and server.worker_pids != old, "another worker")
    server.wait_log("HOOK post_worker_init", 2)
    assert server.get("/").text == f"pid {server.worker_pids[0]}"


# ---- classes -------------------------------------------------------------------------------------------

CLASSES = '''
    from gunicorn.glogging import Logger
    from gunicorn.workers.gthread import ThreadWorker
    from gunicorn.workers.sync import SyncWorker

    class Certificates(SyncWorker):
        def handle_request(self, listener, req, client, addr):
            return super().handle_request(listener, req, client, addr)
        def handle_error(self, req, client, addr, exc):
            super().handle_error(req, client, addr, exc)

    class Pooled(ThreadWorker):
        def get_thread_pool(self):
            return super().get_thread_pool()
        def run(self):
            super().run()

    class Polite(SyncWorker):
        def init_process(self):
            self.log.info("STEP init_process")
            super().init_process()
        def init_signals(self):
            self.log.info("STEP init_signals")
            super().init_signals()
        def run(self):
            self.log.info("STEP run")
            super().run()
        def handle_exit(self, sig, frame):
            self.log.info("STEP handle_exit")
            super().handle_exit(sig, frame)
        def handle_quit(self, sig, frame):
            self.log.info("STEP handle_quit")
            super().handle_quit(sig, frame)

    class Quiet(Logger):
        def access(self, resp, req, environ, request_time):
            if req.path != "/health":
                super().access(resp, req, environ, request_time)
        def atoms(self, resp, req, environ, request_time):
            return {**super().atoms(resp, req, environ, request_time), "rid": "R1"}
        def now(self):
            return "[now]"
'''


@pytest.mark.parametrize("name, ignored", [
    ("Certificates", ["handle_error", "handle_request"]), ("Pooled", ["get_thread_pool"]),
    ("Polite", [])])
def test_a_method_that_the_engine_in_c_cannot_call_is_named(serve, write, name, ignored):
    write("classes.py", CLASSES)
    server = serve("shop:app", "--worker-class", f"classes.{name}")
    assert server.get("/").status == 200
    assert re.findall(rf"\[WARNING\] {name}\.(\w+)\(\) is never called", server.log) == ignored


def test_what_a_worker_class_may_override_is_called(serve, write):
    write("classes.py", CLASSES)
    server = serve("shop:app", "--worker-class", "classes.Polite")
    assert server.get("/").status == 200
    server.signal(signal.SIGINT, server.worker_pids[0])
    server.wait_log("STEP run", 2)
    assert server.get("/").status == 200
    server.stop()
    start = ["init_process", "init_signals", "run"]
    assert re.findall(r"STEP (\w+)", server.log) == [*start, "handle_quit", *start, "handle_exit"]


def test_a_logger_class_of_ones_own(serve, write, worker_class):
    write("classes.py", CLASSES)
    server = serve("shop:app", "--logger-class", "classes.Quiet", "--access-logfile", "-",
                   "--access-logformat", "LINE %(t)s %(rid)s %(U)s %({content-type}o)s %(nope)s",
                   worker_class=worker_class)
    server.get("/health")
    server.get("/x")
    server.wait_log("LINE")
    server.stop()
    assert re.findall("LINE.*", server.log) == ["LINE [now] R1 /x text/plain -"]


# ---- requests ------------------------------------------------------------------------------------------


def test_a_status_without_a_reason_is_taken(serve, write, worker_class):
    server = serve("shop:app", "--access-logfile", "-", "--access-logformat", "%(s)s %({content-type}o)s",
                   worker_class=worker_class)
    response = server.get("/bare")
    assert (response.status, response.reason) == (200, "")
    server.wait_log("^200 text/plain$")


def test_a_gthread_worker_is_not_killed_over_a_slow_request(serve, write):
    server = serve("shop:app", "--timeout", "1", worker_class="gthread")
    pids = server.wait_workers(1)
    assert server.get("/sleep?3").text == f"pid {pids[0]}"
    assert "WORKER TIMEOUT" not in server.log


def test_proxy_headers_give_both_addresses_on_every_request(serve, write, worker_class):
    server = serve("shop:app", "--proxy-protocol", "auto", worker_class=worker_class)
    with server.connect() as connection:
        connection.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        for _ in range(2):
            environ = json.loads(connection.request("GET", "/environ").body)
            assert {key: environ[key] for key in environ if re.match("(REMOTE|PROXY)_", key)} == {
                "REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "4711", "PROXY_PROTOCOL": "TCP4",
                "PROXY_ADDR": "198.51.100.1", "PROXY_PORT": "443"}


def test_the_request_of_a_hook_knows_the_proxy_and_who_connected(serve, write):
    server = serve("shop:app", "--proxy-protocol", "auto", config=textwrap.dedent("""
        def pre_request(worker, req):
            worker.log.info("INFO %s %s", req.proxy_protocol_info, req.peer_addr[0])
    """))
    with server.connect() as connection:
        connection.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        connection.request("GET", "/")
    line = server.wait_log(r"INFO (\{.*\}) (\S+)")
    assert line[2] == "127.0.0.1"
    assert json.loads(line[1].replace("'", '"')) == {
        "proxy_protocol": "TCP4", "client_addr": "192.0.2.7", "client_port": 4711,
        "proxy_addr": "198.51.100.1", "proxy_port": 443}


# ---- signals -------------------------------------------------------------------------------------------


def test_term_does_not_wait_for_idle_connections(serve, write, worker_class):
    """gunicorn's gthread waits for the end of keepalive."""
    server = serve("shop:app", "--keep-alive", "600", worker_class=worker_class)
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.request("GET", "/")
    assert server.stop(timeout=15) == 0
    for connection in connections:
        assert connection.at_end()
        connection.close()


def test_reload_in_development_says_that_it_is_on(serve, write):
    server = serve("shop:app", "--reload")
    server.wait_log(r"\[WARNING\] Reloader is on\. Use in development only!")
