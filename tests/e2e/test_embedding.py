"""Programs and files that embed or extend gunicorn, in the shapes that public code has. Each is written as
for gunicorn and runs unchanged."""

from __future__ import annotations

import importlib.util
import signal
import sys
import textwrap

import pytest

from harness import DATA

APP = """
    import os

    def app(environ, start_response):
        body = ("pid %d" % os.getpid()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    """


@pytest.fixture
def run(serve, place):
    """Runs a script in which gunicorn means Saola; gives the server that it is."""
    def start(text, *args, name="program.py", **options):
        (place / "shop.py").write_text(textwrap.dedent(APP))
        (place / name).write_text(textwrap.dedent(text))
        command = [sys.executable, "-m", "saola.gunicorn", name, *args]
        return serve(command=command, bind=None, **options)
    return start


@pytest.fixture
def configured(serve, place):
    """Runs `saola` with a configuration file."""
    def start(text, *args, app="shop:app", **options):
        (place / "shop.py").write_text(textwrap.dedent(APP))
        (place / "gunicorn.conf.py").write_text(textwrap.dedent(text))
        return serve(command=[sys.executable, "-m", "saola", "--bind", "127.0.0.1:0", *args, app], bind=None,
                     **options)
    return start


def serves(server, stop=True):
    response = server.get("/")
    assert response.status == 200 and response.text.startswith("pid "), response
    if stop:
        assert server.stop() == 0
    return response


# ---- programs ------------------------------------------------------------------------------------------


def test_the_application_of_the_documentation(run):
    server = run("""
        import multiprocessing
        import gunicorn.app.base

        def number_of_workers():
            return min(2, multiprocessing.cpu_count() * 2 + 1)

        def handler_app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"pid of the documentation"]

        class StandaloneApplication(gunicorn.app.base.BaseApplication):
            def __init__(self, app, options=None):
                self.options = options or {}
                self.application = app
                super().__init__()

            def load_config(self):
                config = {key: value for key, value in self.options.items()
                          if key in self.cfg.settings and value is not None}
                for key, value in config.items():
                    self.cfg.set(key.lower(), value)

            def load(self):
                return self.application

        if __name__ == "__main__":
            StandaloneApplication(handler_app, {"bind": "127.0.0.1:0", "workers": number_of_workers(),
                                                "no_such_setting": 1}).run()
        """)
    server.wait_workers(2)
    serves(server)


def test_an_application_whose_init_gives_settings_and_reads_the_command_line(run):
    server = run("""
        import sys
        from gunicorn.app.base import Application
        from gunicorn import util

        class Served(Application):
            def init(self, parser, opts, args):
                if len(args) != 1:
                    parser.error("No application module specified.")
                self.app_uri = args[0]
                return {"bind": "127.0.0.1:0", "workers": 3, "default_proc_name": "served", "threads": 2}

            def load(self):
                return util.import_app(self.app_uri)

        sys.path.insert(0, ".")
        Served("%(prog)s [OPTIONS] APP").run()
        """, "-w", "1", "shop:app")
    server.wait_log("Using worker: gthread")
    assert len(server.wait_workers(1)) == 1
    serves(server)


def test_a_program_that_is_a_module(serve, place):
    (place / "shop.py").write_text(textwrap.dedent(APP))
    (place / "program.py").write_text(textwrap.dedent("""
        import sys
        from gunicorn.app.wsgiapp import run
        assert __name__ == "__main__"
        sys.argv += ["-b", "127.0.0.1:0", "shop:app"]
        run()
        """))
    server = serve(command=[sys.executable, "-m", "saola.gunicorn", "-m", "program", "-w", "2"], bind=None)
    server.wait_workers(2)
    serves(server)


def test_a_wsgiapplication_with_app_uri_and_load_config(run):
    server = run("""
        from gunicorn.app.wsgiapp import WSGIApplication

        class Mine(WSGIApplication):
            def __init__(self, app_uri, options=None):
                self.options = options or {}
                self.app_uri = app_uri
                super().__init__()

            def load_config(self):
                for key, value in self.options.items():
                    if key in self.cfg.settings and value is not None:
                        self.cfg.set(key.lower(), value)

        Mine("shop:app", {"bind": "127.0.0.1:0", "worker_class": "gthread"}).run()
        """)
    serves(server)


def test_wsgiapp_run_with_a_faked_command_line(run):
    server = run("""
        import sys
        from gunicorn.app import wsgiapp

        sys.argv = ["gunicorn", "--bind=127.0.0.1:0", "--workers=2", "--log-level=debug", "shop:app"]
        if __name__ == "__main__":
            wsgiapp.run()
        """)
    server.wait_workers(2)
    server.wait_log("Current configuration:")
    serves(server)


