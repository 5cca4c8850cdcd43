"""python -m saola.gunicorn script.py [args], or -m module [args]: runs a program in which gunicorn means Saola."""

import os
import runpy
import sys

from saola.gunicorn import install


def main():
    module = sys.argv[1:2] == ["-m"]
    args = sys.argv[1 + module:]
    if not args or args[0] in ("-h", "--help"):
        print("usage: python -m saola.gunicorn script.py [args]\n"
              "       python -m saola.gunicorn -m module [args]", file=sys.stderr)
        sys.exit(0 if args else 2)
    program = args[0]
    if not module and not os.path.exists(program):
        sys.exit(f"saola: {program}: there is no such file")
    install()
    sys.argv = args
    if module:
        sys.path[0] = os.getcwd()
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        # As `python script.py` would: the script's directory first, not the working directory.
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
