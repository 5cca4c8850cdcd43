"""`saola upgrade`: starts a new arbiter beside a running one and retires the old one when the new one
serves. Whatever fails before that leaves the old one as it is.

What an arbiter is doing is read from its notice (src/proc/notice.h), a page of memory that only the
same user and root can see; signals go through pidfds, so no other process can be hit by mistake.
"""

import argparse
import os
import select
import signal
import sys
import time

POLL_MS = 20
# A new arbiter counts as ready when all its workers have been so for this long, none replaced.
STEADY_SECONDS = 1.0
# What a process may need beyond the limits that it was given.
SPARE_SECONDS = 15


class Failed(Exception):
    """The upgrade did not take place, or not completely; the text is for the user."""


class Interrupted(BaseException):
    """A signal asked this command to end."""


# ---- the two arbiters ----------------------------------------------------------------------------------


class Peer:
    """A running arbiter, seen from outside.

    Raises Failed when pid is no arbiter or may not be looked at. Attributes: pid, and facts, a dict
    of what the notice said last (numbers are ints); empty before it is there.
    """

    def __init__(self, pid):
        self.pid = pid
        self.facts = {}
        self._notice = None
        try:
            self.fd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise Failed(f"there is no process {pid}") from None
        except OSError as exc:
            raise Failed(f"process {pid}: {exc.strerror}") from None

    def close(self):
        """Closes what was opened."""
        for fd in (self.fd, self._notice):
            if fd is not None:
                os.close(fd)
        self.fd = self._notice = None

    def is_gone(self):
        """True when the process has ended."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def signal(self, number):
        """Sends a signal; a process that has ended is no error."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise Failed(f"process {self.pid} belongs to another user: run this as that user or as "
                         "root") from None

    def look(self):
        """Reads the notice anew; returns the facts, which stay as they were if it cannot be read."""
        if self._notice is None:
            self._notice = _open_notice(self.pid)
        facts = None if self._notice is None else _read_notice(self._notice)
        if facts is not None and facts["pid"] == self.pid:
            self.facts = facts
        elif self._notice is not None and not self.facts:
            os.close(self._notice)  # of the process before its exec
            self._notice = None
        return self.facts

    def is_ready(self):
        """All workers of the arbiter serve."""
        facts = self.facts
        return bool(facts and facts["state"] == "serving" and facts["reload"] == "steady"
                    and facts["ready"] >= facts["workers"])


def _open_notice(pid):
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{name}").startswith("/memfd:saola-arbiter"):
                    return os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                pass  # closed meanwhile
    except (FileNotFoundError, ProcessLookupError):
        pass
    except PermissionError:
        raise Failed(f"process {pid} belongs to another user: run this as that user or as "
                     "root") from None
    return None


def _read_notice(fd):
    """The facts, or None while they are being written."""
    page = os.pread(fd, 4096, 0).rstrip(b"\0").decode(errors="replace")
    head, _, rest = page.partition("\n")
    lines, _, end = rest.rstrip("\n").rpartition("\n")
    if not head.startswith("saola ") or end != "end" + head.removeprefix("saola"):
        return None
    plain, _, why = lines.partition("why\n")
    facts = {name: int(value) if value.lstrip("-").isdigit() else value
             for name, _, value in (line.partition(" ") for line in plain.splitlines())}
    facts["why"] = why.strip()
    return facts


# ---- which one ------------------------------------------------------------------------------------------


