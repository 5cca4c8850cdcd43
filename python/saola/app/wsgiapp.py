"""The application of the command line: `saola MODULE:NAME`."""

import os

from .. import util
from ..errors import ConfigError, fail
from . import pasterapp
from .base import Application
from .locate import module_is_missing

# Hooks that run before the application is imported and may change where it is looked for.
_EARLY_HOOKS = ("on_starting", "nworkers_changed", "when_ready", "pre_fork", "post_fork")


class WSGIApplication(Application):
    """Serves what app_uri names: the positional argument, else the setting wsgi_app."""

    app_uri = None

    def init(self, parser, opts, args):
        """Takes the application from the command line."""
        self.app_uri = None
        if getattr(opts, "paste", None):
            return self._init_paste(opts.paste)
        if args:
            self.app_uri = args[0]
            return {"default_proc_name": args[0]}
        return None

    def _init_paste(self, location):
        self.app_uri, path = pasterapp.find_file(location)
        settings = {"default_proc_name": path}
        if pasterapp.has_logging_config(path):
            settings["logconfig"] = path
        return settings

    def load_config(self):
        super().load_config()
        if self.app_uri is None and self.cfg.paste is not None:  # not on the command line
            for name, value in self._init_paste(self.cfg.paste).items():
                if self.cfg.settings[name].is_default():
                    self._set(name, value, "paste")
        if self.app_uri is None:
            self.app_uri = self.cfg.wsgi_app
            if self.app_uri is None:
                raise ConfigError("no application given. " + _what_to_type())

    def load_wsgiapp(self):
        """Imports the application that app_uri names."""
        return util.import_app(self.app_uri)

    def load_pasteapp(self):
        """Loads the application from a PasteDeploy file."""
        return pasterapp.get_wsgi_app(self.app_uri, defaults=dict(self.cfg.paste_global_conf or {}))

    def load(self):
        if self.cfg.paste is not None:
            return self.load_pasteapp()
        return self.load_wsgiapp()

    def _before_start(self):
        super()._before_start()
        if self.cfg.paste is None and type(self).load_wsgiapp is WSGIApplication.load_wsgiapp \
                and type(self).load is WSGIApplication.load and not self._has_early_hooks():
            missing = module_is_missing(self.app_uri)
            if missing:
                fail(missing, 1 if self.cfg.preload_app or self.cfg.check_config else 3)

    def _has_early_hooks(self):
        settings = self.cfg.settings
        return any(settings[name].get() is not settings[name].default
                   for name in _EARLY_HOOKS if name in settings)


def _what_to_type():
    for module in ("wsgi", "app", "main", "application"):
        if os.path.isfile(module + ".py"):
            return f"Type: saola {module}:NAME, where {module}.py has NAME = the WSGI callable"
    return "Type: saola MODULE:NAME, for example saola app:application for app.py"


def run(prog=None):
    """The program: reads sys.argv, serves, exits."""
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog=prog).run()


if __name__ == "__main__":
    run()