def test_a_run_of_ones_own_with_an_arbiter_of_ones_own(run):
    server = run("""
        import sys
        from gunicorn.app.base import BaseApplication
        from gunicorn.arbiter import Arbiter

        class Watched(Arbiter):
            def start(self):
                super().start()
                self.log.info("WATCHED %s %d %s", self.cfg.proc_name, self.num_workers, len(self.LISTENERS))

            def reload(self):
                super().reload()

        class Program(BaseApplication):
            def load_config(self):
                self.cfg.set("bind", "127.0.0.1:0")
                self.cfg.set("proc_name", "watched")

            def load(self):
                import shop
                return shop.app

            def run(self):
                try:
                    Watched(self).run()
                except RuntimeError as e:
                    sys.stderr.write("\\nError: %s\\n\\n" % e)
                    sys.exit(1)

        Program().run()
        """)
    server.wait_log("WATCHED watched 1 1")
    serves(server)


def test_a_patched_start_of_the_arbiter(run):
    server = run("""
        import gunicorn.arbiter
        from gunicorn.app.wsgiapp import WSGIApplication
        import sys

        start = gunicorn.arbiter.Arbiter.start

        def patched(self):
            start(self)
            print("PATCHED", len(self.LISTENERS), self.address[0][0], flush=True)

        gunicorn.arbiter.Arbiter.start = patched
        sys.argv[1:] = ["-b", "127.0.0.1:0", "shop:app"]
        WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()
        """)
    server.wait_log("^PATCHED 1 127.0.0.1")
    serves(server)


def test_a_setting_of_ones_own_with_a_flag(run):
    server = run("""
        import sys
        from gunicorn.app.wsgiapp import WSGIApplication
        from gunicorn.config import KNOWN_SETTINGS, Setting, validate_pos_int

        class Shelves(Setting):
            name = "shelves"
            section = "Shop"
            cli = ["--shelves"]
            meta = "INT"
            validator = validate_pos_int
            type = int
            default = 3
            desc = '''\\
                How many shelves the shop has.
                '''

        assert any(setting.name == "shelves" for setting in KNOWN_SETTINGS)

        def post_worker_init(worker):
            print("SHELVES", worker.cfg.shelves, worker.cfg.settings["shelves"].short, flush=True)

        class Shop(WSGIApplication):
            def load_config(self):
                super().load_config()
                self.cfg.set("post_worker_init", post_worker_init)

        Shop("%(prog)s [OPTIONS] [APP_MODULE]").run()
        """, "-b", "127.0.0.1:0", "--shelves", "7", "shop:app")
    server.wait_log("^SHELVES 7 How many shelves the shop has.$")
    serves(server)


def test_patched_names_of_worker_classes(run):
    server = run("""
        import sys
        import gunicorn.workers
        from gunicorn.app.wsgiapp import run

        gunicorn.workers.SUPPORTED_WORKERS["tiny"] = "tiny.TinyWorker"
        sys.argv[1:] = ["-b", "127.0.0.1:0", "-k", "tiny", "shop:app"]
        run()
        """, env={"PYTHONPATH": str(DATA)})
    server.wait_log("Using worker: tiny")
    assert server.get("/").text.startswith("pid=")
    assert server.stop() == 0


def test_a_table_of_all_settings(run, serve):
    server = run("""
        import argparse
        from gunicorn import config

        parser = argparse.ArgumentParser()
        settings = config.make_settings(ignore=("config",))
        for name in sorted(settings, key=lambda k: settings[k].order):
            settings[name].add_option(parser)
        args = parser.parse_args(["--workers", "4"])
        cfg = config.Config()
        for key, value in vars(args).items():
            if value is not None:
                cfg.set(key.lower(), value)
        print("TABLE", cfg.workers, cfg.address, cfg.settings["workers"].section, len(cfg.settings) > 100)
        """, wait=False)
    assert server.wait_exit() == 0
    server.wait_log(r"^TABLE 4 \[\('127.0.0.1', 8000\)\] Worker Processes True")


# ---- configuration files, with the classes that they name ------------------------------------------------


