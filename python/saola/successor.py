"""What a new arbiter (USR2) tells the one that started it, as long as it does not serve: why it fails.

The words go into a nameless file that the arbiter before has made (SAOLA_UPGRADE_FD); it reads them
when the new one has ended, for its log and for `saola upgrade`. Without such a file nothing happens.
"""

import os

_fd = None


def take():
    """(arbiter, before the core takes the descriptor) Keeps one for the workers of this arbiter."""
    global _fd
    fd = _given()
    if fd is not None and _fd is None:
        try:
            _fd = os.dup(fd)
        except OSError:
            pass


def tell(text):
    """Adds text, one or more lines."""
    fd = _fd if _fd is not None else _given()
    if fd is not None:
        try:
            os.write(fd, text.rstrip("\n").encode(errors="backslashreplace")[-4096:] + b"\n")
        except OSError:
            pass


def done():
    """This process serves: there is nothing to explain any more."""
    global _fd
    fd, _fd = _fd, None
    if fd is not None:
        os.close(fd)
    os.environ.pop("SAOLA_UPGRADE_FD", None)


def _protect():
    """What the arbiter before has handed over is not for programs that a configuration file starts:
    one that stays would keep the address for ever."""
    _set_inheritable(False)


def pass_on():
    """This process is about to become another program, which is the arbiter in its place."""
    _set_inheritable(True)


def _set_inheritable(inheritable):
    if _given() is not None:
        os.set_inheritable(_given(), inheritable)
    for line in os.environ.get("SAOLA_FD", "").splitlines():
        number = line.partition(":")[0]
        try:
            if os.readlink(f"/proc/self/fd/{int(number)}").startswith("socket:"):
                os.set_inheritable(int(number), inheritable)
        except (ValueError, OSError):
            pass


def _given():
    """The descriptor of the environment, if it is what it should be: numbers prove nothing."""
    try:
        fd = int(os.environ["SAOLA_UPGRADE_FD"])
        return fd if os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:saola-upgrade") else None
    except (KeyError, ValueError, OSError):
        return None


if os.environ.get("GUNICORN_PID") == str(os.getppid()):
    _protect()
