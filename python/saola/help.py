"""Help texts and the command-line parser.

`--help` shows what most people need, `--help-all` every option, `--help SETTING` all there is to
know about one setting. Plain text, 80 columns; bold headings on a terminal unless NO_COLOR is set.
"""

import argparse
import os
import sys
import textwrap

from . import __version__, _saola

WIDTH = 80

# What --help shows; --help-all has the rest.
SHORT = (
    ("Serve", ("bind", "workers", "threads", "worker_class", "config", "preload_app", "reload")),
    ("Clocks and limits", ("timeout", "graceful_timeout", "keepalive", "boot_timeout",
                           "max_requests")),
    ("Logs", ("accesslog", "errorlog", "loglevel")),
    ("Process", ("proc_name", "chdir", "raw_env", "user", "group", "pidfile", "daemon")),
    ("Behind a proxy", ("forwarded_allow_ips", "proxy_protocol")),
    ("Checks", ("check_config", "print_config")),
)

_TYPES = {"bool": "true or false", "int": "whole number", "octal": "whole number, octal with a leading 0",
          "size": "bytes, or with K, M, G, T",
          "string": "text", "list": "list of texts; the flag may be given several times",
          "csv": "comma list", "addrs": "comma list of *, addresses and networks",
          "choice": "one word", "callable": "function", "class": "class, or its dotted name",
          "dict": "dictionary", "any": "any"}

_WHEN = {"start": "at start (a restart or USR2 is needed)", "reload": "at start and at a reload (HUP)",
         "worker": "in workers that start after a reload (HUP)"}


# ---- the texts -------------------------------------------------------------------------------


def short_help(settings, prog="saola", usage=None, bold=str):
    """The text of --help."""
    parts = [_usage(prog, usage), ""]
    for title, names in SHORT:
        parts.append(bold(f"{title}:"))
        parts += [_option(settings[name], short=True) for name in names if name in settings]
        parts.append("")
    parts += [f"  {prog} --help-all          every option",
              f"  {prog} --help timeout      all about one setting",
              f"  {prog} --version"]
    if prog == "saola":
        parts.append(f"  {prog} upgrade --help      replace a running server, or change nothing")
    return "\n".join(parts) + "\n"


def all_help(settings, prog="saola", usage=None, bold=str):
    """The text of --help-all: every setting with a flag, by section; then those without."""
    parts = [_usage(prog, usage), ""]
    sections = {}
    for setting in sorted(settings.values(), key=lambda s: s.order):
        sections.setdefault(setting.section or "Other", []).append(setting)
    for title, members in sections.items():
        flagged = [_option(s) for s in members if s.cli]
        bare = [s.name for s in members if not s.cli]
        parts.append(bold(f"{title}:"))
        parts += flagged
        if bare:
            parts.append(textwrap.fill("In a configuration file only: " + ", ".join(bare), WIDTH - 2,
                                       initial_indent="  ", subsequent_indent="  "))
        parts.append("")
    parts.append(f"  {prog} --help SETTING      all about one setting")
    return "\n".join(parts) + "\n"


def setting_help(setting, bold=str):
    """The text of --help SETTING for one setting; it ends with a line end."""
    row = setting.row
    lines = [bold(setting.name), "", *_paragraphs(setting.desc or ""), ""]
    if setting.cli:
        lines.append(_fact("flags", _flags(setting)))
    lines.append(_fact("in a file", f"{setting.name} = ..."))
    if row is None:
        lines.append(_fact("default", repr(setting.default)))
        return "\n".join(lines) + "\n"
    lines.append(_fact("type", _TYPES[row.type] + (", or None" if row.flags & 8 else "")))
    if row.choices:
        lines.append(_fact("values", ", ".join(row.choices)))
    if row.type in ("int", "octal", "size"):
        lines.append(_fact("bounds", bounds(row)))
    if row.type == "callable":
        lines.append(_fact("parameters", str(row.min)))
    lines.append(_fact("default", default_text(row)))
    lines.append(_fact("effective", _WHEN[row.when]))
    lines.append(_fact("section", row.section + ("" if row.ours else " (as in gunicorn)")))
    if row.lacking:
        lines.append(_fact("note", f"not available yet {row.lacking}"))
    return "\n".join(lines) + "\n"


def bounds(row):
    """Bounds of a number as a person writes them."""
    if row.type == "size":
        return "0 to 1024T"
    show = (lambda n: f"0{n:o}" if n else "0") if row.type == "octal" else str
    return f"{show(row.min)} or more" if row.max == 2147483647 \
        else f"{show(row.min)} to {show(row.max)}"


def default_text(row):
    """The default of a row as a person writes it."""
    if row.type == "callable":
        return "a function that does nothing"
    if row.default_text is None:
        return "an empty list" if row.type == "list" else "none"
    return row.default_text or "empty"


