"""python -m saola.aioworkerpool script.py [args]: runs a script in which aioworkerpool means Saola."""

import os
import runpy
import sys

from saola.aioworkerpool import install


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m saola.aioworkerpool script.py [args]", file=sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    script = sys.argv[1]
    if not os.path.exists(script):
        sys.exit(f"saola: {script}: there is no such file")
    install()
    sys.argv = sys.argv[1:]
    # As `python script.py` would: the script's directory first, not the working directory.
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
