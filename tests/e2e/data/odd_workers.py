"""Worker classes that get something wrong, each one thing."""

import os
import select
import sys
import threading
import time

from gunicorn.workers.base import Worker


class Polite(Worker):
    """Does everything right, and serves nobody."""

    def run(self):
        while self.alive:
            self.notify()
            select.select([self.PIPE[0]], [], [], 0.2)
            self.turn()

    def turn(self):
        pass


class Empty(Worker):
    pass


class Silent(Worker):
    """Never notifies."""

    def run(self):
        while self.alive:
            time.sleep(0.1)


class Deaf(Worker):
    """Never looks at alive."""

    def run(self):
        while True:
            self.notify()
            time.sleep(0.1)


class Raises(Worker):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        raise ValueError("no such queue")


class NoSuper(Polite):
    def __init__(self, *args, **kwargs):
        pass


class Fails(Polite):
    def turn(self):
        raise ValueError("in the middle")


class Returns(Worker):
    def run(self):
        pass


class Exits(Polite):
    def turn(self):
        sys.exit(int(os.environ["STATUS"]))


class Forks(Polite):
    """Forks, and the child goes on in the worker's loop."""

    forked = False

    def turn(self):
        if not self.forked:
            self.forked = True
            os.fork()


class ForksAndReturns(Polite):
    """Forks, and the child comes back from run()."""

    forked = False

    def run(self):
        if os.fork() == 0:
            return
        super().run()


class Threads(Polite):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        threading.Thread(target=time.sleep, args=(3600,), name="too-early", daemon=True).start()


class Descriptor(Worker):
    """Beats by the times of its file, as code in C does."""

    def run(self):
        fd = self.tmp.fileno()
        mode = rounds = 0
        while self.alive:
            mode ^= 1
            os.fchmod(fd, mode)
            time.sleep(0.2)
            rounds += 1
            if rounds == 20:
                print("LIVED for longer than timeout", flush=True)