def _paragraphs(text):
    return textwrap.wrap(text.split("\n\n", 1)[0], WIDTH) + [
        line for paragraph in text.split("\n\n")[1:]
        for line in ["", *textwrap.wrap(paragraph, WIDTH)]]


def _fact(name, text):
    return textwrap.fill(text, WIDTH, initial_indent=f"  {name:<11} ",
                         subsequent_indent=" " * 14)


def _usage(prog, usage):
    text = usage.replace("%(prog)s", prog) if usage else f"{prog} [OPTIONS] APP"
    return f"Usage: {text}\n\nAPP is MODULE, MODULE:NAME or MODULE:FACTORY(...), as in saola ok:app"


def _flags(setting):
    text = ", ".join(sorted(setting.cli, key=len))
    takes_value = setting.action in (None, "store", "append")
    if not takes_value:
        return text
    meta = setting.meta or (setting.name or "").upper()
    return f"{text} [{meta}]" if setting.nargs == "?" else f"{text} {meta}"


def _option(setting, short=False):
    """The lines of one option; short leaves out what stands behind a semicolon."""
    flags = _flags(setting)
    text = setting.short or ""
    if short and ";" in text:
        text = text.partition(";")[0] + "."
    default = setting.row.default_text if setting.row is not None else setting.default
    if setting.action in (None, "store", "append") and default not in (None, "", []) \
            and len(str(default)) <= 20:
        text += f" [{default}]"
    if setting.row is not None and setting.row.lacking:
        text += " Not available yet."
    filled = textwrap.wrap(text, WIDTH - 28) or [""]
    first = f"  {flags:<25} {filled[0]}" if len(flags) <= 25 else f"  {flags}\n{'':28}{filled[0]}"
    return "\n".join([first, *(" " * 28 + line for line in filled[1:])])


# ---- the parser ------------------------------------------------------------------------------


def bold_for(stream):
    """A function that makes headings bold, or leaves them alone when stream is not a terminal."""
    try:
        terminal = stream.isatty()
    except (AttributeError, ValueError):
        terminal = False
    if not terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return str
    return lambda text: f"\033[1m{text}\033[0m"


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are one line with the option that was probably meant."""

    def __init__(self, usage=None, prog=None, settings=None):
        super().__init__(usage=usage, prog=prog, add_help=False)
        self.settings = settings or {}
        self.add_argument("-h", "--help", action=_Help, nargs="?", metavar="SETTING",
                          dest=argparse.SUPPRESS, default=argparse.SUPPRESS)
        self.add_argument("--help-all", action=_HelpAll, nargs=0, dest=argparse.SUPPRESS,
                          default=argparse.SUPPRESS)
        self.add_argument("-v", "--version", action="version", default=argparse.SUPPRESS,
                          version=f"%(prog)s (version {__version__})")
        self.add_argument("args", nargs="*", help=argparse.SUPPRESS)

    def format_help(self):
        return short_help(self.settings, self.prog, self.usage)

    def parse_args(self, args=None, namespace=None):
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            self.error(self.explain_unknown(extra))
        return found

    def explain_unknown(self, words):
        """One line about words that no option takes."""
        option = next((word for word in words if word.startswith("-")), words[0])
        option = option.partition("=")[0]
        if not option.startswith("-"):
            return f"unexpected argument {option}"
        near = self.nearest_option(option)
        return f"unknown option {option}" + (f"; did you mean {near}?" if near
                                             else f" ({self.prog} --help-all lists all)")

    def nearest_option(self, option):
        """The option that a mistyped one was probably meant for, or None. The name of a setting
        is understood as its flag."""
        setting = self.settings.get(option.lstrip("-").replace("-", "_"))
        if setting is not None and setting.cli:
            return setting.cli[-1]
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        return _saola.nearest_word(option, known)

    def error(self, message):
        """Prints one line and exits with 2."""
        print(f"{self.prog}: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


class _Help(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        bold = bold_for(sys.stdout)
        if values is None:
            text = short_help(parser.settings, parser.prog, parser.usage, bold)
        else:
            text = setting_help(_wanted(parser, values), bold)
        _show(parser, text)


class _HelpAll(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        _show(parser, all_help(parser.settings, parser.prog, parser.usage, bold_for(sys.stdout)))


def _wanted(parser, word):
    name = word.lstrip("-").replace("-", "_").lower()
    if name in parser.settings:
        return parser.settings[name]
    for setting in parser.settings.values():
        if any(flag.lstrip("-").replace("-", "_") == name for flag in setting.cli or ()):
            return setting
    near = _saola.nearest_word(name, list(parser.settings))
    parser.error(f"no setting is called {word}" + (f"; did you mean {near}?" if near else ""))


def _show(parser, text):
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    parser.exit(0)
