"""No kind of request leaves a reference or an object behind.

SAOLA_TEST_REQUESTS of each kind (500; `SAOLA_TEST_REQUESTS=10000` for a long run). What leaks shows
once a request; a table of CPython that grows once is below LIMIT. Objects are counted under every
interpreter, references under a debug build of CPython.
"""

import os
import subprocess
import sys

import pytest

from harness import Connection, Truncated, format_request

REQUESTS = int(os.environ.get("SAOLA_TEST_REQUESTS", "500"))
LIMIT = max(200, REQUESTS // 20)
WARM_UP = min(REQUESTS, 300)  # fills every cache
BATCH = 50
CHUNKED = [("Transfer-Encoding", "chunked")]
CHUNKS = b"5\r\none\n2\r\n6\r\n\nthree\r\n0\r\n\r\n"


def get(path, count=0):
    """A request whose path and fields are the same each time if count is 0, new ones otherwise."""
    def make(number):
        if not count:
            return format_request("GET", f"/{path}")
        fields = [(f"X-Field-{i}", f"{number * i}") for i in range(count)]
        return format_request("GET", f"/{path}/{number}%20?n={number}", headers=fields)
    return make


def post(path, body, headers=()):
    return lambda number: format_request("POST", f"/{path}", body=body, headers=headers)


# Kind: what is sent. The answer's status does not matter here, but it must be a whole one.
KINDS = {name: get(name) for name in (
    "one", "several", "generator", "write", "hints", "sent_file", "wrapped", "keeps", "cycle",
    "again", "fails", "no_bytes", "no_iterable", "bad_header", "bad_status", "close_fails")}
KINDS |= {
    "few fields": get("one", 5), "many fields": get("one", 60),
    "twice": lambda number: format_request("GET", "/one", headers=[("X-A", "1"), ("X-A", "2")]),
    "body": post("read", b"x" * 2000), "body in chunks": post("read", CHUNKS, CHUNKED),
    "body unread": post("one", b"x" * 2000),
    "lines": post("lines", b"1\n2\n3\n4"), "lines in chunks": post("lines", CHUNKS, CHUNKED),
    "head": lambda number: format_request("HEAD", "/several"),
    "options": lambda number: format_request("OPTIONS", "/one", version="HTTP/1.0"),
}
# The same on connections that end with the request, one way or the other.
SINGLE = {
    "close": lambda number: format_request("GET", "/one", headers=[("Connection", "close")]),
    "fails_late": get("fails_late"),
    "bad request": lambda number: b"GET /one HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no request": lambda number: b"\x16\x03\x01\r\n\r\n",
    "body cut": lambda number: format_request("POST", "/read", body=b"abc", headers=[
        ("Content-Length", "10"), ("Connection", "close")]),
    "broken chunks": post("read", b"zz\r\n", CHUNKED),
}


def pipelined(address, make, requests):
    """Requests, BATCH at a time on one connection as long as it lasts."""
    method = make(0).split(b" ", 1)[0].decode()
    connection, done = Connection(address), 0
    while done < len(requests):
        batch = requests[done:done + BATCH]
        connection.send(b"".join(make(number) for number in batch))
        for _ in batch:
            response = connection.read_response(method)
            done += 1
            if response.closes:
                connection.close()
                connection = Connection(address)
                break
    connection.close()


def one_by_one(address, make, requests):
    for number in requests:
        with Connection(address) as connection:
            connection.send(make(number))
            connection.sock.shutdown(1)
            try:
                connection.read_to_end()
            except (ConnectionResetError, Truncated):
                pass


def counts(server):
    return [int(word) for word in server.get("/refs").text.split()]


MODES = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "3"],
    "observed": ["--worker-class", "sync", "--access-logfile", "/dev/null"],
}


@pytest.mark.fault("M32")
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("mode", MODES)
def test_no_kind_of_request_leaves_anything_behind(serve, mode):
    config = "import leak_cases\npre_request = leak_cases.before\npost_request = leak_cases.after" \
        if mode == "observed" else None
    server = serve("leak_cases:app", *MODES[mode], config=config, env={"PYTHONPATH": DATA})
    leaks = {}
    for run, kinds in ((pipelined, KINDS), (one_by_one, SINGLE)):
        for name, make in kinds.items():
            run(server.address, make, range(WARM_UP))
            for _ in range(3):  # what leaks does so each time
                counts(server)
                before = counts(server)
                run(server.address, make, range(WARM_UP, WARM_UP + REQUESTS))
                growth = [new - old for new, old in zip(counts(server), before)]
                if max(growth) <= LIMIT:
                    break
            else:
                leaks[name] = growth
    assert not leaks, f"references and objects more after {REQUESTS} requests: {leaks}"


