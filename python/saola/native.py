"""Applications and worker classes in C: `saola ./app.so` becomes the program that needs no Python.

The package contains it (native/bin/saola), with the library, the headers and the pkg-config file for
those who write such applications (native/lib, native/include, native/lib/pkgconfig). `python -m
saola.native` prints what PKG_CONFIG_PATH has to be for them.
"""

import atexit
import os
import re
import subprocess
import sys
from pathlib import Path

from . import _saola, errors

#: Where the parts for C lie.
ROOT = Path(__file__).resolve().parent / "native"

_SHARED_OBJECT = re.compile(r"[^:=]*\.so(:\w*)?")
_MOUNT = re.compile(r"(?P<prefix>[^=]*)=(?P<path>.*?)(?P<name>:[^/]*)?", re.DOTALL)


class _Held:
    """The mounted files as they were when a generation was loaded, so that a worker which is made
    later gets the same, whatever has been built since."""

    def __init__(self, mounts):
        self._files = []
        for text in mounts:
            parts = _MOUNT.fullmatch(text)
            self._files.append((parts, os.open(parts["path"], os.O_RDONLY)))

    def texts(self):
        """The setting mount, by other names where a name does not lead to its file any more."""
        out = []
        for parts, fd in self._files:
            try:
                same = os.path.samestat(os.stat(parts["path"]), os.fstat(fd))
            except OSError:
                same = False
            path = parts["path"] if same else f"/proc/self/fd/{fd}"
            out.append(f"{parts['prefix']}={path}{parts['name'] or ''}")
        return out

    def __del__(self):
        for _, fd in getattr(self, "_files", ()):
            os.close(fd)


def mounted_files(cfg):
    """The paths of what is mounted."""
    return [_MOUNT.fullmatch(text)["path"] for text in cfg.mount]


def check_mounts(cfg):
    """Tries the settings mount and app_settings in a process of its own, and keeps the files for the
    workers of this configuration. What is given beside them for pools is tried with them: settings may
    be meant for either. RuntimeError, one line, for what cannot be used."""
    if cfg.native_hooks:
        raise RuntimeError("native_hooks: is for applications in C; a server for Python has its hooks in the "
                           "configuration file")
    if cfg.app_settings and not (cfg.mount or cfg.native_pools):
        raise RuntimeError("app_settings: is for applications and pools in C, and there are none")
    args = [f"--mount={mount}" for mount in cfg.mount]
    if cfg.app_settings and not (cfg.reload and cfg.native_pools):  # which may have to be built first
        args += [f"--set={text}" for text in cfg.app_settings] + [f"--pool={text}" for text in cfg.native_pools]
    if not args:
        return
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_CMD_ARGS")}
    done = subprocess.run([ROOT / "bin" / "saola", "--check-config", *args], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        lines = done.stdout.splitlines() or [f"the check ended with status {done.returncode}"]
        what = "mount: " if cfg.mount else "pool: "
        raise RuntimeError(what + lines[-1].removeprefix("saola: ").removeprefix(what))
    if not cfg.reload:  # there a worker that is made anew shall get what was built anew
        cfg.held_mounts = _Held(cfg.mount)


def open_mounts(cfg, files):
    """(worker) What an engine's option files is to be: files, with mounted applications in front."""
    if not cfg.mount:
        return files
    core = cfg.to_core()
    held = vars(cfg).get("held_mounts")
    if held is not None:
        core.clear("mount")
        for text in held.texts():
            core.set("mount", text)
    try:
        mounts = _saola.Mounts(core, files)
    except ValueError as exc:
        raise errors.ConfigError(str(exc)) from None
    atexit.register(mounts.end)
    return mounts


def reopen_logs(files):
    """(worker) Opens the log file of mounted applications anew. files: what open_mounts() gave."""
    if isinstance(files, _saola.Mounts):
        files.reopen_logs()


def is_shared_object(text):
    """Whether text names a table in a shared object, PATH.so[:NAME]."""
    return isinstance(text, str) and _SHARED_OBJECT.fullmatch(text) is not None


def start_if_named(argv):
    """Executes the C program in place of this one when the command line names an application or a
    worker class of a shared object, or pools of such and no application. Returns when it does not. argv with the program's name."""
    if not any(".so" in arg for arg in argv[1:]):
        return
    from . import successor
    from .app import usage
    from .config import Config
    from .errors import UsageError
    try:
        given = usage.parse(Config("%(prog)s [OPTIONS] [APP_MODULE]", prog="saola").parser(), argv[1:])
    except UsageError:
        return  # said again, and properly, by who reads it next
    app = given.args[0] if given.args else getattr(given, "wsgi_app", None)
    pools_only = app is None and getattr(given, "native_pools", None)
    if not (is_shared_object(app) or is_shared_object(given.worker_class) or pools_only):
        return
    program = ROOT / "bin" / "saola"
    # USR2 starts what argv[0] says: this command again, which may belong to a newer release by then.
    again = os.path.abspath(argv[0])
    if not os.access(again, os.X_OK):
        again = str(program)
    successor.pass_on()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [again, *argv[1:]])


if __name__ == "__main__":
    print(ROOT / "lib" / "pkgconfig")
