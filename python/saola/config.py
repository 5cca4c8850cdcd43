"""Settings: the table of the core (settings.def) as Python objects, and the Config that holds them.

The surface is that of gunicorn.config: Config, Setting, KNOWN_SETTINGS, make_settings, one class a
setting, the validators. Everything runs in the arbiter before workers are forked; afterwards a
Config is only read.
"""

import argparse
import copy
import ipaddress
import os
import re
import shlex
import sys
import textwrap

from . import _saola, util
from .errors import ConfigError
from .validators import *  # noqa: F401,F403 (part of this module's surface)
from . import validators as _v
from .validators import auto_int, VALID_HTTP_PROTOCOLS  # noqa: F401

KNOWN_SETTINGS = []
PLATFORM = sys.platform

# Variables of the environment that give a setting its default.
ENVIRONMENT_DEFAULTS = {"PORT": "bind", "WEB_CONCURRENCY": "workers",
                        "FORWARDED_ALLOW_IPS": "forwarded_allow_ips"}
CMD_ARGS_VARIABLES = ("GUNICORN_CMD_ARGS", "SAOLA_CMD_ARGS")
DEFAULT_SOURCE = "default"


# ---- one setting -----------------------------------------------------------------------------


class SettingMeta(type):
    """Registers every subclass of Setting in KNOWN_SETTINGS, so that a program can add its own."""

    def __new__(mcs, name, bases, attrs):
        if not any(isinstance(base, SettingMeta) for base in bases):
            return super().__new__(mcs, name, bases, attrs)
        attrs["order"] = len(KNOWN_SETTINGS)
        if "validator" in attrs and not isinstance(attrs["validator"], staticmethod):
            attrs["validator"] = staticmethod(attrs["validator"])
        cls = super().__new__(mcs, name, bases, attrs)
        cls.fmt_desc(attrs.get("desc") or cls.desc or "")
        KNOWN_SETTINGS.append(cls)
        return cls

    def fmt_desc(cls, desc):
        """Sets desc without its indentation, and short to its first line."""
        cls.desc = textwrap.dedent(desc).strip()
        cls.short = cls.desc.split("\n", 1)[0]


class Setting(metaclass=SettingMeta):
    """One setting. The class describes it (name, section, cli, validator, type, meta, action,
    default, desc), an instance holds a value and where it came from."""

    name = None
    value = None
    section = None
    cli = None
    validator = None
    type = None
    meta = None
    action = None
    default = None
    short = None
    desc = None
    nargs = None
    const = None
    order = -1
    # Of rows of settings.def only:
    row = None
    source = DEFAULT_SOURCE

    def __init__(self):
        if self.default is not None:
            self.set(self.default)
            self.source = DEFAULT_SOURCE

    def get(self):
        """The value."""
        return self.value

    def set(self, val):
        """Checks and keeps a value; a refusal leaves the old one. Raises ValueError, TypeError or
        ConfigError with one line that starts with the name."""
        if not callable(self.validator):
            raise TypeError(f"{self.name}: invalid validator {self.validator!r}")
        try:
            value = self.validator(val)
        except (ValueError, TypeError, ConfigError) as exc:
            if type(exc) not in (ValueError, TypeError, ConfigError):
                raise
            raise type(exc)(f"{self.name}: {exc}") from exc
        if self.row is not None and self.row.lacking:
            value = self._only_default(value)
        self.value = value
        self.source = "cfg.set"

    def _only_default(self, value):
        default = self.default
        if default is None:
            if value is None or value == "":
                return None
        elif value is None or value is default or value == type(self).validator(default):
            return value
        raise ConfigError(f"{self.name}: is not available yet {self.row.lacking}")

    def copy(self):
        """A setting of its own with the same value."""
        return copy.copy(self)

    def is_default(self):
        """Whether the value is that of a server without any configuration."""
        if self.source == DEFAULT_SOURCE:
            return True
        default = type(self).default
        return self.value is default or self.value == (
            None if default is None else type(self).validator(default))

    def add_option(self, parser):
        """Adds the flags of this setting to an argparse parser."""
        if not self.cli:
            return
        options = {"dest": self.name, "action": self.action or "store", "default": None,
                   "help": f"{self.short} [{self.default}]".replace("%", "%%")}
        if options["action"] in ("store", "append"):
            options["type"] = _argument_type(self.type)
        for key, value in (("metavar", self.meta), ("nargs", self.nargs), ("const", self.const)):
            if value is not None:
                options[key] = value
        parser.add_argument(*self.cli, **options)

    def __lt__(self, other):
        return self.section == other.section and self.order < other.order

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__name__} {self.name} = {self.value!r}>"


