"""PasteDeploy: applications of --paste, and servers of its files that are ours."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

from harness import wait_until

pytest.importorskip("paste.deploy")

SHOP = """
    import logging, os
    def make(global_conf, **local_conf):
        def app(environ, start_response):
            logging.getLogger("shop").warning("LOGGED")
            body = f"pid {os.getpid()} {local_conf} {global_conf.get('town')}".encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        return app
    """

FILE = """
    [app:main]
    use = call:shop:make
    sells = all
    [app:books]
    use = call:shop:make
    sells = books
    [server:main]
    use = egg:saola#main
    host = 127.0.0.1
    port = 0
    workers = 2
    """

LOGGING = """
    [loggers]
    keys = root, gunicorn.error
    [handlers]
    keys = all
    [formatters]
    keys = all
    [logger_root]
    level = INFO
    handlers = all
    [logger_gunicorn.error]
    level = INFO
    handlers = all
    propagate = 0
    qualname = gunicorn.error
    [handler_all]
    class = StreamHandler
    args = (sys.stdout,)
    formatter = all
    [formatter_all]
    format = OF THE FILE %(name)s %(message)s
    """


@pytest.fixture
def ini(place, tmp_path):
    """The file, outside of the server's directory."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    def write(text=FILE):
        (tmp_path / "shop.ini").write_text(textwrap.dedent(text))
        return tmp_path / "shop.ini"
    return write


def test_an_application_of_a_file(serve, ini):
    file = ini(FILE + LOGGING)
    server = serve(None, "--paste", f"{file}#books", "--paste-global", "town=a\\=b", "-w", "2",
                   "--pythonpath", str(file.parent))
    before = server.wait_workers(2)
    text = server.get("/").text
    assert text.startswith("pid ") and text.endswith("{'sells': 'books'} a=b")
    server.wait_log("^OF THE FILE shop LOGGED")
    server.wait_log("^OF THE FILE gunicorn.error Listening at")
    ini(FILE.replace("sells = books", "sells = maps") + LOGGING)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(server.wait_workers(2)), "new workers")
    assert "'maps'" in server.get("/").text
    assert server.stop() == 0


def test_a_server_of_a_file(serve, ini):
    """As pserve does it."""
    file = ini()
    script = file.parent / "pserve.py"
    script.write_text("import sys\nfrom paste.deploy import loadapp, loadserver\nuri = 'config:' + sys.argv[1]\n"
                      "loadserver(uri)(loadapp(uri))\n")
    server = serve(command=[sys.executable, str(script), str(file)], bind=None)
    server.wait_workers(2)
    assert "{'sells': 'all'} None" in server.get("/").text
    assert server.stop() == 0


@pytest.mark.parametrize("text, what", [
    (FILE + "    wokers = 2\n", "wokers"),
    (FILE.replace("workers = 2", "workers = two"), "workers"),
])
def test_a_mistake_in_the_section_of_the_server_is_one_line(serve, ini, text, what):
    file = ini(text)
    script = ("import sys\nfrom paste.deploy import loadapp, loadserver\nuri = 'config:' + sys.argv[1]\n"
              "loadserver(uri)(loadapp(uri))\n")
    server = serve(command=[sys.executable, "-c", script, str(file)], bind=None, wait=False,
                   env={"PYTHONPATH": str(file.parent)})
    assert server.wait_exit() == 1
    assert len(server.log.splitlines()) == 1 and f"{file}, section of the server" in server.log and what in server.log


def test_a_file_that_is_not_there(serve):
    server = serve(None, "--paste", "no.ini", wait=False)
    assert server.wait_exit() == 1
    assert "no.ini' not found (--paste)" in server.log and len(server.log.splitlines()) == 1
