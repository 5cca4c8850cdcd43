"""Parses command lines so that a mistake becomes an exception that says where it stands."""

import argparse

from ..errors import UsageError


def parse(parser, argv, source=None):
    """parser.parse_args() that raises UsageError instead of printing and exiting.

    source names the environment variable the arguments stand in, or is None for the command line.
    """
    def error(message):
        text = " ".join(message.split())
        raise UsageError(f"{source}: {text}" if source else text)

    parser.error = error
    try:
        return parser.parse_args(argv)
    except argparse.ArgumentError as exc:
        error(str(exc))
    finally:
        del parser.error
