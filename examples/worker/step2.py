"""The smallest worker class that serves: one fixed answer. See docs/writing-a-worker.md.

    saola -k step2.MyWorker app:app
"""

import select

from saola.workers.base import Worker

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


class MyWorker(Worker):
    def run(self):
        while self.alive:                               # false after TERM
            self.notify()                               # "I am alive", well within self.timeout
            ready, _, _ = select.select(self.sockets, [], [], min(1.0, self.timeout or 1.0))
            for listener in ready:
                try:
                    client, _ = listener.accept()
                except BlockingIOError:                 # another worker was faster
                    continue
                with client:
                    client.settimeout(5)
                    client.recv(65536)
                    client.sendall(ANSWER)
