"""Parses command lines so that a mistake is one line with the option that was probably meant."""

import argparse
import difflib

from ..errors import UsageError


def parse(parser, argv, source=None):
    """parser.parse_args() that raises UsageError instead of printing the usage and exiting.

    source names the environment variable the arguments stand in, or is None for the command line.
    """
    def error(message):
        text = _explain(parser, message)
        raise UsageError(f"{source}: {text}" if source else text)

    plain_error = parser.__dict__.get("error")
    parser.error = error
    try:
        return parser.parse_args(argv)
    except argparse.ArgumentError as exc:
        error(str(exc))
    finally:
        if plain_error is None:
            del parser.error
        else:
            parser.error = plain_error


def nearest_option(parser, option):
    """The option of parser that option most likely stands for, or None."""
    known = [o for o in parser._option_string_actions if o.startswith("--")]
    word = option.partition("=")[0].replace("_", "-").lower()
    if not word.startswith("--"):
        word = "-" + word
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return near[0] if near else None


def _explain(parser, message):
    text = " ".join(message.split())
    if text.startswith("unrecognized arguments: "):
        words = text.partition(": ")[2].split()
        option = next((w for w in words if w.startswith("-")), words[0])
        near = nearest_option(parser, option)
        hint = f"; did you mean {near}?" if near else " (saola --help-all lists all)"
        return f"unknown option {option.partition('=')[0]}{hint}"
    return text