def _read_pidfile(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return int(file.read())
    except FileNotFoundError:
        raise Failed(f"there is no pid file {path}: is the server running, with --pid {path}?") \
            from None
    except (OSError, ValueError) as exc:
        raise Failed(f"pid file {path}: {exc}") from None


def _configured_pidfile(config):
    """The pid file of the configuration, found as the server finds it (file, environment)."""
    from .app.base import Application

    class Settings(Application):
        def init(self, parser, opts, args):
            return None

    before, sys.argv = sys.argv, ["saola", *(["-c", config] if config else [])]
    try:
        cfg = Settings(prog="saola upgrade").cfg
    finally:
        sys.argv = before
    if cfg.pidfile:
        return os.path.abspath(cfg.pidfile)
    where = config or "the configuration found here"
    raise Failed(f"{where} names no pid file. Type: saola upgrade --pid FILE, or saola upgrade PID")


def find(options):
    """The arbiter to be replaced (a Peer whose notice was read) and its pid file or None."""
    pidfile, pid = options.pidfile, options.pid
    if pid is None:
        pidfile = os.path.abspath(pidfile) if pidfile else _configured_pidfile(options.config)
        pid = _read_pidfile(pidfile)
    named = f"process {pid}" + (f" (pid file {pidfile})" if pidfile else "")
    try:
        old = Peer(pid)
    except Failed:
        if pidfile:
            raise Failed(f"{named} is gone: the pid file is stale") from None
        raise
    end = time.monotonic() + 2
    while not old.look():
        if time.monotonic() > end:
            raise Failed(f"{named} is no arbiter of Saola (of this version)")
        time.sleep(POLL_MS / 1000)
    return old, pidfile


def check(old):
    """Raises Failed when this arbiter cannot be upgraded now."""
    facts = old.facts
    if facts["successor"]:
        raise Failed(
            f"an upgrade is in progress: arbiter {facts['successor']} was started by {old.pid}. "
            f"To finish it: kill -TERM {old.pid}; to take it back: kill -TERM {facts['successor']}")
    if facts["parent"]:
        raise Failed(
            f"an upgrade is in progress: arbiter {old.pid} was started by {facts['parent']}. "
            f"To finish it: kill -TERM {facts['parent']}; to take it back: kill -TERM {old.pid}")
    if facts["state"] != "serving":
        raise Failed(f"arbiter {old.pid} is {facts['state']}")


# ---- the upgrade ----------------------------------------------------------------------------------------


class Upgrade:
    """One upgrade of an arbiter. run() raises Failed or Interrupted; nothing has changed then, unless
    `committed` is true."""

    def __init__(self, old, pidfile, options, say):
        self.old, self.pidfile, self.options, self.say = old, pidfile, options, say
        self.new = None
        self.committed = self.rested = False
        self.harm = None  # what an upgrade that failed has changed

    def run(self):
        try:
            self.start()
            if self.old.facts["exclusive"]:
                self.wait_until_it_waits()
                self.rest()
            self.wait_until_ready()
            self.retire()
            self.wait_for_promotion()
        except (Failed, Interrupted):
            if self.new is not None and not self.committed:
                self.take_back()
            if self.rested and not self.committed:
                self.wait_until_the_old_one_serves()
            raise

    # ---- steps

    def start(self):
        before = self.old.facts["upgrades"]
        self.say(f"arbiter {self.old.pid}: USR2")
        self.old.signal(signal.SIGUSR2)

        def begun():
            return self.old.look()["upgrades"] != before or self.old.is_gone()
        if not self.wait(begun, self.options.timeout):
            raise Failed(f"arbiter {self.old.pid} did not react within {self.options.timeout:g} s: "
                         "is it stopped, or busy in a hook? It will start a new arbiter when it "
                         "comes to it")
        if self.old.is_gone():
            raise Failed(f"arbiter {self.old.pid} has ended meanwhile")
        pid = self.old.facts["successor"]
        if not pid:
            raise Failed(self.reason())
        try:
            self.new = Peer(pid)
        except Failed:  # over already; the old one will say how
            self.wait(lambda: not self.old.look()["successor"], SPARE_SECONDS)
            raise Failed(self.reason()) from None
        self.say(f"arbiter {pid}: starts")

    def wait_until_it_waits(self):
        """(exclusive) The new arbiter has its configuration; its worker waits for the lock."""
        self.wait_for_new(lambda: self.new.look().get("locked"), "waits for the old worker")
        self.say(f"arbiter {self.new.pid}: waits for the worker of {self.old.pid} to end")

    def rest(self):
        """(exclusive) The old worker makes room; it comes back when the new arbiter ends."""
        self.say(f"arbiter {self.old.pid}: WINCH, its worker ends")
        self.rested = True
        self.old.signal(signal.SIGWINCH)

    def wait_until_ready(self):
        since = forks = None

        def steady():
            nonlocal since, forks
            facts = self.new.look()
            now = time.monotonic()
            if not self.new.is_ready() or (since is not None and facts["forks"] != forks):
                since = None
            if self.new.is_ready() and since is None:
                since, forks = now, facts["forks"]
            return since is not None and now - since >= STEADY_SECONDS
        self.wait_for_new(steady, "is ready")
        self.say(f"arbiter {self.new.pid}: ready, {self.new.facts['workers']} workers")

    def retire(self):
        self.committed = True
        if not self.old.is_gone():
            self.say(f"arbiter {self.old.pid}: TERM, finishes its requests")
            self.old.signal(signal.SIGTERM)
        limit = self.old.facts["stop_limit"]
        if not self.wait(self.old.is_gone, limit + SPARE_SECONDS if limit else None):
            raise Failed(f"arbiter {self.old.pid} should have ended and has not; the new one, "
                         f"{self.new.pid}, serves beside it")
        self.say(f"arbiter {self.old.pid}: gone")

    def wait_for_promotion(self):
        """The new arbiter has noticed: its pid file has the old name."""
        done = self.wait(lambda: self.new.look()["parent"] == 0 or self.new.is_gone(), SPARE_SECONDS)
        if self.new.is_gone():
            raise Failed(f"the new arbiter {self.new.pid} has ended after the old one had gone: "
                         "nobody serves")
        if not done:
            raise Failed(f"arbiter {self.new.pid} serves alone but has not taken over the pid file")

    def take_back(self):
        """Ends the new arbiter; the old one was not touched."""
        new = self.new
        facts = new.look()
        # TERM lets requests be finished, if there can be any. One that has not even loaded its
        # configuration has no workers, and its signals are still blocked.
        name = "TERM" if facts.get("ready") else "QUIT" if facts else "KILL"
        self.say(f"arbiter {new.pid}: {name}, is taken back")
        new.signal(getattr(signal, f"SIG{name}"))
        limit = new.facts.get("stop_limit", 0) or 60
        if not self.wait(new.is_gone, limit + SPARE_SECONDS):
            new.signal(signal.SIGKILL)
            self.wait(new.is_gone, SPARE_SECONDS)
        self.wait(lambda: not self.old.look()["successor"] or self.old.is_gone(), SPARE_SECONDS)

    def wait_until_the_old_one_serves(self):
        """(exclusive) Its worker was at rest: it starts anew, with the code that is there now."""
        def back():
            facts = self.old.look()
            return self.old.is_gone() or (facts["workers"] > 0 and self.old.is_ready())
        if not self.wait(back, self.options.timeout):
            self.harm = (f"arbiter {self.old.pid} has no worker: the application does not come up "
                         "below it either (its log says why); it goes on trying")

    # ---- waiting

    def wait(self, condition, seconds):
        """Looks until condition() holds: True; False after so many seconds (None: no limit)."""
        poll = select.poll()
        end = None if seconds is None else time.monotonic() + seconds
        while not condition():
            if end is not None and time.monotonic() > end:
                return False
            poll.poll(POLL_MS)
        return True

    def wait_for_new(self, condition, what):
        """Waits for the new arbiter; Failed when it ends first, or does not come to it in time."""
        limit = self.options.timeout
        done = self.wait(lambda: self.new.is_gone() or condition(), limit)
        if self.new.is_gone():
            self.wait(lambda: not self.old.look()["successor"] or self.old.is_gone(), SPARE_SECONDS)
            pid, self.new = self.new.pid, None
            raise Failed(f"the new arbiter (pid {pid}) is gone: {self.reason()}")
        if not done:
            facts = self.new.facts
            detail = (f"{facts['ready']} of {facts['workers']} workers are ready" if facts
                      else "it has not begun to start workers")
            raise Failed(f"no sign within {limit:g} s that the new arbiter {what}: {detail}")

    def reason(self):
        return self.old.facts.get("why") or "no reason is known"


# ---- the command ----------------------------------------------------------------------------------------


def parse(argv):
    """The options as attributes pid, pidfile, config, timeout."""
    parser = argparse.ArgumentParser(
        prog="saola upgrade", allow_abbrev=False,
        description="Start a new arbiter beside a running one, on the same sockets; when all its "
                    "workers are ready end the old one gracefully. If the new one does not come up, "
                    "the old one serves on untouched and the exit code is 1.")
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help="the running arbiter")
    parser.add_argument("-p", "--pid", dest="pidfile", metavar="FILE",
                        help="its pid file (the server's --pid)")
    parser.add_argument("-c", "--config", metavar="FILE",
                        help="the server's configuration, which names the pid file; default as for "
                             "the server")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS",
                        help="how long the new arbiter may take until it is ready (120)")
    options = parser.parse_args(argv)
    if options.pid is not None and (options.pidfile or options.config):
        parser.error("give PID, --pid FILE or --config FILE, not two of them")
    if options.timeout <= 0:
        parser.error("--timeout: give a number of seconds")
    return options