def _argument_type(kind):
    """What argparse calls for one argument; its error names the problem in our words."""
    if kind is None:
        return str
    if kind is not int:
        return kind

    def whole(text):
        try:
            return _v.whole_number(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None
    return whole


def _auto_int_argument(text):
    try:
        return auto_int(None, text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None


def make_settings(ignore=None):
    """A dict name -> Setting with every known setting at its default, less the names in ignore.

    Defaults from the environment (PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS) are in place.
    """
    settings = {}
    for cls in KNOWN_SETTINGS:
        if cls.name not in (ignore or ()):
            settings[cls.name] = cls()
    for variable, name in ENVIRONMENT_DEFAULTS.items():
        if name in settings:
            _default_from_environment(variable, settings[name])
    return settings


def _default_from_environment(variable, setting):
    text = os.environ.get(variable)
    if text is None or (text.strip() == "" and variable != "FORWARDED_ALLOW_IPS"):
        return
    if variable == "PORT":
        if not (text.strip().isdecimal() and int(text) < 65536):
            raise ConfigError(f'environment PORT: "{text}" is not a port number')
        text = [f"0.0.0.0:{text.strip()}"]
    try:
        setting.set(text)
    except (ValueError, TypeError) as exc:
        reason = str(exc).removeprefix(f"{setting.name}: ")
        raise ConfigError(f"environment {variable}: {reason}") from None
    setting.default = setting.value
    setting.source = f"environment {variable}"


# ---- all settings ----------------------------------------------------------------------------


class Config:
    """The settings of one server: `cfg.workers` reads, `cfg.set("workers", 4)` writes.

    usage and prog are for the command-line parser.
    """

    def __init__(self, usage=None, prog=None):
        self.settings = make_settings()
        self.usage = usage
        self.prog = prog or os.path.basename(sys.argv[0])
        self.env_orig = os.environ.copy()
        self._networks = {}

    def __str__(self):
        width = max(len(name) for name in self.settings)
        return "\n".join(f"{name:{width}} = {_shown(self.settings[name].value)}"
                         for name in sorted(self.settings))

    def __getattr__(self, name):
        if name == "settings":
            raise AttributeError(name)  # a copy that is not filled yet
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}")
        return self.settings[name].get()

    def __setattr__(self, name, value):
        if name != "settings" and name in self.settings:
            raise AttributeError("Invalid access!")
        super().__setattr__(name, value)

    def set(self, name, value, source=None):
        """Sets a setting. source says where the value came from ("command line", ...).

        AttributeError for an unknown name; ValueError, TypeError or ConfigError, with one line,
        for a bad value, which then changes nothing.
        """
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}{self._did_you_mean(name)}")
        setting = self.settings[name]
        setting.set(value)
        setting.source = source or "cfg.set"
        self._networks.pop(name, None)

    def nearest(self, name):
        """The setting, those of third parties included, that name was probably meant for."""
        return _saola.nearest_word(name, list(self.settings))

    def _did_you_mean(self, name):
        near = self.nearest(name)
        return f"; did you mean {near}?" if near else ""

    def source_of(self, name):
        """Where the value came from: "default", "environment PORT", "file gunicorn.conf.py",
        "GUNICORN_CMD_ARGS", "command line", "cfg.set"."""
        if name == "sendfile" and self.settings[name].value is None and "SENDFILE" in os.environ:
            return "environment SENDFILE"
        return self.settings[name].source

    def unknown_names(self, names):
        """For a configuration file: one line a name that is no setting, `wokers: no such setting;
        did you mean workers?`. Names that begin with _ are the file's own."""
        return [f"{name}: no such setting{self._did_you_mean(name)}" for name in names
                if name not in self.settings and not name.startswith("_")]

    # ---- command line

    def get_cmd_args_from_env(self):
        """Arguments from GUNICORN_CMD_ARGS and SAOLA_CMD_ARGS, split as a shell does."""
        return [word for name in CMD_ARGS_VARIABLES
                for word in shlex.split(self.env_orig.get(name, ""))]

    def parser(self):
        """An argparse parser of every flag. Values that were not given are None; the positional
        arguments are `args`. A mistake is one line on standard error and exit code 2."""
        from .help import Parser
        parser = Parser(usage=self.usage, prog=self.prog, settings=self.settings)
        for name in sorted(self.settings, key=lambda name: self.settings[name].order):
            self.settings[name].add_option(parser)
        return parser

    # ---- values that are more than what was set

    @property
    def worker_class_str(self):
        """Name of the worker class: alias, dotted name, or the class's own name."""
        uri = self.settings["worker_class"].get()
        if not isinstance(uri, str):
            return uri.__name__
        return "gthread" if _is_sync(uri) and self.threads > 1 else uri

    @property
    def worker_class(self):
        """The worker class, imported. sync with more than one thread is gthread. ConfigError, one
        line, when there is none of that name."""
        uri = self.settings["worker_class"].get()
        if isinstance(uri, str) and _is_sync(uri) and self.threads > 1:
            uri = "gthread"
        try:
            cls = util.load_class(uri)
        except RuntimeError as exc:
            raise ConfigError(str(exc)) from exc
        if hasattr(cls, "setup"):
            cls.setup()
        return cls

    @property
    def logger_class(self):
        """The logger class, imported. ConfigError when there is none of that name."""
        uri = self.settings["logger_class"].get()
        if uri == "simple":
            uri = LoggerClass.default  # noqa: F821
        try:
            cls = util.load_class(uri, default=LoggerClass.default,  # noqa: F821
                                  section="gunicorn.loggers")
        except RuntimeError as exc:
            raise ConfigError(str(exc)) from exc
        if hasattr(cls, "install"):
            cls.install()
        return cls

    @property
    def address(self):
        """What to listen on: (host, port), the path of a unix socket, or a descriptor, each."""
        return [util.parse_address(util.bytes_to_str(bind)) for bind in self.settings["bind"].get()]

    @property
    def uid(self):
        return self.settings["user"].get()

    @property
    def gid(self):
        return self.settings["group"].get()

    @property
    def proc_name(self):
        name = self.settings["proc_name"].get()
        return self.settings["default_proc_name"].get() if name is None else name

    @property
    def is_ssl(self):
        """A true value when TLS is configured."""
        return self.certfile or self.keyfile

    @property
    def ssl_options(self):
        """The settings of section SSL as a dict."""
        return {name: s.get() for name, s in self.settings.items() if s.section == "SSL"}

    @property
    def env(self):
        """raw_env as a dict. RuntimeError for an entry without =."""
        return dict(_name_value("raw_env", entry, "=") for entry in self.settings["raw_env"].get())

    @property
    def paste_global_conf(self):
        """raw_paste_global_conf as a dict; \\= is an = inside a name or value."""
        entries = self.settings["raw_paste_global_conf"].get()
        if entries is None:
            return None
        pairs = (_name_value("raw_paste_global_conf", entry, r"(?<!\\)=") for entry in entries)
        return {name.replace("\\=", "="): value.replace("\\=", "=") for name, value in pairs}

    @property
    def sendfile(self):
        """Whether the kernel sends files: as set, else by SENDFILE in the environment, else True."""
        value = self.settings["sendfile"].get()
        if value is not None:
            return value
        return os.environ.get("SENDFILE", "1").strip().lower() in ("y", "1", "yes", "true")

    @property
    def reuse_port(self):
        return self.settings["reuse_port"].get()

    def forwarded_allow_networks(self):
        """forwarded_allow_ips as network objects, without *."""
        return self._networks_of("forwarded_allow_ips")

    def proxy_allow_networks(self):
        """proxy_allow_ips as network objects, without *."""
        return self._networks_of("proxy_allow_ips")

    def _networks_of(self, name):
        if name not in self._networks:
            self._networks[name] = [ipaddress.ip_network(address)
                                    for address in self.settings[name].get() if address != "*"]
        return self._networks[name]

    # ---- to the core, and to the user

    def to_core(self):
        """A _saola.CoreConfig with these values. ConfigError when the core refuses one."""
        core = _saola.CoreConfig()
        try:
            for setting in self.settings.values():
                if setting.row is not None and setting.row.is_core:
                    self._row_to_core(core, setting)
            core.check()
        except _saola.SettingError as exc:
            raise ConfigError(str(exc)) from None
        return core

    @property
    def core(self):
        """to_core(), made anew each time."""
        return self.to_core()

    def _row_to_core(self, core, setting):
        name, row = setting.name, setting.row
        source = self.source_of(name)
        if source == DEFAULT_SOURCE:
            if name in ("user", "group", "chdir") or setting.value is None:
                return  # what the process has already
            source = None
        value = self.sendfile if name == "sendfile" else setting.value
        if row.type == "list":
            core.clear(name)
            for item in value:
                core.set(name, item, source)
        else:
            core.set(name, row.text(value), source)

    def print_config_text(self):
        """The settings that differ from their defaults, `name = value  # source` a line; secrets
        are masked."""
        lines = []
        for setting in self.settings.values():
            source = self.source_of(setting.name)
            value = setting.value
            if setting.name in ("print_config", "check_config", "default_proc_name"):
                continue
            if setting.name == "sendfile":
                value = self.sendfile
                unchanged = value is True
            else:
                unchanged = setting.is_default()
            if unchanged or source == DEFAULT_SOURCE:
                continue
            if setting.row is not None and setting.row.secret:
                value = [f"{entry.partition('=')[0]}=***" for entry in value]
            lines.append(f"{setting.name} = {_shown(value, repr)}  # {source}")
        return "\n".join(lines) or "# every setting has its default"


