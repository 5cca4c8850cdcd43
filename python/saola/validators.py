"""Checks of setting values. The names and meanings are those of gunicorn.config, because public
settings and configuration files use them.

Each takes what the user gave and returns the value that is kept. A refusal is ValueError, TypeError
or, for things outside the program (users, directories), ConfigError; one line, without the name of
the setting, which Setting.set() puts in front.
"""

import glob
import grp
import importlib
import inspect
import ipaddress
import os
import pwd
import re
import warnings

from . import _saola, util
from .errors import ConfigError


def _quoted(val):
    return f'"{val}"' if isinstance(val, str) else repr(val)


def auto_int(_, text):
    """A whole number in which a leading 0 means octal: "0022" is 18. The first argument is unused."""
    return int("0o" + text[1:] if re.fullmatch(r"0\d+", text) else text, 0)


def whole_number(text):
    """A whole number as the command line gives it: decimal, or with 0x, 0o, 0b in front."""
    try:
        return int(text, 10)
    except ValueError:
        return int(text, 0)


_UNITS = "KMGT"


# ---- plain values ----------------------------------------------------------------------------


def validate_bool(val):
    """True, False, their names, or None."""
    if val is None or isinstance(val, bool):
        return val
    if not isinstance(val, str):
        raise TypeError(f"{val!r} is neither True nor False")
    word = val.strip().lower()
    if word not in ("true", "false"):
        raise ValueError(f"{_quoted(val)} is neither true nor false")
    return word == "true"


def validate_dict(val):
    """A dictionary."""
    if not isinstance(val, dict):
        raise TypeError(f"{val!r} is not a dictionary")
    return val


def validate_pos_int(val):
    """A whole number from 0; text in decimal or with 0x, 0o, 0b in front."""
    if isinstance(val, int):
        number = int(val)  # True is 1
    else:
        if not isinstance(val, str):
            raise TypeError(f"{val!r} is not a whole number")
        try:
            number = int(val, 0)
        except ValueError:
            raise ValueError(f"{_quoted(val)} is not a whole number") from None
    if number < 0:
        raise ValueError(f"{number} is out of bounds: 0 or more")
    return number


def validate_mode(val):
    """As validate_pos_int(), and a leading 0 means octal."""
    if isinstance(val, str) and re.fullmatch(r"\s*0[0-7]+\s*", val):
        val = auto_int(None, val.strip())
    return validate_pos_int(val)


def size_text(number):
    """A number of bytes as people write it: 536870912 is 512M."""
    for unit in ("", *_UNITS[:-1]):
        if number % 1024 or not number:
            return f"{number}{unit}"
        number //= 1024
    return f"{number}{_UNITS[-1]}"


def validate_size(val):
    """Bytes: a whole number, or text like 512M (K, M, G, T are powers of 1024)."""
    if isinstance(val, int) and not isinstance(val, bool):
        if val < 0:
            raise ValueError(f"{val} is out of bounds: 0 or more")
        return val
    found = re.fullmatch(r"(\d+)([KMGT]?)", val.strip().upper(), re.ASCII) \
        if isinstance(val, str) else None
    if not found:
        raise ValueError(f"{_quoted(val)} is not a size: a whole number with K, M, G or T behind it, "
                         "as in 512M")
    return int(found[1]) * 1024 ** (_UNITS.index(found[2]) + 1 if found[2] else 0)


def validate_http2_frame_size(val):
    """A frame size that RFC 9113, 4.2 allows."""
    val = validate_pos_int(val)
    if not 16384 <= val <= 16777215:
        raise ValueError(f"{val} is out of bounds: 16384 to 16777215")
    return val


def validate_string(val):
    """Text without white space at both ends, or None."""
    if val is None:
        return None
    if not isinstance(val, str):
        raise TypeError(f"{val!r} is not a string")
    return val.strip()


def validate_ssl_version(val):
    """Anything; it has no effect."""
    return val


def choice(words, default):
    """A validator for one of words, in any case; None is default."""
    def validate_choice(val):
        if val is None:
            return default
        if not isinstance(val, str):
            raise TypeError(f"{val!r} is not one of {', '.join(words)}")
        word = val.strip().lower()
        if word in words:
            return word
        near = _saola.nearest_word(word, words)
        raise ValueError(f"{_quoted(val)} is not one of {', '.join(words)}"
                         + (f"; did you mean {near}?" if near else ""))
    return validate_choice


validate_reload_engine = choice(("auto", "poll", "inotify"), "auto")
validate_header_map_behaviour = choice(("drop", "refuse", "dangerous"), "drop")
_asgi_loop = choice(("auto", "asyncio", "uvloop"), "auto")


def validate_asgi_loop(val):
    """auto, asyncio, uvloop, or MODULE:NAME of what makes a loop."""
    if isinstance(val, str) and ":" in val:
        module, _, name = val.strip().partition(":")
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"{_quoted(val)} is not auto, asyncio, uvloop or MODULE:NAME")
        return val.strip()
    return _asgi_loop(val)


validate_asgi_lifespan = choice(("auto", "on", "off"), "auto")
validate_http_parser = choice(("auto", "fast", "python"), "auto")
_proxy_mode = choice(("off", "v1", "v2", "auto"), "off")
_PROXY_WORDS = {"false": "off", "0": "off", "none": "off", "true": "auto", "1": "auto"}


def validate_proxy_protocol(val):
    """off, v1, v2, auto; True is auto and False is off."""
    if isinstance(val, bool):
        return "auto" if val else "off"
    if isinstance(val, str):
        val = _PROXY_WORDS.get(val.strip().lower(), val)
    return _proxy_mode(val)


# ---- lists -----------------------------------------------------------------------------------