def main(argv):
    """Runs the command; returns the exit status: 0 done, 1 not done (or 130: interrupted, taken back)."""
    options = parse(argv)

    def say(text):
        if sys.stdout.isatty():
            print(text, flush=True)

    def interrupt(number, frame):
        raise Interrupted
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    upgrade = None
    try:
        old, pidfile = find(options)
        check(old)
        upgrade = Upgrade(old, pidfile, options, say)
        upgrade.run()
    except Failed as exc:
        _tell_failure(upgrade, str(exc))
        return 1
    except Interrupted:
        _tell_failure(upgrade, "interrupted")
        return 130
    print(f"saola upgrade: arbiter {upgrade.new.pid} has replaced {old.pid}"
          + (f"; pid file {pidfile}" if pidfile else ""), flush=True)
    return 0


def _tell_failure(upgrade, text):
    print(f"saola upgrade: {text}", file=sys.stderr)
    if upgrade is not None and not upgrade.committed:
        if upgrade.harm:
            print(f"saola upgrade: {upgrade.harm}", file=sys.stderr)
        elif upgrade.old.is_gone():
            print(f"saola upgrade: arbiter {upgrade.old.pid} is gone", file=sys.stderr)
        else:
            print(f"saola upgrade: nothing has changed: arbiter {upgrade.old.pid} serves on",
                  file=sys.stderr)
    sys.stderr.flush()
