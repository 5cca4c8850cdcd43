"""Starts a server that has no command line of its own: ``python -m bench.serve NAME PORT``."""

from __future__ import annotations

import sys

from bench.app import app


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "bjoern":
        import bjoern

        bjoern.run(app, "127.0.0.1", port)
    elif name == "fastpysgi":
        import fastpysgi

        fastpysgi.run(app, host="127.0.0.1", port=port, workers=1, loglevel=0)
    else:
        sys.exit(f"serve: {name} is not a server that is known here")


if __name__ == "__main__":
    main()
