"""PasteDeploy: applications, and servers, that an .ini file describes.

`saola --paste FILE[#SECTION]` serves an application of such a file. In a file for pserve and its like

    [server:main]
    use = egg:saola#main
    bind = 127.0.0.1:8000
    workers = 4

serves with Saola: any setting may stand there, by its name. Process: the arbiter; the application of
--paste is loaded where every application is.
"""

import configparser
import os

from ..errors import ConfigError
from . import base


def _loadapp():
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise ConfigError("--paste needs PasteDeploy: pip install PasteDeploy") from None
    return loadapp


def find_file(location):
    """(URI for get_wsgi_app(), path) of FILE[#SECTION]. ConfigError when there is no such file, or nothing to
    read it with."""
    path, _, section = location.partition("#")
    path = os.path.abspath(path)
    if not os.path.exists(path):
        raise ConfigError(f"{path!r} not found (--paste)")
    _loadapp()
    return f"config:{path}" + (f"#{section}" if section else ""), path


def get_wsgi_app(config_uri, name=None, defaults=None):
    """The application that a file describes. config_uri: path, or "config:PATH", with #SECTION perhaps. name: of
    the section. defaults: a dict of what the file's [DEFAULT] is laid over."""
    uri = config_uri if ":" in config_uri else f"config:{config_uri}"
    return _loadapp()(uri, name=name, relative_to=os.getcwd(), global_conf=defaults)


def has_logging_config(config_file):
    """Whether the file sets up the module logging, too."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(config_file)
    except configparser.Error as exc:
        raise ConfigError(f"{config_file}: {' '.join(str(exc).split())}") from None
    return parser.has_section("loggers")


class PasterServerApplication(base.Application):
    """An application that PasteDeploy has made; settings come from the section of the server."""

    def __init__(self, app, path, settings):
        self._app, self._path, self._settings = app, path, settings
        super().__init__()

    def load_config(self):
        """default_proc_name and logconfig are the file's; a file named by config, or the default one; the section."""
        settings = dict(self._settings)
        self._set("default_proc_name", self._path, self._path)
        if has_logging_config(self._path):
            self._set("logconfig", self._path, self._path)
        file = settings.pop("config", None) or next(filter(os.path.exists, base.DEFAULT_FILES), None)
        if file is not None:
            self.load_config_from_file(file)
        for name, value in settings.items():
            if value is not None:
                self._set(name.lower(), value, f"{self._path}, section of the server")

    def load(self):
        return self._app


def _binds(host, port):
    return [f"{one.strip()}:{port}" if port else one.strip() for one in host.split(",")]


def serve(app, global_conf, **local_conf):
    """Serves until a signal ends the process: the entry point main of the group paste.server_runner.

    global_conf: a dict, "__file__" is the file. local_conf: settings; host and port may stand for bind, config
    is a configuration file.
    """
    host, port = local_conf.pop("host", None), local_conf.pop("port", None)
    if host:
        local_conf["bind"] = _binds(host, port)
    PasterServerApplication(app, global_conf["__file__"], local_conf).run()