DATA = os.path.join(os.path.dirname(__file__), "data")

# Calls of the extension that make and give back objects, with failures: name -> function.
CALLS = """
import gc, os, socket, sys
from saola import _saola
sys.path.insert(0, sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
log_file = open(os.devnull, "w")
options = {"environ": {"wsgi.errors": sys.stderr}, "on_error": print, "on_bad_request": print,
           "on_limit": print, "observer": None, "file_range": None, "script_name": "/a",
           "threads": 0, "server_name": "x", "header_map": "drop", "proxy_allow": ["127.0.0.1"],
           "scheme_headers": {"X-FORWARDED-PROTO": "https"}, "forwarder_headers": ["A", "B"]}

class Owner:
    def _exec_argv(self):
        return ("/bin/true", "true")

    def _exec_dir(self):
        return "/"

def must_fail(error, function, *args, **named):
    try:
        function(*args, **named)
    except error:
        return
    raise AssertionError(function)

def engine(threads=0, **more):
    made = _saola.Engine(lambda e, s: [], [listener.fileno()], None, options | {"threads": threads,
                         **more})
    made.turn(0), made.fileno(), made.requests, made.connections
    made.stop()
    assert made.close(5)

def engine_in_a_cycle():
    def app(environ, start_response):
        return app.engine
    app.engine = _saola.Engine(app, [listener.fileno()], None, options)

def config():
    made = _saola.CoreConfig()
    made.set("workers", "2", "here"), made.text("workers"), made.source("workers")
    must_fail(_saola.SettingError, made.set, "workers", "many")
    must_fail(_saola.SettingError, made.clear, "workers")
    must_fail(TypeError, made.set, "workers", 2)

def arbiter():
    made = _saola.ArbiterCore(Owner())
    made.set_workers(2), made.workers_wanted, made.reexec_pid, made.master_pid, made.running
    must_fail(ValueError, made.set_workers, -1)

def access_log():
    made = _saola.AccessLog("%(h)s", log_file.fileno(), None, ["/health 2xx"])
    made.flush(), made.dropped, made.reopen(log_file)
    assert made.close(5) and made.close(5)
    _saola.AccessLog("json", -1, print, [])
    must_fail(ValueError, _saola.AccessLog, "", -1, print, ["x"])
    must_fail(NotImplementedError, _saola.AccessLog, "%({a}e)s", -1, print, [])
    must_fail(TypeError, _saola.AccessLog, "", -1, print, [1])

calls = {
    "access_log": access_log, "engine": engine, "pool": lambda: engine(2), "engine_in_a_cycle": engine_in_a_cycle,
    "engine_refused": lambda: must_fail(TypeError, engine, 0, unknown=1) or
                              must_fail(ValueError, engine, 0, header_map="x") or
                              must_fail(TypeError, engine, 0, scheme_headers=1) or
                              must_fail(TypeError, engine, 0, access_log=1) or
                              must_fail(TypeError, _saola.Engine, 1, [], None, {}),
    "config": config, "arbiter": arbiter, "table": _saola.settings_table,
    "nearest": lambda: (_saola.nearest_setting("wrokers"), _saola.nearest_word("a", ["b", "ab"]),
                        must_fail(TypeError, _saola.nearest_word, "a", [1])),
}
total = getattr(sys, "gettotalrefcount", lambda: 0)

def counted(function, count):
    for _ in range(count):
        function()
    gc.collect()
    return total(), sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))

count = int(sys.argv[1])
for name, function in calls.items():
    counted(function, count)
    for _ in range(3):
        before = counted(function, 1)
        grown = [new - old for new, old in zip(counted(function, count), before)]
        if max(grown) <= count // 10:
            break
    else:
        print(name, grown)
listener.close(), log_file.close()
"""


def test_objects_of_the_extension_give_everything_back():
    count = str(max(100, REQUESTS // 10))
    done = subprocess.run([sys.executable, "-c", CALLS, count, DATA], capture_output=True, text=True,
                          timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