def print_config(cfg, file=None):
    """Prints cfg.print_config_text()."""
    print(cfg.print_config_text(), file=file)


def get_default_config_file():
    """Path of the configuration file of the working directory, saola.conf.py before
    gunicorn.conf.py, or None."""
    for name in ("saola.conf.py", "gunicorn.conf.py"):
        path = os.path.join(os.path.abspath(os.getcwd()), name)
        if os.path.exists(path):
            return path
    return None


def _is_sync(uri):
    return uri == "sync" or uri.endswith("SyncWorker")


def _name_value(setting, entry, separator):
    parts = re.split(separator, util.bytes_to_str(entry), maxsplit=1)
    if len(parts) != 2:
        raise RuntimeError(f'{setting}: "{entry}" is not of the form NAME=VALUE')
    return parts


def _shown(value, plain=str):
    if callable(value):
        return f"<{value.__module__}.{value.__qualname__}>" if hasattr(value, "__qualname__") \
            else repr(value)
    return plain(value)


# ---- settings.def as classes -----------------------------------------------------------------


class Row:
    """One row of settings.def."""

    FIELDS = ("name", "type", "default_text", "min", "max", "choices", "when", "flags", "cli",
              "metavar", "section", "summary", "more", "lacking")
    CORE_TYPES = ("bool", "int", "octal", "size", "string", "list", "csv", "addrs", "choice")

    def __init__(self, columns):
        for field, value in zip(self.FIELDS, columns, strict=True):
            setattr(self, field, value)
        self.choices = tuple(self.choices.split("|")) if self.choices else ()
        self.cli = self.cli.split() if self.cli else None
        self.is_core = self.type in self.CORE_TYPES
        self.ours = bool(self.flags & 2)
        self.secret = bool(self.flags & 4)

    def text(self, value):
        """A value as the parser of the core reads it; None is no value."""
        if self.type == "bool":
            return "true" if value else "false"
        if value is None:
            return None
        if self.type == "octal":
            return f"0{value:o}"
        if self.type == "addrs":  # 10.0.0.0/255.0.0.0 is one too
            value = [str(ipaddress.ip_network(part)) if "/" in part else part for part in value]
        if self.type in ("csv", "addrs"):
            return ",".join(value)
        return str(value)

    def within_bounds(self, validate):
        """validate, and then the bounds of the row."""
        def check(val):
            number = validate(val)
            if not self.min <= number <= self.max:
                shown = {"octal": oct, "size": _v.size_text}.get(self.type, str)
                raise ValueError(f"{val} is out of bounds: {shown(self.min)} to {shown(self.max)}")
            return number
        return check


