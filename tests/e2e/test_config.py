"""Settings in Python: gunicorn's names and defaults, what is refused and how, sources, help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from saola import _saola, config, help as help_texts, util
from saola.config import KNOWN_SETTINGS, Config, Setting
from saola.errors import ConfigError

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "data" / "gunicorn_settings.json").read_text())


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*config.ENVIRONMENT_DEFAULTS, *config.CMD_ARGS_VARIABLES, "SENDFILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cfg() -> Config:
    return Config("%(prog)s [OPTIONS] [APP_MODULE]", prog="saola")


# ---- the table against gunicorn's ------------------------------------------------------------


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["name"])
def test_a_setting_of_gunicorn_is_here_as_it_is_there(fact: dict) -> None:
    cls = getattr(config, fact["cls"])
    assert cls.name == fact["name"]
    assert KNOWN_SETTINGS[FACTS.index(fact)] is cls and cls.order == FACTS.index(fact)
    assert (cls.cli or [])[:len(fact.get("cli", []))] == fact.get("cli", [])  # ours may come after
    for key in ("section", "action", "nargs", "const"):
        assert getattr(cls, key) == fact.get(key), key
    if "arity" in fact:
        assert util.get_arity(cls.default) == fact["arity"]
    elif fact["name"] == "logger_class":
        assert cls.default == fact["default"].replace("gunicorn", "saola")
    elif "default" in fact:
        assert cls.default == fact["default"]


def test_nothing_but_gunicorns_settings_and_ours_is_there() -> None:
    ours = {cls.name for cls in KNOWN_SETTINGS if cls.row is not None and cls.row.ours}
    known = {cls.name for cls in KNOWN_SETTINGS if cls.row is not None}
    assert known - ours == {fact["name"] for fact in FACTS}
    assert len(FACTS) == 118
    assert {"boot_timeout", "hand_over", "header_timeout", "body_timeout"} <= ours


def test_defaults_that_depend_on_the_process(cfg: Config) -> None:
    assert cfg.uid == os.geteuid() and cfg.gid == os.getegid()
    assert cfg.chdir == util.getcwd()
    assert cfg.control_socket is None  # gunicorn makes one; we do not


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name, given, kept", [
    ("workers", "0x10", 16), ("workers", True, 1), ("timeout", " 90 ", 90),
    ("daemon", "TRUE", True), ("daemon", None, None), ("accesslog", " - ", "-"),
    ("bind", "unix:/a", ["unix:/a"]), ("bind", ("a:1", " b:2 "), ["a:1", "b:2"]), ("bind", [], []),
    ("forwarded_allow_ips", "10.0.0.0/8, *", ["10.0.0.0/8", "*"]),
    ("forwarded_allow_ips", "", []), ("forwarder_headers", "A,,B", ["A", "B"]),
    ("umask", "0022", 0o22), ("umask", 0o27, 0o27), ("umask", "22", 22),
    ("max_worker_memory", "512M", 512 << 20), ("max_worker_memory", " 1g ", 1 << 30),
    ("max_worker_memory", 1 << 30, 1 << 30), ("max_worker_memory", "0", 0),
    ("loglevel", "WARNING", "warning"), ("proxy_protocol", True, "auto"),
    ("proxy_protocol", "none", "off"), ("header_map", " Refuse", "refuse"),
    ("user", "root", 0), ("group", "0", 0), ("keyfile", None, None), ("certfile", "", None),
    ("http_protocols", "h1", ["h1"]), ("suppress_ragged_eofs", True, True),
    ("errorlog", None, None), ("control_socket_disable", True, True),
    ("worker_class", "gevent", "gevent"),
])
def test_a_value_is_kept_as_gunicorn_keeps_it(cfg: Config, name, given, kept) -> None:
    cfg.set(name, given)
    assert cfg.settings[name].get() == kept


@pytest.mark.parametrize("name, given, kind, sentence", [
    ("workers", "abc", ValueError, 'workers: "abc" is not a whole number'),
    ("workers", 1.5, TypeError, "workers: 1.5 is not a whole number"),
    ("workers", None, TypeError, "workers: None is not a whole number"),
    ("workers", -1, ValueError, "workers: -1 is out of bounds: 0 or more"),
    ("workers", 5000, ValueError, "workers: 5000 is out of bounds: 0 to 4096"),
    ("max_worker_memory", "1.5G", ValueError, 'max_worker_memory: "1.5G" is not a size: a whole number '
                                              "with K, M, G or T behind it, as in 512M"),
    ("max_worker_memory", True, ValueError, "max_worker_memory: True is not a size: a whole number with "
                                            "K, M, G or T behind it, as in 512M"),
    ("max_worker_memory", "2000T", ValueError, "max_worker_memory: 2000T is out of bounds: 0 to 1024T"),
    ("max_worker_memory", -1, ValueError, "max_worker_memory: -1 is out of bounds: 0 or more"),
    ("daemon", 1, TypeError, "daemon: 1 is neither True nor False"),
    ("daemon", "yes", ValueError, 'daemon: "yes" is neither true nor false'),
    ("accesslog", 3, TypeError, "accesslog: 3 is not a string"),
    ("bind", 8000, TypeError, "bind: 8000 is not a list of strings"),
    ("loglevel", "eror", ValueError, 'loglevel: "eror" is not one of debug, info, warning, error, '
                                     "critical; did you mean error?"),
    ("forwarded_allow_ips", "10.0.0.1/8", ValueError,
     'forwarded_allow_ips: "10.0.0.1/8" has bits set beyond its network part'),
    ("proxy_allow_ips", "proxy.local", ValueError,
     'proxy_allow_ips: "proxy.local" is not *, an IP address or a network (ADDRESS/BITS)'),
    ("user", "nobody-of-that-name", ConfigError, 'user: there is no user "nobody-of-that-name"'),
    ("chdir", "/nowhere/at/all", ConfigError, 'chdir: "/nowhere/at/all" does not exist'),
    ("secure_scheme_headers", [], TypeError, "secure_scheme_headers: [] is not a dictionary"),
    ("pre_fork", 5, TypeError, "pre_fork: 5 is not callable"),
    ("pre_fork", "nodots", TypeError, 'pre_fork: "nodots" is not of the form module.function'),
    ("pre_fork", "os.nothing_here", TypeError, 'pre_fork: "nothing_here" is not in module os'),
    ("pre_fork", "os.getpid", TypeError, "pre_fork: takes 2 parameters, but getpid has 0"),
    ("certfile", "c.pem", ConfigError,
     "certfile: is not available yet (TLS): put a proxy in front that speaks TLS"),
    ("http_protocols", "h2,h1", ConfigError,
     "http_protocols: is not available yet (HTTP/2): put a proxy in front that speaks HTTP/2"),
    ("on_dirty_starting", lambda arbiter: None, ConfigError,
     "on_dirty_starting: is not available yet (dirty arbiters): leave it out"),
    ("statsd_host", "localhost:8125", ConfigError,
     "statsd_host: is not available yet (metrics): leave it out"),
    ("protocol", "uwsgi", ConfigError, "protocol: is not available yet (uwsgi protocol): speak http "
                                       "between proxy and server"),
])
def test_a_bad_value_is_one_line_and_changes_nothing(cfg, name, given, kind, sentence) -> None:
    before = cfg.settings[name].get()
    with pytest.raises(kind) as caught:
        cfg.set(name, given, source="test")
    assert type(caught.value) is kind and str(caught.value) == sentence
    assert cfg.settings[name].get() is before
    assert cfg.source_of(name) == "default"


def test_every_default_is_accepted_as_a_value(cfg: Config) -> None:
    for setting in cfg.settings.values():
        cfg.set(setting.name, setting.default)


def test_unknown_names_and_assignments_are_refused(cfg: Config) -> None:
    with pytest.raises(AttributeError, match="^No configuration setting for: wokers; did you mean "
                                             r"workers\?$"):
        cfg.set("wokers", 3)
    with pytest.raises(AttributeError, match="^No configuration setting for: wokers$"):
        cfg.wokers
    with pytest.raises(AttributeError, match="^Invalid access!$"):
        cfg.workers = 3
    cfg.note = "foreign attributes are fine"
    assert cfg.note and not hasattr(cfg, "wokers")
    assert cfg.unknown_names(["workers", "worker_clas", "_x", "qqqqq"]) == [
        "worker_clas: no such setting; did you mean worker_class?", "qqqqq: no such setting"]


@pytest.mark.parametrize("hook, expected", [
    (lambda worker, req, environ, resp: (worker, req, environ, resp), (1, 2, 3, 4)),
    (lambda worker, req, environ: (worker, req, environ), (1, 2, 3)),
    (lambda worker, req: (worker, req), (1, 2)),
])
def test_post_request_takes_two_three_or_four_parameters(cfg, hook, expected) -> None:
    cfg.set("post_request", hook)
    assert cfg.post_request(1, 2, 3, 4) == expected


def test_default_hooks_do_what_gunicorns_do(cfg: Config) -> None:
    said = []

    class Log:
        def debug(self, *args):
            said.append(args)

    worker = type("W", (), {"log": Log()})
    cfg.pre_request(worker, type("R", (), {"method": "GET", "path": "/a"}))
    assert said == [("%s %s", "GET", "/a")]
    assert cfg.ssl_context(cfg, lambda: "context") == "context"
    assert cfg.post_fork(None, None) is None


def test_a_setting_of_a_third_party_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "KNOWN_SETTINGS", KNOWN_SETTINGS)
    try:
        class Colour(Setting):
            name = "colour"
            section = "Paint"
            cli = ["--colour"]
            validator = config.validate_string
            default = "red"
            desc = """\
                The colour.

                More of it.
                """
        cfg = Config(prog="saola")
        assert (Colour.short, Colour.desc) == ("The colour.", "The colour.\n\nMore of it.")
        assert cfg.colour == "red"
        assert cfg.parser().parse_args(["--colour", "blue"]).colour == "blue"
        assert "--colour" in help_texts.all_help(cfg.settings)
        assert "More of it." in help_texts.setting_help(cfg.settings["colour"])
        assert cfg.nearest("color") == "colour"
        cfg.to_core()
        assert "colour" not in config.make_settings(ignore={"colour"})
    finally:
        KNOWN_SETTINGS.pop()


# ---- properties ------------------------------------------------------------------------------


def test_addresses(cfg: Config) -> None:
    cfg.set("bind", ["LOCALHOST", "[::1]:80", "unix:/run/a", "fd://3", "", ":9"])
    assert cfg.address == [("localhost", 8000), ("::1", 80), "/run/a", 3, ("0.0.0.0", 8000),
                           ("0.0.0.0", 9)]


def test_pairs(cfg: Config) -> None:
    cfg.set("raw_env", ["A=1", "B=x=y"])
    assert cfg.env == {"A": "1", "B": "x=y"}
    cfg.set("raw_env", ["nothing"])
    with pytest.raises(RuntimeError, match='^raw_env: "nothing" is not of the form NAME=VALUE$'):
        cfg.env
    assert cfg.paste_global_conf == {}
    assert cfg.ssl_options["suppress_ragged_eofs"] is True and len(cfg.ssl_options) == 8
    assert not cfg.is_ssl


def test_sendfile_is_what_was_said(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cfg.sendfile is True
    monkeypatch.setenv("SENDFILE", "no")
    assert cfg.sendfile is False and cfg.source_of("sendfile") == "environment SENDFILE"
    assert cfg.to_core().text("sendfile") == "false"
    cfg.set("sendfile", True)
    assert cfg.sendfile is True and cfg.to_core().text("sendfile") == "true"


def test_proc_name_falls_back(cfg: Config) -> None:
    cfg.set("default_proc_name", "ok:app")
    assert cfg.proc_name == "ok:app"
    cfg.set("proc_name", "shop")
    assert cfg.proc_name == "shop"


def test_networks_follow_the_setting(cfg: Config) -> None:
    assert [str(n) for n in cfg.forwarded_allow_networks()] == ["127.0.0.1/32", "::1/128"]
    cfg.set("forwarded_allow_ips", "*,10.0.0.0/8")
    assert [str(n) for n in cfg.forwarded_allow_networks()] == ["10.0.0.0/8"]


def test_the_worker_class_follows_threads(cfg: Config) -> None:
    assert cfg.worker_class_str == "sync"
    cfg.set("threads", 2)
    assert cfg.worker_class_str == "gthread"

    class Own:
        made = 0

        @classmethod
        def setup(cls):
            cls.made += 1

    cfg.set("worker_class", Own)
    assert cfg.worker_class is Own and Own.made == 1 and cfg.worker_class_str == "Own"
    cfg.set("worker_class", lambda: Own)
    assert cfg.settings["worker_class"].get() is Own


@pytest.mark.parametrize("name, words", [
    ("sinc", ("sinc", "did you mean sync?", "gthread")),
    ("no_such_module_here.Worker", ("no_such_module_here",)), ("os.NoWorker", ("NoWorker",)),
])
def test_an_unknown_worker_class_is_one_line(cfg: Config, name: str, words: tuple) -> None:
    cfg.set("worker_class", name)
    with pytest.raises(ConfigError) as caught:
        cfg.worker_class
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# ---- sources ---------------------------------------------------------------------------------


def test_each_value_knows_where_it_came_from(cfg: Config) -> None:
    assert cfg.source_of("workers") == "default"
    cfg.set("workers", 3, source="command line")
    cfg.set("timeout", 90)
    assert (cfg.source_of("workers"), cfg.source_of("timeout")) == ("command line", "cfg.set")


def test_printed_are_the_values_that_differ(cfg: Config) -> None:
    assert cfg.print_config_text() == "# every setting has its default"
    cfg.set("workers", 3, source="command line")
    cfg.set("timeout", 30, source="file a.py")  # the default
    cfg.set("raw_env", ["PASSWORD=secret"], source="file a.py")
    cfg.set("on_exit", test_addresses_hook)
    assert cfg.print_config_text().split("\n") == [
        "workers = 3  # command line",
        "raw_env = ['PASSWORD=***']  # file a.py",
        f"on_exit = <{__name__}.test_addresses_hook>  # cfg.set",
    ]


def test_addresses_hook(server=None) -> None:
    """A hook with one parameter, for the test above."""


test_addresses_hook.__test__ = False


def test_the_environment_gives_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "5000")
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    cfg = Config(prog="saola")
    assert (cfg.bind, cfg.workers, cfg.forwarded_allow_ips) == (["0.0.0.0:5000"], 4, ["*"])
    assert cfg.print_config_text().split("\n") == [
        "bind = ['0.0.0.0:5000']  # environment PORT", "workers = 4  # environment WEB_CONCURRENCY",
        "forwarded_allow_ips = ['*']  # environment FORWARDED_ALLOW_IPS"]
    core = cfg.to_core()
    assert core.text("workers") == "4" and core.source("workers") == "environment WEB_CONCURRENCY"


@pytest.mark.parametrize("name, text, sentence", [
    ("WEB_CONCURRENCY", "many", 'environment WEB_CONCURRENCY: "many" is not a whole number'),
    ("PORT", "http", 'environment PORT: "http" is not a port number'),
    ("FORWARDED_ALLOW_IPS", "x", 'environment FORWARDED_ALLOW_IPS: "x" is not *, an IP address or a '
                                 "network (ADDRESS/BITS)"),
])
def test_a_bad_environment_is_one_line(monkeypatch, name, text, sentence) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError) as caught:
        Config(prog="saola")
    assert str(caught.value) == sentence


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    monkeypatch.setenv("PORT", " ")
    assert Config(prog="saola").print_config_text() == "# every setting has its default"


# ---- into the core ---------------------------------------------------------------------------


def test_the_core_gets_every_value(cfg: Config) -> None:
    plain = cfg.to_core()
    for setting in cfg.settings.values():
        if setting.row.is_core and setting.name not in ("user", "group", "chdir"):
            assert plain.source(setting.name) is None
            if setting.row.type not in ("octal", "list"):
                assert plain.text(setting.name) == setting.row.default_text
    cfg.set("bind", ["a:1", "unix:/b,c"], source="file x.py")
    cfg.set("umask", 0o22)
    cfg.set("user", "root")
    cfg.set("hand_over", "exclusive")
    cfg.set("accesslog", None)
    cfg.set("daemon", None)
    core = cfg.core
    assert core.text("bind") == "a:1,unix:/b,c" and core.source("bind") == "file x.py"
    assert (core.text("umask"), core.text("user"), core.text("hand_over")) == ("022", "0",
                                                                              "exclusive")
    assert core.text("accesslog") is None and core.text("daemon") == "false"


def test_what_python_takes_the_core_takes_too(cfg: Config) -> None:
    cfg.set("forwarded_allow_ips", "10.0.0.0/255.0.0.0,::1")
    cfg.set("accesslog", "/tmp/caf\udce9.log")  # a file name that is not UTF-8
    core = cfg.to_core()
    assert core.text("forwarded_allow_ips") == "10.0.0.0/8,::1"
    assert core.text("accesslog") == "/tmp/caf\udce9.log"
    cfg.set("accesslog", "a\0b")
    with pytest.raises(ConfigError, match="^accesslog: must not contain a NUL character$"):
        cfg.to_core()


def test_core_config_refuses_in_one_line() -> None:
    core = _saola.CoreConfig()
    for args, sentence in (
            (("workers", "abc"), 'workers: "abc" is not a whole number'),
            (("worker_clas", "x"), "worker_clas: no such setting; did you mean worker_class?"),
            (("pre_fork", "x"), "pre_fork: is not a setting of the core")):
        with pytest.raises(_saola.SettingError) as caught:
            core.set(*args)
        assert str(caught.value) == sentence and isinstance(caught.value, ValueError)
    with pytest.raises(_saola.SettingError, match="^workers: is not a list$"):
        core.clear("workers")
    with pytest.raises(TypeError):
        core.set("workers", 3)
    core.set("raw_env", "A=1")
    core.set("raw_env", "B=2")
    assert core.text("raw_env") == "A=1,B=2"
    core.clear("raw_env")
    assert core.text("raw_env") is None


def test_nearest_words() -> None:
    assert _saola.nearest_setting("worker_clas") == "worker_class"
    assert _saola.nearest_setting("zzzzzzz") is None
    assert _saola.nearest_word("aplication", ["app", "application"]) == "application"
    assert _saola.nearest_word("x", []) is None
    with pytest.raises(TypeError):
        _saola.nearest_word("x", [1])


# ---- command line ----------------------------------------------------------------------------


def test_flags_are_read_as_gunicorn_reads_them(cfg: Config) -> None:
    found = cfg.parser().parse_args(
        "-w 3 ok:app --bind a:1 -b b:2 --threads=0x2 --daemon --no-sendfile -m 0022 "
        "--proxy-protocol --reload-eng poll --log-level DEBUG".split())
    given = {name: value for name, value in vars(found).items() if value is not None}
    assert given == {"args": ["ok:app"], "workers": 3, "bind": ["a:1", "b:2"], "threads": 2,
                     "daemon": True, "sendfile": False, "umask": 0o22, "proxy_protocol": "auto",
                     "reload_engine": "poll", "loglevel": "DEBUG"}


@pytest.mark.parametrize("argv, sentence", [
    (["--wrkers", "3"], "saola: unknown option --wrkers; did you mean --workers?"),
    (["--worker-clas=x"], "saola: argument -k/--worker-class"),
    (["--access-log-file", "-"], "saola: unknown option --access-log-file; did you mean "
                                 "--access-logfile?"),
    (["--loglevel", "info"], "saola: unknown option --loglevel; did you mean --log-level?"),
    (["--keepalive", "5"], "saola: unknown option --keepalive; did you mean --keep-alive?"),
    (["--qqqqqqqqq"], "saola: unknown option --qqqqqqqqq (saola --help-all lists all)"),
    (["-w", "many"], 'saola: argument -w/--workers: "many" is not a whole number'),
    (["-w"], "saola: argument -w/--workers: expected one argument"),
    (["--help", "wokers"], "saola: no setting is called wokers; did you mean workers?"),
])
def test_a_mistake_is_one_line_and_exit_code_2(cfg, capsys, argv, sentence) -> None:
    if argv == ["--worker-clas=x"]:  # an abbreviation, as in gunicorn
        assert cfg.parser().parse_args(argv).worker_class == "x"
        return
    with pytest.raises(SystemExit) as caught:
        cfg.parser().parse_args(argv)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", sentence + "\n")


def test_arguments_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--name 'a b'")
    assert Config().get_cmd_args_from_env() == ["--name", "a b"]


# ---- help ------------------------------------------------------------------------------------


def printed(cfg: Config, capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cfg.parser().parse_args(argv)
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert err == "" and "\033" not in out
    assert max(map(len, out.split("\n"))) <= 80
    return out


def test_help_is_short(cfg: Config, capsys) -> None:
    out = printed(cfg, capsys, "--help")
    assert out.count("\n") < 60
    assert "--workers" in out and "--dirty-app" not in out
    assert "saola --help-all" in out and "saola --help timeout" in out
    assert cfg.parser().format_help() == out


def test_help_all_has_every_option(cfg: Config, capsys) -> None:
    out = printed(cfg, capsys, "--help-all")
    for setting in cfg.settings.values():
        for word in setting.cli or [setting.name]:
            assert word in out
    assert out.index("Server Socket:") < out.index("Worker Processes:") < out.index("Control:")


def test_help_about_one_setting(cfg: Config, capsys) -> None:
    out = printed(cfg, capsys, "--help", "keep-alive")
    assert out.startswith("keepalive\n")
    for word in ("--keep-alive INT", "0 or more", "default     2", "reload (HUP)"):
        assert word in out
    assert "not available yet (TLS)" in printed(cfg, capsys, "--help", "certfile")
    assert "drop, refuse, dangerous" in printed(cfg, capsys, "--help", "header_map")
    for name in cfg.settings:
        assert printed(cfg, capsys, "--help", name).startswith(name)


def test_headings_are_bold_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert help_texts.bold_for(Terminal())("x") == "\033[1mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert help_texts.bold_for(Terminal())("x") == "x"
    assert help_texts.bold_for(sys.__stdin__) is not None


# ---- generated files -------------------------------------------------------------------------


def test_the_reference_and_the_example_are_those_of_the_table() -> None:
    done = subprocess.run([sys.executable, HERE.parent.parent / "tools" /
                           "generate_settings_reference.py", "--check"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_example_with_every_line_taken_in_changes_nothing(cfg: Config) -> None:
    text = (HERE.parent.parent / "examples" / "saola.conf.py").read_text()
    assigned = [line[2:] for line in text.split("\n") if re.match(r"# \w+ = ", line)]
    assert len(assigned) > 50
    values: dict = {}
    exec("\n".join(assigned), values)
    del values["__builtins__"]
    for name, value in values.items():
        cfg.set(name, value)
    assert cfg.print_config_text() == "# every setting has its default"