@pytest.mark.leaves("ready", "gunicorn.conf.py", "shop.py")
def test_a_file_when_ready_another_name_and_hooks_that_log(configured, place):
    server = configured("""
        import gunicorn
        gunicorn.SERVER = "shop"
        gunicorn.SERVER_SOFTWARE = "shop"

        def when_ready(server):
            open("ready", "w").close()
            server.log.info("HOOK ready %s", server.address[0][0])

        def pre_fork(server, worker):
            server.log.info("HOOK fork %s", worker.age)

        def post_fork(server, worker):
            server.log.info("HOOK forked %s %s", worker.pid == __import__("os").getpid(), worker.ppid == server.pid)

        def post_worker_init(worker):
            worker.log.info("HOOK init %s", worker.wsgi.__name__)

        def child_exit(server, worker):
            server.log.info("HOOK exit %s", worker.age)
        """)
    server.wait_log("HOOK init app")
    assert (place / "ready").exists()
    response = serves(server)
    assert response.header("server") == "shop"
    hooks = [line.partition("HOOK ")[2] for line in server.log.splitlines() if "HOOK" in line]
    assert hooks == ["ready 127.0.0.1", "fork 1", "forked True True", "init app", "exit 1"]


def test_a_logger_of_ones_own(configured):
    server = configured("""
        import gunicorn.glogging

        class Mine(gunicorn.glogging.Logger):
            def setup(self, cfg):
                super().setup(cfg)
                self.error_log.name_of_mine = "mine"

            def now(self):
                return "[now]"

            def atoms(self, resp, req, environ, request_time):
                return {**super().atoms(resp, req, environ, request_time), "x": environ["PATH_INFO"] + "!"}

            def access(self, resp, req, environ, request_time):
                if req.path != "/health":
                    super().access(resp, req, environ, request_time)

        logger_class = Mine
        accesslog = "-"
        access_log_format = 'ACCESS %(x)s %(s)s %(t)s'
        """)
    server.get("/health")
    server.get("/shop")
    server.wait_log(r"ACCESS /shop! 200 \[now\]")
    assert server.stop() == 0
    assert "ACCESS /health" not in server.log


def test_a_subclassed_threadworker(configured):
    server = configured("""
        from gunicorn.workers.gthread import ThreadWorker

        class Mine(ThreadWorker):
            def init_process(self):
                self.log.info("MINE init_process %s", self.cfg.threads)
                super().init_process()

            def handle_exit(self, sig, frame):
                self.log.info("MINE handle_exit")
                super().handle_exit(sig, frame)

            def handle_quit(self, sig, frame):
                self.log.info("MINE handle_quit")
                super().handle_quit(sig, frame)

            def run(self):
                self.log.info("MINE run %s", self.booted)
                super().run()
                self.log.info("MINE has run %s", self.nr)

            def notify(self):
                super().notify()

        worker_class = Mine
        threads = 3
        """)
    server.wait_log("MINE run True")
    serves(server)
    mine = [line.partition("MINE ")[2] for line in server.log.splitlines() if "MINE" in line]
    assert mine == ["init_process 3", "run True", "handle_exit", "has run 1"]


def test_a_subclassed_syncworker_is_told_what_never_runs(configured):
    server = configured("""
        from gunicorn.workers.sync import SyncWorker

        class Mine(SyncWorker):
            def handle_request(self, listener, req, client, addr):
                return super().handle_request(listener, req, client, addr)

            def handle_quit(self, sig, frame):
                print("MINE handle_quit", flush=True)
                super().handle_quit(sig, frame)

        worker_class = Mine
        """)
    server.wait_log(r"Mine\.handle_request\(\) is never called")
    serves(server, stop=False)
    server.stop(signal.SIGQUIT)
    assert "MINE handle_quit" in server.log


uvicorn = pytest.mark.skipif(importlib.util.find_spec("uvicorn_worker") is None, reason="no uvicorn for this Python")


@uvicorn
@pytest.mark.log_may_contain("Traceback")
@pytest.mark.parametrize("kind", ["uvicorn_worker.UvicornWorker", "uvicorn.workers.UvicornWorker"])
def test_a_startup_that_fails_in_uvicorns_worker_is_a_boot_that_failed(serve, place, kind):
    (place / "shop_asgi.py").write_text(textwrap.dedent("""
        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        """))
    server = serve("shop_asgi:app", worker_class=kind, wait=False)
    assert server.wait_exit() == 3
    assert "no database" in server.log and server.log.count("Booting worker") == 1


@uvicorn
def test_a_subclassed_worker_of_uvicorn(configured, place):
    (place / "shop_asgi.py").write_text(textwrap.dedent("""
        async def app(scope, receive, send):
            assert scope["type"] == "http" and scope["root_path"] == "/shop"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"pid of uvicorn"})
        """))
    server = configured("""
        from uvicorn_worker import UvicornWorker

        class Mine(UvicornWorker):
            CONFIG_KWARGS = {"loop": "asyncio", "http": "h11", "lifespan": "off", "root_path": "/shop"}

        worker_class = Mine
        """, app="shop_asgi:app")
    serves(server)