# Names of classes that are not the setting's name in CamelCase. They are gunicorn's.
_CLASS_NAMES = {
    "accesslog": "AccessLog", "asgi_disconnect_grace_period": "ASGIDisconnectGracePeriod",
    "asgi_lifespan": "ASGILifespan", "asgi_loop": "ASGILoop", "ca_certs": "CACerts",
    "casefold_http_method": "CasefoldHTTPMethod", "certfile": "CertFile",
    "check_config": "ConfigCheck", "config": "ConfigFile",
    "enable_backlog_metric": "BacklogMetric", "errorlog": "ErrorLog",
    "forwarded_allow_ips": "ForwardedAllowIPS",
    "http2_initial_window_size": "HTTP2InitialWindowSize",
    "http2_max_concurrent_streams": "HTTP2MaxConcurrentStreams",
    "http2_max_frame_size": "HTTP2MaxFrameSize",
    "http2_max_header_list_size": "HTTP2MaxHeaderListSize", "http_protocols": "HTTPProtocols",
    "keyfile": "KeyFile", "logconfig": "LogConfig", "logconfig_dict": "LogConfigDict",
    "logconfig_json": "LogConfigJson", "nworkers_changed": "NumWorkersChanged",
    "permit_unconventional_http_method": "PermitUnconventionalHTTPMethod",
    "permit_unconventional_http_version": "PermitUnconventionalHTTPVersion",
    "post_fork": "Postfork", "pre_fork": "Prefork", "proc_name": "Procname",
    "proxy_allow_ips": "ProxyAllowFrom", "pythonpath": "PythonPath", "raw_env": "Env",
    "raw_paste_global_conf": "PasteGlobalConf", "secure_scheme_headers": "SecureSchemeHeader",
    "ssl_context": "NewSSLContext", "ssl_version": "SSLVersion",
    "suppress_ragged_eofs": "SuppressRaggedEOFs", "syslog_addr": "SyslogTo",
    "threads": "WorkerThreads", "uwsgi_allow_ips": "UWSGIAllowFrom", "wsgi_app": "WSGIApp",
}