def validate_list_string(val):
    """A list of strings; one string is a list of one."""
    if not val:
        return []
    if isinstance(val, str):
        val = [val]
    if not isinstance(val, (list, tuple, set, frozenset)):
        raise TypeError(f"{val!r} is not a list of strings")
    return [validate_string(item) for item in val]


def validate_string_to_list(val):
    """A comma list; a list of strings is taken too."""
    if isinstance(val, (list, tuple)):
        val = ",".join(validate_list_string(val))
    val = validate_string(val)
    return [part.strip() for part in val.split(",") if part.strip()] if val else []


def validate_string_to_addr_list(val):
    """A comma list of *, IP addresses and networks without host bits."""
    val = validate_string_to_list(val)
    for address in val:
        if address == "*":
            continue
        try:
            ipaddress.ip_network(address)
        except ValueError as exc:
            if "host bits" in str(exc):
                raise ValueError(f"{_quoted(address)} has bits set beyond its network part") from None
            raise ValueError(f"{_quoted(address)} is not *, an IP address or a network "
                             "(ADDRESS/BITS)") from None
    return val


VALID_HTTP_PROTOCOLS = frozenset(("h1", "h2", "h3"))


def validate_http_protocols(val):
    """A comma list of h1, h2, h3 in order of preference, none twice."""
    if val is None:
        return ["h1"]
    if not isinstance(val, str):
        raise TypeError(f"{val!r} is not a string like h2,h1")
    protocols = [word.lower() for word in validate_string_to_list(val)] or ["h1"]
    for word in protocols:
        if word not in VALID_HTTP_PROTOCOLS:
            raise ValueError(f"{_quoted(word)} is not one of h1, h2, h3")
    if len(set(protocols)) != len(protocols):
        raise ValueError(f"{_quoted(val)} names a protocol twice")
    return protocols


# ---- files, users, addresses -----------------------------------------------------------------


def validate_file_exists(val):
    """A path that exists, or None."""
    if val is not None and not os.path.exists(val):
        raise ValueError(f"file {_quoted(val)} does not exist")
    return val


def validate_list_of_files_or_patterns(val):
    """Paths that exist, and glob patterns as they are; a pattern without a match only warns."""
    entries = validate_list_string(val)
    for entry in entries:
        if not util.is_glob_pattern(entry):
            validate_file_exists(entry)
        elif not glob.glob(entry, recursive=True):
            warnings.warn(f"pattern {entry} matches no file now", RuntimeWarning, stacklevel=2)
    return entries


def validate_chdir(val):
    """A directory that exists; returned as an absolute path."""
    val = validate_string(val)
    if val is None:
        return util.getcwd()
    path = os.path.abspath(os.path.join(util.getcwd(), val))
    if not os.path.isdir(path):
        reason = "is not a directory" if os.path.exists(path) else "does not exist"
        raise ConfigError(f"{_quoted(val)} {reason}")
    return path


def _identity(val, own, kind, find):
    if val is None:
        return own()
    if isinstance(val, int) and not isinstance(val, bool):
        return val
    if not isinstance(val, str):
        raise TypeError(f"{val!r} is neither a name nor a number")
    if val.isdigit():
        return int(val)
    try:
        return find(val)
    except KeyError:
        raise ConfigError(f"there is no {kind} {_quoted(val)}") from None


def validate_user(val):
    """The number of a user given by name or number; None is the user of this process."""
    return _identity(val, os.geteuid, "user", lambda name: pwd.getpwnam(name).pw_uid)


def validate_group(val):
    """The number of a group given by name or number; None is the group of this process."""
    return _identity(val, os.getegid, "group", lambda name: grp.getgrnam(name).gr_gid)


def validate_statsd_address(val):
    """(host, port) or the path of a unix socket. `unix:PORT` is a host called unix."""
    val = validate_string(val)
    if val is None:
        return None
    port = re.fullmatch(r"unix:(\d+)", val)
    if port:
        return ("unix", int(port.group(1)))
    try:
        return util.parse_address(val, default_port="8125")
    except RuntimeError:
        raise TypeError(f"{_quoted(val)} is neither HOST:PORT nor unix://PATH") from None


# ---- classes and functions -------------------------------------------------------------------


def validate_class(val):
    """A class, a function that returns one (called now), or a name."""
    if inspect.isfunction(val) or inspect.ismethod(val):
        val = val()
    return val if inspect.isclass(val) else validate_string(val)


def _import_callable(val):
    module_name, _, name = val.strip().rpartition(".")
    if not module_name:
        raise TypeError(f"{_quoted(val)} is not of the form module.function")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ImportError as exc:
        raise TypeError(f"{_quoted(val)} cannot be imported: {exc}") from None
    except AttributeError:
        raise TypeError(f"{_quoted(name)} is not in module {module_name}") from None


def validate_callable(arity):
    """A validator for a callable, or its dotted name, with arity positional parameters (-1: any)."""
    def check(val):
        if isinstance(val, str):
            val = _import_callable(val)
        if not callable(val):
            raise TypeError(f"{val!r} is not callable")
        if arity != -1 and util.get_arity(val) != arity:
            raise TypeError(f"takes {arity} parameter{'s' * (arity != 1)}, but "
                            f"{getattr(val, '__name__', val)} has {util.get_arity(val)}")
        return val
    return check


def validate_post_request(val):
    """A callable with 4 parameters; one with 2 or 3 is wrapped and gets the first ones."""
    val = validate_callable(-1)(val)
    arity = util.get_arity(val)
    if arity == 4:
        return val
    if arity == 3:
        return lambda worker, req, environ, _resp: val(worker, req, environ)
    if arity == 2:
        return lambda worker, req, _environ, _resp: val(worker, req)
    raise TypeError(f"takes 4 parameters (2 or 3 are allowed), but "
                    f"{getattr(val, '__name__', val)} has {arity}")