_VALIDATORS = {
    "chdir": _v.validate_chdir, "user": _v.validate_user, "group": _v.validate_group,
    "post_request": _v.validate_post_request, "proxy_protocol": _v.validate_proxy_protocol,
    "http_protocols": _v.validate_http_protocols, "statsd_host": _v.validate_statsd_address,
    "reload_extra_files": _v.validate_list_of_files_or_patterns,
}

_VALIDATORS_OF_TYPE = {
    "bool": _v.validate_bool, "string": _v.validate_string, "list": _v.validate_list_string,
    "csv": _v.validate_string_to_list, "addrs": _v.validate_string_to_addr_list,
    "class": _v.validate_class, "dict": _v.validate_dict, "any": _v.validate_ssl_version,
}


def _validator(row):
    if row.name in _VALIDATORS:
        return _VALIDATORS[row.name]
    if row.type == "int":
        return row.within_bounds(_v.validate_pos_int)
    if row.type == "octal":
        return row.within_bounds(_v.validate_mode)
    if row.type == "size":
        return row.within_bounds(_v.validate_size)
    if row.type == "choice":
        return _v.choice(row.choices, row.default_text)
    if row.type == "callable":
        return _v.validate_callable(row.min)
    return _VALIDATORS_OF_TYPE[row.type]


def _default_hook(row):
    """A function of the hook's name and arity that does nothing."""
    if row.name == "pre_request":
        def hook(worker, req):
            worker.log.debug("%s %s", req.method, req.path)
    elif row.name == "ssl_context":
        def hook(config, default_ssl_context_factory):
            return default_ssl_context_factory()
    else:
        hook = {1: lambda a: None, 2: lambda a, b: None, 3: lambda a, b, c: None,
                4: lambda a, b, c, d: None}[row.min]
    hook.__name__ = hook.__qualname__ = row.name
    return staticmethod(hook)


def _default(row):
    special = {"sendfile": lambda: None, "chdir": util.getcwd, "user": os.geteuid,
               "group": os.getegid, "logconfig_dict": dict}
    text = row.default_text
    if row.name in special:
        return special[row.name]()
    if row.type == "callable":
        return _default_hook(row)
    if row.type == "list":
        return [] if text is None else [text]
    if row.type == "dict":
        return dict(pair.split("=", 1) for pair in (text or "").split(",") if pair)
    if row.type == "bool":
        return text == "true"
    if row.type == "octal":
        return auto_int(None, text)
    if row.type == "size":
        return _v.validate_size(text)
    if row.type in ("int", "any"):
        return int(text)
    return text


def _define(row):
    """Makes the class of one row."""
    attrs = {"name": row.name, "section": row.section, "cli": row.cli, "row": row,
             "meta": row.metavar, "default": _default(row), "validator": _validator(row),
             "desc": row.summary + ("\n\n" + row.more if row.more else ""),
             "__module__": __name__, "__doc__": row.summary}
    if row.type == "int" and row.section != "SSL":
        attrs["type"] = int
    elif row.type == "octal":
        attrs["type"] = staticmethod(_auto_int_argument)
    elif row.type == "callable":
        attrs["type"] = callable
    elif row.type == "bool" and row.cli:
        off = f"--no-{row.name}" in row.cli
        attrs["action"] = "store_const" if off else "store_true"
        if off:
            attrs["const"] = False
    elif row.type == "list" and row.cli:
        attrs["action"] = "append"
    if row.metavar and row.metavar.startswith("["):
        attrs.update(meta=row.metavar.strip("[]"), nargs="?", const="auto")
    name = _CLASS_NAMES.get(row.name) or "".join(w.capitalize() for w in row.name.split("_"))
    globals()[name] = SettingMeta(name, (Setting,), attrs)


for _columns in _saola.settings_table():
    _define(Row(_columns))
